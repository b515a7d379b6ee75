"""What a client says and understands, held without any network: the test is the server."""

from itertools import count
from typing import Any

import pytest

from runtara.errors import (
    Busy,
    Code,
    DeadlineExceeded,
    Fenced,
    Internal,
    InvalidInput,
    InvalidState,
    OutcomeUnknown,
    RuntaraError,
    StoreFull,
    TooLarge,
    Unauthenticated,
    Unreachable,
)
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Acknowledged, GetHealth, Heartbeat, InstanceRegistered, RegisterInstance, SaveCheckpoint
from runtara.transport import Session, credentials
from runtara.transport.client.call import RETRIED, RETRY_AFTER_MAX, Call, encode_ask
from runtara.transport.client.calls import ALONE_FROM_BYTES, TOKEN_PREFIX, Calls, Patience
from runtara.transport.frames import (
    Answer,
    Ask,
    Goodbye,
    Hello,
    Pushed,
    Refusal,
    Renewed,
    Watch,
    Welcome,
    decode_client_frame,
    encode_frame,
)

FOREVER = float("inf")


class Talk:
    """A client's calls, and a server that the test plays."""

    def __init__(self, *, credential: str | None = None, epoch: int | None = None) -> None:
        self.session = Session(InstanceKey("t", "i"))
        self.ids = count(1)
        self.calls = Calls(
            self.session,
            self.ids,
            credential=credential,
            epoch=epoch,
            patience=Patience(connect_timeout=10, request_timeout=30, heartbeat_every=30),
            random=lambda: 0.0,
        )

    def ask(self, command: Any = GetHealth(), *, now: float = 0, timeout: float = 30, session: Any = None) -> "Asked":  # noqa: B008 - frozen
        id = next(self.ids)
        asked = Asked()
        frame = None if command is None else encode_ask(id, command, None, timeout)
        session = session or self.session
        call = Call(id, type(command).__name__, frame=frame, timeout=timeout, session=session, then=asked.then)
        asked.call = call
        self.calls.add(call, now)
        return asked

    def say(self, frame: Any, now: float = 0) -> None:
        self.calls.received(encode_frame(frame)[4:], now)

    def welcome(self, now: float = 0, **options: Any) -> None:
        given: dict[str, Any] = {
            "server_version": "1",
            "heartbeat_every_ms": 30_000,
            "frame_max_bytes": 1_000_000,
        } | options
        self.say(Welcome(**given), now)

    def heard(self, now: float = 0) -> list[Any]:
        return [decode_client_frame(frame[4:]) for frame, _ in self.calls.outgoing(now)]

    def register(self, now: float = 0, epoch: int = 1) -> None:
        asked = self.ask(RegisterInstance(attempt_id="a"), now=now)
        self.heard(now)
        self.say(Answer(asked.call.id, InstanceRegistered(epoch=epoch, resumed=False)), now)


class Asked:
    """What an asker gets."""

    call: Call

    def __init__(self) -> None:
        self.got: list[tuple[Any, BaseException | None]] = []

    def then(self, reply: Any, error: BaseException | None) -> None:
        self.got.append((reply, error))

    @property
    def error(self) -> BaseException | None:
        ((reply, error),) = self.got
        assert reply is None
        return error

    @property
    def reply(self) -> Any:
        ((reply, error),) = self.got
        assert error is None
        return reply


REPLY = Acknowledged(Status.RUNNING)


# Asking ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_welcome() -> None:
    talk = Talk(credential="rtk_x", epoch=4)
    asked = talk.ask()
    assert talk.calls.wants_connection

    assert decode_client_frame(talk.calls.hello()[4:]) == Hello(
        tenant_id="t", instance_id="i", credential="rtk_x", epoch=4
    )
    assert talk.heard() == []
    talk.welcome()
    assert talk.heard() == [Ask(id=1, command=GetHealth(), timeout_ms=30_000)]
    assert talk.heard() == []  # once
    talk.say(Answer(1, REPLY))

    assert asked.reply == REPLY
    assert not talk.calls.wants_connection


def test_whoever_waits_for_the_connection_alone_is_told_of_the_welcome() -> None:
    talk = Talk()
    first = talk.ask(None)
    talk.welcome()
    assert talk.heard() == []

    second = talk.ask(None)

    assert (first.reply, second.reply) == (None, None)


def test_large_frames_go_on_a_stream_of_their_own() -> None:
    talk = Talk()
    talk.welcome()
    talk.ask(SaveCheckpoint(checkpoint_id="small", state=bytes(ALONE_FROM_BYTES - 1000)))
    talk.ask(SaveCheckpoint(checkpoint_id="large", state=bytes(ALONE_FROM_BYTES)))

    assert [alone for _, alone in talk.calls.outgoing(0)] == [False, True]


def test_what_the_server_would_not_take_is_not_sent() -> None:
    talk = Talk()
    talk.welcome(frame_max_bytes=1000)
    asked = talk.ask(SaveCheckpoint(checkpoint_id="c", state=bytes(1000)))

    assert talk.heard() == []
    assert isinstance(asked.error, TooLarge)


def test_an_answer_tells_the_session_what_it_says_about_it() -> None:
    talk = Talk()
    talk.welcome()

    talk.register(epoch=7)

    assert talk.session.epoch == 7
    assert isinstance(hello := decode_client_frame(talk.calls.hello()[4:]), Hello)
    assert hello.epoch == 7


def test_an_answer_that_nobody_waits_for_is_ignored() -> None:
    talk = Talk()
    talk.welcome()
    asked = talk.ask()
    talk.heard()
    talk.calls.withdraw(asked.call)

    talk.say(Answer(1, REPLY))
    talk.say(Answer(77, REPLY))
    talk.say(Refusal(id=78, code="busy", message=""))

    assert asked.got == []


@pytest.mark.parametrize("body", [b"", b"\x80", b"\xc1", encode_frame(Hello(tenant_id="t", instance_id="i"))[4:]])
def test_what_no_server_should_say_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        Talk().calls.received(body, 0)


UNFIT: Any = object()


@pytest.mark.parametrize(
    "command",
    [UNFIT, SaveCheckpoint(checkpoint_id="\ud800", state=b""), SaveCheckpoint(checkpoint_id="c", state=UNFIT)],
)
def test_what_cannot_be_sent_is_refused_at_once(command: Any) -> None:
    with pytest.raises(InvalidInput):
        encode_ask(1, command, None, 30)


def test_a_wait_without_end_can_be_said() -> None:
    frame = decode_client_frame(encode_ask(1, GetHealth(), "other", FOREVER)[4:])

    assert isinstance(frame, Ask)
    assert frame.timeout_ms is not None
    assert frame.instance_id == "other"


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", Code, ids=lambda code: code.wire)
def test_a_refusal_is_raised_as_what_the_actor_raised_or_the_call_is_sent_again(code: Code) -> None:
    talk = Talk()
    talk.welcome()
    asked = talk.ask()
    talk.heard()

    talk.say(Refusal(id=1, code=code.wire, message="why"))

    if code in RETRIED:
        assert asked.got == []
        talk.calls.tick(RETRY_AFTER_MAX)
        assert len(talk.heard(RETRY_AFTER_MAX)) == 1
    else:
        assert isinstance(asked.error, RuntaraError)
        assert (asked.error.code, str(asked.error)) == (
            code,
            "why" if code is not Code.DEADLINE_EXCEEDED else str(asked.error),
        )


def test_a_code_from_the_future_is_a_bug_of_somebody() -> None:
    talk = Talk()
    talk.welcome()
    asked = talk.ask()
    talk.heard()

    talk.say(Refusal(id=1, code="never-heard", message="why"))

    assert isinstance(asked.error, Internal)


def test_a_call_that_is_refused_for_now_is_sent_again_later_and_later_until_its_time_is_over() -> None:
    talk, now, waits = Talk(), 0.0, []
    talk.welcome()
    asked = talk.ask(timeout=10)

    while not asked.got:
        assert len(talk.heard(now)) == 1
        talk.say(Refusal(id=1, code="busy", message="full"), now)
        if not asked.got:
            assert talk.heard(now) == []
            waits.append(talk.calls.alarm - now)
            now = talk.calls.alarm
            talk.calls.tick(now)

    assert [round(wait, 6) for wait in waits] == sorted(round(wait, 6) for wait in waits)
    assert waits[0] < 0.02
    assert waits[-1] <= RETRY_AFTER_MAX
    assert isinstance(asked.error, Busy)
    assert now < 10  # it is told as soon as waiting is of no use


def test_a_refusal_does_not_hide_that_an_earlier_try_may_have_been_done() -> None:
    talk = Talk()
    talk.welcome()
    asked = talk.ask(timeout=1)
    talk.heard()
    talk.calls.lost("gone")
    talk.welcome()
    talk.heard()

    talk.say(Refusal(id=1, code="store-full", message="full"), 0.5)

    assert isinstance(asked.error, DeadlineExceeded)


def test_a_refusal_for_good_is_raised_even_after_an_earlier_try() -> None:
    talk = Talk()
    talk.welcome()
    asked = talk.ask()
    talk.heard()
    talk.calls.lost("gone")
    talk.welcome()
    talk.heard()

    talk.say(Refusal(id=1, code="invalid-state", message="it is completed"))

    assert isinstance(asked.error, InvalidState)


def test_a_store_that_is_full_is_said_at_once() -> None:
    talk = Talk()
    talk.welcome()
    asked = talk.ask()
    talk.heard()

    talk.say(Refusal(id=1, code="store-full", message="full"))

    assert isinstance(asked.error, StoreFull)


# Time ---------------------------------------------------------------------------------------------------------------


def test_a_call_that_was_never_sent_found_nobody() -> None:
    talk = Talk()
    asked = talk.ask(timeout=30)
    talk.calls.lost("nobody listens")
    assert talk.calls.alarm == 10  # the first connection has its own measure

    talk.calls.tick(9.9)
    assert asked.got == []
    talk.calls.tick(10)

    assert isinstance(asked.error, Unreachable)
    assert "nobody listens" in str(asked.error)


def test_a_call_that_was_sent_has_its_whole_time_from_the_beginning() -> None:
    talk = Talk()
    asked = talk.ask(timeout=30)
    talk.calls.tick(9)
    talk.welcome()
    talk.heard(9)

    talk.calls.tick(29.9)
    assert asked.got == []
    talk.calls.tick(30)

    assert isinstance(asked.error, DeadlineExceeded)


def test_once_connected_a_lost_connection_is_waited_for_until_the_calls_own_time() -> None:
    talk = Talk()
    talk.welcome()
    talk.calls.lost("gone")
    asked = talk.ask(timeout=30, now=100)

    talk.calls.tick(129.9)
    assert asked.got == []
    talk.calls.tick(130)

    assert isinstance(asked.error, Unreachable)


def test_the_alarm_is_never_late() -> None:
    talk = Talk()
    talk.welcome()
    first, second = talk.ask(timeout=5), talk.ask(timeout=3)
    talk.heard()

    talk.calls.tick(talk.calls.alarm)
    assert (first.got, isinstance(second.error, DeadlineExceeded)) == ([], True)
    talk.calls.tick(talk.calls.alarm)

    assert isinstance(first.error, DeadlineExceeded)
    assert talk.calls.alarm == FOREVER


# Lost connections -----------------------------------------------------------------------------------------------------


def test_what_has_no_answer_is_sent_again_unchanged_in_order() -> None:
    talk = Talk()
    talk.welcome()
    asked = [talk.ask(SaveCheckpoint(checkpoint_id=name, state=b"", request=n)) for n, name in enumerate("abc", 1)]
    sent = talk.heard()
    talk.say(Answer(2, REPLY))

    talk.calls.lost("gone")
    assert talk.heard() == []
    assert talk.calls.wants_connection
    talk.welcome()

    assert talk.heard() == [sent[0], sent[2]]
    talk.say(Answer(1, REPLY))
    talk.say(Answer(3, REPLY))
    assert [one.reply for one in asked] == [REPLY] * 3


def test_after_a_loss_every_session_looks_again_once() -> None:
    talk = Talk()
    other = Session(InstanceKey("t", "other"))
    talk.calls.watch(other)
    talk.welcome()
    assert (talk.session.pushes, other.pushes) == (0, 0)

    talk.calls.lost("gone")
    assert (talk.session.pushes, other.pushes) == (0, 0)
    talk.welcome()

    assert (talk.session.pushes, other.pushes) == (1, 1)


def test_a_server_that_goes_down_is_asked_nothing_more() -> None:
    talk = Talk()
    talk.welcome()
    before = talk.ask()
    talk.heard()
    talk.say(Goodbye(retry_after_ms=1500))
    after = talk.ask()

    assert (talk.calls.is_leaving, talk.calls.is_owed, talk.heard()) == (True, True, [])
    talk.say(Answer(1, REPLY))
    assert not talk.calls.is_owed
    assert talk.calls.retry_after == 1.5
    talk.calls.lost("gone")
    talk.welcome()

    assert [frame.id for frame in talk.heard()] == [2]
    assert talk.calls.retry_after == 0
    assert (before.reply, after.got) == (REPLY, [])


def test_what_the_server_has_closed_the_connection_for_is_not_sent_again() -> None:
    talk = Talk()
    talk.welcome()
    sent = talk.ask()
    talk.heard()
    unsent = talk.ask()

    talk.calls.blame(InvalidInput("not understood"))
    talk.calls.lost("closed")
    talk.welcome()

    assert isinstance(sent.error, InvalidInput)
    assert [frame.id for frame in talk.heard()] == [2]
    assert unsent.got == []


def test_where_several_may_be_the_reason_none_is_told_that_it_was_not_done() -> None:
    talk = Talk()
    talk.welcome()
    both = talk.ask(), talk.ask()
    talk.heard()

    talk.calls.blame(InvalidInput("not understood"))

    assert [type(asked.error) for asked in both] == [OutcomeUnknown] * 2


@pytest.mark.parametrize(("code", "error"), [("unauthenticated", Unauthenticated), ("invalid-input", InvalidInput)])
def test_who_is_turned_away_for_good_need_not_try_again(code: str, error: type[Exception]) -> None:
    talk = Talk()
    asked = talk.ask()

    talk.say(Refusal(id=0, code=code, message="who are you"))

    assert isinstance(asked.error, error)
    assert not talk.calls.wants_connection
    assert talk.session.pushes == 1  # whoever waits looks, and hears so


def test_who_is_turned_away_for_now_tries_again() -> None:
    talk = Talk()
    asked = talk.ask()

    talk.say(Refusal(id=0, code="busy", message="too many"))
    talk.calls.lost("closed")

    assert asked.got == []
    assert talk.calls.wants_connection


def test_a_bug_is_told_to_everybody_who_asks_and_will_ask() -> None:
    talk = Talk()
    before = talk.ask()

    talk.calls.break_down(Internal("a bug"))
    after = talk.ask()

    assert isinstance(before.error, Internal)
    assert isinstance(after.error, Internal)


# Watching -------------------------------------------------------------------------------------------------------------


def test_an_instance_is_watched_once_for_all_who_want_to_know() -> None:
    talk = Talk()
    one, two, three = (Session(InstanceKey("t", name)) for name in ("x", "x", "y"))
    talk.calls.watch(one)
    talk.welcome()
    assert talk.heard() == [Watch(instance_id="x")]

    talk.calls.watch(two)
    talk.calls.watch(two)
    talk.calls.watch(three)
    assert talk.heard() == [Watch(instance_id="y")]
    talk.say(Pushed(instance_id="x"))
    assert (one.pushes, two.pushes, three.pushes) == (1, 1, 0)

    talk.calls.unwatch(one)
    assert talk.heard() == []
    talk.calls.unwatch(two)
    talk.calls.unwatch(two)
    assert talk.heard() == [Watch(instance_id="x", on=False)]
    talk.say(Pushed(instance_id="x"))
    assert (one.pushes, two.pushes) == (1, 1)


def test_a_watch_goes_out_before_the_question_that_it_is_for() -> None:
    talk = Talk()
    talk.welcome()
    talk.ask()
    talk.calls.watch(Session(InstanceKey("t", "x")))

    assert [type(frame) for frame in talk.heard()] == [Watch, Ask]


def test_what_is_watched_is_watched_again_on_the_next_connection() -> None:
    talk = Talk()
    talk.welcome()
    talk.calls.watch(Session(InstanceKey("t", "x")))
    talk.calls.lost("gone before it was sent")
    assert talk.calls.wants_connection
    talk.welcome()
    assert talk.heard() == [Watch(instance_id="x")]
    talk.calls.lost("gone")
    talk.welcome()

    assert talk.heard() == [Watch(instance_id="x")]


def test_a_push_to_the_own_instance_needs_no_watch() -> None:
    talk = Talk()
    talk.welcome()

    talk.say(Pushed(instance_id="i"))
    talk.say(Pushed(instance_id="unknown"))

    assert talk.session.pushes == 1


# Heartbeats -----------------------------------------------------------------------------------------------------------


def test_an_attempt_that_says_nothing_else_says_that_it_is_alive() -> None:
    talk = Talk()
    talk.welcome()
    talk.register(now=100)
    assert talk.calls.wants_connection  # also while it asks nothing

    talk.calls.tick(129)
    assert talk.heard(129) == []
    talk.calls.tick(talk.calls.alarm)
    (beat,) = talk.heard(130)
    talk.calls.tick(131)
    assert talk.heard(131) == []  # one at a time
    talk.say(Answer(beat.id, REPLY), 131)
    talk.calls.tick(159.9)
    assert talk.heard(159.9) == []
    talk.calls.tick(160)

    assert beat.command == Heartbeat()
    assert [frame.command for frame in talk.heard(160)] == [Heartbeat()]


def test_whatever_else_is_said_of_the_instance_is_a_sign_of_life_too() -> None:
    talk = Talk()
    talk.welcome()
    talk.register(now=0)
    asked = talk.ask(now=20)
    talk.heard(20)
    talk.say(Answer(asked.call.id, REPLY), 20)
    elsewhere = talk.ask(now=40, session=Session(InstanceKey("t", "other")))
    talk.heard(40)
    talk.say(Answer(elsewhere.call.id, REPLY), 40)

    talk.calls.tick(49.9)
    assert talk.heard(49.9) == []
    talk.calls.tick(50)

    assert [frame.command for frame in talk.heard(50)] == [Heartbeat()]


def test_the_server_may_ask_for_more_heartbeats_than_the_program_wanted() -> None:
    talk = Talk()
    talk.welcome(heartbeat_every_ms=1000)
    talk.register(now=0)

    talk.calls.tick(1)

    assert [frame.command for frame in talk.heard(1)] == [Heartbeat()]


def test_a_server_that_asks_for_more_heartbeats_later_gets_the_first_of_them_in_time() -> None:
    talk = Talk()
    talk.welcome()
    talk.register()
    talk.welcome(now=2, heartbeat_every_ms=1_000)  # as over HTTP, where a session follows the calls
    woken_at = talk.calls.alarm

    talk.calls.tick(woken_at)

    assert woken_at == 3
    assert [frame.command for frame in talk.heard(3)] == [Heartbeat()]


@pytest.mark.parametrize("code", ["fenced", "invalid-state", "instance-cancelled", "instance-not-found"])
def test_an_attempt_that_is_over_says_no_more_that_it_is_alive(code: str) -> None:
    talk = Talk()
    talk.welcome()
    talk.register()
    talk.calls.tick(30)
    (beat,) = talk.heard(30)

    talk.say(Refusal(id=beat.id, code=code, message=""), 30)
    talk.calls.tick(100)

    assert talk.heard(100) == []
    assert talk.session.pushes == 1  # the program looks, and hears why


def test_a_heartbeat_that_failed_for_now_is_not_the_last() -> None:
    talk = Talk()
    talk.welcome()
    talk.register()
    talk.calls.tick(30)
    talk.heard(30)
    talk.calls.lost("gone")
    talk.calls.tick(60)  # its time is over
    talk.welcome()
    talk.calls.tick(90)

    assert [frame.command for frame in talk.heard(90)] == [Heartbeat()]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_an_instance_that_does_not_run_any_more_is_not_kept_alive(status: Status) -> None:
    talk = Talk()
    talk.welcome()
    talk.register()
    talk.session.received(Acknowledged(status))

    talk.calls.tick(100)

    assert talk.heard(100) == []


def test_a_fenced_attempt_a_silenced_and_a_closed_one_say_nothing() -> None:
    for end in ("fenced", "silenced", "closed"):
        talk = Talk()
        talk.welcome()
        talk.register()
        if end == "fenced":
            asked = talk.ask()
            talk.heard()
            talk.say(Refusal(id=asked.call.id, code="fenced", message=""))
            assert isinstance(asked.error, Fenced)
        elif end == "silenced":
            talk.calls.stop_heartbeat()
        else:
            talk.calls.detach()
            assert talk.calls.is_done

        talk.calls.tick(100)

        assert talk.heard(100) == []
        assert not talk.calls.wants_connection


def test_whoever_comes_back_after_closing_is_kept_alive_again() -> None:
    talk = Talk()
    talk.welcome()
    talk.register()
    talk.calls.detach()
    asked = talk.ask(now=50)
    talk.heard(50)
    talk.say(Answer(asked.call.id, REPLY), 50)
    assert not talk.calls.is_done

    talk.calls.tick(80)

    assert [frame.command for frame in talk.heard(80)] == [Heartbeat()]


# Credentials ----------------------------------------------------------------------------------------------------------


def test_a_newer_token_takes_the_place_of_an_older_one() -> None:
    assert TOKEN_PREFIX == credentials.TOKEN_PREFIX
    talk = Talk(credential=f"{TOKEN_PREFIX}1")
    talk.welcome(token=f"{TOKEN_PREFIX}2")
    assert talk.calls.credential == f"{TOKEN_PREFIX}2"

    talk.say(Renewed(token=f"{TOKEN_PREFIX}3"))
    assert talk.calls.credential == f"{TOKEN_PREFIX}3"
    asked = talk.ask(RegisterInstance(attempt_id="a"))
    talk.heard()
    talk.say(Answer(asked.call.id, InstanceRegistered(epoch=1, resumed=False, token=f"{TOKEN_PREFIX}4")))

    assert talk.calls.credential == f"{TOKEN_PREFIX}4"


@pytest.mark.parametrize("credential", [None, "rtk_tenant"])
def test_who_may_do_more_than_one_attempt_keeps_what_allows_it(credential: str | None) -> None:
    talk = Talk(credential=credential)
    talk.welcome()

    talk.say(Renewed(token=f"{TOKEN_PREFIX}3"))

    assert talk.calls.credential == credential

import gc
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from runtara import messages
from runtara.clock import ManualClock
from runtara.errors import InvalidInput, MailboxFull, RuntaraError, StoreUnavailable, Unauthenticated
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.system import SESSIONS
from runtara.transport.conversation import MESSAGE_MAX_CHARS, WATCHES_MAX, Conversation
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.frames import (
    OVERHEAD_MAX_BYTES,
    Answer,
    Ask,
    Goodbye,
    Hello,
    Pushed,
    Refusal,
    Watch,
    Welcome,
    decode_server_frame,
    encode_frame,
)
from runtara.transport.gate import Gate, Watcher
from tests.actors.operations import EXAMPLES, PAYLOAD_MAX, running
from tests.actors.stage import key_of
from tests.transport.lobby import Guest, Lobby, open_lobby

HELLO = Hello(tenant_id="acme", instance_id="one")
REGISTER = messages.RegisterInstance(attempt_id="mine")
PAUSE = messages.SendSignal(kind="pause", signal_id="pause")


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    async with open_lobby(tmp_path, require_credentials=False) as lobby:
        yield lobby


def code_of(answer: Any) -> str:
    assert isinstance(answer, Refusal)
    return answer.code


async def settle(guest: Guest) -> None:
    """Wait until nobody has anything to do, and hear what is said."""
    await trio.testing.wait_all_tasks_blocked()
    guest.hear()


# A system behind the gate that answers when it is told to ------------------------------------------------------------


class Said:
    """One call that has reached the system."""

    def __init__(self, command: Any, epoch: int | None, then: Callable[[Any], None]) -> None:
        self.command = command
        self.epoch = epoch
        self._then = then
        self.value: Any = None
        self.error: BaseException | None = None

    def answer(self, value: Any) -> None:
        self.value = value
        self._then(self)

    def fail(self, error: BaseException) -> None:
        self.error = error
        self._then(self)


class Slow:
    """Keeps calls until they are answered by hand."""

    def __init__(self, folder: Path) -> None:
        self.said: list[Said] = []
        self.watchers: list[Watcher] = []
        self.refuses: RuntaraError | None = None
        self.at_once: Any = None
        clock = ManualClock()
        self.gate = Gate(
            line=lambda key: self,
            attach=self.attach,
            detach=self.detach,
            mint=TokenMint(folder / "secret", clock, 1_000),
            keys=KeyRing(folder / "keys.json", clock),
            require_credentials=False,
            clock=clock,
            version="1",
            heartbeat_interval_ms=1,
            payload_max_bytes=PAYLOAD_MAX,
        )

    def call_then(self, command: Any, epoch: int | None, then: Any, timeout: float | None = None) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.said.append(Said(command, epoch, then))
        if self.at_once is not None:
            self.said[-1].answer(self.at_once)

    def attach(self, watcher: Watcher) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.watchers.append(watcher)

    def detach(self, watcher: Watcher) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.watchers.remove(watcher)

    def meet(self, hello: Hello = HELLO) -> Guest:
        guest = Guest(self.gate, "127.0.0.1")
        guest.greet(hello)
        return guest


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    return Slow(tmp_path)


HEARD = messages.Acknowledged(Status.RUNNING)
REGISTERED = messages.InstanceRegistered(epoch=3, resumed=False)


# Order of things ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [Ask(id=1, command=messages.Heartbeat()), Watch(instance_id="one")])
def test_who_has_not_greeted_breaks_the_protocol(slow: Slow, frame: Any) -> None:
    guest = Guest(slow.gate, "127.0.0.1")

    guest.say(frame)

    assert isinstance(guest.ended_by, InvalidInput)
    assert guest.heard == []
    assert (slow.said, slow.watchers) == ([], [])


def test_a_call_that_is_not_understood_is_not_answered_before_the_greeting(slow: Slow) -> None:
    guest = Guest(slow.gate, "127.0.0.1")

    guest.say_bytes(msgspec.msgpack.encode({"type": "Ask", "id": 1, "command": {"type": "New"}}))

    assert isinstance(guest.ended_by, InvalidInput)
    assert guest.heard == []


def test_who_greets_twice_breaks_the_protocol(slow: Slow) -> None:
    guest = slow.meet()

    guest.say(HELLO)

    assert isinstance(guest.ended_by, InvalidInput)


def test_calls_may_follow_the_greeting_at_once(slow: Slow) -> None:
    guest = slow.meet()
    guest.ask_soon(messages.Heartbeat())

    assert [type(frame) for _, frame in guest.heard] == [Welcome]
    assert guest.conversation.is_welcome
    assert guest.conversation.in_flight == 1


def test_who_was_turned_away_is_not_heard_any_more(slow: Slow) -> None:
    guest = slow.meet(msgspec.structs.replace(HELLO, credential="rtk_wrong"))

    guest.say(HELLO)
    guest.ask_soon(messages.Heartbeat())

    assert [type(frame) for _, frame in guest.heard] == [Refusal]
    assert not guest.conversation.is_welcome


# Calls ----------------------------------------------------------------------------------------------------------------


def test_an_answer_goes_to_the_stream_of_its_call_in_the_order_of_answers(slow: Slow) -> None:
    guest = slow.meet()
    for stream_id in (0, 4, 8):
        guest.ask_soon(messages.Heartbeat(), stream_id)

    for said in (slow.said[2], slow.said[0], slow.said[1]):
        said.answer(HEARD)
    guest.hear()

    assert guest.heard[1:] == [(8, Answer(3, HEARD)), (0, Answer(1, HEARD)), (4, Answer(2, HEARD))]
    assert guest.conversation.in_flight == 0


def test_it_is_known_which_streams_await_an_answer(slow: Slow) -> None:
    guest = slow.meet()
    guest.ask_soon(messages.Heartbeat(), 4)
    guest.ask_soon(messages.Heartbeat(), 4)
    awaited = [guest.conversation.awaits(stream_id) for stream_id in (0, 4)]
    slow.said[0].answer(HEARD)
    still = guest.conversation.awaits(4)
    slow.said[1].answer(HEARD)

    assert awaited == [False, True]
    assert still
    assert not guest.conversation.awaits(4)


def test_an_id_of_an_unanswered_call_breaks_the_protocol(slow: Slow) -> None:
    guest = slow.meet()
    guest.say(Ask(id=7, command=messages.Heartbeat()))

    guest.say(Ask(id=7, command=messages.Heartbeat()), 4)

    assert isinstance(guest.ended_by, InvalidInput)
    assert len(slow.said) == 1


def test_an_id_may_be_used_again_once_it_is_answered(slow: Slow) -> None:
    guest = slow.meet()
    for _ in range(3):
        guest.say(Ask(id=7, command=messages.Heartbeat()))
        slow.said[-1].answer(HEARD)
        guest.hear()

    assert guest.told(Answer) == [Answer(7, HEARD)] * 3
    assert guest.ended_by is None


def test_a_command_of_a_newer_client_is_refused_and_nothing_else_happens(slow: Slow) -> None:
    guest = slow.meet()

    guest.say_bytes(msgspec.msgpack.encode({"type": "Ask", "id": 5, "command": {"type": "TravelInTime"}}), 8)
    guest.ask_soon(messages.Heartbeat())

    assert [(stream_id, frame.id, frame.code) for stream_id, frame in guest.heard if isinstance(frame, Refusal)] == [
        (8, 5, "invalid-input")
    ]
    assert guest.ended_by is None
    assert guest.conversation.in_flight == 1


def test_a_call_that_holds_too_much_is_refused_by_its_code(slow: Slow) -> None:
    guest = slow.meet()

    guest.ask_soon(messages.FailInstance(error="x" * 2 * OVERHEAD_MAX_BYTES))

    assert [frame.code for frame in guest.told(Refusal)] == ["too-large"]
    assert slow.said == []


def test_a_garbled_call_with_the_id_of_an_unanswered_one_breaks_the_protocol(slow: Slow) -> None:
    guest = slow.meet()
    guest.say(Ask(id=5, command=messages.Heartbeat()))

    guest.say_bytes(msgspec.msgpack.encode({"type": "Ask", "id": 5, "command": {"type": "TravelInTime"}}))

    assert isinstance(guest.ended_by, InvalidInput)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Slow:
    return Slow(tmp_path_factory.mktemp("gate"))


@given(st.binary())
def test_garbage_ends_the_conversation_and_nothing_else(lasting: Slow, body: bytes) -> None:
    guest = lasting.meet()

    guest.say_bytes(body)

    assert guest.ended_by is None or isinstance(guest.ended_by, InvalidInput)


@pytest.mark.parametrize(
    ("error", "code"),
    [(StoreUnavailable("away"), "store-unavailable"), (ZeroDivisionError("a secret path"), "internal")],
)
def test_a_failure_is_told_by_its_code_and_a_bug_without_its_text(slow: Slow, error: Exception, code: str) -> None:
    guest = slow.meet()
    guest.ask_soon(messages.Heartbeat())
    slow.said[0].fail(error)
    guest.hear()

    refusal = guest.told(Refusal)[0]

    assert (refusal.id, refusal.code) == (1, code)
    assert "secret" not in refusal.message


@pytest.mark.parametrize("text", ["x" * 10**6, "\ud800" * 10, "\0\n"])
def test_a_text_that_cannot_be_sent_as_it_is_is_made_so(slow: Slow, text: str) -> None:
    slow.refuses = StoreUnavailable(text)
    guest = slow.meet()

    guest.ask_soon(messages.Heartbeat())

    assert len(guest.told(Refusal)[0].message) == min(len(text), MESSAGE_MAX_CHARS)


def test_an_answer_that_is_too_large_for_a_frame_is_refused(slow: Slow) -> None:
    guest = slow.meet()
    most = slow.gate.frame_max_bytes
    for size in (most // 2, most):
        guest.ask_soon(EXAMPLES[messages.GetCheckpoint])
        slow.said[-1].answer(messages.CheckpointFound(found=True, state=bytes(size)))
    guest.hear()

    assert [type(frame) for _, frame in guest.heard[1:]] == [Answer, Refusal]
    assert guest.told(Refusal)[0].code == "too-large"


def test_an_answer_that_cannot_be_said_is_a_bug_that_stays_here(slow: Slow) -> None:
    guest = slow.meet()
    guest.ask_soon(messages.ListInstances())
    slow.said[0].answer(messages.SignalAccepted(signal_id="\ud800", status=Status.RUNNING))
    guest.hear()

    assert guest.told(Refusal)[0].code == "internal"


def test_what_is_refused_at_once_is_not_in_flight(slow: Slow) -> None:
    guest = slow.meet()
    slow.refuses = MailboxFull("later")

    guest.ask_soon(messages.Heartbeat())

    assert guest.told(Refusal)[0].code == "mailbox-full"
    assert guest.conversation.in_flight == 0


# Who speaks -----------------------------------------------------------------------------------------------------------


def test_calls_speak_for_the_attempt_of_the_greeting_and_then_for_the_registered_one(slow: Slow) -> None:
    guest = slow.meet(msgspec.structs.replace(HELLO, epoch=2))
    guest.ask_soon(messages.Heartbeat())
    guest.ask_soon(REGISTER)
    slow.said[-1].answer(REGISTERED)
    guest.ask_soon(messages.Heartbeat())
    guest.ask_soon(messages.GetStatus(), instance_id="two")
    guest.ask_soon(messages.GetStatus(), instance_id="one")

    assert [said.epoch for said in slow.said] == [2, 2, 3, None, None]


def test_the_registration_of_another_instance_is_not_ones_own(slow: Slow) -> None:
    guest = slow.meet()
    guest.ask_soon(REGISTER, instance_id="two")
    slow.said[-1].answer(REGISTERED)
    guest.ask_soon(messages.Heartbeat())

    assert [said.epoch for said in slow.said] == [None, None]


# Wake-ups -------------------------------------------------------------------------------------------------------------


def test_the_door_is_woken_once_for_all_that_came_since_it_looked(slow: Slow) -> None:
    guest = slow.meet()
    for _ in range(3):
        guest.ask_soon(messages.Heartbeat())
    for said in slow.said:
        said.answer(HEARD)
    woken = guest.wakes
    guest.hear()
    guest.ask_soon(messages.Heartbeat())
    slow.said[-1].answer(HEARD)

    assert woken == 1
    assert guest.wakes == 2


def test_the_door_is_not_woken_by_what_it_has_brought_itself(slow: Slow) -> None:
    slow.at_once = HEARD
    guest = slow.meet()

    guest.ask_soon(messages.Heartbeat())
    slow.refuses = StoreUnavailable("away")
    guest.ask_soon(messages.Heartbeat())

    assert guest.wakes == 0
    assert [type(frame) for _, frame in guest.heard[1:]] == [Answer, Refusal]


# Watches --------------------------------------------------------------------------------------------------------------


async def test_a_signal_is_pushed_to_its_attempt_on_the_first_stream(lobby: Lobby) -> None:
    guest = lobby.meet()
    await guest.ask(REGISTER, 4)
    await settle(guest)
    guest.heard.clear()

    await lobby.stage.ask("one", PAUSE)
    await settle(guest)

    assert guest.heard == [(0, Pushed(instance_id="one"))]


async def test_whoever_comes_back_as_an_attempt_is_told_to_look_and_hears_of_signals(lobby: Lobby) -> None:
    await running(lobby.stage)

    guest = lobby.meet(epoch=1)
    first = list(guest.heard)
    await settle(guest)
    await lobby.stage.ask("one", PAUSE)
    await settle(guest)

    assert [type(frame) for _, frame in first] == [Welcome, Pushed]
    assert len(guest.told(Pushed)) == 2


async def test_what_is_watched_is_told_until_it_is_watched_no_more(lobby: Lobby) -> None:
    await running(lobby.stage)
    guest = lobby.meet("manager")
    guest.say(Watch(instance_id="one"))
    await settle(guest)
    await lobby.stage.ask("one", PAUSE)
    await settle(guest)
    told = guest.told(Pushed)

    guest.say(Watch(instance_id="one", on=False))
    await settle(guest)
    await lobby.stage.ask("one", messages.SendSignal(kind="resume", signal_id="resume"))
    await settle(guest)

    assert told == [Pushed(instance_id="one")]
    assert guest.told(Pushed) == told
    assert lobby.stage.facts(SESSIONS) == {"connected": 0}


async def test_the_instance_of_another_tenant_is_watched_in_vain(lobby: Lobby) -> None:
    await running(lobby.stage)
    guest = lobby.meet("manager", tenant_id="rival")
    guest.say(Watch(instance_id="one"))
    await settle(guest)

    await lobby.stage.ask("one", PAUSE)
    await settle(guest)

    assert guest.told(Pushed) == []


async def test_a_token_watches_its_own_instance_and_every_other_in_vain(lobby: Lobby) -> None:
    for name in ("one", "two"):
        await running(lobby.stage, name)
    guest = lobby.meet(credential=lobby.mint.mint(HELLO_KEY, 1))
    for name in ("one", "two"):
        guest.say(Watch(instance_id=name))
    await settle(guest)
    guest.heard.clear()

    for name in ("one", "two"):
        await lobby.stage.ask(name, PAUSE)
    await settle(guest)

    assert [frame.instance_id for frame in guest.told(Pushed)] == ["one"]
    assert guest.ended_by is None


HELLO_KEY = InstanceKey("acme", "one")


def test_pushes_of_one_instance_are_one_until_they_are_sent(slow: Slow) -> None:
    guest = slow.meet()
    for name in ("one", "two"):
        guest.say(Watch(instance_id=name))
    for watcher in slow.watchers * 3:
        watcher.pushed(None)
    guest.hear()
    first = guest.told(Pushed)
    slow.watchers[0].pushed(None)
    guest.hear()

    assert first == [Pushed(instance_id="one"), Pushed(instance_id="two")]
    assert guest.told(Pushed) == [*first, Pushed(instance_id="one")]
    assert guest.wakes == 2


def test_what_is_watched_twice_is_watched_once(slow: Slow) -> None:
    guest = slow.meet(msgspec.structs.replace(HELLO, epoch=1))
    for _ in range(3):
        guest.say(Watch(instance_id="one"))
        guest.ask_soon(REGISTER)

    assert len(slow.watchers) == 1


def test_a_push_that_was_not_sent_goes_with_its_watch(slow: Slow) -> None:
    guest = slow.meet()
    guest.say(Watch(instance_id="one"))
    slow.watchers[0].pushed(None)

    guest.say(Watch(instance_id="one", on=False))
    guest.say(Watch(instance_id="one", on=False))

    assert guest.told(Pushed) == []
    assert slow.watchers == []


def test_one_connection_watches_so_many_and_its_own(slow: Slow) -> None:
    guest = slow.meet()
    for number in range(WATCHES_MAX):
        guest.say(Watch(instance_id=f"i{number}"))
    guest.say(Watch(instance_id="i0"))
    guest.ask_soon(REGISTER)
    assert guest.ended_by is None
    assert len(slow.watchers) == WATCHES_MAX + 1

    guest.say(Watch(instance_id="more"))

    assert isinstance(guest.ended_by, InvalidInput)


def test_a_malformed_name_cannot_be_watched(slow: Slow) -> None:
    guest = slow.meet()

    guest.say(Watch(instance_id="../one"))

    assert isinstance(guest.ended_by, InvalidInput)


@pytest.mark.parametrize("frame", [Watch(instance_id="two"), None])
def test_who_cannot_be_told_of_signals_is_turned_away_to_come_again(slow: Slow, frame: Watch | None) -> None:
    guest = slow.meet() if frame is not None else Guest(slow.gate, "127.0.0.1")
    slow.refuses = MailboxFull("later")

    guest.say(frame or msgspec.structs.replace(HELLO, epoch=1))

    assert isinstance(guest.ended_by, Unauthenticated)
    assert guest.turned_away == "mailbox-full"


def test_who_cannot_be_told_of_signals_does_not_register(slow: Slow) -> None:
    guest = slow.meet()
    slow.gate.attach = _refuse  # type: ignore[misc]  # as a full mailbox would

    guest.ask_soon(REGISTER)

    assert guest.told(Refusal)[0].code == "mailbox-full"
    assert slow.said == []


def _refuse(_: Watcher) -> None:
    raise MailboxFull("later")


# Ends -----------------------------------------------------------------------------------------------------------------


def test_a_farewell_is_said_on_the_first_stream(slow: Slow) -> None:
    guest = Guest(slow.gate, "127.0.0.1")
    guest.conversation.goodbye(5)
    guest.say(HELLO, 4)
    guest.conversation.goodbye(7)
    guest.hear()

    assert [(stream_id, frame) for stream_id, frame in guest.heard if isinstance(frame, Goodbye)] == [
        (4, Goodbye(retry_after_ms=7))
    ]


def test_after_the_end_nothing_is_said_however_late_it_comes(slow: Slow) -> None:
    guest = slow.meet()
    guest.say(Watch(instance_id="two"))
    for command in (messages.Heartbeat(), REGISTER, messages.GetStatus()):
        guest.ask_soon(command)
    watcher = slow.watchers[0]
    guest.conversation.closed()
    guest.conversation.closed()

    slow.said[0].answer(HEARD)
    slow.said[1].answer(REGISTERED)
    slow.said[2].fail(StoreUnavailable("away"))
    watcher.pushed(None)
    guest.conversation.goodbye()
    guest.ask_soon(messages.Heartbeat())

    assert guest.conversation.outgoing() == []
    assert guest.wakes == 0
    assert (guest.conversation.in_flight, len(slow.said)) == (0, 3)
    assert slow.watchers == []


def test_an_end_while_nobody_can_be_told_of_it_is_an_end(slow: Slow) -> None:
    guest = slow.meet()
    guest.say(Watch(instance_id="two"))
    slow.refuses = MailboxFull("later")

    guest.conversation.closed()
    slow.watchers[0].pushed(None)

    assert guest.conversation.outgoing() == []


def test_a_conversation_that_ended_is_not_held_by_anybody(slow: Slow) -> None:
    guest = slow.meet()
    guest.say(Watch(instance_id="two"))
    guest.ask_soon(messages.Heartbeat())
    guest.conversation.closed()
    slow.said.clear()
    gone = weakref.ref(guest.conversation)

    del guest
    gc.collect()

    assert gone() is None


async def test_a_connection_is_no_sign_that_its_program_is_alive(tmp_path: Path, autojump_clock: Any) -> None:
    settings: dict[str, Any] = {"heartbeat_timeout_ms": 90_000, "heartbeat_interval_ms": 10_000}
    async with open_lobby(tmp_path, require_credentials=False, **settings) as lobby:
        guest = lobby.meet()
        await guest.ask(REGISTER)
        await trio.sleep(600)
        guest.hear()
        status = await lobby.stage.ask("one", messages.GetStatus())

    assert status.status is Status.SUSPENDED
    assert len(guest.told(Pushed)) >= 1


async def test_the_whole_life_of_an_instance_in_frames(lobby: Lobby) -> None:
    guest = lobby.meet()

    registered = await guest.ask(REGISTER)
    saved = await guest.ask(EXAMPLES[messages.SaveCheckpoint], 4)
    found = await guest.ask(EXAMPLES[messages.SaveCheckpoint], 8)
    ended = await guest.ask(messages.CompleteInstance(output=b"done"))
    late = await guest.ask(messages.Heartbeat())
    status = await lobby.meet("manager").ask(messages.GetStatus(), instance_id="one")

    assert registered.epoch == 1
    assert (saved.found, found.found, found.state) == (False, True, b"state")
    assert ended.status is Status.COMPLETED
    assert code_of(late) == "invalid-state"
    assert status.output == b"done"


def test_frames_go_out_with_their_length(slow: Slow) -> None:
    conversation = Conversation(slow.gate, "127.0.0.1", lambda: None)
    conversation.received(0, encode_frame(HELLO)[4:])

    ((stream_id, frame),) = conversation.outgoing()

    assert stream_id == 0
    assert isinstance(decode_server_frame(frame[4:]), Welcome)
    assert conversation.outgoing() == []


async def test_who_is_connected_by_a_key_that_is_revoked_is_told_so_once_and_hears_nothing_more(tmp_path: Path) -> None:
    async with open_lobby(tmp_path) as lobby:
        await running(lobby.stage)
        key = lobby.keys.add("acme")
        guest, program = lobby.meet(credential=key), lobby.meet(credential=lobby.mint.mint(key_of("one"), 1))
        guest.say(Watch(instance_id="one", on=True))
        lobby.keys.revoke(lobby.keys.check(key).key_id)

        lobby.gate.guests.look()
        await lobby.stage.ask("one", PAUSE)
        await settle(guest)
        lobby.gate.guests.look()

        assert isinstance(guest.conversation.ended_by, Unauthenticated)
        assert (guest.turned_away, guest.wakes) == ("unauthenticated", 1)
        assert guest.told(Pushed) == []
        assert program.conversation.ended_by is None
        assert len(lobby.gate.guests) == 0


async def test_whoever_has_left_is_not_sent_away(tmp_path: Path) -> None:
    async with open_lobby(tmp_path) as lobby:
        key = lobby.keys.add("acme")
        guest = lobby.meet(credential=key)
        guest.conversation.closed()
        lobby.keys.revoke(lobby.keys.check(key).key_id)

        lobby.gate.guests.look()

        assert (guest.conversation.ended_by, guest.wakes) == (None, 0)

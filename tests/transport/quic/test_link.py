from collections.abc import Callable
from math import inf

import pytest

from runtara.errors import InvalidInput, Unauthenticated
from runtara.transport.budget import Budget
from runtara.transport.close_codes import FLOOD, GOING_AWAY, INVALID_FRAME, TOO_LARGE, TOO_SLOW, UNAUTHENTICATED
from runtara.transport.frames import HELLO_MAX_BYTES
from runtara.transport.quic._link import Link
from runtara.transport.quic._link_terms import LinkLimits, Terms
from runtara.transport.quic.protocol import (
    Disconnected,
    StreamData,
    Wire,
)
from tests.transport.quic.fray import CLIENT, SERVER, Meeting

GREETING_S = 5.0
FRAME_S = 60.0


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


class Echo:
    """A conversation that answers with what it was asked: `hold…` when it is released, `mute…` never."""

    def __init__(self, peer: str, wake: Callable[[], None]) -> None:
        self.peer = peer
        self.wake = wake
        self.taken: list[bytes] = []
        self.unanswered: list[tuple[int, bytes]] = []
        self.is_welcome = False
        self.is_closed = False
        self.ended_by: Unauthenticated | None = None
        self._out: list[tuple[int, bytes]] = []

    @property
    def in_flight(self) -> int:
        return len(self.unanswered)

    def awaits(self, stream_id: int) -> bool:
        return any(stream_id == asked for asked, _ in self.unanswered)

    def received(self, stream_id: int, body: bytes | bytearray) -> None:
        said = bytes(body)
        self.taken.append(said)
        if said == b"stranger":
            self._out.append((stream_id, frame(b"who are you?")))
            raise Unauthenticated("nobody knows you")
        if said == b"nonsense":
            raise InvalidInput("this is not a frame")
        self.is_welcome = True
        if said.startswith(b"hold"):
            self.unanswered.append((stream_id, said))
        elif said.startswith(b"give"):
            self._out.append((stream_id, frame(bytes(int(said[4:])))))
        elif not said.startswith(b"mute"):
            self._out.append((stream_id, frame(said)))

    def send_away(self) -> None:
        self._out.append((0, frame(b"not any more")))
        self.ended_by = Unauthenticated("nobody knows you any more")
        self.wake()

    def release(self) -> None:
        released, self.unanswered = self.unanswered, []
        self._out += [(stream_id, frame(said)) for stream_id, said in released]
        self.wake()

    def outgoing(self) -> list[tuple[int, bytes]]:
        out, self._out = self._out, []
        return out

    def goodbye(self, retry_after_ms: int = 0) -> None:
        self._out.append((0, frame(b"goodbye %d" % retry_after_ms)))

    def closed(self) -> None:
        self.is_closed = True


class Party(Meeting):
    """One client and its link, whose conversation is an echo."""

    def __init__(self, *, frames: int = 2**20, loose: int = 2**30, **limits: int) -> None:
        super().__init__()
        self.echo: Echo | None = None
        self.woken = 0
        self.frames, self.loose, self.answers = Budget(frames), Budget(loose), Budget(2**30)
        wanted = {"frame_max_bytes": 2**20, "calls_in_flight": 8, "streams": 64} | limits
        terms = LinkLimits(**wanted, greeting_timeout=GREETING_S, frame_timeout=FRAME_S)
        self.terms = Terms(self._converse, terms, self.frames, self.loose, self.answers)
        self.link: Link | None = None
        self.one = self.client()
        self.said: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.over: Disconnected | None = None

    def _converse(self, peer: str, wake: Callable[[], None]) -> Echo:
        self.echo = Echo(peer, wake)
        return self.echo

    def _wake(self, _: Link) -> None:
        self.woken += 1

    def exchange(self, times: int = 10) -> None:
        for _ in range(times):
            super().exchange(1)
            self._listen()

    def hand_in(self, datagram: bytes, address: object = CLIENT) -> Wire | None:
        wire = self.listener.receive(datagram, address, self.now)
        if wire is not None and wire not in self.wires:
            self.wires[wire] = []
            self.link = Link(wire, self.terms, self._wake, self.now)
        return wire

    def _to_clients(self) -> None:
        if self.link is not None:
            timer = self.link.wire.timer()
            if timer is not None and timer <= self.now:
                self.link.wire.handle_timer(self.now)
            self.link.advance(self.now)
            self.link.answer(self.now)
            for datagram, _ in self.link.parting:
                self.one.receive(datagram, SERVER, self.now)
            for datagram, _ in self.link.wire.outgoing(self.now):
                self.one.receive(datagram, SERVER, self.now)
        self.heard[CLIENT].extend(self.one.events())

    def _listen(self) -> None:
        for event in self.heard[CLIENT]:
            if isinstance(event, StreamData):
                self.said[event.stream_id] = self.said.get(event.stream_id, b"") + event.data
                self.one.consumed(event.stream_id, len(event.data))
                if event.ended:
                    self.ended.add(event.stream_id)
            elif isinstance(event, Disconnected):
                self.over = event
        self.heard[CLIENT].clear()

    def greet(self) -> "Party":
        self.exchange()
        self.say(b"hello")
        self.exchange()
        assert self.said == {0: frame(b"hello")}
        self.said.clear()
        return self

    def say(self, *bodies: bytes, stream_id: int = 0, ended: bool = False) -> None:
        self.one.send(stream_id, b"".join(frame(body) for body in bodies), ended=ended)

    def new_stream(self) -> int:
        return self.one.open_stream()


def test_frames_are_taken_and_answers_given_on_their_stream() -> None:
    party = Party().greet()

    party.say(b"one", b"two")
    party.say(b"three", stream_id=party.new_stream())
    party.exchange()

    assert party.said == {0: frame(b"one") + frame(b"two"), 4: frame(b"three")}
    assert party.ended == set()
    assert party.echo is not None
    assert party.echo.peer == "127.0.0.1"


def test_a_stream_that_the_client_has_ended_is_ended_with_its_last_answer() -> None:
    party = Party().greet()

    party.say(b"hold", b"at once", stream_id=4, ended=True)
    party.exchange()
    before = set(party.ended), dict(party.said)
    assert party.echo is not None
    party.echo.release()
    party.exchange()

    assert before == (set(), {4: frame(b"at once")})
    assert party.said == {4: frame(b"at once") + frame(b"hold")}
    assert party.ended == {4}
    assert party.link is not None
    assert list(party.link._streams) == [0]


def test_a_stream_without_answers_is_ended_too() -> None:
    party = Party().greet()

    party.say(b"mute", stream_id=4, ended=True)
    party.exchange()

    assert party.ended == {4}


def test_the_first_stream_stays_open_when_the_client_has_no_more_to_say_on_it() -> None:
    party = Party().greet()

    party.say(b"last", ended=True)
    party.exchange()

    assert party.said == {0: frame(b"last")}
    assert party.ended == set()


def test_no_more_calls_are_taken_than_may_be_unanswered() -> None:
    party = Party(calls_in_flight=3).greet()
    assert party.echo is not None

    party.say(*(b"hold %d" % number for number in range(7)))
    party.say(b"hold too", stream_id=4)
    party.exchange()
    first = list(party.echo.taken[1:])
    party.echo.release()
    party.exchange()
    second = list(party.echo.taken[1:])
    party.echo.release()
    party.exchange()

    assert first == [b"hold 0", b"hold 1", b"hold 2"]
    assert len(second) == 6
    assert sorted(party.echo.taken[1:]) == [*(b"hold %d" % number for number in range(7)), b"hold too"]


def test_what_waits_for_answers_is_not_consumed() -> None:
    party = Party(calls_in_flight=1).greet()
    assert party.link is not None

    party.say(b"hold", *(bytes(1000) for _ in range(50)))
    party.exchange()

    assert party.link.wire.held == 50 * 1004
    assert party.loose.used == 50 * 1004


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"nonsense"), INVALID_FRAME),
        (frame(b"stranger"), UNAUTHENTICATED),
        ((2**20 + 1).to_bytes(4, "big"), TOO_LARGE),
        (b"\xff\xff\xff\xff", TOO_LARGE),
    ],
    ids=["nonsense", "stranger", "too large", "length of text"],
)
def test_what_a_client_does_wrong_is_told_by_the_code_of_the_close(sent: bytes, code: int) -> None:
    party = Party().greet()

    party.one.send(0, sent)
    party.exchange()

    assert party.over is not None
    assert (party.over.code, party.over.by_application) == (code, True)
    assert party.echo is not None
    assert party.echo.is_closed
    assert (party.frames.used, party.loose.used, party.answers.used) == (0, 0, 0)


def test_a_stranger_is_told_why_before_the_door_is_closed() -> None:
    party = Party()
    party.exchange()

    party.say(b"stranger")
    party.exchange()

    assert party.said == {0: frame(b"who are you?")}
    assert party.over == Disconnected(UNAUTHENTICATED, "nobody knows you")


def test_who_is_known_no_longer_is_told_why_before_the_door_is_closed() -> None:
    party = Party().greet()
    party.say(b"hold", stream_id=4)
    party.exchange()
    assert party.echo is not None
    woken = party.woken

    party.echo.send_away()
    party.exchange()

    assert party.woken > woken
    assert party.said[0].endswith(frame(b"not any more"))
    assert party.over == Disconnected(UNAUTHENTICATED, "nobody knows you any more")
    assert party.echo.is_closed
    assert (party.frames.used, party.loose.used, party.answers.used) == (0, 0, 0)


def test_a_greeting_is_short() -> None:
    party = Party()
    party.exchange()

    party.one.send(0, (HELLO_MAX_BYTES + 1).to_bytes(4, "big"))
    party.exchange()

    assert party.over is not None
    assert party.over.code == TOO_LARGE


def test_a_greeting_comes_on_the_first_stream() -> None:
    party = Party()
    party.exchange()

    party.say(b"hello", stream_id=4)
    party.exchange()

    assert party.over is not None
    assert party.over.code == INVALID_FRAME


def test_a_stream_that_ends_within_a_frame_ends_the_connection() -> None:
    party = Party().greet()

    party.one.send(4, frame(b"whole")[:-1], ended=True)
    party.exchange()

    assert party.over is not None
    assert party.over.code == INVALID_FRAME


def test_who_says_nothing_after_the_handshake_is_sent_away_in_time() -> None:
    party = Party()
    party.exchange()
    assert party.link is not None

    party.now = party.link.deadline - 0.001
    party.link.expire(party.now)
    before = party.link.is_over
    party.now += 0.001
    party.link.expire(party.now)
    party.exchange(2)

    assert not before
    assert party.over is not None
    assert party.over.code == TOO_SLOW


def test_a_handshake_that_stalls_is_given_up() -> None:
    party = Party()
    party.lose = lambda _: party.link is not None
    party.exchange(3)
    assert party.link is not None

    party.link.expire(GREETING_S + 1)

    assert party.link.is_over


def test_a_frame_that_stalls_is_given_up_and_one_that_has_not_begun_is_waited_for() -> None:
    party = Party().greet()
    assert party.link is not None
    before = party.link.deadline

    party.one.send(0, frame(b"whole")[:3])
    party.exchange()
    began = party.link.deadline
    party.link.expire(began)
    party.exchange(2)

    assert before == inf
    assert party.now <= began + 1
    assert party.over is not None
    assert party.over.code == TOO_SLOW


def test_a_frame_that_is_complete_is_not_timed_any_more() -> None:
    party = Party().greet()
    assert party.link is not None
    party.one.send(0, frame(b"whole")[:3])
    party.exchange()

    party.one.send(0, frame(b"whole")[3:])
    party.exchange()

    assert party.link.deadline == inf
    assert party.said == {0: frame(b"whole")}


def test_a_large_frame_has_room_reserved_and_gives_it_back() -> None:
    party = Party(frames=10**6).greet()
    assert party.link is not None
    body = bytes(900_000)

    party.one.send(4, frame(body)[:500_000])
    party.exchange(60)
    during = party.frames.used, party.link.wire.held
    party.one.send(4, frame(body)[500_000:], ended=True)
    party.exchange(200)

    assert during == (900_000, 0)
    assert len(party.said[4]) == 900_004
    assert party.frames.used == 0


def test_a_large_frame_waits_while_there_is_no_room() -> None:
    party = Party(frames=10**6).greet()
    assert party.echo is not None
    body = bytes(900_000)
    party.frames.reserve(500_000, lambda: None)

    party.say(body, stream_id=4, ended=True)
    party.exchange(100)
    party.say(b"small")
    party.exchange()
    waiting = dict(party.said), len(party.echo.taken)
    party.frames.change(-500_000)
    party.exchange(200)

    assert waiting == ({0: frame(b"small")}, 2)
    assert len(party.said[4]) == 900_004
    assert party.frames.used == 0


def test_many_frames_on_many_streams_at_once_do_not_block_each_other() -> None:
    party = Party(frames=2**30, calls_in_flight=256).greet()
    bodies = {4 * number: bytes([number]) * 16_000 for number in range(1, 60)}

    for stream_id, body in bodies.items():
        party.say(body, stream_id=stream_id, ended=True)
    party.exchange(400)

    assert party.said == {stream_id: frame(body) for stream_id, body in bodies.items()}
    assert party.ended == set(bodies)


def test_who_holds_too_much_while_all_is_taken_is_sent_away() -> None:
    party = Party(loose=300_000, calls_in_flight=1).greet()

    party.say(b"hold")
    for stream_id in (4, 8):
        party.say(bytes(250_000), stream_id=stream_id)
    party.exchange(60)

    assert party.over is not None
    assert party.over.code == FLOOD
    assert party.loose.used == 0


def test_a_client_that_takes_no_answers_is_not_heard_any_more_and_then_sent_away() -> None:
    party = Party().greet()
    assert party.link is not None
    assert party.echo is not None
    party.one.consumed = lambda stream_id, count: None  # type: ignore[method-assign]  # it does not read

    party.say(*(b"give900000" for _ in range(30)))
    party.exchange(80)
    taken = len(party.echo.taken) - 1
    deadline = party.link.deadline
    party.link.expire(deadline)
    party.exchange(2)

    assert taken < 10
    assert deadline < inf
    assert party.link.is_over
    assert party.answers.used == 0


def test_a_client_that_takes_its_answers_late_gets_them_all() -> None:
    party = Party().greet()

    party.say(*(b"give300000" for _ in range(10)))
    party.exchange(600)

    assert len(party.said[0]) == 10 * 300_004
    assert party.link is not None
    assert party.link.deadline == inf


def test_a_stream_that_is_reset_is_forgotten_with_what_was_reserved_for_it() -> None:
    party = Party(frames=10**6).greet()
    party.one.send(4, frame(bytes(900_000))[:100_000])
    party.exchange(60)
    assert party.link is not None

    party.one.reset(4, 0)
    party.exchange()
    party.say(b"still here")
    party.exchange()

    assert party.frames.used == 0
    assert party.said == {0: frame(b"still here")}
    assert party.link.deadline == inf
    assert party.link.wire.held == 0


def test_who_resets_the_first_stream_has_left() -> None:
    party = Party().greet()

    party.one.reset(0, 0)
    party.exchange()

    assert party.over is not None
    assert party.over.code == INVALID_FRAME


def test_an_answer_to_a_stream_that_was_reset_goes_nowhere() -> None:
    party = Party().greet()
    assert party.echo is not None
    party.say(b"hold", stream_id=4)
    party.exchange()

    party.one.reset(4, 0)
    party.exchange()
    party.echo.release()
    party.exchange()

    assert party.said == {}
    assert party.over is None


def test_a_farewell_lets_unanswered_calls_be_answered_and_takes_no_more() -> None:
    party = Party().greet()
    assert party.echo is not None
    assert party.link is not None
    party.say(b"hold")
    party.exchange()

    party.link.leave(250)
    party.say(b"too late")
    party.exchange()
    before = party.over, dict(party.said)
    party.echo.release()
    party.exchange()

    assert before == (None, {0: frame(b"goodbye 250")})
    assert party.said == {0: frame(b"goodbye 250") + frame(b"hold")}
    assert party.over == Disconnected(GOING_AWAY, "the server is going down")


def test_a_farewell_before_the_greeting_is_short() -> None:
    party = Party()
    party.exchange(1)
    assert party.link is not None

    party.link.leave(0)
    party.exchange()

    assert party.link.is_over


def test_a_conversation_hears_that_its_client_is_gone() -> None:
    party = Party().greet()
    assert party.echo is not None

    party.one.close()
    party.exchange()
    party.echo.release()

    assert party.echo.is_closed


def test_a_stream_that_ends_after_the_length_of_a_frame_ends_the_connection() -> None:
    party = Party().greet()

    party.one.send(4, (10_000).to_bytes(4, "big"))
    party.exchange()
    party.one.send(4, b"", ended=True)
    party.exchange()

    assert party.over is not None
    assert party.over.code == INVALID_FRAME
    assert party.frames.used == 0

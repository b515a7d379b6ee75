import pytest

from runtara.errors import ConfigError
from runtara.transport.close_codes import DONE, FLOOD, GOING_AWAY
from runtara.transport.quic.protocol import (
    Connected,
    Disconnected,
    StreamData,
    StreamReset,
    WireEvent,
)
from tests.transport.quic.fray import CLIENT, SERVER, Meeting, identity


def over(events: list[WireEvent]) -> Disconnected:
    return next(event for event in events if isinstance(event, Disconnected))


@pytest.fixture
def meeting() -> Meeting:
    return Meeting()


def test_a_client_that_knows_the_authority_is_connected_and_shown_the_certificate(meeting: Meeting) -> None:
    client = meeting.client()

    meeting.exchange()

    assert client.is_connected
    assert meeting.wire.is_connected
    assert meeting.heard[CLIENT] == [Connected(meeting.heard[CLIENT][0].certificate)]  # type: ignore[union-attr]
    assert meeting.heard[CLIENT][0].certificate  # type: ignore[union-attr]
    assert meeting.events == [Connected(None)]


def test_a_client_that_knows_the_fingerprint_needs_no_authority_and_no_name(meeting: Meeting) -> None:
    pin = identity().fingerprint.upper()
    colons = ":".join(pin[n : n + 2] for n in range(0, 64, 2))
    client = meeting.client(server_name="elsewhere", ca_file=None, fingerprint=colons)

    meeting.exchange()

    assert client.is_connected


@pytest.mark.parametrize(
    "trust",
    [
        {"fingerprint": "ab" * 32},
        {"server_name": "elsewhere"},
        {"ca_file": None},
    ],
    ids=["another fingerprint", "another name", "an authority that nobody knows"],
)
def test_a_server_that_is_not_the_expected_one_hears_nothing(meeting: Meeting, trust: dict[str, str | None]) -> None:
    client = meeting.client(**trust)
    client.send(client.open_stream(), b"secret")

    meeting.exchange()

    assert not client.is_connected
    assert over(meeting.heard[CLIENT]).untrusted
    assert not any(isinstance(event, StreamData) for event in meeting.events)
    assert not over(meeting.events).untrusted  # that is for the client to say


def test_a_client_that_checks_nothing_is_connected(meeting: Meeting) -> None:
    client = meeting.client(server_name="elsewhere", ca_file=None, skip_verification=True)

    meeting.exchange()

    assert client.is_connected


@pytest.mark.parametrize("trust", [{"fingerprint": "ab"}, {"fingerprint": "xy" * 32}, {"ca_file": "nowhere.pem"}])
def test_what_cannot_be_trusted_by_is_refused_at_once(meeting: Meeting, trust: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        meeting.client(**trust)


def test_bytes_come_in_order_and_with_their_end_both_ways(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()
    stream_id = client.open_stream()

    client.send(stream_id, b"question", ended=True)
    meeting.exchange()
    meeting.wire.send(stream_id, b"answer")
    meeting.wire.send(stream_id, b"", ended=True)
    meeting.exchange()

    assert meeting.events[-1] == StreamData(stream_id, b"question", True)
    assert meeting.heard[CLIENT][-1] == StreamData(stream_id, b"answer", True)


def test_more_than_a_window_arrives_once_what_came_was_consumed(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()
    size = 300_000

    client.send(client.open_stream(), bytes(size))
    got = []
    for _ in range(200):
        meeting.exchange(1)
        for event in meeting.events[1:]:
            assert isinstance(event, StreamData)
            got.append(len(event.data))
            meeting.wire.consumed(event.stream_id, len(event.data))
        del meeting.events[1:]

    assert sum(got) == size
    assert meeting.wire.held == 0


def test_what_was_not_consumed_holds_the_sender_back(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()

    client.send(client.open_stream(), bytes(300_000))
    meeting.exchange(100)

    assert meeting.wire.held == 64 * 1024
    assert client.unsent > 300_000 - 64 * 1024 - 1
    assert not client.is_closed


def test_a_client_that_is_known_may_send_more(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()

    meeting.wire.widen()
    client.send(client.open_stream(), bytes(300_000))
    meeting.exchange(100)

    assert meeting.wire.held == 256 * 1024


def test_a_stream_that_is_given_up_is_so_for_both(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()
    stream_id = client.open_stream()
    client.send(stream_id, b"question")
    meeting.exchange()

    client.reset(stream_id, 9)
    meeting.exchange()
    meeting.wire.send(stream_id, b"too late")
    meeting.exchange()

    assert meeting.events[-1] == StreamReset(stream_id, 9)
    assert not any(isinstance(event, StreamData) for event in meeting.heard[CLIENT])
    assert not meeting.wire.is_closed


def test_the_reason_of_a_close_is_told_to_the_other_side(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()

    meeting.wire.close(GOING_AWAY, "bye")
    meeting.exchange()

    assert over(meeting.heard[CLIENT]) == Disconnected(GOING_AWAY, "bye")
    assert client.is_closed
    assert meeting.wire.is_closed
    assert (client.timer(), meeting.wire.timer()) == (None, None)


def test_sending_on_what_is_closed_does_nothing(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()
    client.close(DONE)
    meeting.exchange()

    client.send(0, b"x")
    client.reset(0, 0)

    assert client.outgoing(meeting.now) == []


def test_a_connection_without_a_peer_can_be_closed(meeting: Meeting) -> None:
    client = meeting.client()
    first = client.outgoing(0.0)[0][0]
    meeting.clients.clear()
    wire = meeting.hand_in(first)
    assert wire is not None

    wire.close(FLOOD, "no")
    wire.outgoing(0.1)

    assert wire.is_closed


def test_a_bug_that_a_datagram_brings_out_ends_its_connection_only(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = meeting.client()
    meeting.exchange()
    bug = ZeroDivisionError("a bug")

    def stumble(*_: object, **__: object) -> None:
        raise bug

    monkeypatch.setattr(meeting.wire._connection, "_payload_received", stumble)
    client.send(client.open_stream(), b"x")
    meeting.exchange()

    assert meeting.wire.failure is bug
    assert meeting.wire.is_closed
    assert not over(meeting.events).by_application


def test_silence_ends_a_connection(meeting: Meeting) -> None:
    client = meeting.client(idle_timeout=5.0)
    meeting.exchange()
    meeting.lose = lambda _: True

    for _ in range(20):
        meeting.now += 1
        for wire in (client, meeting.wire):
            if (wire.timer() or meeting.now + 1) <= meeting.now:
                wire.handle_timer(meeting.now)
                wire.outgoing(meeting.now)

    assert client.is_closed
    assert meeting.wire.is_closed


def test_a_ping_keeps_a_connection_alive(meeting: Meeting) -> None:
    client = meeting.client(idle_timeout=5.0)
    meeting.exchange()

    for _ in range(5):
        meeting.now += 3
        client.ping()
        meeting.exchange(2)

    assert not client.is_closed
    assert not meeting.wire.is_closed


def test_a_client_whose_address_changes_stays_connected(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()
    new = ("127.0.0.1", 4001)
    meeting.clients = {new: client}
    meeting.heard = {new: []}

    stream_id = client.open_stream()
    client.send(stream_id, b"from elsewhere")
    meeting.exchange()
    meeting.wire.send(stream_id, b"there")
    meeting.exchange()

    assert meeting.heard[new] == [StreamData(stream_id, b"there", False)]
    assert meeting.wire.address == new
    assert meeting.listener.total == 1


def test_an_answer_takes_the_acknowledgement_along(meeting: Meeting) -> None:
    client = meeting.client()
    meeting.exchange()
    stream_id = client.open_stream()
    client.send(stream_id, b"question")
    for datagram, _ in client.outgoing(meeting.now):
        meeting.wire.receive(datagram, CLIENT, meeting.now)
    meeting.wire.send(stream_id, b"answer")

    for datagram, _ in meeting.wire.outgoing(meeting.now + 0.001):
        client.receive(datagram, SERVER, meeting.now + 0.002)

    assert client.unsent == 0


@pytest.mark.parametrize("size", [1_000, 20_000, 60_000])
@pytest.mark.parametrize("speaker", ["client", "server"])
def test_who_has_nothing_left_to_say_is_not_to_come_back_at_a_time_that_has_passed(
    meeting: Meeting, speaker: str, size: int
) -> None:
    client = meeting.client()
    meeting.exchange()
    client.send(client.open_stream(), b"question")
    meeting.exchange()

    wires = {"client": client, "server": meeting.wire}
    wires[speaker].send(0, bytes(size))  # of these sizes, some end just when the next datagram would have to wait
    meeting.exchange()

    assert {who: wire.unsent for who, wire in wires.items()} == {"client": 0, "server": 0}
    assert [who for who, wire in wires.items() if (wire.timer() or 0.0) <= meeting.now] == []

import pytest
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription

from runtara.errors import ConfigError
from runtara.transport.close_codes import FLOOD
from runtara.transport.quic._guard import (
    AIOQUIC,
    CRYPTO_MAX_BYTES,
    FRAGMENTS_MAX,
    GuardedConnection,
    check_version,
)
from runtara.transport.quic.protocol import StreamData
from tests.transport.quic.fray import Meeting, Misfit

WINDOW = 64 * 1024


@pytest.fixture
def meeting() -> Meeting:
    return Meeting()


@pytest.fixture
def misfit(meeting: Meeting) -> Misfit:
    misfit = meeting.misfit()
    meeting.exchange()
    assert meeting.wire.is_connected
    return misfit


def inside(meeting: Meeting) -> GuardedConnection:
    return meeting.wire._connection


def test_another_version_of_aioquic_is_refused() -> None:
    check_version(AIOQUIC)

    with pytest.raises(ConfigError, match=r"aioquic 1\.7\.3 is installed"):
        check_version("1.7.3")


def test_bytes_with_gaps_before_them_open_no_window(meeting: Meeting, misfit: Misfit) -> None:
    for power in range(10, 17):
        misfit.send_at(0, 2**power - 1)
        meeting.exchange(2)

    assert inside(meeting)._streams[0].max_stream_data_local == WINDOW
    assert inside(meeting)._local_max_data.value == WINDOW
    assert len(inside(meeting)._streams[0].receiver._buffer) <= WINDOW


def test_a_byte_beyond_the_window_ends_the_connection(meeting: Meeting, misfit: Misfit) -> None:
    misfit.send_at(0, WINDOW)

    meeting.exchange(2)

    assert misfit.closed_with == QuicErrorCode.FLOW_CONTROL_ERROR


def test_streams_share_the_window_of_their_connection(meeting: Meeting, misfit: Misfit) -> None:
    misfit.send_at(0, WINDOW - 10)
    misfit.send_at(4, 20)

    meeting.exchange(2)

    assert misfit.closed_with == QuicErrorCode.FLOW_CONTROL_ERROR


def test_as_many_fragments_as_allowed_are_put_together(meeting: Meeting, misfit: Misfit) -> None:
    misfit.send_pieces(0, FRAGMENTS_MAX)
    meeting.exchange(3)
    before = misfit.closed_with

    most = len(inside(meeting)._streams[0].receiver._ranges)
    sender = misfit.quic._streams[0].sender
    sender._pending.add(0, 2 * FRAGMENTS_MAX)
    sender.buffer_is_empty = False
    meeting.exchange(20)

    assert (before, most) == (None, FRAGMENTS_MAX)
    assert sum(len(event.data) for event in meeting.events if isinstance(event, StreamData)) == 2 * FRAGMENTS_MAX


def test_one_fragment_more_ends_the_connection(meeting: Meeting, misfit: Misfit) -> None:
    misfit.send_pieces(0, FRAGMENTS_MAX + 1)

    meeting.exchange(3)

    assert misfit.closed_with == FLOOD
    assert misfit.reason == "too many fragments"


def test_a_stream_that_is_reset_gives_its_window_back(meeting: Meeting, misfit: Misfit) -> None:
    for number in range(10):
        misfit.send_at(4 * number, WINDOW // 2)
        meeting.exchange(2)
        misfit.quic.reset_stream(4 * number, 0)
        meeting.exchange(2)

    assert misfit.closed_with is None
    assert meeting.wire.held == 0
    assert all(not stream.receiver._buffer for stream in inside(meeting)._streams.values())


def test_a_reset_that_claims_more_than_the_window_ends_the_connection(meeting: Meeting, misfit: Misfit) -> None:
    misfit.send_at(0, 10)
    meeting.exchange(2)

    misfit.quic._streams[0].sender.highest_offset = WINDOW + 1
    misfit.quic.reset_stream(0, 0)
    meeting.exchange(2)

    assert misfit.closed_with == QuicErrorCode.FLOW_CONTROL_ERROR


def test_bytes_that_are_consumed_after_a_reset_are_not_counted_twice(meeting: Meeting, misfit: Misfit) -> None:
    misfit.send(0, bytes(100))
    meeting.exchange(2)
    misfit.send_at(0, 1000)
    misfit.quic.reset_stream(0, 0)
    meeting.exchange(2)

    held = meeting.wire.held
    meeting.wire.consumed(0, 100)

    assert held == 100
    assert meeting.wire.held == 0


def test_a_stream_opened_before_its_client_was_known_is_widened_when_it_needs_it(
    meeting: Meeting, misfit: Misfit
) -> None:
    misfit.send(0, bytes(WINDOW // 2 + 1))
    meeting.exchange(100)
    meeting.wire.widen()
    misfit.send(0, b"x")
    meeting.exchange(2)

    assert inside(meeting)._streams[0].max_stream_data_local == 256 * 1024
    assert misfit.closed_with is None


@pytest.mark.parametrize("offset", [CRYPTO_MAX_BYTES, 2**30])
def test_handshake_bytes_far_ahead_are_not_waited_for(meeting: Meeting, misfit: Misfit, offset: int) -> None:
    crypto = next(stream for epoch, stream in misfit.quic._crypto_streams.items() if epoch.name == "ONE_RTT")

    crypto.sender._buffer_start = crypto.sender._buffer_stop = offset
    crypto.sender.write(b"x")
    meeting.exchange(2)

    assert misfit.closed_with == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED


@pytest.mark.parametrize("stream_id", [2, 4 * 64])
def test_a_stream_that_was_not_granted_ends_the_connection(meeting: Meeting, misfit: Misfit, stream_id: int) -> None:
    misfit.send(stream_id, b"x")

    meeting.exchange(2)

    assert misfit.closed_with == QuicErrorCode.STREAM_LIMIT_ERROR


def test_the_server_hands_out_no_tickets_by_which_calls_could_be_replayed(meeting: Meeting, misfit: Misfit) -> None:
    assert inside(meeting).tls.new_session_ticket_cb is None
    assert not misfit.quic.tls.early_data_accepted


def test_another_protocol_is_refused_with_an_alert(meeting: Meeting) -> None:
    misfit = meeting.misfit(alpn="h3")

    meeting.exchange()

    assert misfit.closed_with == QuicErrorCode.CRYPTO_ERROR + AlertDescription.no_application_protocol
    assert not meeting.wire.is_connected

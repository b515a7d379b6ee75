"""Proof, at the start of every server, that the guards against hostile peers are in force: each is attacked in memory.

The guards replace private methods of aioquic. If one of them were no longer called, nothing else would tell.
"""

from collections.abc import Callable
from typing import Any, Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.stream import QuicStream

from runtara.errors import Internal
from runtara.transport.close_codes import FLOOD
from runtara.transport.frames import ALPN
from runtara.transport.quic._configuration import GREETING_WINDOW, SERVER_CONNECTION_WINDOW, SERVER_STREAM_WINDOW
from runtara.transport.quic._guard import (
    CRYPTO_MAX_BYTES,
    GuardedConnection,
)
from runtara.transport.quic.protocol import (
    Disconnected,
    Wire,
    accept_wire,
)

__all__ = ["prove_guards"]

_CLIENT: Final = ("127.0.0.1", 1)
_SERVER: Final = ("127.0.0.1", 2)


_in_force: Final[dict[str, Any]] = {}
"""The methods that have withstood every attack, in this process."""


def prove_guards(configuration: QuicConfiguration) -> None:
    """Return if every guard works. Raises `Internal`, naming the one that does not.

    The same methods are attacked once in a process; another configuration is then tried with a handshake.
    """
    methods = vars(QuicConnection) | vars(GuardedConnection)
    if methods == _in_force:
        _Fight(configuration)
        return
    for guard, holds in _PROOFS.items():
        if not holds(_Fight(configuration)):
            raise Internal(f"the guard of QUIC connections for {guard} is not in force: install the pinned aioquic")
    _in_force.clear()
    _in_force.update(methods)


class _Fight:
    """A server's connection, and a client without scruples that has finished its handshake with it."""

    def __init__(self, configuration: QuicConfiguration) -> None:
        self.now = 0.0
        self.attacker: Any = QuicConnection(  # Any: its private parts are what it attacks with
            configuration=QuicConfiguration(is_client=True, alpn_protocols=[ALPN], verify_mode=0)
        )
        self.attacker.connect(_SERVER, 0.0)
        first = self.attacker.original_destination_connection_id
        self.server: Wire = accept_wire(configuration, _CLIENT, original=first, retried=None, streams=4)
        for _ in range(4):
            self.exchange()
        if not self.server.is_connected:
            raise Internal("a QUIC handshake in memory has failed: check the server's certificate and key")
        self.attacker._remote_max_data = 2**40  # noqa: SLF001 - it keeps to no window

    @property
    def inside(self) -> Any:
        """The guarded connection."""
        return self.server._connection  # noqa: SLF001 - looked at, to see whether it holds

    def exchange(self) -> None:
        """Carry everything over, both ways."""
        self.now += 0.05
        for datagram, _ in self.attacker.datagrams_to_send(self.now):
            self.server.receive(datagram, _CLIENT, self.now)
        if self.server.is_connected and not self.server.is_closed:
            self.server.ping()  # so that it sends a packet, with all that aioquic would put into it
        for datagram, _ in self.server.outgoing(self.now):
            self.attacker.receive_datagram(datagram, _SERVER, self.now)

    def stream(self, stream_id: int = 0) -> QuicStream:
        """Return the attacker's stream, its peer's window forgotten."""
        self.attacker.send_stream_data(stream_id, b"")
        stream: QuicStream = self.attacker._streams[stream_id]  # noqa: SLF001
        stream.max_stream_data_remote = 2**40
        return stream

    def send_at(self, offset: int, stream_id: int = 0) -> None:
        """Send one byte, as if all before it had been sent."""
        sender = self.stream(stream_id).sender
        sender._buffer.clear()  # noqa: SLF001
        sender._pending = RangeSet()  # noqa: SLF001
        sender._buffer_start = sender._buffer_stop = sender.highest_offset = offset  # noqa: SLF001
        self.attacker.send_stream_data(stream_id, b"x")
        self.exchange()

    def is_closed_with(self, code: int) -> bool:
        """Whether the server has closed the connection for this reason."""
        return any(isinstance(event, Disconnected) and event.code == code for event in self.server.events())


def _stream_window(fight: _Fight) -> bool:
    fight.send_at(GREETING_WINDOW - 1)
    return bool(fight.inside._streams[0].max_stream_data_local == GREETING_WINDOW)  # noqa: SLF001


def _connection_window(fight: _Fight) -> bool:
    fight.server.widen()
    for number in range(4):
        for offset in (GREETING_WINDOW - 1, SERVER_STREAM_WINDOW - 2):
            fight.send_at(offset, 4 * number)
    window = fight.inside._local_max_data.value  # noqa: SLF001
    return bool(window == SERVER_CONNECTION_WINDOW and fight.server.held <= window)


def _consumption(fight: _Fight) -> bool:
    stream_id = fight.attacker.get_next_available_stream_id()
    fight.attacker.send_stream_data(stream_id, bytes(GREETING_WINDOW // 2 + 1))
    for _ in range(100):
        if fight.server.held > GREETING_WINDOW // 2:  # all of it is there
            break
        fight.exchange()
    fight.server.consumed(stream_id, GREETING_WINDOW // 2 + 1)
    return fight.server.held == 0 and fight.inside._local_max_data.value > GREETING_WINDOW  # noqa: SLF001


def _fragments(fight: _Fight) -> bool:
    fight.inside.fragments_max = 8  # instead of the real one: a server should start fast
    fight.attacker.send_stream_data(0, bytes(64))
    fight.stream().sender._pending = RangeSet(range(n, n + 1) for n in range(1, 64, 2))  # noqa: SLF001
    for _ in range(8):  # as fast as its congestion control lets it
        fight.exchange()
    return fight.is_closed_with(FLOOD)


def _reset(fight: _Fight) -> bool:
    fight.send_at(GREETING_WINDOW // 4)
    fight.attacker.reset_stream(0, 0)
    fight.exchange()
    return fight.server.held == 0 and not fight.inside._streams[0].receiver._buffer  # noqa: SLF001


def _handshake_bytes(fight: _Fight) -> bool:
    crypto = next(stream for epoch, stream in fight.attacker._crypto_streams.items() if epoch.name == "ONE_RTT")  # noqa: SLF001
    crypto.sender._buffer_start = crypto.sender._buffer_stop = CRYPTO_MAX_BYTES  # noqa: SLF001
    crypto.sender.write(b"x")
    fight.exchange()
    return fight.is_closed_with(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED)


def _one_way_streams(fight: _Fight) -> bool:
    fight.attacker._remote_max_streams_uni = 1  # noqa: SLF001
    fight.attacker._remote_max_stream_data_uni = 1  # noqa: SLF001
    fight.attacker.send_stream_data(2, b"x")
    fight.exchange()
    return fight.is_closed_with(QuicErrorCode.STREAM_LIMIT_ERROR)


_PROOFS: Final[dict[str, Callable[[_Fight], bool]]] = {
    "the window of a stream": _stream_window,
    "the window of a connection": _connection_window,
    "what was consumed": _consumption,
    "fragments": _fragments,
    "streams that were reset": _reset,
    "handshake bytes": _handshake_bytes,
    "one-way streams": _one_way_streams,
}
"""What each guard is for, and whether it holds in a fight."""

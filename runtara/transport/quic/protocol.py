"""One QUIC connection of either role, without any I/O: datagrams in and out, events, and a time to be called again.

Times are monotonic seconds, as of `trio.current_time()`. A pump hands in what its socket received, then takes the
events, then sends what is outgoing, and comes back at the time that `timer` names. Nothing here raises because of what
a peer sends: the connection is closed, and says so with `Disconnected`.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aioquic.quic import events as quic
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES, QuicConnectionState
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.tls import AlertDescription

from runtara.transport.certificates import ClientAuthorities
from runtara.transport.client.trust import has_fingerprint, read_fingerprint
from runtara.transport.close_codes import DONE
from runtara.transport.quic._configuration import (
    CLIENT_CONNECTION_WINDOW,
    CLIENT_STREAM_WINDOW,
    GREETING_WINDOW,
    SERVER_CONNECTION_WINDOW,
    SERVER_STREAM_WINDOW,
    ClientTls,
    ServerTls,
    configure_client,
    datagram_bytes,
)
from runtara.transport.quic._guard import (
    GuardedConnection,
)

__all__ = [
    "ClientTls",
    "Connected",
    "Disconnected",
    "ServerTls",
    "StreamData",
    "StreamReset",
    "Wire",
    "WireEvent",
    "accept_wire",
    "open_client_wire",
]

_CERTIFICATE_ALERTS: Final = frozenset(
    QuicErrorCode.CRYPTO_ERROR + alert
    for alert in (
        AlertDescription.bad_certificate,
        AlertDescription.unsupported_certificate,
        AlertDescription.certificate_revoked,
        AlertDescription.certificate_expired,
        AlertDescription.certificate_unknown,
        AlertDescription.unknown_ca,
        AlertDescription.decrypt_error,
    )
)


# What happens on a connection -----------------------------------------------------------------------------------------


class Connected(NamedTuple):
    """The handshake is done; for a client: the server is the expected one.

    `certificate` is the peer's, as DER: empty for that of a client whom no authority of the server knows.
    """

    certificate: bytes | None


class StreamData(NamedTuple):
    """Bytes have come, in order. Each of them must be reported as `consumed` once, also if the stream is reset."""

    stream_id: int
    data: bytes
    ended: bool


class StreamReset(NamedTuple):
    """The peer has given up sending on a stream."""

    stream_id: int
    code: int


class Disconnected(NamedTuple):
    """The connection is over. `code` is one of `CLOSE_CODES` if `by_application`, else an error of QUIC itself."""

    code: int
    reason: str
    by_application: bool = True
    untrusted: bool = False
    """Whether we have ended it because the server's certificate is not the expected one."""


WireEvent = Connected | StreamData | StreamReset | Disconnected


# How connections begin ------------------------------------------------------------------------------------------------


def accept_wire(
    configuration: QuicConfiguration,
    address: Any,
    *,
    original: bytes,
    retried: bytes | None,
    streams: int,
    authorities: ClientAuthorities | None = None,
) -> "Wire":
    """Return the server's side of a connection from `address`, whose first datagram is about to be handed in."""
    connection = GuardedConnection(
        stream_window=GREETING_WINDOW,
        connection_window=GREETING_WINDOW,
        streams=streams,
        configuration=dataclasses.replace(configuration, max_datagram_size=datagram_bytes(address)),
        original_destination_connection_id=original,
        retry_source_connection_id=retried,
    )
    return Wire(connection, authorities=authorities)


def open_client_wire(tls: ClientTls, address: Any, now: float) -> "Wire":
    """Return the client's side of a new connection to `address`, with its first datagrams ready to be sent.

    Raises `ConfigError` for a fingerprint or a CA file that cannot be used.
    """
    connection = GuardedConnection(
        stream_window=CLIENT_STREAM_WINDOW,
        connection_window=CLIENT_CONNECTION_WINDOW,
        streams=0,
        configuration=configure_client(tls, address),
    )
    connection.connect(address, now)
    return Wire(connection, pin=None if tls.fingerprint is None else read_fingerprint(tls.fingerprint))


# The connection -------------------------------------------------------------------------------------------------------


class Wire:
    """One connection. `on_route` is told of the connection ids by which the peer may address this side."""

    def __init__(
        self,
        connection: GuardedConnection,
        pin: bytes | None = None,
        authorities: ClientAuthorities | None = None,
    ) -> None:
        self.is_closed = False
        """Whether nothing can be sent or received any more."""
        self.is_connected = False
        self.failure: BaseException | None = None
        """What went wrong inside, where a peer has found a bug."""
        self.on_route: Callable[[bytes, bool], None] | None = None
        self._connection = connection
        self._pin = pin
        self._authorities = authorities
        self._events: list[WireEvent] = []
        self._has_data = False
        self._pings = 0
        self._is_told = False
        self._is_untrusted = False

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take in a datagram that came for this connection."""
        if self.is_closed:
            return
        try:
            self._connection.receive_datagram(datagram, address, now)
            self._collect()
        except Exception as error:  # noqa: BLE001 - as in `_guarded`, which would cost more than this
            self._fail(error)

    def timer(self) -> float | None:
        """Return when to call `handle_timer`, if nothing else happens before; None for never."""
        if self.is_closed or not self._connection.begun:
            return None
        return self._connection.get_timer()

    def handle_timer(self, now: float) -> None:
        """Do what is due: send again, give up."""
        if self._connection.begun:
            self._guarded(self._connection.handle_timer, now)

    def events(self) -> list[WireEvent]:
        """Return what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def open_stream(self) -> int:
        """Return the id of a new stream of ours; it begins with the first `send`."""
        return self._connection.get_next_available_stream_id()

    def send(self, stream_id: int, data: bytes, *, ended: bool = False) -> None:
        """Send bytes on a stream, and end our side of it. On a stream that is over already this does nothing."""
        if self.is_closed:
            return
        self._has_data = True
        try:
            self._connection.send_stream_data(stream_id, data, ended)
        except (RuntimeError, ValueError):
            """The peer has asked us to stop sending, or the stream has been reset: nobody waits for this."""

    def consumed(self, stream_id: int, count: int) -> None:
        """Say that so many bytes were used: the peer may send as many more."""
        self._connection.consume(stream_id, count)

    def reset(self, stream_id: int, code: int) -> None:
        """Give up a stream, both ways."""
        if self.is_closed:
            return
        try:
            self._connection.reset_stream(stream_id, code)
            self._connection.stop_stream(stream_id, code)
        except ValueError:
            """It is over already."""

    def widen(self) -> None:
        """Let a client that is known now send more than a greeting."""
        self._connection.widen(SERVER_STREAM_WINDOW, SERVER_CONNECTION_WINDOW)

    def grant(self, stream_id: int, size: int) -> None:
        """Let the peer send `size` bytes on a stream beyond its window, because there is room for them; 0 ends that."""
        self._connection.grant(stream_id, size)

    def ping(self) -> None:
        """Have the peer show that it is there; keeps the connection from becoming idle."""
        self._pings += 1
        self._connection.send_ping(self._pings)

    def close(self, code: int = DONE, reason: str = "") -> None:
        """End the connection; what was not sent yet is lost. The next `outgoing` tells the peer."""
        self._connection.close(error_code=code, reason_phrase=reason)

    def outgoing(self, now: float) -> list[tuple[bytes, Any]]:
        """Return the datagrams to send, each with its address."""
        connection = self._connection
        if self.is_closed or not connection.begun:
            if connection.is_closing:
                self._end()
            return []
        if self._has_data:
            self._has_data = False
            connection.hasten_ack()
        elif not connection.has_news(now):
            connection.rest()
            return []
        return self._guarded(connection.datagrams_to_send, now) or []

    @property
    def held(self) -> int:
        """How many received bytes are held in memory at most, because they were not consumed yet."""
        return self._connection.held

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent or acknowledged; found by looking at every stream."""
        return self._connection.unsent

    @property
    def is_alive(self) -> bool:
        """Whether the peer has sent anything that could be understood."""
        return self._connection.begun and self._connection._state is not QuicConnectionState.FIRSTFLIGHT  # noqa: SLF001

    @property
    def cid(self) -> bytes:
        """The connection id by which the peer addresses this side at first."""
        return self._connection.host_cid

    @property
    def address(self) -> Any:
        """Where the peer is now."""
        return self._connection.get_peer_address()

    def _guarded(self, act: Callable[..., Any], *args: Any) -> Any:
        """Run a part of aioquic; a bug that a peer's bytes bring out ends this connection and nothing else."""
        if self.is_closed:
            return None
        try:
            result = act(*args)
            self._collect()
        except Exception as error:  # noqa: BLE001 - kept in `failure`, counted and shown by the server
            self._fail(error)
            return None
        return result

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self._end()

    def _collect(self) -> None:
        connection = self._connection
        events = connection._events  # noqa: SLF001 - as `next_event`, which would be asked twice per datagram
        while events:
            event = events.popleft()
            translate = _TRANSLATIONS.get(event.__class__)
            if translate is not None:
                translate(self, event)
        if connection.is_closing and connection._state in END_STATES:  # noqa: SLF001 - not offered
            self._end()

    def _end(self) -> None:
        self.is_closed = True
        if self._is_told:
            return
        self._is_told = True
        if self.failure is not None:
            over = Disconnected(QuicErrorCode.INTERNAL_ERROR, "a bug in the connection", by_application=False)
        else:
            over = self._over(self._connection._close_event)  # noqa: SLF001 - offered only after its closing period
        self._events.append(over)

    def _over(self, event: quic.ConnectionTerminated | None) -> Disconnected:
        if event is None:
            return Disconnected(DONE, "")
        by_application = event.frame_type is None
        is_alert = not by_application and event.error_code in _CERTIFICATE_ALERTS
        untrusted = self._is_untrusted or (is_alert and self._connection.configuration.is_client)
        return Disconnected(event.error_code, event.reason_phrase, by_application, untrusted)

    # What aioquic says, in our words

    def _data(self, event: quic.StreamDataReceived) -> None:
        self._events.append(StreamData(event.stream_id, event.data, event.end_stream))

    def _was_reset(self, event: quic.StreamReset) -> None:
        self._events.append(StreamReset(event.stream_id, event.error_code))

    def _shaken(self, _event: quic.HandshakeCompleted) -> None:
        shown = self._connection.peer_certificate
        if self._pin is not None and not has_fingerprint(shown, self._pin):
            self._is_untrusted = True
            alert = QuicErrorCode.CRYPTO_ERROR + AlertDescription.bad_certificate
            found = hashlib.sha256(shown or b"").hexdigest()
            self._connection.close(alert, QuicFrameType.CRYPTO, f"its fingerprint is {found}")
            return
        if (
            shown is not None
            and self._authorities is not None
            and not self._authorities.trusts(self._connection.peer_chain)
        ):
            shown = b""
        self.is_connected = True
        self._events.append(Connected(shown))

    def _issued(self, event: quic.ConnectionIdIssued) -> None:
        if self.on_route is not None:
            self.on_route(event.connection_id, True)

    def _retired(self, event: quic.ConnectionIdRetired) -> None:
        if self.on_route is not None:
            self.on_route(event.connection_id, False)


_TRANSLATIONS: Final[dict[type, Callable[[Wire, Any], None]]] = {
    quic.StreamDataReceived: Wire._data,  # noqa: SLF001 - this class's own table
    quic.StreamReset: Wire._was_reset,  # noqa: SLF001
    quic.HandshakeCompleted: Wire._shaken,  # noqa: SLF001
    quic.ConnectionIdIssued: Wire._issued,  # noqa: SLF001
    quic.ConnectionIdRetired: Wire._retired,  # noqa: SLF001
}
"""Events of aioquic that matter here. A stop-sending needs no answer: aioquic has reset the stream by then."""

"""One WebSocket connection of a client, from its handshake to its end, and the `Calls` that it carries.

It decides nothing about what is said; it moves messages, and finds out when the connection is over, and why.
"""

import socket
from typing import Any, Final

import trio
import trio_websocket as ws
from h11 import ProtocolError as HttpProtocolError
from wsproto.utilities import ProtocolError

from runtara.errors import InvalidInput, TooLarge
from runtara.transport.addresses import Address
from runtara.transport.client.connection import Talk, ended_by_server, not_trusted, reason_in
from runtara.transport.client.door import ServerSpec
from runtara.transport.client.timed import TimedConnection
from runtara.transport.client.trust import client_context, distrust_in
from runtara.transport.frames import LENGTH_BYTES
from runtara.transport.websocket._client_stream import WatchedStream
from runtara.transport.websocket.terms import SESSION_PATH, SUBPROTOCOL, from_websocket

__all__ = ["Connection"]

_RECEIVE_BYTES: Final = 256 * 1024
"""What is taken from the socket at once."""

_SLACK_BYTES: Final = 512 * 1024
"""What may come beyond one whole message before it is looked at: the beginning of others, and TLS."""

_ANY_SIZE: Final = 2**62
"""What comes is bounded by what the server was granted, which changes with its welcome."""

_FAREWELL: Final = 0.25
"""Seconds that saying goodbye to the server may take."""

_LOST: Final = (
    ws.ConnectionClosed,
    ws.HandshakeError,
    ProtocolError,
    HttpProtocolError,  # raised by the library where a handshake is answered with what is no HTTP
    trio.BrokenResourceError,
    OSError,
)
"""What a server, or the way to it, can do to a connection."""


class Connection(TimedConnection):
    """A connection to one address."""

    def __init__(
        self, server: ServerSpec, name: Address, family: socket.AddressFamily, address: Any, calls: Talk
    ) -> None:
        super().__init__(calls)
        self._name = name
        self._address = address
        self._server_name = server.server_name
        self._tls = client_context(server) if name.is_secure else None
        self._line: ws.WebSocketConnection | None = None
        self._received = 0
        """Bytes that have come since the last whole message."""
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)

    async def run(self) -> None:
        """Keep the connection up until it is lost, or not needed any more."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_time, nursery)
                    await self._converse(nursery)
        except* _LOST as errors:
            self._broke(errors.exceptions[0])
        finally:
            self.close_socket()

    def close_socket(self) -> None:
        """Let go of the socket, without a word to the server."""
        self._socket.close()

    async def _converse(self, nursery: trio.Nursery) -> None:
        line = self._line = await ws.wrap_client_stream(
            nursery,
            await self._reach(),
            self._name.authority,
            SESSION_PATH,
            subprotocols=[SUBPROTOCOL],
            max_message_size=_ANY_SIZE,
            receive_buffer_size=_RECEIVE_BYTES,
        )
        await line.send_message(self._calls.hello()[LENGTH_BYTES:])
        nursery.start_soon(self._speak, line)
        await self._hear(line)

    async def _reach(self) -> Any:
        """Return the stream to the server, which is the expected one."""
        connected = trio.socket.from_stdlib_socket(self._socket)
        await connected.connect(self._address)
        stream = WatchedStream(trio.SocketStream(connected), self._moved, self._stopped)
        if self._tls is None:
            return stream
        secure = trio.SSLStream(stream, self._tls, server_hostname=self._server_name, https_compatible=True)
        await secure.do_handshake()
        return secure

    async def _hear(self, line: ws.WebSocketConnection) -> None:
        calls = self._calls
        while self.why is None:
            body = await line.get_message()
            self._received = 0
            try:
                calls.received(_checked(body, calls.limit), trio.current_time())
            except (InvalidInput, TooLarge) as error:
                self._end(f"the server says what cannot be understood: {error}")
            self.was_welcome = self.was_welcome or calls.is_welcome
            if calls.is_ready:
                self._to_do.set()
            self._look_again()

    async def _speak(self, line: ws.WebSocketConnection) -> None:
        while True:
            await self._to_do.wait()
            self._to_do = trio.Event()
            for frame, _ in self._calls.outgoing(trio.current_time()):
                self._pulse.awaits(trio.current_time())
                self._look_again()
                await line.send_message(frame[LENGTH_BYTES:])

    async def _ping(self) -> None:
        assert self._line is not None, "whoever was welcome has a line"
        await self._line.ping()

    async def _part(self) -> None:
        if self._line is not None:
            with trio.move_on_after(_FAREWELL):
                await self._line.aclose()

    # What happens

    def _moved(self, count: int) -> None:
        self._received += count
        if self._received > self._calls.limit + _SLACK_BYTES:
            self._end("the server sends more than was agreed")
        self._heard()

    def _stopped(self) -> None:
        """Nothing comes any more; while the handshake lasts, nobody else would notice."""
        if self._line is None:
            self._end("the connection was closed in the middle of the handshake")

    def _broke(self, reason: BaseException) -> None:
        if self.why is not None:
            return
        distrust = distrust_in(reason)
        if distrust is not None:
            self.why, self.error = not_trusted(distrust)
        elif isinstance(reason, ws.ConnectionRejected):
            self.why = f"it answers with HTTP status {reason.status_code} where sessions begin"
        elif isinstance(reason, ws.ConnectionClosed) and reason.reason is not None:
            self._was_closed(reason.reason)
        else:
            self.why = reason_in(reason)

    def _was_closed(self, closed: ws.CloseReason) -> None:
        code = from_websocket(closed.code)
        if code is None:
            self.why = f"the connection failed ({closed.reason or closed.name.lower().replace('_', ' ')})"
        else:
            self.why, self.error = ended_by_server(code, closed.reason, self._calls)


def _checked(body: str | bytes, limit: int) -> bytes:
    if isinstance(body, str):
        raise InvalidInput("text, where frames are binary")
    if len(body) > limit:
        raise TooLarge(f"a frame of {len(body)} bytes: at most {limit} are allowed")
    return body

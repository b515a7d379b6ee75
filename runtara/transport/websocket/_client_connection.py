"""One WebSocket connection of a client, from its handshake to its end, and the `Calls` that it carries.

It decides nothing about what is said; it moves messages, and finds out when the connection is over, and why.
"""

import socket
import ssl
from math import inf
from typing import Any, Final

import trio
import trio_websocket as ws
from wsproto.utilities import ProtocolError

from runtara.errors import InvalidInput, RuntaraError, TooLarge
from runtara.transport.addresses import Address
from runtara.transport.client.calls import Calls
from runtara.transport.client.connection import TRY, ended_by_server, not_trusted
from runtara.transport.client.door import ServerSpec
from runtara.transport.client.pulse import Pulse
from runtara.transport.client.trust import client_context, has_fingerprint, read_fingerprint
from runtara.transport.websocket._client_stream import WatchedStream
from runtara.transport.websocket.terms import LENGTH_BYTES, SESSION_PATH, SUBPROTOCOL, from_websocket

__all__ = ["Connection"]

_RECEIVE_BYTES: Final = 256 * 1024
"""What is taken from the socket at once."""

_SLACK_BYTES: Final = 512 * 1024
"""What may come beyond one whole message before it is looked at: the beginning of others, and TLS."""

_ANY_SIZE: Final = 2**62
"""What comes is bounded by what the server was granted, which changes with its welcome."""

_FAREWELL: Final = 0.25
"""Seconds that saying goodbye to the server may take."""

_LOST: Final = (ws.ConnectionClosed, ws.HandshakeError, ProtocolError, trio.BrokenResourceError, OSError)
"""What a server, or the way to it, can do to a connection."""


class Connection:
    """A connection to one address. `run` returns when it is over; `why` says why, and `error` what askers are told."""

    def __init__(
        self,
        server: ServerSpec,
        name: Address,
        family: socket.AddressFamily,
        address: Any,
        calls: Calls,
    ) -> None:
        now = trio.current_time()
        self.was_welcome = False
        self.why: str | None = None
        self.error: RuntaraError | None = None
        """What every asker is told, where trying again would not help."""
        self._server = server
        self._name = name
        self._address = address
        self._calls = calls
        self._tls = client_context(server) if name.is_secure else None
        self._pin = None if server.fingerprint is None else read_fingerprint(server.fingerprint)
        self._pulse = Pulse(now)
        self._welcome_by = now + TRY
        self._received = 0
        """Bytes that have come since the last whole message."""
        self._line: ws.WebSocketConnection | None = None
        self._is_asking = False
        """Whether the server was asked for a sign of life, and has not given it yet."""
        self._to_do = trio.Event()
        self._nap = trio.CancelScope()
        self._scope = trio.CancelScope()
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

    def flush(self) -> None:
        """Send what there is to be sent, and look again at what is wanted."""
        if self.why is None:
            self._to_do.set()
            self._look_again()

    def close(self) -> None:
        """Leave the server at once."""
        self._end("closed by this side")

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
        secure = trio.SSLStream(stream, self._tls, server_hostname=self._server.server_name, https_compatible=True)
        await secure.do_handshake()
        if self._pin is not None and not has_fingerprint(secure.getpeercert(binary_form=True), self._pin):
            self._end(*not_trusted("its fingerprint is another one"))
            await trio.lowlevel.checkpoint()
        return secure

    # What is said

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

    # As time goes by

    def _look_again(self) -> None:
        """Have the clock looked at again in time for what is due now."""
        self._nap.deadline = -inf if self._is_needless else self._alarm()

    @property
    def _is_needless(self) -> bool:
        calls = self._calls
        return calls.is_done or (calls.is_leaving and not calls.is_owed)

    def _alarm(self) -> float:
        return min(self._calls.alarm, self._pulse.alarm if self.was_welcome else self._welcome_by)

    async def _keep_time(self, nursery: trio.Nursery) -> None:
        while self.why is None:
            with trio.CancelScope(deadline=self._alarm()) as self._nap:
                await trio.sleep_forever()
            now = trio.current_time()
            self._calls.tick(now)
            if self._calls.is_ready:
                self._to_do.set()
            if self._is_needless:
                await self._leave()
            elif not self.was_welcome and now >= self._welcome_by:
                self._end(f"no welcome within {TRY:g} s")
            elif self.was_welcome:
                self._feel_pulse(now, nursery)

    def _feel_pulse(self, now: float, nursery: trio.Nursery) -> None:
        if self._pulse.is_dead(now):
            self._end("nothing is heard of the server any more")
        elif self._pulse.should_ask(now):
            self._pulse.asked(now)
            if not self._is_asking:
                nursery.start_soon(self._ping)

    async def _ping(self) -> None:
        """Ask for a sign of life; that one has come shows in the bytes."""
        assert self._line is not None
        self._is_asking = True
        await self._line.ping()
        self._is_asking = False

    async def _leave(self) -> None:
        """Say goodbye, because the connection is not needed any more."""
        self.why = "not needed any more"
        if self._line is not None:
            with trio.move_on_after(_FAREWELL):
                await self._line.aclose()
        self._scope.cancel()

    # What happens

    def _moved(self, count: int) -> None:
        self._received += count
        if self._received > self._calls.limit + _SLACK_BYTES:
            self._end("the server sends more than was agreed")
        self._pulse.heard(trio.current_time(), owed=self._calls.is_owed)

    def _stopped(self) -> None:
        """Nothing comes any more; while the handshake lasts, nobody else would notice."""
        if self._line is None:
            self._end("the connection was closed in the middle of the handshake")

    def _broke(self, reason: BaseException) -> None:
        if self.why is not None:
            return
        cause = reason.__cause__ or reason
        if isinstance(cause, ssl.SSLCertVerificationError):
            self.why, self.error = not_trusted(cause.verify_message)
        elif isinstance(reason, ws.ConnectionRejected):
            self.why = f"it answers with HTTP status {reason.status_code} where sessions begin"
        elif isinstance(reason, ws.ConnectionClosed) and reason.reason is not None:
            self._was_closed(reason.reason)
        else:
            self.why = f"{getattr(cause, 'strerror', None) or str(cause) or type(cause).__name__}".lower()

    def _was_closed(self, closed: ws.CloseReason) -> None:
        code = from_websocket(closed.code)
        if code is None:
            self.why = f"the connection failed ({closed.reason or closed.name.lower().replace('_', ' ')})"
        else:
            self.why, self.error = ended_by_server(code, closed.reason, self._calls)

    def _end(self, why: str, error: RuntaraError | None = None) -> None:
        if self.why is None:
            self.why, self.error = why, error
            self._scope.cancel()


def _checked(body: str | bytes, limit: int) -> bytes:
    if isinstance(body, str):
        raise InvalidInput("text, where frames are binary")
    if len(body) > limit:
        raise TooLarge(f"a frame of {len(body)} bytes: at most {limit} are allowed")
    return body

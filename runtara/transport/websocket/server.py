"""The WebSocket door of a server: sessions of SDK clients, each an ASGI connection of the HTTP server.

Who speaks and who answers is the business of the conversations, as with QUIC; here are the bounds. A client that is too
slow to take its answers is not heard until it has; one that does not greet in time, or sends what is no frame, is let
go. How long bytes may take on their way is watched over by the HTTP server.
"""

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from math import inf
from typing import Any, Final

import trio

from runtara.errors import Busy, InvalidInput, Unauthenticated
from runtara.settings import Settings
from runtara.transport.budget import Budget
from runtara.transport.close_codes import FLOOD, GOING_AWAY, INVALID_FRAME, TOO_LARGE, TOO_SLOW, UNAUTHENTICATED
from runtara.transport.conversation import Conversation
from runtara.transport.frames import HELLO_MAX_BYTES, LENGTH_BYTES, OVERHEAD_MAX_BYTES
from runtara.transport.gate import Gate
from runtara.transport.http.peer import Peer, peer_of
from runtara.transport.websocket.terms import SUBPROTOCOL, to_websocket

__all__ = ["SessionServer"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_CLOGGED_BYTES: Final = 1024 * 1024
"""Answers not taken by the client beyond which it is not heard."""

_AHEAD_BYTES: Final = 8 * 1024 * 1024
"""What unanswered calls may come to, if their answers are like recent ones, before no more are taken."""

_REASON_MAX_BYTES: Final = 120
"""Longest reason that the frame of a close has room for, with a little to spare."""

_FAREWELL: Final = 2.0
"""Seconds that a client may take to hear that it is let go."""


class SessionServer:
    """All sessions of one host."""

    def __init__(self, settings: Settings, gate: Gate) -> None:
        self._settings = settings
        self._gate = gate
        self._answers = Budget(settings.quic_frames_max_bytes)
        self._sessions: set[_Session] = set()

    def describe(self) -> dict[str, Any]:
        """Return how many there are of what, for people who look at the running system."""
        return {
            "sessions": len(self._sessions),
            "calls": sum(session.in_flight for session in self._sessions),
            "answer_bytes": self._answers.used,
        }

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold one session, from the handshake to its end: an ASGI application."""
        await receive()  # that somebody wants to connect
        peer = peer_of(scope)
        if SUBPROTOCOL not in scope["subprotocols"] or peer.leaving.is_set():
            await send({"type": "websocket.close", "code": to_websocket(GOING_AWAY)})
            return
        peer.says_goodbye = True
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        session = _Session(self._settings, self._gate, self._answers, peer, _host(scope))
        self._sessions.add(session)
        try:
            await session.run(receive, send)
        finally:
            self._sessions.discard(session)


class _Session:
    """One client. Whatever is asked of it from elsewhere happens on the loop, between its own steps."""

    def __init__(self, settings: Settings, gate: Gate, answers: Budget, peer: Peer, host: str) -> None:
        self._conversation = Conversation(gate, host, self._resume, peer.certificate, "websocket")
        self._peer = peer
        self._answers = answers
        self._calls_max = settings.quic_calls_in_flight
        self._frame_max_bytes = settings.state_max_bytes + OVERHEAD_MAX_BYTES
        self._greet_by = trio.current_time() + settings.http_head_timeout_ms / 1000
        self._waiting: deque[bytes] = deque()
        self._unsent = 0
        """Bytes of frames that wait, the one that is being sent included."""
        self._typical = 0
        """Size of recent answers, the largest of them."""
        self._is_leaving = False
        self._is_gone = False
        """Whether the client has ended the connection."""
        self._closing: tuple[int, str] | None = None
        self._to_say = trio.Event()
        self._has_room = trio.Event()

    @property
    def in_flight(self) -> int:
        """How many calls of the client are unanswered."""
        return self._conversation.in_flight

    async def run(self, receive: Receive, send: Send) -> None:
        """Hold the session until one side ends it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, receive)
                nursery.start_soon(self._await_end)
                await self._speak(send)
                nursery.cancel_scope.cancel()
            self._conversation.closed()
            if not self._is_gone:
                await self._part(receive, send)
        finally:
            self._conversation.closed()
            self._count(-self._unsent)

    async def _await_end(self) -> None:
        """When the server goes down: answer what is unanswered, take nothing more, then close."""
        await self._peer.leaving.wait()
        self._is_leaving = True
        self._conversation.goodbye(self._peer.retry_after_ms)
        self._resume()

    # In

    async def _hear(self, receive: Receive) -> None:
        """Take frames, unless the client does not take the answers."""
        while self._closing is None:
            with trio.CancelScope(deadline=self._deadline) as scope:
                message = await receive()
            if scope.cancelled_caught:
                self._close(TOO_SLOW, "the greeting took too long")
            elif message["type"] == "websocket.disconnect":
                self._is_gone = True
                self._close(GOING_AWAY, "the client has gone")
            else:
                self._take(message.get("bytes"))
                await self._room()

    @property
    def _deadline(self) -> float:
        return inf if self._conversation.is_welcome else self._greet_by

    def _take(self, body: bytes | None) -> None:
        limit = self._peer.message_max_bytes if self._conversation.is_welcome else HELLO_MAX_BYTES
        if body is None:
            self._close(INVALID_FRAME, "frames are binary messages, and this is text")
        elif len(body) > limit:
            self._close(TOO_LARGE, f"a frame of {len(body)} bytes was sent: at most {limit} are allowed")
        else:
            self._read(body)

    def _read(self, body: bytes) -> None:
        try:
            if self._is_full:
                self._conversation.turn_down(0, body, Busy("too many calls of this connection are unanswered"))
            elif not self._is_leaving:
                self._conversation.received(0, body)
        except InvalidInput as error:
            self._close(INVALID_FRAME, str(error))
        except Unauthenticated as error:
            self._close(UNAUTHENTICATED, str(error))
        if self._conversation.is_welcome:
            self._peer.message_max_bytes = self._frame_max_bytes
        self._resume()

    @property
    def _is_full(self) -> bool:
        """Whether further calls are refused. They cannot wait in the network: the pings of the client would, too."""
        in_flight = self._conversation.in_flight
        return in_flight >= self._calls_max or in_flight * self._typical > _AHEAD_BYTES

    async def _room(self) -> None:
        """Return when the client has taken its answers; until then, what it sends waits in the network."""
        while self._closing is None and self._unsent > _CLOGGED_BYTES:
            self._has_room = trio.Event()
            await self._has_room.wait()

    # Out

    def _resume(self) -> None:
        """There may be something to say, or to end."""
        frames = [frame for _, frame in self._conversation.outgoing()]
        if frames:
            sizes = list(map(len, frames))
            self._typical = max(*sizes, self._typical // 2)
            self._waiting.extend(frames)
            self._count(sum(sizes))
            if self._answers.is_over(self._unsent - 8 * _CLOGGED_BYTES):
                self._waiting.clear()
                self._close(FLOOD, "too many answers wait to be taken")
        if self._conversation.ended_by is not None:
            self._close(UNAUTHENTICATED, str(self._conversation.ended_by))
        self._to_say.set()

    def _close(self, code: int, reason: str) -> None:
        """End the session, once what there is to say has been said."""
        if self._closing is None:
            self._closing = code, reason
            self._to_say.set()
            self._has_room.set()

    async def _speak(self, send: Send) -> None:
        """Send what the conversation says, until the session is to end."""
        while not self._is_gone:
            if self._waiting:
                await self._say(send)
            elif self._closing is not None:
                return
            elif self._is_leaving and not self._conversation.in_flight:
                self._close(GOING_AWAY, "the server is going down")
            else:
                await self._to_say.wait()
                self._to_say = trio.Event()

    async def _say(self, send: Send) -> None:
        frame = self._waiting.popleft()
        try:
            await send({"type": "websocket.send", "bytes": frame[LENGTH_BYTES:]})
        except OSError:
            self._is_gone = True
        self._count(-len(frame))
        if self._unsent <= _CLOGGED_BYTES:
            self._has_room.set()

    def _count(self, difference: int) -> None:
        self._unsent += difference
        self._answers.change(difference)

    async def _part(self, receive: Receive, send: Send) -> None:
        """Tell the client why it is let go, and take what it still sends until it has heard, or some time is over."""
        assert self._closing is not None
        code, reason = self._closing
        short = reason.encode()[:_REASON_MAX_BYTES].decode(errors="ignore")
        with trio.move_on_after(_FAREWELL), suppress(OSError):
            await send({"type": "websocket.close", "code": to_websocket(code), "reason": short})
            while (await receive())["type"] != "websocket.disconnect":
                pass


def _host(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""

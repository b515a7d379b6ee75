"""A WebSocket as Hypercorn speaks it, held to the size that the application allows.

As it comes, Hypercorn keeps a message that has grown too large growing, and unpacks as much as a peer has packed; here
the first byte too many ends the connection, and nothing is packed (the offer is not passed on, see `_http1`).
"""

from typing import Any

from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

from runtara.transport.http.peer import peer_of

__all__ = ["WebSocket"]


class WebSocket(WSStream):
    """One WebSocket, without I/O."""

    config: Any  # what all connections share, see `_connection`
    _held = 0

    @property
    def is_open(self) -> bool:
        """Whether messages may go both ways."""
        return self.state is ASGIWebsocketState.CONNECTED and not self.closed

    @property
    def is_over(self) -> bool:
        """Whether nothing can be said any more."""
        return self.closed or (self.handshake.accepted and self.connection.state is not ConnectionState.OPEN)

    @property
    def is_settled(self) -> bool:
        """Whether both sides have said that they close."""
        return self.handshake.accepted and self.connection.state is ConnectionState.CLOSED

    async def leave(self) -> None:
        """Tell the peer that the server goes down. The application hears of it when the peer has replied."""
        if self.is_open:
            await self._end(CloseReason.GOING_AWAY, "the server is going down")

    def release(self) -> None:
        """Hold nothing of a message any more; harmless when repeated."""
        self.config.messages.change(-self._held)
        self._held = 0
        self.buffer.clear()

    async def _handle_events(self) -> None:
        self.buffer.max_length = peer_of(self.scope).message_max_bytes
        for event in self.connection.events():
            if isinstance(event, Message):
                if not await self._take(event):
                    return
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                await self._part(event)
                return

    async def _take(self, event: Message[Any]) -> bool:
        """Take a piece of a message; False if it was one too many."""
        held = self.buffer.length
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            await self._refuse(CloseReason.MESSAGE_TOO_BIG, f"a message has more than {self.buffer.max_length} bytes")
            return False
        self.config.messages.change(self.buffer.length - held)
        self._held = self.buffer.length
        if self.config.messages.is_over(self._held):
            await self._refuse(CloseReason.TRY_AGAIN_LATER, "too many large messages arrive at once")
            return False
        if event.message_finished:
            put: Any = self.app_put
            await put(self.buffer.to_message())
            self.release()
        return True

    async def _refuse(self, code: int, reason: str) -> None:
        self.release()
        await self._end(code, reason)
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _part(self, event: CloseConnection) -> None:
        """The peer closes, or has said what is no WebSocket."""
        put: Any = self.app_put
        await put({"type": "websocket.disconnect", "code": int(event.code), "reason": event.reason or ""})
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
        elif self.connection.state is ConnectionState.OPEN:
            await self._end(event.code, event.reason)
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _end(self, code: int, reason: str | None) -> None:
        await self._send_wsproto_event(CloseConnection(code=code, reason=reason))

"""HTTP/1.1 as Hypercorn speaks it, with what it guesses left out, and a response in as few pieces as it can be.

It is handed what the guard lets through, so it sees neither HTTP/2 in the clear nor an upgrade to anything but a
WebSocket.
"""

from typing import Any, Final

import h11
from hypercorn.events import RawData
from hypercorn.protocol.events import Body, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream

from runtara.transport.http._guard import Broken
from runtara.transport.http._websocket import WebSocket

__all__ = ["Http1"]

_JOIN_MAX_BYTES: Final = 64 * 1024
"""Largest beginning of a body that is copied to travel with the head; two sends cost less than a larger copy."""


class Http1(H11Protocol):
    """One connection of HTTP/1.1, without I/O."""

    connection: Any  # of two kinds, told apart by what is asked of them
    websocket: WebSocket | None = None
    _head = b""

    @property
    def is_unanswered(self) -> bool:
        """Whether a whole response may still be sent."""
        connection = self.connection
        if isinstance(connection, H11WSConnection):
            connection = connection.h11_connection
        return connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream says. A head waits for what comes after it."""
        if isinstance(event, Response) and event.status_code >= 200:
            headers = [*event.headers, *self.config.response_headers("h11")]
            self._head = self._render(h11.Response(headers=headers, status_code=event.status_code))
        elif isinstance(event, Body):
            await self._say(self._render(h11.Data(data=event.data)))
        elif isinstance(event, EndBody):
            await self._say(self._render(h11.EndOfMessage()))
        else:
            await super().stream_send(event)

    def _render(self, event: Any) -> bytes:
        try:
            return self.connection.send(event) or b""
        except h11.LocalProtocolError as error:
            if self.connection.their_state is not h11.ERROR:
                raise
            raise Broken("the peer has said what is no HTTP, and cannot be answered") from error

    async def _say(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if head and len(data) > _JOIN_MAX_BYTES:
            await self.send(RawData(data=head))
        else:
            data = head + data
        if data:
            await self.send(RawData(data=data))

    async def _create_stream(self, request: h11.Request) -> None:
        headers = list(request.headers)
        around = (self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server)
        if any(name == b"upgrade" for name, _ in headers):
            self.stream = self.websocket = WebSocket(*around, self.stream_send, STREAM_ID)
            self.connection = H11WSConnection(self.connection)
            headers = [(name, value) for name, value in headers if name != b"sec-websocket-extensions"]
        else:
            self.stream = HTTPStream(*around, self.stream_send, STREAM_ID)
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii"),
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    async def _check_protocol(self, event: h11.Request) -> None:
        """Nothing: the guard has seen to it that it is HTTP/1, and stays so."""

"""HTTP/1.1 as Hypercorn speaks it, with what it guesses left out, and a response in as few pieces as it can be.

It is handed what the guard lets through, so it sees neither HTTP/2 in the clear nor an upgrade to anything but a
WebSocket.
"""

from typing import Any, Final, TypeVar

import h11
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.utils import build_and_validate_headers

from runtara.transport.http._guard import Broken
from runtara.transport.http._head import Fields, Head
from runtara.transport.http._plain import spell_answer
from runtara.transport.http._websocket import WebSocket

__all__ = ["Http1"]

_JOIN_MAX_BYTES: Final = 64 * 1024
"""Largest beginning of a body that is copied to travel with the head; two sends cost less than a larger copy."""


S = TypeVar("S", bound=HTTPStream | WebSocket)

_END: Final = EndBody(stream_id=STREAM_ID)


class Http1(H11Protocol):
    """One connection of HTTP/1.1, without I/O."""

    connection: Any  # of two kinds, told apart by what is asked of them
    websocket: WebSocket | None = None
    _head = b""
    _plain = b""
    """A request that h11 knows nothing of, while it is unanswered."""

    @property
    def is_unanswered(self) -> bool:
        """Whether a whole response may still be sent."""
        if self._plain:
            return True
        connection = self.connection
        if isinstance(connection, H11WSConnection):
            connection = connection.h11_connection
        return connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    async def hear(self, data: bytes, head: Head | None) -> None:
        """Take what has come; `head` is what it says where it is a whole request that asks for nothing special."""
        if head is None:
            await self.handle(RawData(data=data))
            return
        self._plain = data
        await self.send(Updated(idle=False))
        stream = self._new(PlainStream)
        stream.protocol = self
        await stream.handle(self._request(head.method, head.target, head.fields))
        await stream.handle(_END)

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

    async def answered(self, data: bytes) -> None:
        """Send a whole answer to a plain request, and be ready for the next one."""
        self._plain = b""
        await self.send(RawData(data=data))
        await self._close_stream()
        await self.send(Closed() if self.context.terminated.is_set() else Updated(idle=True))

    def leave_to_h11(self) -> None:
        """Have h11 say what there is to say: it hears of the request first."""
        self.connection.receive_data(self._plain)
        self._plain = b""
        while self.connection.next_event() is not h11.NEED_DATA:
            pass

    async def _create_stream(self, request: h11.Request) -> None:
        headers = list(request.headers)
        stream: HTTPStream | WebSocket
        if any(name == b"upgrade" for name, _ in headers):
            stream = self.websocket = self._new(WebSocket)
            self.connection = H11WSConnection(self.connection)
            headers = [(name, value) for name, value in headers if name != b"sec-websocket-extensions"]
        else:
            stream = self._new(HTTPStream)
        method, version = request.method.decode("ascii"), request.http_version.decode()
        await stream.handle(self._request(method, request.target, headers, version))

    def _new(self, kind: type[S]) -> S:
        around = (self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server)
        stream = self.stream = kind(*around, self.stream_send, STREAM_ID)
        return stream

    def _request(self, method: str, target: bytes, headers: Fields, version: str = "1.1") -> Request:
        return Request(STREAM_ID, headers, version, method, target, self.connection_state)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Nothing: the guard has seen to it that it is HTTP/1, and stays so."""


class PlainStream(HTTPStream):
    """A request that was over with its head, and that h11 knows nothing of unless its answer is unusual."""

    protocol: Http1 | None
    """Who sends the answer, until that is left to h11."""
    _start: Any = None

    async def app_send(self, message: Any) -> None:
        """Send what the application says: when all of it is known, or as soon as h11 has to say it."""
        protocol = self.protocol
        if protocol is None:
            await super().app_send(message)
            return
        if message is not None and message["type"] == "http.response.start" and self._start is None:
            self._start = message
            return
        self.protocol = None
        answer = self._spell(message, protocol.config.response_headers("h11"))
        if answer is not None:
            self.state = ASGIHTTPState.CLOSED
            await protocol.answered(answer)
            return
        protocol.leave_to_h11()
        if self._start is not None:
            await super().app_send(self._start)
        await super().app_send(message)

    def _spell(self, message: Any, common: Fields) -> bytes | None:
        if (
            self._start is None
            or message is None
            or message["type"] != "http.response.body"
            or message.get("more_body")
        ):
            return None
        fields = build_and_validate_headers(self._start["headers"])
        is_head = self.scope["method"] == "HEAD"
        return spell_answer(self._start["status"], fields + common, message.get("body", b""), is_head=is_head)

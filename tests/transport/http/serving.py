"""A real server on loopback with a tiny application behind it, and a client that says bytes by hand."""

import socket as sockets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from runtara.settings import Settings
from runtara.transport.http.server import HttpServer, open_tcp_socket

__all__ = ["Client", "Serving", "echo", "open_server", "open_websocket"]


class Serving:
    """A server that serves."""

    def __init__(self, server: HttpServer, socket: sockets.socket) -> None:
        self.server = server
        self.stop = trio.CancelScope()
        self.host, self.port = socket.getsockname()[:2]

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def facts(self) -> dict[str, Any]:
        return self.server.describe()

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        with self.stop:
            await self.server.serve(task_status)

    @asynccontextmanager
    async def client(self, **options: Any) -> "AsyncIterator[Client]":
        stream = await trio.open_tcp_stream(self.host, self.port)
        async with stream:
            for name, value in options.items():
                stream.setsockopt(sockets.SOL_SOCKET, getattr(sockets, name), value)
            yield Client(stream, f"{self.authority}".encode())


@asynccontextmanager
async def open_server(app: Any = None, *, tls: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[Serving]:
    """Serve on any free port of loopback."""
    chosen = Settings(**{"env_http_port": 0} | settings)
    with await open_tcp_socket(chosen) as socket:
        serving = Serving(HttpServer(chosen, socket, app or echo, None if tls is None else lambda: tls), socket)
        async with trio.open_nursery() as nursery:
            await nursery.start(serving.serve)
            yield serving
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_websocket(url: str, **options: Any) -> AsyncIterator[WebSocketConnection]:
    """Connect a WebSocket; the library leaves its stream open where the server has closed first."""
    async with open_websocket_url(url, **options) as socket:
        try:
            yield socket
        finally:
            with trio.CancelScope(shield=True):
                await socket.aclose()
                await socket._close_stream()


class Client:
    """A client that says what it is told to, and keeps what it hears."""

    def __init__(self, stream: trio.SocketStream, host: bytes) -> None:
        self.stream = stream
        self.host = host
        self.heard = b""

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def get(self, target: bytes = b"/", *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
        """Ask for something, and return the body of the answer."""
        first = method + b" " + target + b" HTTP/1.1"
        await self.say(b"\r\n".join([first, b"Host: " + self.host, *lines, b"", b""]) + body)
        return (await self.answer())[1]

    async def answer(self) -> tuple[int, bytes]:
        """Return the status and the body of the next response, which has a length."""
        head = (await self.until(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        length = int(fields.get(b"content-length", 0))
        while len(self.heard) < length:
            await self._hear()
        body, self.heard = self.heard[:length], self.heard[length:]
        return int(head.split(b" ")[1]), body

    async def until(self, end: bytes) -> bytes:
        """Return what is heard up to something, and that."""
        while end not in self.heard:
            await self._hear()
        found, _, self.heard = self.heard.partition(end)
        return found + end

    async def rest(self) -> bytes:
        """Return what is heard until the server closes."""
        with trio.fail_after(60):
            try:
                while data := await self.stream.receive_some():
                    self.heard += data
            except trio.BrokenResourceError:
                return self.heard
        return self.heard

    async def _hear(self) -> None:
        with trio.fail_after(60):
            data = await self.stream.receive_some()
        assert data, f"the server has closed after {self.heard!r}"
        self.heard += data


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that says what it has heard."""
    if scope["type"] == "websocket":
        await _echo_messages(receive, send)
        return
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    headers = [(b"content-length", b"%d" % len(body)), (b"x-target", scope["raw_path"])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _echo_messages(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")})

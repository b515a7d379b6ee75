"""Somebody at the WebSocket door who says every byte by hand, and so may say what no library would."""

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import trio

from runtara.settings import Settings
from runtara.transport.frames import Answer, Ask, Hello, ServerFrame, decode_server_frame, encode_frame
from runtara.transport.websocket.server import SessionServer
from tests.actors.operations import PAYLOAD_MAX
from tests.transport.http.serving import Serving, open_server
from tests.transport.lobby import Lobby, open_lobby

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "TEXT", "Scene", "Visitor", "body_of", "open_scene", "piece"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def piece(opcode: int, payload: bytes = b"", *, last: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """Return one fragment of a WebSocket message."""
    head = bytes([(0x80 if last else 0) | reserved << 4 | opcode])
    flag = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([flag | len(payload)])
    elif len(payload) < 2**16:
        head += bytes([flag | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", len(payload))
    if not masked:
        return head + payload
    key = os.urandom(4)
    mask = (key * (len(payload) // 4 + 1))[: len(payload)]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(payload), "big")


def body_of(frame: Any) -> bytes:
    """Return a frame as a message has it."""
    return encode_frame(frame)[4:]


class Visitor:
    """A connection. What is heard is kept in `frames`; `closed` is the code with which the server has closed."""

    def __init__(self, stream: trio.SocketStream, authority: str) -> None:
        self.stream = stream
        self.frames: list[ServerFrame] = []
        self.closed: int | None = None
        self.status = 0
        self.over = trio.Event()
        self._authority = authority
        self._changed = trio.Event()
        self._asked = 0
        self._lock = trio.Lock()

    async def upgrade(self, subprotocol: str = "runtara.2", **headers: str) -> int:
        """Ask for a WebSocket; return the status of the answer."""
        lines = [
            "GET /api/v1/session HTTP/1.1",
            f"Host: {self._authority}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Sec-WebSocket-Protocol: {subprotocol}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        await self.stream.send_all("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self.stream.receive_some(1)
        self.status = int(head.split()[1])
        return self.status

    async def listen(self) -> None:
        """Hear what the server says, until it has said the last thing."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            while True:
                opcode, payload = await self._message()
                if opcode == BINARY:
                    self.frames.append(decode_server_frame(payload))
                elif opcode == CLOSE:
                    self.closed = struct.unpack(">H", payload[:2])[0] if payload else 1005
                    await self.say(piece(CLOSE, payload[:2]))
                elif opcode == PING:
                    await self.say(piece(PONG, payload))
                self._tell()
        self.over.set()
        self._tell()

    async def _message(self) -> tuple[int, bytes]:
        first, second = await self._exactly(2)
        size = second & 127
        if size >= 126:
            size = int.from_bytes(await self._exactly(2 if size == 126 else 8), "big")
        return first & 15, await self._exactly(size)

    async def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            got = await self.stream.receive_some(size - len(found))
            if not got:
                raise EOFError
            found += got
        return found

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, fact: Any) -> None:
        """Wait until something is true of what was heard."""
        with trio.fail_after(60):
            while not fact():
                await self._changed.wait()

    async def say(self, *messages: bytes) -> None:
        """Send bytes as they are; whoever has been sent away is not heard."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._lock:
                await self.stream.send_all(b"".join(messages))

    async def end(self) -> None:
        """Say that nothing more will be said."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._lock:
                await self.stream.send_eof()

    async def tell(self, *frames: Any) -> None:
        """Send frames, each as one message."""
        await self.say(*(piece(BINARY, body_of(frame)) for frame in frames))

    async def greet(self, instance_id: str = "visitor", **hello: Any) -> ServerFrame:
        """Say who speaks; return what the server says to that."""
        await self.tell(Hello(tenant_id="acme", instance_id=instance_id, **hello))
        await self.until(lambda: self.frames or self.over.is_set())
        return self.frames[0]

    async def ask(self, command: Any, **fields: Any) -> Any:
        """Ask, and return the reply or the refusal."""
        self._asked += 1
        asked = self._asked
        await self.tell(Ask(id=asked, command=command, **fields))
        await self.until(lambda: self.told(asked) or self.over.is_set())
        frame = self.told(asked)
        return frame.reply if isinstance(frame, Answer) else frame

    def told(self, asked: int) -> Any:
        """Return what was said to a call."""
        return next((frame for frame in self.frames if getattr(frame, "id", None) == asked), None)

    async def sent_away(self) -> int | None:
        """Return the code with which the server closes."""
        await self.until(self.over.is_set)
        return self.closed


class Scene(NamedTuple):
    """A server with nothing but sessions, and what is behind it."""

    lobby: Lobby
    serving: Serving
    sessions: SessionServer
    nursery: trio.Nursery

    @asynccontextmanager
    async def visitor(self, *, listening: bool = True, **options: int) -> AsyncIterator[Visitor]:
        """Give a connection that has become a WebSocket."""
        socket = trio.socket.socket()
        for name, value in options.items():
            socket.setsockopt(trio.socket.SOL_SOCKET, getattr(trio.socket, name), value)
        await socket.connect((self.serving.host, self.serving.port))
        async with trio.SocketStream(socket) as stream:
            visitor = Visitor(stream, self.serving.authority)
            assert await visitor.upgrade() == 101
            if listening:
                self.nursery.start_soon(visitor.listen)
            yield visitor

    def assert_sound(self) -> None:
        """Check that nothing has failed in the server, and that nothing is left behind."""
        assert "last_failure" not in self.serving.facts, self.serving.facts


@asynccontextmanager
async def open_scene(folder: Path, *, require_credentials: bool = False, **settings: Any) -> AsyncIterator[Scene]:
    """Run a server for the length of the block."""
    async with (
        open_lobby(folder, require_credentials=require_credentials) as lobby,
        trio.open_nursery() as nursery,
    ):
        sessions = SessionServer(Settings(state_max_bytes=PAYLOAD_MAX, **settings), lobby.gate)
        async with open_server(sessions.serve, **settings) as serving:
            scene = Scene(lobby, serving, sessions, nursery)
            yield scene
            scene.assert_sound()
        nursery.cancel_scope.cancel()

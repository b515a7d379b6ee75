"""Somebody who watches over a WebSocket, with nothing between him and the handler but ASGI's own messages."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from runtara.actors.feed import FeedDoor
from runtara.settings import Settings
from runtara.system import FEED
from runtara.transport.http._live import serve_live
from tests.transport.lobby import Lobby, open_lobby

__all__ = ["Client", "Gallery", "open_gallery"]


class Client:
    """One connection. `closed` is the code with which the server has closed it."""

    def __init__(self) -> None:
        self.closed: int | None = None
        self.takes = trio.Event()
        """Set as long as the client reads."""
        self.takes.set()
        self._to, self._from_client = trio.open_memory_channel[dict[str, Any]](100)
        self._to.send_nowait({"type": "websocket.connect"})
        self._from_server, self._heard = trio.open_memory_channel[dict[str, Any]](0)

    def say(self, **message: Any) -> None:
        self.say_text(json.dumps(message))

    def say_text(self, text: str) -> None:
        self._to.send_nowait({"type": "websocket.receive", "text": text})

    def say_bytes(self, data: bytes) -> None:
        self._to.send_nowait({"type": "websocket.receive", "bytes": data})

    def leave(self) -> None:
        self._to.send_nowait({"type": "websocket.disconnect", "code": 1001})

    def watch(self, stream: str = "instances", number: int = 1, **fields: Any) -> None:
        self.say(type="watch", id=number, stream=stream, **fields)

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """The next message; others than the kind that is wanted are passed over."""
        while True:
            with trio.fail_after(60):
                message: dict[str, Any] = json.loads((await self._heard.receive())["text"])
            if kind in (None, message["type"]):
                return message

    async def until_closed(self) -> list[dict[str, Any]]:
        """What is heard until the server closes."""
        with trio.fail_after(60):
            return [json.loads(one["text"]) async for one in self._heard]

    async def serve(self, app: Any, headers: dict[str, str]) -> None:
        """Be the server's side of it."""
        scope = {
            "type": "websocket",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 5),
        }
        async with self._from_server:
            await app(scope, self._from_client.receive, self._take)

    async def _take(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        if message["type"] == "websocket.close":
            self.closed = message["code"]
        elif message["type"] == "websocket.send":
            await self._from_server.send(message)


class Gallery:
    """A running system, and the door for those who watch."""

    def __init__(self, lobby: Lobby, nursery: trio.Nursery, live_queue: int) -> None:
        self.lobby = lobby
        self.stage = lobby.stage
        self._nursery = nursery
        feed = FeedDoor(lobby.stage.system.ref(FEED))
        self.app = partial(serve_live, gate=lobby.gate, feed=feed, settings=Settings(live_queue=live_queue))

    def key(self, tenant_id: str = "acme", **options: Any) -> str:
        return self.lobby.keys.add(tenant_id, **options)

    def meet(self, credential: str | None = None, **headers: str) -> Client:
        """Connect, with a credential in the head of the request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if credential is not None:
            named["authorization"] = f"Bearer {credential}"
        client = Client()
        self._nursery.start_soon(client.serve, self.app, named)
        return client


@asynccontextmanager
async def open_gallery(
    folder: Path, *, live_queue: int = 1_000, require_credentials: bool = True
) -> AsyncIterator[Gallery]:
    async with open_lobby(folder, require_credentials=require_credentials) as lobby, trio.open_nursery() as nursery:
        nursery.start_soon(lobby.gate.guests.serve, folder)
        yield Gallery(lobby, nursery, live_queue)
        nursery.cancel_scope.cancel()

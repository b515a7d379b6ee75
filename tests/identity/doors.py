"""Doors as a client sees them that shows a credential: one row each, all over one and the same gate.

A client is met, asks, and hears a reply or the code and the text of a refusal. It knows nothing of the gate.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import httpx
import msgspec
import trio
from trio_websocket import WebSocketConnection

from runtara.actors.readiness import Fitness
from runtara.endpoints import ENDPOINTS
from runtara.settings import Settings
from runtara.transport import frames
from runtara.transport.conversation import Conversation
from runtara.transport.frames import LENGTH_BYTES, Ask, Hello, Refusal, Welcome, decode_server_frame, encode_frame
from runtara.transport.http.app import Parts, make_app
from runtara.transport.http.server import HttpServer, open_tcp_socket
from runtara.transport.quic.server import QuicServer, open_socket
from runtara.transport.websocket.server import SessionServer
from runtara.transport.websocket.terms import SESSION_PATH, SUBPROTOCOL
from tests.transport.http.serving import open_websocket
from tests.transport.lobby import Lobby
from tests.transport.quic.door import Client
from tests.transport.quic.fray import server_tls

__all__ = ["DOORS", "REPLY", "Answer", "Asker", "DoorRow", "Visitor"]

REPLY: Final = "reply"
"""Stands in the place of a code where there is a reply."""


class Visitor(NamedTuple):
    """Who comes to a door, and with what."""

    credential: str | None
    tenant_id: str = "acme"
    instance_id: str = "manager"
    """For a token: its own instance."""
    is_attempt: bool = False
    """Whether it speaks as the attempt of its own instance, when it asks about that one."""


class Answer(NamedTuple):
    """What came of a question: `REPLY`, or the wire code of the refusal, and its text; `whole` is all that came."""

    code: str
    text: str = ""
    whole: str = ""


class Asker(Protocol):
    """A client at a door."""

    async def ask(self, command: Any, about: str) -> Answer:
        """Ask about an instance of its own tenant."""


class DoorRow(NamedTuple):
    """A door: how it is opened over a lobby; what comes out meets a visitor."""

    name: str
    open: Callable[[Lobby, Path], AbstractAsyncContextManager[Callable[[Visitor], AbstractAsyncContextManager[Asker]]]]


# QUIC -----------------------------------------------------------------------------------------------------------------


class _Frames:
    """A client that speaks in frames; who is turned away hears that again for whatever it asks."""

    def __init__(self, client: Client | _Messages, visitor: Visitor, turned_away: Answer | None) -> None:
        self._client = client
        self._visitor = visitor
        self._turned_away = turned_away

    async def ask(self, command: Any, about: str) -> Answer:
        if self._turned_away is not None:
            return self._turned_away
        row = ENDPOINTS[type(command)]
        is_about_one = row.owner == "instance" or "{instance_id}" in row.path
        as_itself = self._visitor.is_attempt and about == self._visitor.instance_id
        named = about if is_about_one and not as_itself else None
        answer = await self._client.ask(command, instance_id=named)
        return _told(command, answer)


def _told(command: Any, answer: Any) -> Answer:
    if isinstance(answer, Refusal):
        return Answer(answer.code, answer.message)
    assert type(answer) is ENDPOINTS[type(command)].reply
    return Answer(REPLY, whole=repr(msgspec.to_builtins(answer, builtin_types=(bytes,))))


@asynccontextmanager
async def _open_quic(lobby: Lobby, folder: Path) -> AsyncIterator[Any]:
    settings = Settings(data_dir=str(folder), quic_port=0)
    with await open_socket(settings) as socket:
        server = QuicServer(settings, socket, server_tls(), partial(Conversation, lobby.gate))
        address = socket.getsockname()

        @asynccontextmanager
        async def meet(visitor: Visitor) -> AsyncIterator[Asker]:
            async with trio.open_nursery() as nursery:
                client = Client(address, visitor.instance_id)
                nursery.start_soon(client.pump)
                await client.until(lambda: client.connected or client.over)
                greeted = await client.greet(tenant_id=visitor.tenant_id, credential=visitor.credential)
                turned_away = None if isinstance(greeted, Welcome) else _told(None, greeted)
                yield _Frames(client, visitor, turned_away)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            yield meet
            nursery.cancel_scope.cancel()


# HTTP -----------------------------------------------------------------------------------------------------------------


_OF_ONE_ANSWER: Final = ("date", "runtara-request-id")
"""Headers that are other ones each time."""


class _Requests:
    """A client that sends requests, made of the columns `verb` and `path` and nothing else."""

    def __init__(self, client: httpx.AsyncClient, visitor: Visitor) -> None:
        self._client = client
        self._headers = {"Runtara-Tenant-Id": visitor.tenant_id}
        if visitor.credential is not None:
            self._headers["Authorization"] = f"Bearer {visitor.credential}"

    async def ask(self, command: Any, about: str) -> Answer:
        row = ENDPOINTS[type(command)]
        fields = {name: value for name, value in msgspec.to_builtins(command).items() if name != "type"}
        path = row.path.format_map(_Path(fields, about))
        for name in _Path.used(row.path):
            fields.pop(name, None)
        if row.verb == "GET":
            sent = {"params": {name: value for name, value in fields.items() if value is not None}}
        else:
            if row.owner == "instance" and "{instance_id}" not in row.path:
                fields["instance_id"] = about
            sent = {"json": fields} if fields else {}
        answer = await self._client.request(row.verb, path, headers=self._headers, **sent)  # type: ignore[arg-type]
        if answer.is_success:
            headers = {name: value for name, value in answer.headers.items() if name not in _OF_ONE_ANSWER}
            return Answer(REPLY, whole=f"{answer.text} {headers}")
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        return Answer(problem["code"], problem["detail"])


class _Path(dict[str, str]):
    """What stands in the braces of a path: fields of the command, or else the instance."""

    def __init__(self, fields: dict[str, Any], about: str) -> None:
        super().__init__({name: str(value) for name, value in fields.items()})
        self["instance_id"] = about
        self["tenant_id"] = str(fields.get("tenant_id", ""))

    @staticmethod
    def used(path: str) -> list[str]:
        return [part.partition("}")[0] for part in path.split("{")[1:]]


@asynccontextmanager
async def _listening(lobby: Lobby, folder: Path) -> AsyncIterator[str]:
    """Serve HTTP, and sessions over WebSocket; give where, as host:port."""
    settings = Settings(data_dir=str(folder), env_http_port=0)

    async def fitness() -> Fitness:
        return Fitness(status="ready", version="1.2.3")

    async def metrics() -> bytes:
        return b""

    parts = Parts(
        gate=lobby.gate,
        settings=settings,
        is_secure=False,
        fitness=fitness,
        render_metrics=metrics,
        count=lambda *_: None,
        serve_session=SessionServer(settings, lobby.gate).serve,
    )
    with await open_tcp_socket(settings) as socket:
        server = HttpServer(settings, socket, make_app(parts), None)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            yield f"127.0.0.1:{socket.getsockname()[1]}"
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_http(lobby: Lobby, folder: Path) -> AsyncIterator[Any]:
    @asynccontextmanager
    async def meet(visitor: Visitor) -> AsyncIterator[Asker]:
        async with httpx.AsyncClient(base_url=f"http://{where}", timeout=60, trust_env=False, verify=False) as client:
            yield _Requests(client, visitor)

    async with _listening(lobby, folder) as where:
        yield meet


# WebSocket ------------------------------------------------------------------------------------------------------------


class _Messages:
    """A client that speaks in frames, each a message."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._asked = 0

    async def say(self, frame: Any) -> None:
        await self._socket.send_message(encode_frame(frame)[LENGTH_BYTES:])

    async def hear(self, ask_id: int | None) -> Any:
        """Return the answer to a call, or what comes next."""
        while True:
            message = await self._socket.get_message()
            assert isinstance(message, bytes)
            frame = decode_server_frame(message)
            if ask_id is None or getattr(frame, "id", None) == ask_id:
                return frame

    async def greet(self, visitor: Visitor) -> Any:
        await self.say(
            Hello(tenant_id=visitor.tenant_id, instance_id=visitor.instance_id, credential=visitor.credential)
        )
        return await self.hear(None)

    async def ask(self, command: Any, **fields: Any) -> Any:
        self._asked += 1
        await self.say(Ask(id=self._asked, command=command, **fields))
        answer = await self.hear(self._asked)
        return answer.reply if isinstance(answer, frames.Answer) else answer


@asynccontextmanager
async def _open_websocket(lobby: Lobby, folder: Path) -> AsyncIterator[Any]:
    @asynccontextmanager
    async def meet(visitor: Visitor) -> AsyncIterator[Asker]:
        async with open_websocket(f"ws://{where}{SESSION_PATH}", subprotocols=[SUBPROTOCOL]) as socket:
            client = _Messages(socket)
            greeted = await client.greet(visitor)
            yield _Frames(client, visitor, None if isinstance(greeted, Welcome) else _told(None, greeted))

    async with _listening(lobby, folder) as where:
        yield meet


DOORS: Final = (
    DoorRow("quic", _open_quic),
    DoorRow("http", _open_http),
    DoorRow("websocket", _open_websocket),
)
"""Every door that asks for credentials. The embedded one asks for none: a program in this process is believed."""

"""Doors as a client sees them that shows a credential: one row each, all over one and the same gate.

A client is met, asks, and hears a reply or the code and the text of a refusal. It knows nothing of the gate.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import httpx
import msgspec
import trio

from runtara.endpoints import ENDPOINTS
from runtara.settings import Settings
from runtara.transport.conversation import Conversation
from runtara.transport.frames import Refusal, Welcome
from runtara.transport.http.app import Parts, make_app
from runtara.transport.http.server import HttpServer, open_tcp_socket
from runtara.transport.quic.server import QuicServer, open_socket
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
    """What came of a question: `REPLY`, or the wire code of the refusal, and its text."""

    code: str
    text: str = ""


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

    def __init__(self, client: Client, visitor: Visitor, turned_away: Answer | None) -> None:
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
    return Answer(REPLY)


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
            return Answer(REPLY)
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
async def _open_http(lobby: Lobby, folder: Path) -> AsyncIterator[Any]:
    settings = Settings(data_dir=str(folder), env_http_port=0)

    async def is_ready() -> None: ...

    app = make_app(Parts(gate=lobby.gate, settings=settings, is_secure=False, is_ready=is_ready))
    with await open_tcp_socket(settings) as socket:
        url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        server = HttpServer(settings, socket, app, None)

        @asynccontextmanager
        async def meet(visitor: Visitor) -> AsyncIterator[Asker]:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(
                    httpx.AsyncClient(base_url=url, timeout=20, trust_env=False, verify=False)
                )
                yield _Requests(client, visitor)

        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            yield meet
            nursery.cancel_scope.cancel()


DOORS: Final = (DoorRow("quic", _open_quic), DoorRow("http", _open_http))
"""Every door that asks for credentials. The embedded one asks for none: a program in this process is believed."""

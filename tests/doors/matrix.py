"""Every way to hold a conversation with a runtime: through each door, with each face, over each store.

A conversation is written once, as an async function of a system (see `tests.sdk.faces`), and means the same on all of
them. `way` is the fixture that gives each in turn; a folder of tests takes it, and the servers, into its conftest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from runtara.messages import ListEvents, Request
from tests.postgres import fresh_database
from tests.sdk.faces import Awaited, Face, RemoteFace
from tests.shared import THREADS
from tests.transport.quic.serving import Serving
from tests.transport.websocket.serving import TcpServing

__all__ = [
    "DOORS",
    "FACES",
    "SETTINGS",
    "STORES",
    "WAYS",
    "Way",
    "ask",
    "events_of",
    "memory_quic_server",
    "memory_tcp_server",
    "postgres_quic_server",
    "postgres_tcp_server",
    "sqlite_quic_server",
    "sqlite_tcp_server",
    "way",
]

DOORS: Final = ("embedded", "quic", "ws", "http")
FACES: Final = ("sync", "trio", "asyncio")
STORES: Final = ("memory", "sqlite", "postgres")

SETTINGS: Final[dict[str, Any]] = {
    "state_max_bytes": 512 * 1024,
    "pending_signals_max": 4,
    "node_lease_ms": 100_000,
    "database_timeout_ms": 60_000,
}
"""Those of every system: limits that a test can reach in a moment, and others that no machine which stalls does."""


class Kind(NamedTuple):
    """Which way."""

    door: str
    face: str
    store: str

    def __str__(self) -> str:
        return "-".join(self)


def _is_fast(kind: Kind) -> bool:
    """Whether a way belongs to the fast tests.

    A face does not know the store: they are content with every face over one, and every store below one. Clients over
    TCP are those over QUIC but for the connection, which no face and no store knows: one way is enough.
    """
    if kind.door in ("ws", "http"):
        return kind == (kind.door, "trio", "sqlite")
    return kind.store == "sqlite" or kind.face == "trio"


WAYS: Final = [
    kind if _is_fast(kind) else pytest.param(kind, marks=pytest.mark.slow)
    for kind in (Kind(door, face, store) for door in DOORS for face in FACES for store in STORES)
]


class Way:
    """One way, ready to be used by one test. What several conversations of the test leave is there for the next."""

    def __init__(self, kind: Kind, server: Serving | None, url: str | None) -> None:
        self.kind = kind
        self.face = Face(kind.face) if kind.door == "embedded" else RemoteFace(kind.face)
        self._options: dict[str, Any] = {}
        if isinstance(self.face, RemoteFace):
            assert server is not None, "this way leads over a network"
            self.face.server = server.at(kind.door) if isinstance(server, TcpServing) else server
        else:
            self._options = {"url": url, **SETTINGS}

    def hold(self, conversation: Any) -> Any:
        """Hold a conversation; return what it returns."""
        return self.face.hold(conversation, **self._options)


async def ask(sdk: Any, command: Request[Any], about: str | None = None, **options: Any) -> Any:
    """Send a command as it is, by the door of an SDK; `about` names another instance of its tenant."""
    door = sdk._door if about is None else sdk._door.beside(about)
    return (
        door.call_from_thread(command, **options) if isinstance(sdk, Awaited) else await door.call(command, **options)
    )


async def events_of(sdk: Any, **filters: Any) -> list[Any]:
    """Return the audit log of the instance of an SDK."""
    return list((await ask(sdk, ListEvents(limit=1000, **filters))).events)


@contextmanager
def _serving(kind: type[Serving], folder: Path, url: str) -> Iterator[Serving]:
    server = kind(folder, **SETTINGS)
    server.settings = msgspec.structs.replace(server.settings, database_url=url)
    with server:
        THREADS.add(server.thread)
        yield server


@contextmanager
def _store(name: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a fresh store."""
    if name == "postgres":
        with fresh_database(request.getfixturevalue("cluster")) as url:
            yield url
    else:
        yield "memory://" if name == "memory" else f"sqlite:///{folder / 'runtara.db'}"


def _fixture(kind: type[Serving], store: str) -> Any:
    @pytest.fixture(scope="session")
    def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Serving]:
        """A server over one kind of store; whoever uses it keeps to a tenant of its own."""
        folder = tmp_path_factory.mktemp(store)
        with _store(store, folder, request) as url, _serving(kind, folder, url) as running:
            yield running

    return server


memory_quic_server = _fixture(Serving, "memory")
sqlite_quic_server = _fixture(Serving, "sqlite")
postgres_quic_server = _fixture(Serving, "postgres")
memory_tcp_server = _fixture(TcpServing, "memory")
sqlite_tcp_server = _fixture(TcpServing, "sqlite")
postgres_tcp_server = _fixture(TcpServing, "postgres")


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    """Every door with every face over every store."""
    kind: Kind = request.param
    if kind.door != "embedded":
        door = "quic" if kind.door == "quic" else "tcp"
        return Way(kind, request.getfixturevalue(f"{kind.store}_{door}_server"), None)
    if kind.store == "postgres":
        return Way(kind, None, request.getfixturevalue("database"))
    return Way(kind, None, "memory://" if kind.store == "memory" else f"sqlite:///{tmp_path / 'runtara.db'}")

"""Every way to hold a conversation with a runtime: through each door, with each face, over each store.

A conversation is written once, as an async function of a system (see `tests.sdk.faces`), and means the same on all of
them. `way` is the fixture that gives each in turn; a folder of tests takes it, and the servers, into its conftest.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from runtara.messages import ListEvents, Request
from tests.postgres import Cluster, fresh_database
from tests.sdk.faces import Awaited, Face, RemoteFace
from tests.shared import THREADS
from tests.transport.quic.serving import Serving

__all__ = [
    "DOORS",
    "FACES",
    "SETTINGS",
    "STORES",
    "WAYS",
    "Way",
    "ask",
    "events_of",
    "memory_server",
    "postgres_server",
    "sqlite_server",
    "way",
]

DOORS: Final = ("embedded", "quic")
FACES: Final = ("sync", "trio", "asyncio")
STORES: Final = ("memory", "sqlite", "postgres")

SETTINGS: Final[dict[str, Any]] = {"state_max_bytes": 512 * 1024, "pending_signals_max": 4}
"""Those of every system: limits that a test can reach in a moment."""


class Kind(NamedTuple):
    """Which way."""

    door: str
    face: str
    store: str

    def __str__(self) -> str:
        return "-".join(self)


WAYS: Final = [
    # A face does not know the store: the fast tests are content with every face over one, and every store below one.
    kind if kind.store == "sqlite" or kind.face == "trio" else pytest.param(kind, marks=pytest.mark.slow)
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
            self.face.server = server
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


def _serving(folder: Path, url: str) -> Serving:
    server = Serving(folder, **SETTINGS)
    server.settings = msgspec.structs.replace(server.settings, database_url=url)
    return server


@pytest.fixture(scope="session")
def memory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that keeps everything in memory; whoever uses it keeps to a tenant of its own."""
    with _serving(tmp_path_factory.mktemp("memory"), "memory://") as running:
        THREADS.add(running.thread)
        yield running


@pytest.fixture(scope="session")
def sqlite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that keeps everything in a file; whoever uses it keeps to a tenant of its own."""
    folder = tmp_path_factory.mktemp("sqlite")
    with _serving(folder, f"sqlite:///{folder / 'runtara.db'}") as running:
        THREADS.add(running.thread)
        yield running


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Serving]:
    """A server that keeps everything in PostgreSQL; whoever uses it keeps to a tenant of its own."""
    with fresh_database(cluster) as url, _serving(tmp_path_factory.mktemp("postgres"), url) as running:
        THREADS.add(running.thread)
        yield running


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    """Every door with every face over every store."""
    kind: Kind = request.param
    if kind.door == "quic":
        return Way(kind, request.getfixturevalue(f"{kind.store}_server"), None)
    if kind.store == "postgres":
        return Way(kind, None, request.getfixturevalue("database"))
    return Way(kind, None, "memory://" if kind.store == "memory" else f"sqlite:///{tmp_path / 'runtara.db'}")

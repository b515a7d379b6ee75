"""From a URL to a store. Implementations are imported only when they are asked for."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from runtara.errors import ConfigError
from runtara.store._contract import Store
from runtara.store._tenure import NodeSpec

__all__ = ["check_sqlite_version", "open_store", "sqlite_version"]


def open_store(
    url: str, node: NodeSpec | None = None, *, timeout_ms: int = 10_000, may_lose_work: bool = False
) -> Store:
    """Return the store at `url`; nothing is touched until its writer or a reader is opened.

    ``memory://`` keeps everything in this process and nothing beyond it. ``sqlite:///path`` is a file relative to the
    working directory, ``sqlite:////path`` one from the root; the path is taken literally. ``postgresql://…`` is a
    database that several nodes may share: `node` says how this one presents itself, `timeout_ms` how long the server
    may take over a statement, and `may_lose_work` whether it may acknowledge what is not on stable storage. Raises
    `ConfigError` for anything else.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _OPENERS.keys() | _POSTGRES:
        raise ConfigError(f"there is no store at {_harmless(url)}: use {_POSSIBLE}")
    if scheme in _POSTGRES:
        return _open_postgres(url, node, timeout_ms, may_lose_work)
    return _OPENERS[scheme](url, rest)


def _harmless(url: str) -> str:
    """Return what of an address that nobody understands may be said aloud: not what may be a password."""
    if not {"@", "="} & set(url):
        return repr(url)
    scheme = re.match(r"[A-Za-z+]+://", url)
    return f"{scheme[0] if scheme else ''}…"


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of SQLite that this Python comes with."""
    import sqlite3

    return sqlite3.sqlite_version_info


def check_sqlite_version(version: tuple[int, ...]) -> None:
    """Raise `ConfigError` for an SQLite that lacks what we need."""
    from runtara.store._sqlite_door import check_version

    check_version(version)


def _open_memory(url: str, rest: str) -> Store:
    from runtara.store._memory import MemoryStore

    if rest:
        raise ConfigError(f"a store in memory has no path: use memory:// instead of {url!r}")
    return MemoryStore()


def _open_sqlite(url: str, rest: str) -> Store:
    from runtara.store._sqlite import SqliteStore

    path = rest.removeprefix("/")
    if not rest.startswith("/") or not path or path.endswith("/") or "\0" in path:
        raise ConfigError(f"{url!r} does not name a file: use sqlite:///path or, from the root, sqlite:////path")
    if path == ":memory:":
        raise ConfigError("SQLite in memory cannot be shared by a writer and readers: use memory://")
    return SqliteStore(path)


def _open_postgres(url: str, node: NodeSpec | None, timeout_ms: int, may_lose_work: bool) -> Store:
    from runtara.store._postgres import PostgresStore
    from runtara.store._postgres_door import PostgresLimits

    limits = PostgresLimits(
        connect_timeout_ms=timeout_ms, timeout_ms=timeout_ms, lock_timeout_ms=timeout_ms, may_lose_work=may_lose_work
    )
    return PostgresStore(url, node, limits)


_OPENERS: Final[Mapping[str, Callable[[str, str], Store]]] = {"memory": _open_memory, "sqlite": _open_sqlite}
_POSTGRES: Final = frozenset({"postgresql", "postgres"})
_POSSIBLE: Final = "memory:// or sqlite:///path or, from the root, sqlite:////path, or postgresql://user@host/database"

"""What whoever runs a store does with all of it at once: bring it up to date, check, prune, compact, read and fill it.

An `Upkeep` opens the store for each thing that it does and closes it behind it. What changes a file needs the file for
itself (`StoreInUse`); a database that several share is changed beside those who work with it wherever that is safe.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from runtara.errors import ConfigError
from runtara.store._tables import Database, Row, Table
from runtara.store._terms import Finished

__all__ = ["INSTANCES_AT_ONCE", "Rows", "Source", "Target", "Upkeep", "Vacuumed", "open_upkeep"]

INSTANCES_AT_ONCE: Final = 100
"""Finished instances that are deleted in one transaction."""


class Vacuumed(msgspec.Struct, frozen=True):
    """How many bytes a store took, and takes now."""

    before: int
    after: int


class Rows(Protocol):
    """The rows of all tables."""

    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the rows of a table in their order. One table is read at a time, from beginning to end."""


class Source(Rows, Protocol):
    """All rows of a store, as they were at one instant."""

    database: Database
    schema: int
    """The number of its newest migration."""


class Target(Rows, Protocol):
    """An empty store that is being filled, in one transaction. Its rows are those that were written so far."""

    database: Database

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows. Raises `StoreCorrupt` for one that the database cannot hold."""


class Upkeep(Protocol):
    """A store, seen by whoever looks after it. Everything may raise what stores raise."""

    url: str
    """Where it is, without secrets."""

    def migrate(self, *, dry_run: bool = False) -> list[str]:
        """Bring the schema up to date; return the names of the migrations that it lacked.

        Raises `StoreTooNew` for a schema of a later version, `StoreInUse` where migrations are needed and a server
        runs.
        """

    def verify(self) -> list[str]:
        """Check the store from end to end; return what is wrong, in words, or nothing."""

    def vacuum(self) -> Vacuumed:
        """Give the room of deleted rows back."""

    def count(self, finished: Finished) -> int:
        """Return how many instances `prune` would delete."""

    def prune(self, finished: Finished, on_batch: Callable[[int], None]) -> int:
        """Delete finished instances with all that belongs to them; return how many.

        A batch of them goes at a time, each completely or not at all, so it may be stopped anywhere and begun again.
        `on_batch` is told how many are gone so far.
        """

    def source(self, *, live: bool, scratch: Path | None = None) -> AbstractContextManager[Source]:
        """Give all rows to the block, as they are now.

        With `live`, others may go on writing meanwhile; else the store must be at rest (`StoreInUse`). A copy of a file
        that is written to is made in the folder `scratch`, by default that of the store.
        """

    def target(self, *, replace: bool) -> AbstractContextManager[Target]:
        """Give the store to the block to fill it. What the block does is stored when it ends, all of it, or not at all.

        Raises `StoreInUse` where a server runs. Raises `AlreadyExists` unless the store is empty; with `replace`, what
        it holds is deleted.
        """


def open_upkeep(url: str, *, may_lose_work: bool = False) -> Upkeep:
    """Return the upkeep of the store at `url`; nothing is touched yet. Raises `ConfigError` for no such place.

    `may_lose_work` says whether a server may be filled that acknowledges what is not on stable storage.
    """
    from runtara.store._open import open_store

    store = open_store(url)
    if store.inline:
        raise ConfigError(f"the store {store.url} is gone when its process ends: there is nothing to look after")
    if store.url.startswith("sqlite:"):
        from runtara.store._sqlite_upkeep import SqliteUpkeep

        return SqliteUpkeep(url.partition("://")[2].removeprefix("/"))
    from runtara.store._postgres_door import PostgresLimits
    from runtara.store._postgres_upkeep import PostgresUpkeep

    return PostgresUpkeep(url, PostgresLimits(may_lose_work=may_lose_work))

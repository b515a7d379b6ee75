"""A store in one SQLite file, owned by one process; the default."""

import contextlib
from pathlib import Path

from runtara.errors import StoreUnavailable
from runtara.store._migrate import check_schema
from runtara.store._sqlite_door import (
    Connection,
    Error,
    SqliteLimits,
    check_version,
    connect_reader,
    explain,
    needs_rollback,
)
from runtara.store._sqlite_owner import make_file, take_ownership
from runtara.store._sqlite_reader import SqliteReader
from runtara.store._sqlite_writer import SqliteWriter
from runtara.store._unshared import Unshared

__all__ = ["SqliteStore"]


class SqliteStore(Unshared):
    """Keeps instances in the file at `path`, which is made when the writer is opened.

    Writer and readers may be opened in different threads; each belongs to its own. `factory` makes the writer's
    connection; tests pass one that fails on purpose.
    """

    inline = False
    ends_with_process = False

    def __init__(self, path: str, limits: SqliteLimits | None = None, factory: type[Connection] = Connection) -> None:
        self.url = f"sqlite:///{path}"
        self._path = Path(path).resolve()
        self._limits = limits or SqliteLimits()
        self._factory = factory
        self._writer: SqliteWriter | None = None

    def open_writer(self) -> SqliteWriter:
        """Take the file over, bring its schema up to date and return the writer.

        Raises `StoreInUse`, `StoreTooNew`, `StoreCorrupt`, `StoreFull`, `StoreUnavailable`, or `ConfigError` for a
        database of something else or an SQLite that is too old. Nothing is changed in a file that is refused.
        """
        check_version()
        make_file(self._path)
        owner = take_ownership(self._path, self._limits)
        try:
            self._look_first()
            self._writer = SqliteWriter(self._path, self._limits, self._factory, owner)
        except BaseException:
            owner.close()
            raise
        return self._writer

    def open_reader(self) -> SqliteReader:
        """Return a new reader. Raises `StoreUnavailable`, `StoreTooNew` or `StoreCorrupt`.

        A reader that is open cannot see what a failed commit has left in the log; a new one could, so none is opened
        until the writer has settled what became of it.
        """
        if self._writer is not None and not self._writer.settled:
            raise StoreUnavailable(
                f"the store {self._path} recovers from an error, and what it has stored is not settled: try again later"
            )
        return SqliteReader(self._path, self._limits)

    def _look_first(self) -> None:
        """Refuse a file that we cannot work with while it is open for reading only, so that it stays as it is."""
        if self._path.stat().st_size == 0:
            return
        try:
            with contextlib.closing(connect_reader(self._path, self._limits)) as connection:
                check_schema(connection, self._path)
        except Error as error:
            if not needs_rollback(error):
                raise explain(error, self._path) from error

"""The upkeep of an SQLite store. What changes the file owns it; what only reads works beside its owner."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from runtara.errors import AlreadyExists, StoreCorrupt, StoreUnavailable
from runtara.store._migrate import check_schema, pending_migrations
from runtara.store._sql_writer import Execute, count_finished, prune_finished
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import (
    SQL,
    Connection,
    Error,
    IntegrityError,
    SqliteLimits,
    array,
    connect_reader,
    connect_writer,
    copy_database,
    empty_log,
    explain,
    needs_rollback,
)
from runtara.store._sqlite_owner import OWNER_PID, take_ownership
from runtara.store._statements import Migration, load_migrations
from runtara.store._tables import TABLES, Database, Row, Table
from runtara.store._terms import Finished
from runtara.store._upkeep import INSTANCES_AT_ONCE, Vacuumed

__all__ = ["SqliteUpkeep"]

_DATABASE: Final = "sqlite"
_OURS: Final = tuple(table for table in TABLES if table.is_in(_DATABASE))


class SqliteUpkeep:
    """Looks after the store in the file at `path`."""

    def __init__(self, path: str, limits: SqliteLimits | None = None) -> None:
        self._limits = limits or SqliteLimits()
        self._store = SqliteStore(path, self._limits)
        self._path = Path(path).resolve()
        self.url = self._store.url

    def migrate(self, *, dry_run: bool = False) -> list[str]:
        """Bring the schema up to date; return the names of the migrations that it lacked."""
        pending = [migration.name for migration in self._pending()]
        if pending and not dry_run:
            self._store.open_writer().close()
        return pending

    def verify(self) -> list[str]:
        """Check the store from end to end; return what is wrong, in words, or nothing."""
        with self._reading(self._path), contextlib.closing(self._store.open_reader()) as reader:
            return reader.verify()

    def vacuum(self) -> Vacuumed:
        """Write the file anew; return its size before and after."""
        with self._owned() as connection:
            before = self._path.stat().st_size
            connection.execute(SQL["vacuum"])
            empty_log(connection)
            return Vacuumed(before, self._path.stat().st_size)

    def count(self, finished: Finished) -> int:
        """Return how many instances `prune` would delete."""
        with self._reading(self._path) as connection:
            return count_finished(_executing(connection), array, finished)

    def prune(self, finished: Finished, on_batch: Callable[[int], None]) -> int:
        """Delete finished instances with all that belongs to them; return how many."""
        deleted = 0
        with self._owned() as connection:
            while True:
                with self._transaction(connection):
                    gone = prune_finished(_executing(connection), array, finished, INSTANCES_AT_ONCE)
                if not gone:
                    return deleted
                deleted += len(gone)
                on_batch(deleted)

    @contextlib.contextmanager
    def source(self, *, live: bool, scratch: Path | None = None) -> Iterator["_Rows"]:
        """Give all rows to the block, as they are now.

        The owner of a file cannot empty its log while somebody reads the file, so what is written to is first copied,
        page by page, as fast as the disk allows; rows are then read from the copy.
        """
        with contextlib.ExitStack() as stack:
            if live:
                connection = stack.enter_context(self._copied(scratch or self._path.parent))
            else:
                connection = stack.enter_context(self._owned())
            yield _Rows(connection, self._path)

    @contextlib.contextmanager
    def target(self, *, replace: bool) -> Iterator["_Rows"]:
        """Give the store, made where there is none, to the block to fill it, all of it or not at all."""
        if not replace:
            self._check_empty()  # before a schema is touched that somebody may want to keep as it is
        self._store.open_writer().close()
        with self._owned() as connection:
            with self._transaction(connection):
                target = _Rows(connection, self._path)
                if replace:
                    target.clear()
                target.check_empty()
                yield target
            empty_log(connection)  # where a reader is in the way, it is as safe in the log

    # The file --------------------------------------------------------------------------------------------------------

    def _pending(self) -> Sequence[Migration]:
        if not self._has_content():
            return load_migrations(_DATABASE)
        try:
            with contextlib.closing(connect_reader(self._path, self._limits)) as connection:
                return pending_migrations(connection, self._path)
        except Error as error:
            if needs_rollback(error):  # who was killed there has not come as far as to the first one
                return load_migrations(_DATABASE)
            raise explain(error, self._path) from error

    def _has_content(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    def _check_empty(self) -> None:
        if not self._has_content():
            return
        try:
            with contextlib.closing(connect_reader(self._path, self._limits)) as connection:
                check_schema(connection, self._path)
                _Rows(connection, self._path).check_empty()
        except Error as error:
            if not needs_rollback(error):  # only a writer can look, and will
                raise explain(error, self._path) from error

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[Connection]:
        """A connection that cannot write, to a file whose schema is the newest."""
        with self._explained(), contextlib.closing(connect_reader(path, self._limits)) as connection:
            if pending_migrations(connection, self._path):
                raise StoreUnavailable(f"the store {self._path} has an older schema: run `runtara db migrate` first")
            yield connection

    @contextlib.contextmanager
    def _owned(self) -> Iterator[Connection]:
        """A connection that writes, and nobody else's does."""
        with self._reading(self._path):
            pass  # a file that is missing, or needs a migration, is left alone
        with (
            self._explained(),
            contextlib.closing(take_ownership(self._path, self._limits)),
            contextlib.closing(connect_writer(self._path, self._limits)) as connection,
        ):
            connection.execute(SQL["write_setting"], (OWNER_PID, str(os.getpid())))
            yield connection

    @contextlib.contextmanager
    def _copied(self, scratch: Path) -> Iterator[Connection]:
        """A connection to a copy of the file, which is gone afterwards."""
        with _temporary_folder(scratch.resolve(), self._path.name) as folder:
            copy = folder / self._path.name
            with self._reading(self._path) as connection:
                copy_database(connection, copy)
            with self._reading(copy) as connection:
                yield connection

    @contextlib.contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        """Store what the block does, or nothing of it."""
        committing = False
        try:
            connection.execute(SQL["begin_write"])
            yield
            committing = True
            connection.execute(SQL["commit"])
        except Error as error:
            raise explain(error, self._path, at_commit=committing) from error
        finally:
            if connection.in_transaction:
                connection.execute(SQL["rollback"])

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Error as error:
            raise explain(error, self._path) from error


class _Rows:
    """The rows of a file, to read and to write."""

    database: Database = _DATABASE
    schema = len(load_migrations(_DATABASE))

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the rows of a table in their order."""
        if table in _OURS:
            names = {"columns": table.names, "table": table.name, "order": ", ".join(table.order)}
            with contextlib.closing(self._connection.execute(SQL["read_table"].format(**names))) as cursor:
                yield from cursor

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows. Raises `StoreCorrupt` for one that does not belong to anything, or is there already."""
        places = ", ".join("?" * len(table.columns))
        statement = SQL["write_row"].format(table=table.name, columns=table.names, places=places)
        try:
            self._connection.executemany(statement, rows)
        except IntegrityError as error:
            raise StoreCorrupt(
                f"a row of {table.name} cannot be kept in {self._path}: {error}; "
                "run `runtara db verify` where it comes from"
            ) from error

    def clear(self) -> None:
        """Forget all rows."""
        for table in reversed(_OURS):
            self._connection.execute(SQL["clear_table"].format(table=table.name))

    def check_empty(self) -> None:
        """Raise `AlreadyExists` where there is anything."""
        present = {name for (name,) in self._connection.execute(SQL["list_tables"])}
        for table in _OURS:
            if table.name in present and self._connection.execute(
                SQL["has_rows"].format(table=table.name)
            ).fetchall() == [(1,)]:
                raise AlreadyExists(f"the store {self._path} is not empty: choose another one, or have it replaced")


def _executing(connection: Connection) -> Execute:
    return lambda statement, names: connection.execute(SQL[statement], names).fetchall()


@contextlib.contextmanager
def _temporary_folder(inside: Path, name: str) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix=f"{name}-", dir=inside)
    except OSError as error:
        raise StoreUnavailable(f"there is no place for a copy in {inside}: {error.strerror}") from error
    with folder:
        yield Path(folder.name)

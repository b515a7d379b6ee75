"""The upkeep of a PostgreSQL store: what it can do beside the nodes that work there, it does."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from runtara.errors import AlreadyExists, StoreCorrupt, StoreInUse, StoreUnavailable
from runtara.store._postgres_door import (
    SQL,
    Connection,
    DataError,
    Error,
    IntegrityError,
    PostgresLimits,
    connect,
    executing,
    explain,
    fault_of,
    name_of,
)
from runtara.store._postgres_migrate import migrate, pending_migrations
from runtara.store._postgres_reader import PostgresReader
from runtara.store._sql_writer import count_finished, prune_finished
from runtara.store._statements import load_migrations
from runtara.store._tables import TABLES, Database, Row, Table
from runtara.store._tenure import NodeSpec, Tenure
from runtara.store._terms import Finished
from runtara.store._upkeep import INSTANCES_AT_ONCE, Vacuumed

__all__ = ["PostgresUpkeep"]

_DATABASE: Final = "postgres"
_OURS: Final = tuple(table for table in TABLES if table.is_in(_DATABASE))
_TYPES: Final = {int: "int8", str: "text", bytes: "bytea"}
_SILENT_S: Final = 600.0
"""How long the server may say nothing while it reads or fills a table."""
_LOOKING: Final = PostgresLimits(timeout_ms=3_600_000)
"""A check of a large store takes long."""


class PostgresUpkeep:
    """Looks after the store in the database at `url`. It joins no nodes."""

    def __init__(self, url: str, limits: PostgresLimits | None = None) -> None:
        self.url = name_of(url)
        self._url = url
        self._limits = limits or PostgresLimits()

    def migrate(self, *, dry_run: bool = False) -> list[str]:
        """Bring the schema up to date; return the names of the migrations that it lacked.

        A node that begins meanwhile waits for them.
        """
        with self._connected() as connection:
            pending = [migration.name for migration in pending_migrations(connection, self.url)]
            if pending and not dry_run:
                migrate(connection, self.url)
            return pending

    def verify(self) -> list[str]:
        """Check the store from end to end; return what is wrong, in words, or nothing."""
        with self._ready(read_only=True), contextlib.closing(self._reader()) as reader:
            return reader.verify()

    def vacuum(self) -> Vacuumed:
        """Make the room of deleted rows free; return what the tables took before, and take now."""
        with self._ready() as connection:
            before = _number(connection, "measure_tables")
            for table in _OURS:
                connection.execute(SQL["vacuum_table"].format(table=table.name).encode())
            return Vacuumed(before, _number(connection, "measure_tables"))

    def count(self, finished: Finished) -> int:
        """Return how many instances `prune` would delete."""
        with self._ready() as connection:
            return count_finished(executing(connection), list, finished)

    def prune(self, finished: Finished, on_batch: Callable[[int], None]) -> int:
        """Delete finished instances with all that belongs to them; return how many.

        Nodes may be at work. Those that somebody holds at that moment are left for the next time.
        """
        deleted = 0
        with self._ready() as connection:
            while True:
                with self._transaction(connection):
                    gone = prune_finished(executing(connection), list, finished, INSTANCES_AT_ONCE)
                if not gone:
                    return deleted
                deleted += len(gone)
                on_batch(deleted)

    @contextlib.contextmanager
    def source(self, *, live: bool, scratch: Path | None = None) -> Iterator["_Rows"]:
        """Give all rows to the block, as they are now: one transaction sees one state.

        With `live`, nobody is disturbed by it; else no node can be opened until the block has ended.
        """
        with self._ready(read_only=live) as connection:
            if live:
                connection.execute(SQL["begin_read"])
            else:
                connection.execute(SQL["begin_rest"])
                connection.execute(SQL["lock_all"])
                self._check_rest(connection)
            yield _Rows(connection, self.url)

    @contextlib.contextmanager
    def target(self, *, replace: bool) -> Iterator["_Rows"]:
        """Give the store, made where there is none, to the block to fill it, all of it or not at all.

        Until then no node can be opened.
        """
        with self._connected() as connection:
            migrate(connection, self.url)
            with self._transaction(connection):
                connection.execute(SQL["lock_all"])
                self._check_rest(connection)
                target = _Rows(connection, self.url)
                if replace:
                    target.clear()
                target.check_empty()
                yield target
                target.number_on()

    def _reader(self) -> PostgresReader:
        return PostgresReader(self._url, _LOOKING, Tenure(NodeSpec()))

    # The database ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _ready(self, *, read_only: bool = False) -> Iterator[Connection]:
        """A connection to a database whose schema is the newest."""
        with self._connected(read_only=read_only) as connection:
            if pending_migrations(connection, self.url):
                raise StoreUnavailable(f"the store {self.url} has an older schema: run `runtara db migrate` first")
            yield connection

    @contextlib.contextmanager
    def _connected(self, *, read_only: bool = False) -> Iterator[Connection]:
        """A connection that takes its time."""
        try:
            with contextlib.closing(connect(self._url, self._limits, read_only=read_only)) as connection:
                connection.execute(SQL["be_patient"])
                connection.patience = _SILENT_S
                yield connection
        except Error as error:
            raise explain(error, self._url) from error

    @contextlib.contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        """Store what the block does, or nothing of it."""
        try:
            connection.execute(SQL["begin_write"])
            yield
        except BaseException:
            if not connection.closed:
                connection.rollback()
            raise
        try:
            connection.execute(SQL["commit"])
        except Error as error:
            raise explain(error, self._url, unknown=fault_of(error).stops) from error

    def _check_rest(self, connection: Connection) -> None:
        """Raise `StoreInUse` where a node is at work."""
        names = [name for (name,) in connection.execute(SQL["list_live_nodes"])]
        if names:
            raise StoreInUse(
                f"the store {self.url} is in use by {', '.join(names[:5])}: stop the servers that work there, and wait "
                "until their leases have run out"
            )


class _Rows:
    """The rows of a database, to read and to write inside a transaction."""

    database: Database = _DATABASE
    schema = len(load_migrations(_DATABASE))

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection = connection
        self._where = where

    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the rows of a table in their order. Raises `StoreCorrupt` for an error that is not UTF-8."""
        names = {"columns": table.names, "table": table.name, "order": ", ".join(table.order)}
        errors = _places_of_errors(table)
        with self._connection.cursor() as cursor, cursor.copy(SQL["read_table"].format(**names).encode()) as copy:
            copy.set_types(_types(table))
            for row in copy.rows():
                try:
                    yield _with(row, errors, bytes.decode)
                except UnicodeDecodeError as error:
                    raise StoreCorrupt(
                        f"the store {self._where} holds an error that is not UTF-8: look for who has written into it"
                    ) from error

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows. Raises `StoreCorrupt` for one that is there already, or that no text column can hold."""
        statement = SQL["write_rows"].format(table=table.name, columns=table.names)
        errors = _places_of_errors(table)
        try:
            with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                copy.set_types(_types(table))
                for row in rows:
                    copy.write_row(_with(row, errors, str.encode))
        except (IntegrityError, DataError) as error:
            raise StoreCorrupt(
                f"a row of {table.name} cannot be kept in {self._where}: {error.diag.message_primary or error}; "
                "run `runtara db verify` where it comes from"
            ) from error

    def clear(self) -> None:
        """Forget all rows."""
        self._connection.execute(SQL["clear_tables"].format(tables=", ".join(table.name for table in _OURS)).encode())

    def check_empty(self) -> None:
        """Raise `AlreadyExists` where there is anything."""
        for table in _OURS:
            if self._connection.execute(SQL["has_rows"].format(table=table.name).encode()).fetchall()[0][0]:
                raise AlreadyExists(f"the store {self._where} is not empty: choose another one, or have it replaced")

    def number_on(self) -> None:
        """Let the database go on numbering behind what was written."""
        for table in _OURS:
            if table.counter is not None:
                statement = SQL["number_on"].format(table=table.name, column=table.counter)
                self._connection.execute(statement.encode())


def _types(table: Table) -> list[str]:
    return ["bytea" if column.name == "error" else _TYPES[column.kind] for column in table.columns]


def _places_of_errors(table: Table) -> tuple[int, ...]:
    """Where the errors are, which are bytes here and text elsewhere."""
    return tuple(place for place, column in enumerate(table.columns) if column.name == "error")


def _with(row: Row, places: Sequence[int], change: Callable[[Any], Any]) -> Row:
    """Return a row with some of its values changed. Any: what lies in an error column on either side."""
    if all(row[place] is None for place in places):
        return row
    return tuple(change(value) if place in places and value is not None else value for place, value in enumerate(row))


def _number(connection: Connection, statement: str) -> int:
    return int(connection.execute(SQL[statement]).fetchall()[0][0])

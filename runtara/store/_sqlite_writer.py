"""The writer of an SQLite store: one transaction per batch, and fail-stop where the disk cannot be trusted.

After an I/O error the connection is closed and not used again. What the failed transaction has left in the log may be
in the page cache but not on the disk; `connect_writer` empties the log into the file and synchronises it before
anything else is written, which settles the outcome. Until that succeeds, nothing does.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from runtara.errors import Busy, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.store._migrate import migrate
from runtara.store._sql_writer import Execute, SqlWriter
from runtara.store._sqlite_batch import Batch, Numbers
from runtara.store._sqlite_door import (
    SQL,
    Connection,
    Cursor,
    Error,
    SqliteLimits,
    array,
    connect_writer,
    empty_log,
    explain,
    fault_of,
)
from runtara.store._sqlite_owner import OWNER_PID
from runtara.store._terms import Save

__all__ = ["SqliteWriter"]

T = TypeVar("T")


class SqliteWriter(SqlWriter):
    """Writes to an SQLite store; belongs to the thread that opened it.

    `owner` holds the store for as long as it is open; the writer closes it at its end.
    """

    def __init__(self, path: Path, limits: SqliteLimits, factory: type[Connection], owner: Connection) -> None:
        self._path = path
        self._log_path = path.with_name(f"{path.name}-wal")
        self._limits = limits
        self._factory = factory
        self._owner = owner
        self._closed = False
        self._log_checked_bytes = limits.wal_high_bytes
        self._numbers: Numbers = {}
        self._connection: Connection | None = self._connect()
        try:
            migrate(self._connection, path)
            with self._transaction() as cursor:
                cursor.execute(SQL["write_setting"], (OWNER_PID, str(os.getpid())))
        except Error as error:
            self._hang_up()
            raise explain(error, path) from error
        except BaseException:
            self._hang_up()
            raise

    @property
    def settled(self) -> bool:
        """Whether it is known of every commit what became of it: False from an I/O error until the recovery."""
        return self._connection is not None or self._closed

    def commit(self, saves: Sequence[Save]) -> list[bool]:
        """Store the batch in one transaction; True per save that was stored, False per version conflict.

        Raises `StoreUnavailable`, `StoreFull`, `Busy`, `OutcomeUnknown` or `StoreCorrupt`. An empty batch tells whether
        the store works.
        """
        with self._transaction() as cursor:
            batch = Batch(cursor, self._numbers)
            stored = [batch.add(save) for save in saves]
            batch.finish()
        return stored

    def record_heartbeats(self, beats: Sequence[tuple[InstanceKey, int]]) -> None:
        """Note when running instances were last heard of. Raises like `commit`."""
        with self._transaction() as cursor:
            cursor.executemany(SQL["record_heartbeat"], [(*key, instant) for key, instant in beats])

    def close(self) -> None:
        """Empty the log, close the file and give up the ownership; harmless when repeated."""
        self._closed = True
        if self._connection is not None:
            # The log survives where it cannot be emptied now, and nothing acknowledged is lost.
            with contextlib.suppress(Error):
                self._connection.execute(SQL["empty_log"])
        self._hang_up()
        self._owner.close()

    def _change(self, work: Callable[[Execute], T]) -> T:
        with self._transaction() as cursor:
            return work(lambda statement, names: cursor.execute(SQL[statement], names).fetchall())

    def _array(self, values: Sequence[object]) -> str:
        return array(values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """Commit what the block does, or nothing of it."""
        connection = self._ready()
        committing = False
        try:
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute(SQL["begin_write"])
                yield cursor
                committing = True
                cursor.execute(SQL["commit"])
        except Error as error:
            self._give_up(connection, stop=fault_of(error).stops)
            raise explain(error, self._path, at_commit=committing) from error
        except BaseException:
            self._give_up(connection, stop=False)
            raise

    def _ready(self) -> Connection:
        """Return a connection that can be trusted, with room in its log."""
        if self._closed:
            raise StoreUnavailable(f"the writer of {self._path} is closed: open another one")
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._bound_log(self._connection)
        except Error as error:
            self._give_up(self._connection, stop=fault_of(error).stops)
            raise explain(error, self._path) from error
        except OSError as error:
            self._give_up(self._connection, stop=True)
            raise StoreUnavailable(f"the log of {self._path} cannot be found: look at its folder ({error})") from error
        return self._connection

    def _connect(self) -> Connection:
        try:
            return connect_writer(self._path, self._limits, self._factory)
        except Error as error:
            raise explain(error, self._path) from error

    def _give_up(self, connection: Connection, *, stop: bool) -> None:
        """Forget the transaction; where that fails or the connection cannot be trusted any more, close it.

        The transaction ends before the connection: a connection of which somebody still holds a statement stays half
        open when it is closed, and would keep its locks.
        """
        self._numbers.clear()
        try:
            if connection.in_transaction:
                connection.execute(SQL["rollback"])
        except Error:
            stop = True
        if stop:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _bound_log(self, connection: Connection) -> None:
        """Insist on emptying a log that has grown large because some reader holds on to it.

        Raises `Busy` where that reader will not let go and the log is at its bound.
        """
        size = self._log_path.stat().st_size
        if size < self._log_checked_bytes:
            return
        connection.execute(SQL["set_patience"].format(milliseconds=self._limits.wal_patience_ms))
        emptied = empty_log(connection)
        connection.execute(SQL["set_patience"].format(milliseconds=self._limits.busy_timeout_ms))
        if emptied:
            self._log_checked_bytes = self._limits.wal_high_bytes
        elif size >= self._limits.wal_max_bytes:
            raise Busy(f"a reader holds the log of {self._path} at {size} bytes: close the program that reads it")
        else:
            self._log_checked_bytes = min(size + self._limits.wal_high_bytes, self._limits.wal_max_bytes)

"""The reader of an SQLite store: every look is one short read transaction, so that no reader holds up the writer."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from runtara.errors import RuntaraError, StoreCorrupt, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.records import Snapshot
from runtara.store._migrate import pending_migrations, schema_differences
from runtara.store._sql_reader import HISTORY, Row, SqlReader, snapshots_of
from runtara.store._sqlite_door import SQL, Cursor, Error, Fault, SqliteLimits, connect_reader, explain, fault_of
from runtara.store._terms import LoadError
from runtara.store._unshared import UnsharedReader

__all__ = ["SqliteReader"]

_KEYS_PER_QUERY: Final = 200


class SqliteReader(UnsharedReader, SqlReader):
    """Looks at an SQLite store; belongs to the thread that opened it.

    Every call may raise `StoreUnavailable` or `StoreCorrupt`.
    """

    PARAMETER = ":{}"

    def __init__(self, path: Path, limits: SqliteLimits) -> None:
        self._path = path
        try:
            self._connection = connect_reader(path, limits)
        except Error as error:
            raise explain(error, path) from error
        try:
            with self._looking():
                if pending_migrations(self._connection, path):
                    raise StoreUnavailable(f"the store {path} is not ready: open its writer first")
        except BaseException:
            self.close()
            raise

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Return what is stored about each instance; unknown ones are left out."""
        wanted = list(dict.fromkeys(keys))
        found: dict[InstanceKey, Snapshot | LoadError] = {}
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            found |= self._load_together(wanted[start : start + _KEYS_PER_QUERY])
        return found

    def verify(self) -> list[str]:
        """Check the file from end to end; return what is wrong, in words, or nothing."""
        problems = self._check_all("sqlite")
        try:
            with self._looking():
                problems += [f"the schema differs: {difference}" for difference in schema_differences(self._connection)]
        except RuntaraError as error:
            problems.append(str(error))
        return problems

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""
        self._connection.close()

    def _load_together(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Load a few instances with one query per table; one by one where the file holds text that nobody can read."""
        try:
            with self._looking() as cursor:
                return _hydrate(cursor, keys)
        except StoreCorrupt as error:
            cause = error.__cause__
            if not (isinstance(cause, Error) and fault_of(cause) is Fault.GARBLED):
                raise
            if len(keys) == 1:
                return {keys[0]: LoadError(str(error))}
        return {key: snapshot for one in keys for key, snapshot in self._load_together([one]).items()}

    def _rows(self, statement: str, parameters: Mapping[str, object], **filling: str) -> list[Row]:
        """Return all rows of a named statement."""
        text = SQL[statement].format(**filling) if filling else SQL[statement]
        with self._looking() as cursor:
            return cursor.execute(text, parameters).fetchall()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[Cursor]:
        """Turn SQLite's errors into ours, and leave neither a statement nor a transaction behind."""
        try:
            with contextlib.closing(self._connection.cursor()) as cursor:
                yield cursor
        except Error as error:
            raise explain(error, self._path) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute(SQL["rollback"])

    def _corrupt(self, error: Exception) -> StoreCorrupt:
        return StoreCorrupt(f"the store {self._path} holds what nobody can have written: {error}; restore a backup")


def _hydrate(cursor: Cursor, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
    execute = cursor.execute
    execute(SQL["begin_read"])
    rows = execute(SQL["load_instances"], [_json(keys)]).fetchall()
    numbers = [_json([row[0] for row in rows])]
    history = [execute(SQL[name], numbers).fetchall() for name in HISTORY]
    execute(SQL["commit"])
    return snapshots_of(rows, *history)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

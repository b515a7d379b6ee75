"""The reader of an SQLite store: every look is one short read transaction, so that no reader holds up the writer."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from runtara.errors import RuntaraError, StoreCorrupt, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import CheckpointInfo, CheckpointPage, EventPage, InstancePage, InstanceSummary
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Snapshot, Wait
from runtara.store import _cursors
from runtara.store._contract import DueInstance, LoadError, RunningInstance
from runtara.store._migrate import pending_migrations, schema_differences
from runtara.store._records import decode_row
from runtara.store._sqlite_door import SQL, Cursor, Error, Fault, SqliteLimits, connect_reader, explain, fault_of
from runtara.store._statements import load_statements

__all__ = ["SqliteReader"]

Record = TypeVar("Record", bound=msgspec.Struct)
Row = tuple[Any, ...]
"""What sqlite3 returns. Any, because the file decides what lies in a column; `decode_row` checks it."""

_KEYS_PER_QUERY: Final = 200
_PROBLEMS_PER_CHECK: Final = 100
_BEFORE_ALL: Final = DueInstance(-1, InstanceKey("", ""))


class SqliteReader:
    """Looks at an SQLite store; belongs to the thread that opened it.

    Every call may raise `StoreUnavailable` or `StoreCorrupt`.
    """

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

    def read_checkpoint(self, key: InstanceKey, checkpoint_id: str) -> Checkpoint | None:
        """Return one checkpoint with its state."""
        return self._record(Checkpoint, "read_checkpoint", [*key, checkpoint_id])

    def read_signal(self, key: InstanceKey, signal_id: str) -> Signal | None:
        """Return one signal with its payload."""
        return self._record(Signal, "read_signal", [*key, signal_id])

    def read_input(self, key: InstanceKey) -> bytes | None:
        """Return the instance's input."""
        return next((row[0] for row in self._rows("read_input", key)), None)

    def read_env(self, key: InstanceKey) -> dict[str, str]:
        """Return the environment variables of the instance's program."""
        text = next((row[0] for row in self._rows("read_env", key)), "{}")
        try:
            return msgspec.json.decode(text, type=dict[str, str])
        except msgspec.DecodeError as error:
            raise self._corrupt(error) from None

    def read_output(self, key: InstanceKey) -> bytes | None:
        """Return the instance's output."""
        return next((row[0] for row in self._rows("read_output", key)), None)

    def read_retries(self, key: InstanceKey, checkpoint_id: str) -> list[Retry]:
        """Return the recorded failures of one step, by attempt."""
        return list(self._records(Retry, "read_retries", [*key, checkpoint_id]))

    def list_due(self, until_ms: int, limit: int, after: DueInstance | None = None) -> list[DueInstance]:
        """Return pending and suspended instances with `wake_at` <= `until_ms` that have a program, earliest first."""
        behind = after or _BEFORE_ALL
        names = {"until_ms": until_ms, "wake_at": behind.wake_at, "limit": _cursors.check_limit(limit)}
        rows = self._rows("list_due", names | behind.key._asdict())
        return [DueInstance(wake_at, InstanceKey(*key)) for wake_at, *key in rows]

    def list_running(self, limit: int, after: InstanceKey | None = None) -> list[RunningInstance]:
        """Return running instances by key; `after` continues behind an earlier page."""
        names = {"limit": _cursors.check_limit(limit)} | (after or _BEFORE_ALL.key)._asdict()
        rows = self._rows("list_running", names)
        return [RunningInstance(InstanceKey(*row[:2]), *row[2:]) for row in rows]

    def list_instances(self, tenant_id: str, status: Status | None, limit: int, cursor: str | None) -> InstancePage:
        """Page through one tenant's instances by id."""
        statement = "list_instances_by_status" if status else "list_instances"
        names = {"tenant_id": tenant_id, "status": status, "after": _cursors.id_of_cursor(cursor)}
        found = self._records(InstanceSummary, statement, names | {"limit": _cursors.check_limit(limit) + 1})
        page, more = _cursors.page_of(found, limit)
        return InstancePage(instances=page, cursor=_cursors.cursor_of_id(page[-1].instance_id) if more else None)

    def list_checkpoints(self, key: InstanceKey, limit: int, cursor: str | None) -> CheckpointPage:
        """Page through an instance's checkpoints in the order in which they were saved."""
        names = {"after": _cursors.seq_of_cursor(cursor), "limit": _cursors.check_limit(limit) + 1}
        page, more = _cursors.page_of(self._rows("list_checkpoints", names | key._asdict()), limit)
        checkpoints = tuple(self._decode(CheckpointInfo, row[1:]) for row in page)
        return CheckpointPage(checkpoints=checkpoints, cursor=_cursors.cursor_of_seq(page[-1][0]) if more else None)

    def list_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events in the order in which they were stored."""
        names = {"type": type_, "subtype": subtype, "after": _cursors.seq_of_cursor(cursor)}
        found = self._records(Event, "list_events", names | key._asdict() | {"limit": _cursors.check_limit(limit) + 1})
        page, more = _cursors.page_of(found, limit)
        return EventPage(events=page, cursor=_cursors.cursor_of_seq(page[-1].seq) if more else None)

    def count_by_status(self) -> dict[Status, int]:
        """Return how many instances of all tenants stand where; statuses without any are left out."""
        rows = self._rows("count_by_status")
        try:
            return {Status(status): count for status, count in rows}
        except ValueError as error:
            raise self._corrupt(error) from None

    def verify(self) -> list[str]:
        """Check the file from end to end; return what is wrong, in words, or nothing."""
        problems = []
        for name, statement in load_statements("sqlite").items():
            if name.startswith("verify_"):
                problems += self._check(name, statement.sentence)
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

    def _record(self, kind: type[Record], statement: str, parameters: Sequence[object]) -> Record | None:
        return next(iter(self._records(kind, statement, parameters)), None)

    def _records(
        self, kind: type[Record], statement: str, parameters: Sequence[object] | Mapping[str, object]
    ) -> tuple[Record, ...]:
        return tuple(self._decode(kind, row) for row in self._rows(statement, parameters))

    def _decode(self, kind: type[Record], row: Row) -> Record:
        try:
            return decode_row(kind, row)
        except LoadError as error:
            raise self._corrupt(error) from None

    def _rows(self, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        with self._looking() as cursor:
            return cursor.execute(SQL[statement], parameters).fetchall()

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

    def _check(self, name: str, sentence: str) -> list[str]:
        try:
            with self._looking() as cursor:
                rows = cursor.execute(SQL[name]).fetchmany(_PROBLEMS_PER_CHECK)
        except RuntaraError as error:
            return [f"not known whether {sentence}: {error}"]
        return [f"{sentence}: {problem}" for (problem,) in rows]

    def _corrupt(self, error: Exception) -> StoreCorrupt:
        return StoreCorrupt(f"the store {self._path} holds what nobody can have written: {error}; restore a backup")


def _hydrate(cursor: Cursor, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
    execute = cursor.execute
    execute(SQL["begin_read"])
    rows = execute(SQL["load_instances"], [_json(keys)]).fetchall()
    numbers = [_json([row[0] for row in rows])]
    checkpoint_ids = _ids_by_number(execute(SQL["load_checkpoint_ids"], numbers))
    signal_ids = _ids_by_number(execute(SQL["load_signal_ids"], numbers))
    signals = _rows_by_number(execute(SQL["load_signals"], numbers))
    waits = _rows_by_number(execute(SQL["load_waits"], numbers))
    execute(SQL["commit"])
    found: dict[InstanceKey, Snapshot | LoadError] = {}
    for number, *row in rows:
        key = InstanceKey(row[0], row[1])
        try:
            found[key] = Snapshot(
                instance=decode_row(Instance, row),
                checkpoint_ids=tuple(checkpoint_ids.get(number, ())),
                signals=tuple(decode_row(Signal, signal) for signal in signals.get(number, ())),
                signal_ids=tuple(signal_ids.get(number, ())),
                waits=tuple(decode_row(Wait, wait) for wait in waits.get(number, ())),
            )
        except LoadError as error:
            found[key] = error
    return found


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _ids_by_number(rows: Iterable[Row]) -> Mapping[int, list[str]]:
    """Group ids by the instance number before them."""
    grouped: dict[int, list[str]] = defaultdict(list)
    for number, id_ in rows:
        grouped[number].append(id_)
    return grouped


def _rows_by_number(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    """Group rows by the instance number in their first column, which is left away."""
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row[0]].append(row[1:])
    return grouped

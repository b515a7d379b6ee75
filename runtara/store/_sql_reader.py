"""What readers of a database have in common: each look is a named statement, and its rows become records.

A subclass runs the statements of its database (`_rows`), loads instances, and says what is wrong with what it found.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from runtara.decoders import decode_json
from runtara.errors import RuntaraError
from runtara.ids import ImageRef, InstanceKey
from runtara.messages import (
    CheckpointInfo,
    CheckpointPage,
    EventPage,
    ImagePage,
    ImageVersionPage,
    SchedulePage,
)
from runtara.records import Checkpoint, Event, Image, ImageVersion, Instance, Retry, Schedule, Signal, Snapshot, Wait
from runtara.store import _cursors
from runtara.store._records import decode_row
from runtara.store._sql_lists import Row, SqlLists
from runtara.store._statements import load_statements
from runtara.store._steps import StepsReader
from runtara.store._terms import LONGEST_BYTES, NOBODY, Barred, DueInstance, LoadError, RunningInstance

__all__ = ["HISTORY", "Row", "SqlReader", "snapshots_of"]

Record = TypeVar("Record", bound=msgspec.Struct)

HISTORY: Final = ("load_checkpoint_ids", "load_signal_ids", "load_signals", "load_waits")
"""The statements that load what belongs to instances, in the order in which `snapshots_of` takes their rows."""

_PROBLEMS_PER_CHECK: Final = 100
_BEHIND_ALL: Final = 2**62
_BEFORE_ALL: Final = DueInstance(-1, InstanceKey("", ""))


class SqlReader(SqlLists, StepsReader):
    """Looks at a database. Every call may raise `StoreUnavailable` or `StoreCorrupt`."""

    def read_checkpoint(self, key: InstanceKey, checkpoint_id: str, longest: int = LONGEST_BYTES) -> Checkpoint | None:
        """Return one checkpoint with its state; None, too, where that has more bytes than `longest`."""
        wanted = {"checkpoint_id": checkpoint_id, "longest": longest}
        return self._record(Checkpoint, "read_checkpoint", key._asdict() | wanted)

    def read_signal(self, key: InstanceKey, signal_id: str) -> Signal | None:
        """Return one signal with its payload."""
        return self._record(Signal, "read_signal", key._asdict() | {"signal_id": signal_id})

    def read_input(self, key: InstanceKey) -> bytes | None:
        """Return the instance's input."""
        return next((row[0] for row in self._rows("read_input", key._asdict())), None)

    def read_env(self, key: InstanceKey) -> dict[str, str]:
        """Return the environment variables of the instance's program."""
        text = next((row[0] for row in self._rows("read_env", key._asdict())), "{}")
        try:
            return decode_json(text, dict[str, str])
        except msgspec.DecodeError as error:
            raise self._corrupt(error) from None

    def read_output(self, key: InstanceKey) -> bytes | None:
        """Return the instance's output."""
        return next((row[0] for row in self._rows("read_output", key._asdict())), None)

    def read_retries(self, key: InstanceKey, checkpoint_id: str) -> list[Retry]:
        """Return the recorded failures of one step, by attempt."""
        return list(self._records(Retry, "read_retries", key._asdict() | {"checkpoint_id": checkpoint_id}))

    def list_due(
        self, until_ms: int, limit: int, after: DueInstance | None = None, barred: Barred = NOBODY
    ) -> list[DueInstance]:
        """Return pending and suspended instances with `wake_at` <= `until_ms` that have a program, earliest first."""
        behind = after or _BEFORE_ALL
        passed_over = barred._asdict() | {"pools": barred.pool_names()}
        names = {name: msgspec.json.encode(found).decode() for name, found in passed_over.items()}
        bounds = {"until_ms": until_ms, "wake_at": behind.wake_at, "limit": _cursors.check_limit(limit)}
        rows = self._rows("list_due", {**names, **bounds, **behind.key._asdict()})
        return [DueInstance(row[0], InstanceKey(*row[1:3]), *row[3:]) for row in rows]

    def list_running(self, limit: int, after: InstanceKey | None = None) -> list[RunningInstance]:
        """Return running instances by key; `after` continues behind an earlier page."""
        names = {"limit": _cursors.check_limit(limit)} | (after or _BEFORE_ALL.key)._asdict()
        rows = self._rows("list_running", names)
        return [RunningInstance(InstanceKey(*row[:2]), *row[2:]) for row in rows]

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
        return self._page_of_events("list_events", names | key._asdict(), limit)

    def list_newest_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events, the last one first."""
        names = {"type": type_, "subtype": subtype, "before": _cursors.seq_of_cursor(cursor) or _BEHIND_ALL}
        return self._page_of_events("list_newest_events", names | key._asdict(), limit)

    def read_image(self, tenant_id: str, name_or_id: str) -> Image | None:
        """Return an image by its id or name."""
        return self._record(Image, "read_image", {"tenant_id": tenant_id, "name_or_id": name_or_id})

    def read_image_version(self, tenant_id: str, ref: ImageRef) -> ImageVersion | None:
        """Return one version of an image, deleted or not."""
        return self._record(ImageVersion, "read_image_version", {"tenant_id": tenant_id, **ref._asdict()})

    def list_images(self, tenant_id: str, limit: int, cursor: str | None) -> ImagePage:
        """Page through a tenant's images by name."""
        page, more = self._page_by_name(Image, "list_images", tenant_id, limit, cursor)
        return ImagePage(images=page, cursor=_cursors.cursor_of_id(page[-1].name) if more else None)

    def list_image_versions(self, tenant_id: str, image_id: str, limit: int, cursor: str | None) -> ImageVersionPage:
        """Page through the versions of an image, newest first."""
        names = {"tenant_id": tenant_id, "image_id": image_id, "before": _cursors.seq_of_cursor(cursor) or _BEHIND_ALL}
        found = self._records(ImageVersion, "list_image_versions", names | {"limit": _cursors.check_limit(limit) + 1})
        page, more = _cursors.page_of(found, limit)
        return ImageVersionPage(versions=page, cursor=_cursors.cursor_of_seq(page[-1].version) if more else None)

    def list_digests(self, limit: int, after: str) -> list[str]:
        """Return the digests of all versions, each once, in order."""
        rows = self._rows("list_digests", {"after": after, "limit": _cursors.check_limit(limit)})
        return [digest for (digest,) in rows]

    def read_schedule(self, tenant_id: str, name: str) -> Schedule | None:
        """Return a schedule."""
        return self._record(Schedule, "read_schedule", {"tenant_id": tenant_id, "name": name})

    def list_schedules(self, tenant_id: str, limit: int, cursor: str | None) -> SchedulePage:
        """Page through a tenant's schedules by name."""
        page, more = self._page_by_name(Schedule, "list_schedules", tenant_id, limit, cursor)
        return SchedulePage(schedules=page, cursor=_cursors.cursor_of_id(page[-1].name) if more else None)

    def list_due_schedules(self, until_ms: int, limit: int) -> list[Schedule]:
        """Return the schedules of all tenants whose next start is not after an instant, earliest first."""
        names = {"until_ms": until_ms, "limit": _cursors.check_limit(limit)}
        return list(self._records(Schedule, "list_due_schedules", names))

    def next_schedule_at(self) -> int | None:
        """Return the earliest next start of all schedules."""
        ((instant,),) = self._rows("next_schedule_at", {})
        return None if instant is None else int(instant)

    def _check_all(self, database: str) -> list[str]:
        """Run every check that is a statement; return what is wrong, in words."""
        problems = []
        for name, statement in load_statements(database).items():
            if name.startswith("verify_"):
                problems += self._check(name, statement.sentence)
        return problems

    def _check(self, name: str, sentence: str) -> list[str]:
        try:
            rows = self._rows(name, {})[:_PROBLEMS_PER_CHECK]
        except RuntaraError as error:
            return [f"not known whether {sentence}: {error}"]
        return [f"{sentence}: {problem}" for (problem,) in rows]

    def _page_of_events(self, statement: str, names: Mapping[str, object], limit: int) -> EventPage:
        found = self._records(Event, statement, {**names, "limit": _cursors.check_limit(limit) + 1})
        page, more = _cursors.page_of(found, limit)
        return EventPage(events=page, cursor=_cursors.cursor_of_seq(page[-1].seq) if more else None)

    def _page_by_name(
        self, kind: type[Record], statement: str, tenant_id: str, limit: int, cursor: str | None
    ) -> tuple[tuple[Record, ...], bool]:
        names = {"tenant_id": tenant_id, "after": _cursors.id_of_cursor(cursor)}
        found = self._records(kind, statement, names | {"limit": _cursors.check_limit(limit) + 1})
        return _cursors.page_of(found, limit)

    def _record(self, kind: type[Record], statement: str, parameters: Mapping[str, object]) -> Record | None:
        return next(iter(self._records(kind, statement, parameters)), None)

    def _records(self, kind: type[Record], statement: str, parameters: Mapping[str, object]) -> tuple[Record, ...]:
        return tuple(self._decode(kind, row) for row in self._rows(statement, parameters))

    def _decode(self, kind: type[Record], row: Row) -> Record:
        try:
            return decode_row(kind, row)
        except LoadError as error:
            raise self._corrupt(error) from None


def snapshots_of(
    rows: Sequence[Row],
    checkpoint_ids: Iterable[Row],
    signal_ids: Iterable[Row],
    signals: Iterable[Row],
    waits: Iterable[Row],
) -> dict[InstanceKey, Snapshot | LoadError]:
    """Return the snapshot of every instance: its row behind its number, and what belongs to it behind that number.

    Where one cannot be understood, its place is taken by the reason.
    """
    checkpoints_of, signal_ids_of = _ids_by_number(checkpoint_ids), _ids_by_number(signal_ids)
    signals_of, waits_of = _rows_by_number(signals), _rows_by_number(waits)
    found: dict[InstanceKey, Snapshot | LoadError] = {}
    for number, *row in rows:
        key = InstanceKey(row[0], row[1])
        try:
            found[key] = Snapshot(
                instance=decode_row(Instance, row),
                checkpoint_ids=tuple(checkpoints_of.get(number, ())),
                signals=tuple(decode_row(Signal, signal) for signal in signals_of.get(number, ())),
                signal_ids=tuple(signal_ids_of.get(number, ())),
                waits=tuple(decode_row(Wait, wait) for wait in waits_of.get(number, ())),
            )
        except LoadError as error:
            found[key] = error
    return found


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

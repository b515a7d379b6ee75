"""What an instance has done, as steps: joined from its checkpoints, waits, failed tries and the events of its program.

Each of these comes in an order of its own; the steps are all of them by when they began. A cursor holds a place in
each. A step that a program says itself has two events, its start and its end. They belong together by the ids of step
and scope: a start takes the first such end behind it that no earlier start of the page has taken.
"""

from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from runtara.decoders import decode_json, json_decoder
from runtara.errors import InvalidInput
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL
from runtara.messages import (
    CheckpointInfo,
    CheckpointPage,
    EventPage,
    InstanceFilter,
    InstanceOrder,
    InstancePage,
    InstanceSummary,
    Step,
    StepPage,
    StepStatus,
)
from runtara.records import Event, Retry, Wait
from runtara.store import _cursors

__all__ = ["LOOKED_AT_MAX", "StepsReader"]

T = TypeVar("T")

LOOKED_AT_MAX: Final = 10_000
"""Most steps that are looked at for one page, and most ends of steps."""

_CHUNK: Final = 250
"""Rows of a kind that are read at once."""

_MARK: Final = "steps"

_TEXT: Final = json_decoder(str | None)
_STARTED, _ENDED = "step_debug_start", "step_debug_end"
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class _Places(msgspec.Struct, array_like=True):
    """How far a list has come in each of its sources."""

    checkpoints: tuple[str | None, _Count] = (None, 0)
    """A page, and how many of its rows are behind us."""
    waits: _Count = 0
    """Number of the last one."""
    retries: _Count = 0
    """How many are behind us."""
    starts: _Count = 0
    """Place in the log of the last one."""


class StepsReader:
    """Part of a reader: what it needs beside itself are the lists of the parts."""

    def list_checkpoints(self, key: InstanceKey, limit: int, cursor: str | None) -> CheckpointPage:
        """Page through an instance's checkpoints in the order in which they were saved."""
        raise AssertionError(f"{type(self).__name__} cannot list the checkpoints of {key}")

    def list_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events in the order in which they were stored."""
        raise AssertionError(f"{type(self).__name__} cannot list the events of {key}")

    def list_waits(self, key: InstanceKey, limit: int, after: int) -> list[tuple[int, Wait]]:
        """Return an instance's waits behind a row, each with its row's number."""
        raise AssertionError(f"{type(self).__name__} cannot list the waits of {key}")

    def list_retries(self, key: InstanceKey, limit: int, skipped: int) -> list[Retry]:
        """Return an instance's failed tries as they were recorded, without the first `skipped`."""
        raise AssertionError(f"{type(self).__name__} cannot list the retries of {key}")

    def find_instances(
        self, tenant_id: str, wanted: InstanceFilter, order: InstanceOrder, limit: int, cursor: str | None
    ) -> InstancePage:
        """Page through those of a tenant's instances that a filter lets through."""
        raise AssertionError(f"{type(self).__name__} cannot find the instances of {tenant_id}")

    def list_steps(
        self, key: InstanceKey, status: StepStatus | None, step_type: str | None, limit: int, cursor: str | None
    ) -> StepPage:
        """Page through an instance's steps by when they began."""
        _cursors.check_limit(limit)
        steps = _Steps(self, key, _places_of(cursor))
        found: list[Step] = []
        for _ in range(LOOKED_AT_MAX):
            step = steps.take()
            if step is None:
                return StepPage(steps=tuple(found))
            if status in (None, step.status) and step_type in (None, step.type):
                found.append(step)
            if len(found) == limit:
                break
        more = steps.next_source() is not None
        return StepPage(steps=tuple(found), cursor=_cursor_of(steps.places()) if more else None)


class _Source(Generic[T]):
    """One kind of rows, read as far as they are needed. `read` returns rows behind a place, each with its own place."""

    def __init__(self, read: Callable[[Any], list[tuple[T, Any]]], at: Callable[[T], int], place: Any) -> None:
        self.place = place
        self._read = read
        self._at = at
        self._rows: deque[tuple[T, Any]] = deque()

    def next_at(self) -> int | None:
        """Return when the next row began; None where there is none."""
        if not self._rows:
            self._rows.extend(self._read(self.place))
        return self._at(self._rows[0][0]) if self._rows else None

    def take(self) -> T:
        """Return the next row, which there must be."""
        row, self.place = self._rows.popleft()
        return row


class _Steps:
    """The steps of one instance, from a place on."""

    def __init__(self, reader: StepsReader, key: InstanceKey, places: _Places) -> None:
        self._reader = reader
        self._key = key
        self._checkpoints = _Source(self._read_checkpoints, lambda row: row.created_at, places.checkpoints)
        self._waits = _Source(self._read_waits, lambda row: row.started_at, places.waits)
        self._retries = _Source(self._read_retries, lambda row: row.recorded_at, places.retries)
        self._starts = _Source(self._read_starts, lambda row: row[0].created_at, places.starts)
        self._sources: Final[list[tuple[_Source[Any], Callable[[Any], Step]]]] = [
            (self._checkpoints, self._of_checkpoint),
            (self._waits, _of_wait),
            (self._retries, _of_retry),
            (self._starts, self._of_start),
        ]
        self._ends = _Ends(reader, key)
        self._summary: InstanceSummary | None = None

    def places(self) -> _Places:
        """Return how far the list has come."""
        return _Places(self._checkpoints.place, self._waits.place, self._retries.place, self._starts.place)

    def next_source(self) -> int | None:
        """Return the number of the source whose next row began first; None where there are no more."""
        begun = [
            (at, number) for number, (source, _) in enumerate(self._sources) if (at := source.next_at()) is not None
        ]
        return min(begun)[1] if begun else None

    def take(self) -> Step | None:
        """Return the next step, or None."""
        number = self.next_source()
        if number is None:
            return None
        source, make = self._sources[number]
        return make(source.take())

    def _read_checkpoints(self, place: tuple[str | None, int]) -> list[tuple[CheckpointInfo, Any]]:
        cursor, done = place
        page = self._reader.list_checkpoints(self._key, _CHUNK, cursor)
        rows: list[tuple[CheckpointInfo, Any]] = [
            (row, (cursor, number)) for number, row in enumerate(page.checkpoints, 1) if number > done
        ]
        if rows and page.cursor is not None:
            rows[-1] = rows[-1][0], (page.cursor, 0)
        return rows

    def _read_waits(self, place: int) -> list[tuple[Wait, int]]:
        return [(wait, number) for number, wait in self._reader.list_waits(self._key, _CHUNK, place)]

    def _read_retries(self, place: int) -> list[tuple[Retry, int]]:
        return list(zip(self._reader.list_retries(self._key, _CHUNK, place), range(place + 1, 2**62), strict=False))

    def _read_starts(self, place: int) -> list[tuple[tuple[Event, dict[str, bytes]], int]]:
        """Return what begins a step; what no step can be read from is passed over."""
        while events := self._reader.list_events(
            self._key, "custom", _STARTED, _CHUNK, _cursors.cursor_of_seq(place)
        ).events:
            rows = [((event, said), event.seq) for event in events if (said := _said(event))]
            if rows:
                return rows
            place = events[-1].seq
        return []

    def _of_checkpoint(self, row: CheckpointInfo) -> Step:
        is_sleep = row.wake_at is not None
        running = is_sleep and self._may_still_sleep()
        end = None if running else row.wake_at or row.created_at
        return Step(
            step_id=row.checkpoint_id,
            type="sleep" if is_sleep else "checkpoint",
            status="running" if running else "completed",
            started_at=row.created_at,
            completed_at=end,
            duration_ms=_span(row.created_at, end),
            epoch=row.epoch,
            wake_at=row.wake_at,
        )

    def _may_still_sleep(self) -> bool:
        """Whether no checkpoint follows the one that was just taken, and the instance goes on."""
        if self._checkpoints.next_at() is not None:
            return False
        if self._summary is None:
            only = InstanceFilter(prefix=self._key.instance_id)
            page = self._reader.find_instances(self._key.tenant_id, only, "id", 1, None)
            self._summary = page.instances[0] if page.instances else None
        return self._summary is not None and self._summary.status not in FINAL

    def _of_start(self, row: tuple[Event, dict[str, bytes]]) -> Step:
        event, said = row
        end = self._ends.take(event.seq, _ids(said))
        ended = {} if end is None else _said(end)
        error = ended.get("error", b"null")
        failed = error != b"null"
        return Step(
            step_id=_text(said, "step_id") or "",
            type=_text(said, "step_type") or "step",
            status="running" if end is None else "failed" if failed else "completed",
            started_at=event.created_at,
            name=_text(said, "step_name"),
            completed_at=None if end is None else end.created_at,
            duration_ms=None if end is None else _span(event.created_at, end.created_at),
            epoch=event.epoch,
            scope_id=_text(said, "scope_id"),
            parent_scope_id=_text(said, "parent_scope_id"),
            inputs=_json(said, "inputs"),
            outputs=_json(ended, "outputs"),
            error=(_text(ended, "error") or _json(ended, "error")) if failed else None,
        )


class _Ends:
    """The ends of steps that a program has said, read as far as they are needed, and those that nobody has taken."""

    def __init__(self, reader: StepsReader, key: InstanceKey) -> None:
        self._reader = reader
        self._key = key
        self._left: dict[tuple[str | None, str | None], deque[Event]] = {}
        self._cursor: str | None = None
        self._is_read = False
        self._looked_at = 0

    def take(self, start: int, ids: tuple[str | None, str | None]) -> Event | None:
        """Return the first end of a step behind its start; None where it goes on."""
        if self._cursor is None:
            self._cursor = _cursors.cursor_of_seq(start)
        while True:
            left = self._left.get(ids, ())
            while left and left[0].seq < start:
                left.popleft()
            if left:
                return left.popleft()
            if self._is_read or self._looked_at >= LOOKED_AT_MAX:
                return None
            self._read()

    def _read(self) -> None:
        page = self._reader.list_events(self._key, "custom", _ENDED, _CHUNK, self._cursor)
        for event in page.events:
            self._left.setdefault(_ids(_said(event)), deque()).append(event)
        self._looked_at += len(page.events)
        self._is_read = page.cursor is None
        self._cursor = page.cursor or self._cursor


def _of_wait(row: Wait) -> Step:
    return Step(
        step_id=row.place,
        type="signal",
        status="running" if row.ended_at is None else "completed",
        started_at=row.started_at,
        name=row.name,
        completed_at=row.ended_at,
        duration_ms=_span(row.started_at, row.ended_at),
        wake_at=row.deadline_at,
        signal_id=row.signal_id,
    )


def _of_retry(row: Retry) -> Step:
    return Step(
        step_id=row.checkpoint_id,
        type="retry",
        status="failed",
        started_at=row.recorded_at,
        completed_at=row.recorded_at,
        duration_ms=0,
        error=row.error,
        attempt=row.attempt,
        wake_at=row.retry_at,
    )


# What a program says --------------------------------------------------------------------------------------------------


def _said(event: Event) -> dict[str, bytes]:
    """Return the fields of a payload, each as JSON; none where it is no JSON object that names a step."""
    try:
        fields = decode_json(event.payload or b"", dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    said = {name: bytes(value) for name, value in fields.items()}
    return said if _text(said, "step_id") else {}


def _ids(said: dict[str, bytes]) -> tuple[str | None, str | None]:
    return _text(said, "step_id"), _text(said, "scope_id")


def _text(said: dict[str, bytes], name: str) -> str | None:
    """Return a field that is text."""
    try:
        text: str | None = _TEXT.decode(said.get(name, b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return text


def _json(said: dict[str, bytes], name: str) -> str | None:
    return said[name].decode(errors="replace") if said.get(name, b"null") != b"null" else None


def _span(began: int, ended: int | None) -> int | None:
    return None if ended is None else max(ended - began, 0)


# Cursors --------------------------------------------------------------------------------------------------------------


def _cursor_of(places: _Places) -> str:
    return _cursors.cursor_of_text(msgspec.json.encode(places).decode(), _MARK)


def _places_of(cursor: str | None) -> _Places:
    if cursor is None:
        return _Places()
    try:
        return decode_json(_cursors.text_of_cursor(cursor, _MARK), _Places)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidInput(
            f"the cursor {cursor[:100]!a} is not one of this list: begin again without a cursor"
        ) from None

"""The reader of a store in memory."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from runtara.ids import InstanceKey, is_pooled
from runtara.lifecycle import Status
from runtara.messages import CheckpointInfo, CheckpointPage, EventPage
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Snapshot
from runtara.store import _cursors
from runtara.store._memory_catalog import CatalogReader
from runtara.store._memory_lists import MemoryLists
from runtara.store._memory_tables import History, Tables
from runtara.store._terms import LONGEST_BYTES, NOBODY, Barred, DueInstance, LoadError, RunningInstance
from runtara.store._unshared import UnsharedReader

__all__ = ["MemoryReader"]


class MemoryReader(CatalogReader, MemoryLists, UnsharedReader):
    """Looks at a store in memory."""

    def __init__(self, tables: Tables) -> None:
        self._histories = tables.histories
        self._tables = tables

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Return what is stored about each instance; unknown ones are left out."""
        return {key: _snapshot(self._histories[key]) for key in keys if key in self._histories}

    def read_checkpoint(self, key: InstanceKey, checkpoint_id: str, longest: int = LONGEST_BYTES) -> Checkpoint | None:
        """Return one checkpoint with its state; None, too, where that has more bytes than `longest`."""
        history = self._histories.get(key)
        found = history and history.checkpoints.get(checkpoint_id)
        return found[1] if found and len(found[1].state) <= longest else None

    def read_signal(self, key: InstanceKey, signal_id: str) -> Signal | None:
        """Return one signal with its payload."""
        history = self._histories.get(key)
        return history.signals.get(signal_id) if history else None

    def read_input(self, key: InstanceKey) -> bytes | None:
        """Return the instance's input."""
        history = self._histories.get(key)
        return history.input if history else None

    def read_env(self, key: InstanceKey) -> dict[str, str]:
        """Return the environment variables of the instance's program."""
        history = self._histories.get(key)
        return dict(history.env) if history else {}

    def read_output(self, key: InstanceKey) -> bytes | None:
        """Return the instance's output."""
        history = self._histories.get(key)
        return history.output if history else None

    def read_retries(self, key: InstanceKey, checkpoint_id: str) -> list[Retry]:
        """Return the recorded failures of one step, by attempt."""
        history = self._histories.get(key)
        retries = history.retries.values() if history else ()
        return sorted((retry for retry in retries if retry.checkpoint_id == checkpoint_id), key=lambda r: r.attempt)

    def list_due(
        self, until_ms: int, limit: int, after: DueInstance | None = None, barred: Barred = NOBODY
    ) -> list[DueInstance]:
        """Return pending and suspended instances with `wake_at` <= `until_ms` that have a program, earliest first."""
        due = (
            DueInstance(history.instance.wake_at, key, history.instance.priority, history.instance.program)
            for key, history in self._histories.items()
            if history.instance.wake_at is not None
            and history.instance.wake_at <= until_ms
            and history.instance.program is not None
            and _is_let_through(key, history.instance.program, barred)
            and history.instance.status in (Status.PENDING, Status.SUSPENDED)
        )
        return heapq.nsmallest(_cursors.check_limit(limit), (row for row in due if after is None or row > after))

    def list_running(self, limit: int, after: InstanceKey | None = None) -> list[RunningInstance]:
        """Return running instances by key; `after` continues behind an earlier page."""
        keys = (
            key
            for key, history in self._histories.items()
            if history.instance.status is Status.RUNNING and (after is None or key > after)
        )
        page = heapq.nsmallest(_cursors.check_limit(limit), keys)
        found = ((key, self._histories[key].instance) for key in page)
        return [RunningInstance(key, row.epoch, row.program, _timeout_at(row), row.claimed_epoch) for key, row in found]

    def list_checkpoints(self, key: InstanceKey, limit: int, cursor: str | None) -> CheckpointPage:
        """Page through an instance's checkpoints in the order in which they were saved."""
        after, _ = _cursors.seq_of_cursor(cursor), _cursors.check_limit(limit)
        history = self._histories.get(key)
        rows = [row for row in history.checkpoints.values() if row[0] > after] if history else []
        page, more = _cursors.page_of(rows, limit)
        infos = tuple(_info(checkpoint) for _, checkpoint in page)
        return CheckpointPage(checkpoints=infos, cursor=_cursors.cursor_of_seq(page[-1][0]) if more else None)

    def list_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events in the order in which they were stored."""
        after, history = _cursors.seq_of_cursor(cursor), self._histories.get(key)
        events = history.events if history else []
        return _page_of((event for event in events if event.seq > after), type_, subtype, limit)

    def list_newest_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events, the last one first."""
        before, history = _cursors.seq_of_cursor(cursor), self._histories.get(key)
        events = reversed(history.events if history else [])
        return _page_of((event for event in events if not before or event.seq < before), type_, subtype, limit)

    def verify(self) -> list[str]:
        """Return nothing: there is no file that could be damaged."""
        return []

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def _snapshot(history: History) -> Snapshot:
    signals = sorted(history.signals.values(), key=lambda signal: signal.seq)
    return Snapshot(
        instance=history.instance,
        checkpoint_ids=tuple(history.checkpoints),
        signals=tuple(signal for signal in signals if signal.acknowledged_at is None),
        signal_ids=tuple(signal.signal_id for signal in signals),
        waits=tuple(history.waits.values()),
    )


def _page_of(events: Iterable[Event], type_: str | None, subtype: str | None, limit: int) -> EventPage:
    """Return the first events of one type and subtype, where these are given."""
    wanted = (event for event in events if type_ in (None, event.type) and subtype in (None, event.subtype))
    page, more = _cursors.page_of(list(islice(wanted, _cursors.check_limit(limit) + 1)), limit)
    return EventPage(events=page, cursor=_cursors.cursor_of_seq(page[-1].seq) if more else None)


def _timeout_at(instance: Instance) -> int | None:
    if instance.timeout_ms is None or instance.claimed_at is None:
        return None
    return instance.claimed_at + instance.timeout_ms - instance.ran_ms


def _info(checkpoint: Checkpoint) -> CheckpointInfo:
    return CheckpointInfo(
        checkpoint_id=checkpoint.checkpoint_id,
        epoch=checkpoint.epoch,
        created_at=checkpoint.created_at,
        size=len(checkpoint.state),
        wake_at=checkpoint.wake_at,
    )


def _is_let_through(key: InstanceKey, program: str, barred: Barred) -> bool:
    if key.tenant_id in barred.tenants or program in barred.programs:
        return False
    if is_pooled(program):
        return barred.pools is None or (key.tenant_id, program) in barred.pools
    return not barred.only_pools

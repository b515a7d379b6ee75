"""A store in memory: the same promises as the others, but for what outlives the process."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from runtara.errors import Internal, StoreInUse, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.messages import CheckpointInfo, CheckpointPage, EventPage, InstancePage, InstanceSummary
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Snapshot, Wait
from runtara.store import _cursors
from runtara.store._contract import DueInstance, LoadError, RunningInstance, Save
from runtara.store._unshared import Unshared, UnsharedReader

__all__ = ["MemoryStore"]

T = TypeVar("T")


class MemoryStore(Unshared):
    """Keeps instances in dictionaries for as long as this object lives. Its writer and readers are for one thread."""

    inline = True
    url = "memory://"

    def __init__(self) -> None:
        self._tables = _Tables()
        self._writer: MemoryWriter | None = None

    def open_writer(self) -> "MemoryWriter":
        """Return the writer. Raises `StoreInUse` while an earlier one is open."""
        if self._writer is not None and not self._writer.closed:
            raise StoreInUse("the store in memory has a writer already: close it first")
        self._writer = MemoryWriter(self._tables)
        return self._writer

    def open_reader(self) -> "MemoryReader":
        """Return a new reader."""
        return MemoryReader(self._tables)


class _History:
    """All that is stored about one instance."""

    def __init__(self, save: Save) -> None:
        self.instance = save.instance
        self.input = save.input
        self.env = dict(save.env)
        self.output: bytes | None = None
        self.checkpoints: dict[str, tuple[int, Checkpoint]] = {}
        self.events: list[Event] = []
        self.requests: set[tuple[int, int | None]] = set()
        self.signals: dict[str, Signal] = {}
        self.waits: dict[str, Wait] = {}
        self.retries: dict[tuple[str, int], Retry] = {}


class _Tables:
    def __init__(self) -> None:
        self.histories: dict[InstanceKey, _History] = {}
        self.checkpoint_seq = 0
        self.event_seq = 0


class MemoryWriter:
    """Changes a store in memory."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self.closed = False

    def commit(self, saves: Sequence[Save]) -> list[bool]:
        """Store the batch; True per save that was stored, False per version conflict.

        Raises `Internal`, and stores nothing, where a finished instance would change.
        """
        self._check_open()
        stored = self._decide(saves)
        for save in (save for save, applies in zip(saves, stored, strict=True) if applies):
            self._apply(save)
        return stored

    def record_heartbeats(self, beats: Sequence[tuple[InstanceKey, int]]) -> None:
        """Note when running instances were last heard of; never moved back by a late report."""
        self._check_open()
        for key, instant in beats:
            history = self._tables.histories.get(key)
            if history is not None and history.instance.status is Status.RUNNING:
                latest = max(instant, history.instance.heartbeat_at or 0)
                history.instance = replace(history.instance, heartbeat_at=latest)

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise StoreUnavailable("the writer of the store in memory is closed: open another one")

    def _decide(self, saves: Sequence[Save]) -> list[bool]:
        """Say of each save whether it applies, before anything is changed, so that an error leaves no trace."""
        changed: dict[InstanceKey, tuple[Instance, bytes | None]] = {}
        stored = []
        for save in saves:
            key = InstanceKey(save.instance.tenant_id, save.instance.instance_id)
            instance, output = changed.get(key) or self._current(key)
            applies = save.expected_version == (instance.version if instance else 0)
            if applies:
                new_output = output if save.output is None else save.output
                if instance is not None and instance.status in FINAL:
                    _check_unchanged(instance, save.instance, output == new_output)
                changed[key] = save.instance, new_output
            stored.append(applies)
        return stored

    def _current(self, key: InstanceKey) -> tuple[Instance | None, bytes | None]:
        history = self._tables.histories.get(key)
        return (history.instance, history.output) if history else (None, None)

    def _apply(self, save: Save) -> None:
        key = InstanceKey(save.instance.tenant_id, save.instance.instance_id)
        history = self._tables.histories.get(key)
        if history is None:
            history = self._tables.histories[key] = _History(save)
        first = history.instance
        history.instance = replace(
            save.instance, program=first.program, created_at=first.created_at, timeout_ms=first.timeout_ms
        )
        if save.output is not None:
            history.output = save.output
        for checkpoint in save.checkpoints:
            if checkpoint.checkpoint_id not in history.checkpoints:
                self._tables.checkpoint_seq += 1
                history.checkpoints[checkpoint.checkpoint_id] = self._tables.checkpoint_seq, checkpoint
        for event in save.events:
            request = event.epoch, event.request
            if event.request is None or request not in history.requests:
                self._tables.event_seq += 1
                history.events.append(replace(event, seq=self._tables.event_seq))
                history.requests.add(request)
        _apply_signals(history, save)
        _apply_waits(history, save)
        for retry in save.retries:
            history.retries.setdefault((retry.checkpoint_id, retry.attempt), retry)


def _check_unchanged(stored: Instance, new: Instance, same_output: bool) -> None:
    old_end = (stored.status, stored.finished_at, stored.error)
    if (new.status, new.finished_at, new.error) != old_end or not same_output:
        raise Internal(f"the finished instance {stored.instance_id} would be changed, which is a bug in the runtime")


def _apply_signals(history: _History, save: Save) -> None:
    for signal in save.signals:
        history.signals.setdefault(signal.signal_id, signal)
    for signal_id, instant in save.acknowledged:
        stored = history.signals.get(signal_id)
        if stored is not None and stored.acknowledged_at is None:
            history.signals[signal_id] = replace(stored, acknowledged_at=instant)


def _apply_waits(history: _History, save: Save) -> None:
    for wait in save.waits:
        begun = history.waits.setdefault(wait.place, wait)
        if begun.ended_at is None and wait.ended_at is not None:
            history.waits[wait.place] = replace(begun, ended_at=wait.ended_at, signal_id=wait.signal_id)


class MemoryReader(UnsharedReader):
    """Looks at a store in memory."""

    def __init__(self, tables: _Tables) -> None:
        self._histories = tables.histories

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Return what is stored about each instance; unknown ones are left out."""
        return {key: _snapshot(self._histories[key]) for key in keys if key in self._histories}

    def read_checkpoint(self, key: InstanceKey, checkpoint_id: str) -> Checkpoint | None:
        """Return one checkpoint with its state."""
        history = self._histories.get(key)
        found = history and history.checkpoints.get(checkpoint_id)
        return found[1] if found else None

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

    def list_due(self, until_ms: int, limit: int, after: DueInstance | None = None) -> list[DueInstance]:
        """Return pending and suspended instances with `wake_at` <= `until_ms` that have a program, earliest first."""
        due = (
            DueInstance(history.instance.wake_at, key)
            for key, history in self._histories.items()
            if history.instance.wake_at is not None
            and history.instance.wake_at <= until_ms
            and history.instance.program is not None
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

    def list_instances(self, tenant_id: str, status: Status | None, limit: int, cursor: str | None) -> InstancePage:
        """Page through one tenant's instances by id."""
        after = _cursors.id_of_cursor(cursor)
        instances = (
            history.instance
            for key, history in self._histories.items()
            if key.tenant_id == tenant_id and key.instance_id > after and status in (None, history.instance.status)
        )
        rows = heapq.nsmallest(_cursors.check_limit(limit) + 1, instances, key=lambda row: row.instance_id)
        page, more = _cursors.page_of(rows, limit)
        summaries = tuple(_summary(instance) for instance in page)
        return InstancePage(instances=summaries, cursor=_cursors.cursor_of_id(page[-1].instance_id) if more else None)

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
        after, _ = _cursors.seq_of_cursor(cursor), _cursors.check_limit(limit)
        history = self._histories.get(key)
        rows = [
            event
            for event in (history.events if history else ())
            if event.seq > after and type_ in (None, event.type) and subtype in (None, event.subtype)
        ]
        page, more = _cursors.page_of(rows, limit)
        return EventPage(events=page, cursor=_cursors.cursor_of_seq(page[-1].seq) if more else None)

    def count_by_status(self) -> dict[Status, int]:
        """Return how many instances of all tenants stand where; statuses without any are left out."""
        return dict(Counter(history.instance.status for history in self._histories.values()))

    def verify(self) -> list[str]:
        """Return nothing: there is no file that could be damaged."""
        return []

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def _snapshot(history: _History) -> Snapshot:
    signals = sorted(history.signals.values(), key=lambda signal: signal.seq)
    return Snapshot(
        instance=history.instance,
        checkpoint_ids=tuple(history.checkpoints),
        signals=tuple(signal for signal in signals if signal.acknowledged_at is None),
        signal_ids=tuple(signal.signal_id for signal in signals),
        waits=tuple(history.waits.values()),
    )


def _timeout_at(instance: Instance) -> int | None:
    if instance.timeout_ms is None or instance.claimed_at is None:
        return None
    return instance.claimed_at + instance.timeout_ms - instance.ran_ms


def _summary(instance: Instance) -> InstanceSummary:
    return InstanceSummary(**{name: getattr(instance, name) for name in InstanceSummary.__struct_fields__})


def _info(checkpoint: Checkpoint) -> CheckpointInfo:
    return CheckpointInfo(
        checkpoint_id=checkpoint.checkpoint_id,
        epoch=checkpoint.epoch,
        created_at=checkpoint.created_at,
        size=len(checkpoint.state),
        wake_at=checkpoint.wake_at,
    )

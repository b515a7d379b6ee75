"""A store in memory: the same promises as the others, but for what outlives the process."""

from collections.abc import Sequence

from msgspec.structs import replace

from runtara.errors import Internal, StoreInUse, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Instance
from runtara.store._memory_catalog import CatalogWriter
from runtara.store._memory_reader import MemoryReader
from runtara.store._memory_tables import History, Tables
from runtara.store._terms import Finished, Save, copies_of
from runtara.store._unshared import Unshared

__all__ = ["MemoryStore"]


class MemoryStore(Unshared):
    """Keeps instances in dictionaries for as long as this object lives. Its writer and readers are for one thread."""

    inline = True
    ends_with_process = True
    url = "memory://"

    def __init__(self) -> None:
        self._tables = Tables()
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


class MemoryWriter(CatalogWriter):
    """Changes a store in memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.closed = False

    def commit(self, saves: Sequence[Save]) -> list[bool]:
        """Store the batch; True per save that was stored, False per version conflict.

        Raises `Internal`, and stores nothing, where a finished instance would change.
        """
        self._check_open()
        deciding = _Deciding(self._tables)
        stored = [
            deciding.takes(save) for save in saves
        ]  # before anything is changed, so that an error leaves no trace
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

    def prune_finished(self, finished: Finished, limit: int, dry_run: bool) -> list[InstanceKey]:
        """Delete at most `limit` finished instances with all that belongs to them, those first that finished first."""
        self._check_open()
        ended = [
            (row.finished_at, InstanceKey(row.tenant_id, row.instance_id))
            for row in self._tables.instances()
            if row.status in finished.statuses
            and row.finished_at is not None
            and row.finished_at < finished.before_ms
            and finished.tenant_id in (None, row.tenant_id)
        ]
        keys = [key for _, key in sorted(ended, key=lambda row: row[0])[:limit]]
        for key in () if dry_run else keys:
            del self._tables.histories[key]
        return keys

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise StoreUnavailable("the writer of the store in memory is closed: open another one")

    def _apply(self, save: Save) -> None:
        key = InstanceKey(save.instance.tenant_id, save.instance.instance_id)
        if save.inserts:
            self._tables.histories.pop(key, None)
        history = self._tables.histories.get(key)
        if history is None:
            history = self._tables.histories[key] = History(save)
            if copies := copies_of(save):
                history.copy(self._tables.histories[copies.source], copies, self._tables)
        history.apply(save, self._tables)


class _Deciding:
    """Says of the saves of a batch, in their order, which of them apply. It changes nothing."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows: dict[InstanceKey, tuple[Instance, bytes | None]] = {}
        """What the saves make of instances: row and output."""
        self._added: dict[InstanceKey, list[str]] = {}
        """The checkpoints that they bring."""
        self._replaced: set[InstanceKey] = set()

    def takes(self, save: Save) -> bool:
        """Whether a save applies after those before it. Raises `Internal` where a finished instance would change."""
        key = InstanceKey(save.instance.tenant_id, save.instance.instance_id)
        instance, output = self._current(key)
        copied = self._copied_ids(save)
        if copied is None or save.expected_version != (instance.version if instance else 0):
            return False
        if save.inserts:
            self._replaced.add(key)
            self._added[key], instance, output = [], None, None
        self._added.setdefault(key, []).extend([*copied, *(one.checkpoint_id for one in save.checkpoints)])
        new_output = output if save.output is None else save.output
        if instance is not None and instance.status in FINAL:
            _check_unchanged(instance, save.instance, output == new_output)
        self._rows[key] = save.instance, new_output
        return True

    def _copied_ids(self, save: Save) -> list[str] | None:
        """Return the ids of the checkpoints that a save copies; None where there is nothing that it could copy."""
        copies = copies_of(save)
        if copies is None:
            return []
        source, _ = self._current(copies.source)
        if source is None or copies.source.tenant_id != save.instance.tenant_id:
            return None
        if copies.created_at not in (None, source.created_at):
            return None
        history = None if copies.source in self._replaced else self._tables.histories.get(copies.source)
        ids = list(dict.fromkeys([*(history.checkpoints if history else ()), *self._added.get(copies.source, ())]))
        if copies.checkpoint_id is None:
            return ids
        return ids[: ids.index(copies.checkpoint_id) + 1] if copies.checkpoint_id in ids else None

    def _current(self, key: InstanceKey) -> tuple[Instance | None, bytes | None]:
        history = self._tables.histories.get(key)
        return self._rows.get(key) or ((history.instance, history.output) if history else (None, None))


def _check_unchanged(stored: Instance, new: Instance, same_output: bool) -> None:
    old_end = (stored.status, stored.finished_at, stored.error)
    if (new.status, new.finished_at, new.error) != old_end or not same_output:
        raise Internal(f"the finished instance {stored.instance_id} would be changed, which is a bug in the runtime")

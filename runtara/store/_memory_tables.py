"""What a store in memory holds: the histories of instances, and the images and schedules beside them."""

from collections.abc import Iterator
from itertools import islice

from msgspec.structs import replace

from runtara.ids import InstanceKey
from runtara.records import Checkpoint, Event, Image, ImageVersion, Instance, Retry, Schedule, Signal, Wait
from runtara.store._terms import Copies, Save

__all__ = ["History", "StoredImage", "Tables"]


class Tables:
    """Everything that is stored."""

    def __init__(self) -> None:
        self.histories: dict[InstanceKey, History] = {}
        self.images: dict[tuple[str, str], StoredImage] = {}
        """By tenant and id, deleted ones included."""
        self.schedules: dict[tuple[str, str], Schedule] = {}
        """By tenant and name."""
        self.checkpoint_seq = 0
        self.event_seq = 0

    def instances(self) -> Iterator[Instance]:
        """Yield the rows of all instances, in the order in which they were inserted."""
        return (history.instance for history in self.histories.values())


class StoredImage:
    """An image and its versions, oldest first."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.deleted_at: int | None = None
        self.versions: dict[int, ImageVersion] = {}


class History:
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

    def apply(self, save: Save, tables: Tables) -> None:
        """Take a change that applies."""
        first = self.instance
        self.instance = replace(
            save.instance,
            program=first.program,
            created_at=first.created_at,
            timeout_ms=first.timeout_ms,
            priority=first.priority,
        )
        if save.output is not None:
            self.output = save.output
        for checkpoint in save.checkpoints:
            self._add_checkpoint(checkpoint, tables)
        for event in save.events:
            request = event.epoch, event.request
            if event.request is None or request not in self.requests:
                tables.event_seq += 1
                self.events.append(replace(event, seq=tables.event_seq))
                self.requests.add(request)
        self._apply_signals(save)
        self._apply_waits(save)
        for retry in save.retries:
            self.retries.setdefault((retry.checkpoint_id, retry.attempt), retry)

    def copy(self, source: "History", copies: Copies, tables: Tables) -> None:
        """Begin with what another instance had when it had saved a checkpoint, or with all that it has."""
        last = None if copies.checkpoint_id is None else source.checkpoints[copies.checkpoint_id][1]
        count = len(source.checkpoints) if last is None else list(source.checkpoints).index(last.checkpoint_id) + 1
        for _, checkpoint in islice(source.checkpoints.values(), count):
            self._add_checkpoint(replace(checkpoint, request=None), tables)
        for wait in source.waits.values():
            if wait.ended_at is not None and (last is None or wait.ended_at <= last.created_at):
                self.waits[wait.place] = wait
        bound = {wait.signal_id for wait in self.waits.values()}
        self.signals = {name: signal for name, signal in source.signals.items() if name in bound}

    def _add_checkpoint(self, checkpoint: Checkpoint, tables: Tables) -> None:
        if checkpoint.checkpoint_id not in self.checkpoints:
            tables.checkpoint_seq += 1
            self.checkpoints[checkpoint.checkpoint_id] = tables.checkpoint_seq, checkpoint

    def _apply_signals(self, save: Save) -> None:
        for signal in save.signals:
            self.signals.setdefault(signal.signal_id, signal)
        for signal_id, instant in save.acknowledged:
            stored = self.signals.get(signal_id)
            if stored is not None and stored.acknowledged_at is None:
                self.signals[signal_id] = replace(stored, acknowledged_at=instant)

    def _apply_waits(self, save: Save) -> None:
        for wait in save.waits:
            begun = self.waits.setdefault(wait.place, wait)
            if begun.ended_at is None and wait.ended_at is not None:
                self.waits[wait.place] = replace(begun, ended_at=wait.ended_at, signal_id=wait.signal_id)

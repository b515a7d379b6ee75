"""What happens to the instances of one tenant, as long as somebody watches: the latest changes, numbered.

Owns the numbers: ``<boot>-<n>``, where `boot` names the span in which nothing was forgotten. It waits for nothing.
"""

from collections import deque
from typing import Final

import msgspec

from runtara.live import Item, Outlet, Reset, Watching
from runtara.messages import InstanceSummary
from runtara.records import Instance

__all__ = ["RING_MAX", "Board", "summary_of"]

RING_MAX: Final = 5_000
"""Most changes of one tenant that are kept for those who come back."""

_encoder: Final = msgspec.json.Encoder()


class Board:
    """The changes of one tenant, and who watches them."""

    def __init__(self, boot: str) -> None:
        self.watches: dict[tuple[Outlet, int], None] = {}
        self._boot: Final = boot
        self._count = 0
        self._ring: deque[tuple[str, Item]] = deque()
        self._versions: dict[str, tuple[int, int, int]] = {}
        """Of each instance in the ring: when it was created, its version, and how often it is there."""

    @property
    def seq(self) -> str:
        """The place behind all that has happened."""
        return f"{self._boot}-{self._count}"

    def begin(self, outlet: Outlet, number: int, after: str | None) -> None:
        """Begin a watch: with what has happened since a place, where that is known."""
        self.watches[outlet, number] = None
        missed = [] if after is None else self._since(after)
        if missed is None:
            outlet.put(number, Reset(self.seq))
            return
        outlet.put(number, Watching(self.seq if after is None else after))
        for item in missed:
            outlet.put(number, item)

    def end(self, outlet: Outlet, number: int) -> None:
        """End a watch; harmless where there is none."""
        self.watches.pop((outlet, number), None)

    def publish(self, row: Instance | InstanceSummary, version: int) -> None:
        """Tell of an instance as it is now, unless something newer was told of it."""
        created, newest, times = self._versions.get(row.instance_id, (row.created_at, -1, 0))
        if created == row.created_at and version <= newest:
            return
        self._count += 1
        summary = row if isinstance(row, InstanceSummary) else summary_of(row)
        item = Item(self.seq, msgspec.Raw(_encoder.encode(summary)))
        self._ring.append((row.instance_id, item))
        self._versions[row.instance_id] = row.created_at, version, times + 1
        if len(self._ring) > RING_MAX:
            self._forget_oldest()
        for outlet, number in self.watches:
            outlet.put(number, item)

    def reset(self) -> None:
        """Tell everybody that something was missed."""
        self._count += 1
        self._ring.clear()
        self._versions.clear()
        for outlet, number in self.watches:
            outlet.put(number, Reset(self.seq))

    def _since(self, after: str) -> list[Item] | None:
        """Return what has happened since a place; None where that is not known."""
        boot, dash, count = after.rpartition("-")
        if not dash or boot != self._boot or not (count.isascii() and count.isdigit()) or len(count) > 18:
            return None
        missed = self._count - int(count)
        if not 0 <= missed <= len(self._ring):
            return None
        return [item for _, item in list(self._ring)[len(self._ring) - missed :]]

    def _forget_oldest(self) -> None:
        instance_id, _ = self._ring.popleft()
        created, version, times = self._versions.pop(instance_id)
        if times > 1:
            self._versions[instance_id] = created, version, times - 1


def summary_of(row: Instance) -> InstanceSummary:
    """Return the line of a list that an instance has."""
    return InstanceSummary(
        instance_id=row.instance_id,
        status=row.status,
        epoch=row.epoch,
        created_at=row.created_at,
        program=row.program,
        wake_at=row.wake_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        termination_reason=row.termination_reason,
    )

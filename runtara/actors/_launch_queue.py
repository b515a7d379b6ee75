"""The queue of instances that are due and wait for their turn.

Each tenant has a row of its own, and the rows take turns: whoever has thousands waiting delays nobody who has one.
Within a row a higher priority comes first, and then whoever waits longest. Who may not go yet, because his tenant or
his image has as many places as it may, or because no worker is idle, is passed over and keeps his turn. It knows no
clock and wakes nobody. What the workers of a pool run grows more urgent as it waits (see `_pool_board`).
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from runtara.actors._pool_board import aged
from runtara.ids import ImageRef, InstanceKey, is_pooled
from runtara.store import DueInstance

__all__ = ["LaunchQueue"]

_Rank = tuple[int, int, int]
"""Of one who waits: the smallest goes first. Minus his priority, since when he waits, and how many came before him."""

_Lane = list[tuple[_Rank, InstanceKey]]
"""Those of a tenant of whom either all may go or nobody, by rank."""


class LaunchQueue:
    """Due instances, each once."""

    def __init__(self) -> None:
        self._rows: Final[OrderedDict[str, dict[str | None, _Lane]]] = OrderedDict()
        """Tenant to his lanes, in turn: one for each version of an image and each pooled program, one for the rest."""
        self._waiting: Final[dict[InstanceKey, tuple[_Rank, DueInstance]]] = {}
        self._came = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: InstanceKey) -> bool:
        return key in self._waiting

    def put(self, due: DueInstance, since: int | None = None) -> None:
        """Add an instance that waits `since` it was due, or since then; one that is there already keeps its turn."""
        known = self._waiting.get(due.key)
        if known is not None:
            self._waiting[due.key] = known[0], due._replace(priority=known[1].priority, program=known[1].program)
            return
        self._came += 1
        since = due.wake_at if since is None else since
        pooled = is_pooled(due.program)
        rank = (0, aged(since, due.priority), self._came) if pooled else (-due.priority, since, self._came)
        self._waiting[due.key] = rank, due
        row = self._rows.setdefault(due.key.tenant_id, {})
        insort(row.setdefault(_lane_of(due), []), (rank, due.key))

    def take(self, may_go: Callable[[DueInstance], bool] = lambda due: True) -> DueInstance:
        """Remove and return whose turn it is of those who may go. Raises `KeyError` if nobody waits who may.

        `may_go` is asked about the first of each tenant and image: all others of them may go if he may.
        """
        for tenant_id, row in self._rows.items():
            heads = (lane[0] for lane in row.values() if may_go(self._waiting[lane[0][1]][1]))
            first = min(heads, default=None)
            if first is not None:
                self._rows.move_to_end(tenant_id)
                return self._remove(first[1])
        raise KeyError("nobody waits who may go")

    def discard(self, key: InstanceKey) -> None:
        """Remove an instance, if it waits."""
        if key in self._waiting:
            self._remove(key)

    def _remove(self, key: InstanceKey) -> DueInstance:
        rank, due = self._waiting.pop(key)
        row, name = self._rows[key.tenant_id], _lane_of(due)
        lane = row[name]
        del lane[bisect_left(lane, (rank, key))]
        if not lane:
            del row[name]
        if not row:
            del self._rows[key.tenant_id]
        return due


def _lane_of(due: DueInstance) -> str | None:
    has_own = is_pooled(due.program) or ImageRef.of_program(due.program) is not None
    return due.program if has_own else None

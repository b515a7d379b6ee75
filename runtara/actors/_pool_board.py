"""Who of a pool is idle, and what waits for a worker; pure.

Whoever can do what has waited longest gets it. One step of priority is worth `AGING_MS` of waiting, so that nothing
waits for ever behind what is more important: a rank never changes while one waits.
"""

from bisect import insort
from collections import Counter
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from runtara.store import AGING_MS

__all__ = ["Board", "Group", "Kind", "Slot", "SlotId", "Work", "WorkerId", "aged"]

T = TypeVar("T")


class WorkerId(NamedTuple):
    """One worker of a tenant, or another node that has its tasks run by such workers of its own."""

    tenant_id: str
    name: str
    is_node: bool = False


class SlotId(NamedTuple):
    """One slot of a worker."""

    worker: WorkerId
    number: int


class Group(NamedTuple):
    """What idle slots that can run the same are counted by."""

    tenant_id: str
    programs: frozenset[str]


class Slot(NamedTuple):
    """A slot of a worker that has nothing to do."""

    id: SlotId
    programs: frozenset[str]
    tags: frozenset[str]
    """It takes what has no other tags than these; without any, it takes everything."""

    @property
    def group(self) -> Group:
        """With which others it is counted."""
        return Group(self.id.worker.tenant_id, self.programs)


class Kind(NamedTuple):
    """What slots have in common that get the same."""

    programs: frozenset[str]
    tags: frozenset[str]

    @classmethod
    def of(cls, slot: Slot) -> "Kind":
        """Return the kind of a slot."""
        return cls(slot.programs, slot.tags)


class Work(NamedTuple, Generic[T]):
    """Something to do. The smallest `rank` goes first, then what came first."""

    rank: tuple[int, int]
    tenant_id: str
    program: str
    tags: frozenset[str]
    item: T

    def fits(self, slot: Slot) -> bool:
        """Return whether a slot, of the same tenant, can do it."""
        return self.program in slot.programs and (not slot.tags or self.tags <= slot.tags)


def aged(since_ms: int, priority: int) -> int:
    """Return the rank of what waits since then: smaller goes first."""
    return since_ms - priority * AGING_MS


class Board(Generic[T]):
    """Idle slots and waiting work. What fits together never stands on it at the same time."""

    def __init__(self) -> None:
        self._idle: Final[dict[SlotId, Slot]] = {}
        self._kinds: Final[dict[tuple[str, Kind], dict[SlotId, Slot]]] = {}
        self._counts: Final[Counter[Group]] = Counter()
        self._waiting: Final[dict[str, list[tuple[tuple[int, int], int, Work[T]]]]] = {}
        self._came = 0

    @property
    def idle(self) -> int:
        """How many slots are idle."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How much waits."""
        return sum(map(len, self._waiting.values()))

    def groups(self) -> dict[Group, int]:
        """Return how many slots of each group are idle."""
        return dict(self._counts)

    def count(self, group: Group) -> int:
        """Return how many slots of a group are idle."""
        return self._counts[group]

    def park(self, slot: Slot) -> None:
        """Add an idle slot, for which nothing waits."""
        self._idle[slot.id] = slot
        self._kinds.setdefault(_place_of(slot), {})[slot.id] = slot
        self._counts[slot.group] += 1

    def unpark(self, slot_id: SlotId) -> Slot | None:
        """Remove a slot, if it is idle."""
        slot = self._idle.pop(slot_id, None)
        if slot is not None:
            place = _place_of(slot)
            del self._kinds[place][slot_id]
            if not self._kinds[place]:
                del self._kinds[place]
            self._counts[slot.group] -= 1
            if not self._counts[slot.group]:
                del self._counts[slot.group]
        return slot

    def put(self, work: Work[T], is_open: Callable[[Slot], bool] = lambda slot: True) -> Slot | None:
        """Remove and return the slot that is to do some work; where there is none, the work waits. See `pick`."""
        slot = self.pick(work.tenant_id, work.fits, is_open)
        if slot is None:
            self._came += 1
            insort(self._waiting.setdefault(work.tenant_id, []), (work.rank, self._came, work), key=lambda row: row[:2])
        return slot

    def pick(
        self, tenant_id: str, fits: Callable[[Slot], bool], is_open: Callable[[Slot], bool] = lambda slot: True
    ) -> Slot | None:
        """Remove and return an idle slot of a tenant that fits, if there is one.

        Those go first that can do the fewest other things. A slot that is not open any more is removed unused.
        """
        kinds = sorted((kind for tenant, kind in self._kinds if tenant == tenant_id), key=_reach)
        for kind in kinds:
            slots = self._kinds[tenant_id, kind]
            while slots and fits(slot := next(iter(slots.values()))):
                self.unpark(slot.id)
                if is_open(slot):
                    return slot
        return None

    def idle_of(self, tenant_id: str) -> list[Slot]:
        """Return the idle slots of a tenant."""
        return [slot for slot in self._idle.values() if slot.id.worker.tenant_id == tenant_id]

    def take(self, slot: Slot, may: Callable[[T], bool] = lambda item: True) -> Work[T] | None:
        """Remove and return the first that a slot can do, and may."""
        rows = self._waiting.get(slot.id.worker.tenant_id, [])
        for i, (_, _, work) in enumerate(rows):
            if work.fits(slot) and may(work.item):
                self._remove(slot.id.worker.tenant_id, i)
                return work
        return None

    def waits(self, tenant_id: str, program: str, of: Callable[[T], bool]) -> bool:
        """Return whether something of a kind waits for a slot that can run a program."""
        return any(work.program == program and of(work.item) for _, _, work in self._waiting.get(tenant_id, []))

    def discard(self, tenant_id: str, item: T) -> bool:
        """Remove what waits; return whether it did."""
        for i, (_, _, work) in enumerate(self._waiting.get(tenant_id, [])):
            if work.item is item:
                self._remove(tenant_id, i)
                return True
        return False

    def _remove(self, tenant_id: str, i: int) -> None:
        rows = self._waiting[tenant_id]
        del rows[i]
        if not rows:
            del self._waiting[tenant_id]


def _place_of(slot: Slot) -> tuple[str, Kind]:
    return slot.id.worker.tenant_id, Kind.of(slot)


def _reach(kind: Kind) -> tuple[bool, int]:
    """Return how much slots can do beside: those with few tags less than those with many, or with none."""
    return not kind.tags, len(kind.tags)

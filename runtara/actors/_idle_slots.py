"""How many slots of a pool's workers are idle, as far as the scheduler knows.

The pool says how many there are whenever that changes. Whoever was woken and has not got there yet is reckoned with.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from runtara.actors._pool_board import Group
from runtara.ids import InstanceKey

__all__ = ["IdleSlots"]


class IdleSlots:
    """Counts, by what the slots can run."""

    def __init__(self) -> None:
        self._counts: Final[dict[Group, int]] = {}
        self._under_way: Final[dict[InstanceKey, Group]] = {}
        """Those who were woken, and the slots that they are to have."""
        self._reserved: Final[Counter[Group]] = Counter()

    @property
    def total(self) -> int:
        """How many there are that nobody was woken for."""
        return sum(self._free(group) for group in self._counts)

    def believe(self, group: Group, count: int, arrived: InstanceKey | None = None) -> None:
        """Take note of what the pool says of one group, and of who has got there."""
        if arrived is not None:
            self.give_back(arrived)
        if count > 0:
            self._counts[group] = count
        else:
            self._counts.pop(group, None)

    def believe_all(self, groups: Mapping[Group, int]) -> None:
        """Take note of all that the pool knows, which has begun anew."""
        self._under_way.clear()
        self._reserved.clear()
        self._counts.clear()
        for group, count in groups.items():
            self.believe(group, count)

    def has_room(self, group: Group) -> bool:
        """Return whether a slot of a group is idle that nobody was woken for."""
        return group in self._counts and self._free(group) > 0

    def can(self, tenant_id: str, program: str) -> bool:
        """Return whether a slot is idle that can run a program."""
        return self._group_of(tenant_id, program) is not None

    def take(self, key: InstanceKey, program: str) -> None:
        """Reckon with one who is woken."""
        self.give_back(key)
        group = self._group_of(key.tenant_id, program)
        if group is not None:
            self._under_way[key] = group
            self._reserved[group] += 1

    def give_back(self, key: InstanceKey) -> None:
        """Reckon with somebody no more: he has got to the pool, or will not."""
        group = self._under_way.pop(key, None)
        if group is not None:
            self._reserved[group] -= 1

    def programs(self) -> tuple[tuple[str, str], ...]:
        """Return what can be run by slots that are idle: tenants and programs."""
        groups = (group for group in self._counts if self._free(group))
        return tuple({(group.tenant_id, program) for group in groups for program in group.programs})

    def _free(self, group: Group) -> int:
        return max(0, self._counts[group] - self._reserved[group])

    def _group_of(self, tenant_id: str, program: str) -> Group | None:
        able = (group for group in self._counts if group.tenant_id == tenant_id and program in group.programs)
        return min(filter(self._free, able), key=lambda group: len(group.programs), default=None)

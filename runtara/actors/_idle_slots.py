"""How many slots of a pool's workers are idle, as far as the scheduler knows: its share of the pool's own count.

The pool says how many there are whenever that changes; until then each wake-up is reckoned with here.
"""

from collections.abc import Mapping
from typing import Final

from runtara.actors._pool_board import Group

__all__ = ["IdleSlots"]


class IdleSlots:
    """Counts, by what the slots can run."""

    def __init__(self) -> None:
        self._counts: Final[dict[Group, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self._counts.values())

    def believe(self, group: Group, count: int) -> None:
        """Take note of what the pool says of one group."""
        if count > 0:
            self._counts[group] = count
        else:
            self._counts.pop(group, None)

    def believe_all(self, groups: Mapping[Group, int]) -> None:
        """Take note of all that the pool knows."""
        self._counts.clear()
        for group, count in groups.items():
            self.believe(group, count)

    def can(self, tenant_id: str, program: str) -> bool:
        """Return whether a slot is idle that can run a program."""
        return self._group_of(tenant_id, program) is not None

    def take(self, tenant_id: str, program: str) -> Group | None:
        """Reckon with one slot less; return of which group."""
        group = self._group_of(tenant_id, program)
        if group is not None:
            self.believe(group, self._counts[group] - 1)
        return group

    def give_back(self, group: Group) -> None:
        """Reckon with one slot more."""
        self.believe(group, self._counts.get(group, 0) + 1)

    def programs(self) -> tuple[tuple[str, str], ...]:
        """Return what can be run by slots that are idle: tenants and programs."""
        return tuple({(group.tenant_id, program) for group in self._counts for program in group.programs})

    def _group_of(self, tenant_id: str, program: str) -> Group | None:
        able = (group for group in self._counts if group.tenant_id == tenant_id and program in group.programs)
        return min(able, key=lambda group: len(group.programs), default=None)

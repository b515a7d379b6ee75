"""Who has a place of a host, and who may have the next one: the host's bound, each tenant's, and each image's.

A launched attempt has a place from the moment it is told to go until its process is gone. Owns the counts; who waits
is the queue's, and who has a process the runner knows. An instance whose earlier process is still leaving needs no
second place. What the workers of a pool run takes no place of the host, but an idle slot of a worker.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final, TypeVar

from runtara.actors._idle_slots import IdleSlots
from runtara.actors._system import System
from runtara.actors.places import ListIdle, ListPlaces
from runtara.ids import ImageRef, InstanceKey, is_pooled
from runtara.store import Barred, DueInstance

__all__ = ["CapOf", "LaunchPlaces"]

T = TypeVar("T")

CapOf = Callable[[str, str], float]
"""Most places for instances of a tenant that run this program; 0 as long as that is not known."""


class LaunchPlaces:
    """The places of one host. `most` is how many there are, `per_tenant` how many of them one tenant may have.

    Where `most` is infinite nobody says when a place is free again, so nobody is at his cap.
    """

    def __init__(self, most: float, per_tenant: float, cap_of: CapOf) -> None:
        self._most: Final = most
        self._per_tenant: Final = per_tenant
        self._cap_of: Final = cap_of
        self._in_use: Final[set[InstanceKey]] = set()
        """Those that have a process."""
        self._waking: Final[set[InstanceKey]] = set()
        """Those that were told to go and have not answered."""
        self._programs: Final[dict[InstanceKey, str | None]] = {}
        """Those that have a place, for one reason or both, and what they run."""
        self._of_tenant: Final[Counter[str]] = Counter()
        self._of_image: Final[Counter[tuple[str, str]]] = Counter()
        self.idle: Final = IdleSlots()

    @property
    def in_use(self) -> int:
        """How many instances have a process."""
        return len(self._in_use)

    @property
    def waking(self) -> int:
        """How many instances were told to go and have not answered."""
        return len(self._waking)

    @property
    def taken(self) -> int:
        """How many places are not free."""
        return len(self._programs)

    @property
    def free(self) -> float:
        """How many places are free."""
        return self._most - len(self._programs)

    @property
    def room(self) -> float:
        """For how many there is a place, or a slot."""
        return max(0.0, self.free) + self.idle.total

    def barred(self, known: Iterable[tuple[str, str]]) -> Barred:
        """Return of whom none may go; of the images among the `known` ones it is known whether they are full."""
        only_pools = self.free <= 0
        return Barred(self.full_tenants(), self.full_programs(known), self.idle.programs(), only_pools, self.idle.total)

    async def take_stock(self, system: System, runner: str | None, pool: str | None) -> None:
        """Ask the actors at these paths who has a place, and what slots are idle."""
        if runner is not None:
            self.believe(await system.ref(runner).ask(ListPlaces()))
        if pool is not None:
            self.idle.believe_all(await system.ref(pool).ask(ListIdle()))

    def is_waking(self, key: InstanceKey) -> bool:
        """Return whether an instance was told to go and has not answered."""
        return key in self._waking

    def may_go(self, due: DueInstance) -> bool:
        """Return whether neither the tenant nor the image of an instance has as many places as it may."""
        if is_pooled(due.program):
            return due.program is not None and self.idle.can(due.key.tenant_id, due.program)
        if self._most == inf:
            return True
        if self.free <= 0:
            return False
        tenant_id, has_one = due.key.tenant_id, due.key in self._programs
        if self._of_tenant[tenant_id] - has_one >= self._per_tenant:
            return False
        return due.program is None or not self._is_full(tenant_id, due.program, has_one)

    def full_tenants(self) -> tuple[str, ...]:
        """Return the tenants that have as many places as they may."""
        return tuple(tenant_id for tenant_id, count in self._of_tenant.items() if count >= self._per_tenant)

    def full_programs(self, known: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """Return those of the `known` versions of images (tenant and program) that have as many places as they may."""
        return tuple(program for tenant_id, program in known if self._is_full(tenant_id, program))

    def wake(self, due: DueInstance) -> None:
        """Give an instance its place."""
        self._waking.add(due.key)
        if due.program is None or not is_pooled(due.program):
            self._count(due.key, due.program)
            return
        self.idle.take(due.key, due.program)

    def woken(self, key: InstanceKey, claimed: bool, *, pooled: bool = False) -> None:
        """Take note that an instance has answered, and whether it has a process now, or a worker, or is about to."""
        self._waking.discard(key)
        if not claimed:
            self.idle.give_back(key)
        elif self._most != inf and not pooled:
            self._in_use.add(key)
        self._count_no_more(key)

    def freed(self, key: InstanceKey) -> None:
        """Take note that the process of an instance is gone."""
        self._in_use.discard(key)
        self._count_no_more(key)

    def believe(self, programs: Mapping[InstanceKey, str | None]) -> None:
        """Take note of which instances have a process, and no others, and of what they run."""
        for key in tuple(self._in_use - programs.keys()):
            self.freed(key)
        for key, program in programs.items():
            self._in_use.add(key)
            self._count(key, program)

    def _is_full(self, tenant_id: str, program: str, not_counted: int = 0) -> bool:
        image = ImageRef.of_program(program)
        if image is None:
            return False
        return self._of_image[tenant_id, image.image_id] - not_counted >= self._cap_of(tenant_id, program)

    def _count(self, key: InstanceKey, program: str | None) -> None:
        """Count an instance that has a place, unless it is counted."""
        if key in self._programs:
            return
        self._programs[key] = program
        self._of_tenant[key.tenant_id] += 1
        image = ImageRef.of_program(program)
        if image is not None:
            self._of_image[key.tenant_id, image.image_id] += 1

    def _count_no_more(self, key: InstanceKey) -> None:
        """Count an instance no more, unless it has its place for another reason, too."""
        if key in self._in_use or key in self._waking or key not in self._programs:
            return
        image = ImageRef.of_program(self._programs.pop(key))
        _take_one(self._of_tenant, key.tenant_id)
        if image is not None:
            _take_one(self._of_image, (key.tenant_id, image.image_id))


def _take_one(counts: Counter[T], name: T) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]

"""Slots of a pool's workers that an instance may take with its very start.

Written by the actor that wakes instances, which knows what is idle and who waits; read by the region of instances. A
start takes a slot only while nobody waits for one, so whoever waits, for whatever reason, goes first.
"""

from collections.abc import Callable

from runtara.actors._idle_slots import IdleSlots
from runtara.ids import InstanceKey, is_pooled

__all__ = ["Vacancies"]


class Vacancies:
    """What is vacant; nothing, as long as nobody offers it."""

    __slots__ = ("_idle", "_nobody_waits")

    def __init__(self) -> None:
        self._idle: IdleSlots | None = None
        self._nobody_waits: Callable[[], bool] = bool

    def offer(self, idle: IdleSlots, nobody_waits: Callable[[], bool]) -> None:
        """Let starts take idle slots while `nobody_waits`; it is asked before each."""
        self._idle, self._nobody_waits = idle, nobody_waits

    def withdraw(self) -> None:
        """Let starts take nothing any more."""
        self._idle = None

    def take(self, key: InstanceKey, program: str) -> bool:
        """Reserve a slot for an instance that begins now, until it gets to the pool; False where there is none."""
        idle = self._idle
        if idle is None or not is_pooled(program) or not idle.can(key.tenant_id, program) or not self._nobody_waits():
            return False
        idle.take(key, program)
        return True

    def give_back(self, key: InstanceKey) -> None:
        """Reckon with an instance no more, of which it turns out that it has not begun."""
        if self._idle is not None:
            self._idle.give_back(key)

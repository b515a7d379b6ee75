"""A backend whose attempts die at one call, as if the process was killed before it was sent, or after its answer."""

from collections.abc import Awaitable
from typing import Any, Literal

from runtara.sdk.flow import Backend
from runtara.transport import Door

__all__ = ["Crash", "CrashingBackend"]


class Crash(BaseException):
    """The end of an attempt, of which the runtime hears nothing."""


class CrashingBackend(Backend):
    """Opens doors that die at the `at`-th call of a program, counted over all its instances."""

    def __init__(self, inner: Backend, at: int, when: Literal["before", "after"]) -> None:
        self.inner = inner
        self.at = at
        self.when = when
        self.calls = 0
        self.crashed = False
        self.clock = inner.clock
        self.tenant_id = inner.tenant_id

    def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
        """Return the way of a program, which dies."""
        return _CrashingDoor(self.inner.open_door(instance_id, epoch, beats=beats), self)  # type: ignore[return-value]  # all else is the inner one's

    def beside(self, instance_id: str, *, watch: bool = False) -> Door:
        """Return the way of a manager, which does not."""
        return self.inner.beside(instance_id, watch=watch)

    def begin(self) -> int:
        """Count a call and return its number, and die if it is the one that is not even sent."""
        self.calls += 1
        if self.calls == self.at and self.when == "before":
            self._die()
        return self.calls

    def end(self, number: int) -> None:
        """Die if it is this call whose answer nobody hears, or the next that has one where that was cancelled."""
        if number >= self.at and self.when == "after" and not self.crashed:
            self._die()

    def _die(self) -> None:
        self.crashed = True
        raise Crash


class _CrashingDoor:
    def __init__(self, door: Door, backend: CrashingBackend) -> None:
        self._door = door
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._door, name)

    def call_from_thread(self, command: Any, *, timeout: float | None = None) -> Any:
        number = self._backend.begin()
        reply = self._door.call_from_thread(command, timeout=timeout)
        self._backend.end(number)
        return reply

    def hand_in(self, checkpoint_id: str, state: bytes) -> bool:
        number = self._backend.begin()
        is_taken = self._door.hand_in(checkpoint_id, state)
        self._backend.end(number)
        return is_taken

    def call(self, command: Any, *, timeout: float | None = None) -> Awaitable[Any]:
        return self._call(command, timeout)

    async def _call(self, command: Any, timeout: float | None) -> Any:
        number = self._backend.begin()
        reply = await self._door.call(command, timeout=timeout)
        self._backend.end(number)
        return reply

"""The time of a rehearsal: it stands still while the program does something, and jumps where it only waits.

A wait is over when a signal comes, or when nothing else in the program goes on and its moment is the next one. Only
durable time is skipped, which the runtime keeps: sleeps, time-outs of signals, back-off. `time.sleep` and the sleeps of
an event loop take as long as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from runtara.clock import ManualClock
from runtara.sdk._flows import AwaitPush
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.sync import RuntaraSdk
from runtara.threads import ForeignEvent, others_wait
from runtara.transport import Door, Session

__all__ = ["AsyncSkippingSdk", "SkippingSdk", "Time"]


class Time:
    """A clock, and who waits for it. For the tasks of one event loop, or for one thread."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self._calls = 0
        self._quiet: list[ForeignEvent] = []
        self._waits: list[int] = []

    def wait_blocking(self, wish: AwaitPush, session: Session) -> float:
        """Jump to the end of a wait, unless a signal has come; return how many seconds it took."""
        if session.pushes > wish.since:
            return 0.0
        self.jump_to(self._end_of(wish))
        return wish.seconds

    async def wait(self, wish: AwaitPush, session: Session) -> float:
        """Wait until a signal comes, or it is the turn of this wait to have its time pass; return the seconds."""
        began, ends_at = self.clock.now_ms(), self._end_of(wish)
        self._waits.append(ends_at)
        try:
            while session.pushes <= wish.since and self.clock.now_ms() < ends_at:
                await self._nothing_goes_on()
                if session.pushes <= wish.since and ends_at == min(self._waits):
                    self.jump_to(ends_at)
        finally:
            self._waits.remove(ends_at)
        return wish.seconds if self.clock.now_ms() >= ends_at else (self.clock.now_ms() - began) / 1000

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Have time stand still for as long as the block lasts."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                quiet, self._quiet = self._quiet, []
                for event in quiet:
                    event.set()

    async def _nothing_goes_on(self) -> None:
        """Return when every task waits, and none of them for an answer."""
        await others_wait()
        while self._calls:
            event = ForeignEvent()
            self._quiet.append(event)
            await event.wait(inf)
            await others_wait()

    def _end_of(self, wish: AwaitPush) -> int:
        return self.clock.now_ms() + -int(-wish.seconds * 1000 // 1)

    def jump_to(self, instant_ms: int) -> None:
        """Let it be that instant, if it lies ahead."""
        self.clock.jump_ms(max(0, instant_ms - self.clock.now_ms()))


class SkippingSdk(RuntaraSdk):
    """The sync SDK, whose waits take no time."""

    def __init__(self, door: Door, time: Time, *, park_after: float) -> None:
        super().__init__(door, time.clock, park_after=park_after)
        self._time = time

    def perform(self, wish: Any) -> Any:
        """Do what a flow wishes for; skip its waits."""
        if isinstance(wish, AwaitPush):
            return self._time.wait_blocking(wish, self._session)
        return super().perform(wish)


class AsyncSkippingSdk(AsyncRuntaraSdk):
    """The async SDK, whose waits take no time."""

    def __init__(self, door: Door, time: Time, *, park_after: float) -> None:
        super().__init__(door, time.clock, park_after=park_after)
        self._time = time

    async def perform(self, wish: Any) -> Any:
        """Do what a flow wishes for; skip its waits."""
        if isinstance(wish, AwaitPush):
            return await self._time.wait(wish, self._session)
        return await super().perform(wish)

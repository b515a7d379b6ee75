"""How the one who leads an instance has its tasks done: one at a time by itself, and what is ready beside by others.

A task that is not begun within some milliseconds is offered to idle workers of the pool; as soon as the one who leads
is free again, it takes back what nobody has claimed. So a sequence costs nothing, and a fork runs on all of them.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio
from msgspec.structs import replace

from runtara import messages
from runtara.errors import Busy, TooLarge
from runtara.sdk._bodies import Outcome
from runtara.sdk._drive import drive
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.flow._faces import Awaiting, HandedOver, Means, TryTask, patiently
from runtara.sdk.flow._held import Held
from runtara.sdk.flow._kept import instant_at
from runtara.sdk.flow._policies import runtime_priority
from runtara.sdk.flow._tries import Tries
from runtara.sdk.flow._walk import Together
from runtara.sdk.flow._wire import MARGIN, Try, read_outcome, write_try
from runtara.transport import Door

__all__ = ["Sharing", "Slot"]

OFFER_AFTER: Final = 0.005
"""Seconds that a task waits for the one who leads before others may have it: an offer takes about as long."""

OFFERED_MAX: Final = 64
"""Most tasks of one instance that are offered at a time; the others wait until one of these is done, or begins."""

PATIENCE_MS: Final = 1_000
"""How long a task is offered that the one who leads cannot run, before the instance is handed over for it."""

_WAIT_MS: Final = 30_000


class Slot:
    """The place in which the one who leads runs tasks, and the way to those of others."""

    def __init__(self, program: str, sdk: AsyncRuntaraSdk, door: Door, *, tries: Tries, tags: tuple[str, ...]) -> None:
        self.program: Final = program
        self.sdk: Final = sdk
        self.door: Final = door
        self.free: Final = trio.Semaphore(1)
        self._offers: Final = trio.Semaphore(OFFERED_MAX)
        self._tries: Final = tries
        self._tags: Final = frozenset(tags)

    async def run(self, wish: TryTask) -> Outcome:
        """Have a try done, here or elsewhere. Raises `HandedOver` where somebody else has to lead for it."""
        is_ours = not self._tags or self._tags.issuperset(wish.wish.task.spec.metadata.tags or ())
        if is_ours and (await self._is_soon_free() or not await self._may_offer()):
            return await self.run_here(wish)
        if not is_ours:
            await self._offers.acquire()
        try:
            return await _Offered(self, wish, is_ours=is_ours).outcome()
        finally:
            self._offers.release()

    async def run_here(self, wish: TryTask) -> Outcome:
        """Run a try in the place, which was acquired for it."""
        try:
            return await self._tries.run(wish)
        finally:
            self.free.release()

    async def _is_soon_free(self) -> bool:
        """Acquire the place, if that takes no longer than an offer would."""
        with suppress(trio.WouldBlock):  # in a sequence of tasks, it is free at once
            self.free.acquire_nowait()
            return True
        with trio.move_on_after(OFFER_AFTER):
            await self.free.acquire()
            return True
        return False

    async def _may_offer(self) -> bool:
        """Wait until there are few enough offers for another one; False if the place is acquired before."""
        acquired: list[trio.Semaphore] = []

        async def acquire(semaphore: trio.Semaphore) -> None:
            await semaphore.acquire()
            acquired.append(semaphore)

        await _first_of(partial(acquire, self.free), partial(acquire, self._offers))
        if len(acquired) == 2:
            self._offers.release()
        return acquired[0] is self._offers and len(acquired) == 1


class _Offered:
    """One try that others may claim."""

    def __init__(self, slot: Slot, wish: TryTask, *, is_ours: bool) -> None:
        self._slot = slot
        self._wish = wish
        self._is_ours = is_ours
        self._offer = _offer(slot, wish)
        self._told: messages.TaskOffered

    async def outcome(self) -> Outcome:
        """Return what came of it, wherever it was run."""
        if not await self._is_accepted():
            await self._slot.free.acquire()
            return await self._slot.run_here(self._wish)
        while self._told.status != "done":
            if self._told.status == "claimed":
                await self._wait(_WAIT_MS)
            elif not self._is_ours:
                await self._hand_over_unless_taken()
            elif await self._taken_back():
                return await self._slot.run_here(self._wish)
        return read_outcome(self._told.outcome, self._wish.wish.place)

    async def _is_accepted(self) -> bool:
        """Make the offer, before anything waits for it or takes it back. False where it has to be done here."""
        try:
            await self._wait(0)
        except (Busy, TooLarge):  # others offer too many, or the input leaves no room for what is said beside it
            if self._is_ours:
                return False
            raise
        return True

    async def _wait(self, wait_ms: int) -> None:
        command = replace(self._offer, wait_ms=wait_ms)
        self._told = await patiently(partial(self._slot.door.call, timeout=wait_ms / 1000 + MARGIN), command)

    async def _taken_back(self) -> bool:
        """Wait until the offer stands otherwise, or the place is free: it is acquired then, and the try not offered."""
        taken_back = False

        async def take_back() -> None:
            nonlocal taken_back
            await self._slot.free.acquire()
            try:
                # A withdrawal is told to who waits for the offer, too: that must not take this back.
                with trio.move_on_after(MARGIN, shield=True):
                    taken_back = await self._withdrawn()
            finally:
                if not taken_back:
                    self._slot.free.release()
            if not taken_back:
                await trio.sleep_forever()  # somebody has it: there is nothing left but to wait

        await _first_of(take_back, lambda: self._wait(_WAIT_MS))
        return taken_back

    async def _hand_over_unless_taken(self) -> None:
        await self._wait(PATIENCE_MS)
        if self._told.status == "waiting" and await self._withdrawn(hand_over=True):
            raise HandedOver(instant_at(self._slot.sdk.now_ms()))

    async def _withdrawn(self, *, hand_over: bool = False) -> bool:
        command = messages.WithdrawTask(place=self._offer.place, hand_over=hand_over)
        reply: messages.TaskWithdrawn = await patiently(self._slot.sdk.perform, command)
        return reply.withdrawn


def _offer(slot: Slot, wish: TryTask) -> messages.OfferTask:
    task, metadata = wish.wish, wish.wish.task.spec.metadata
    one = Try(
        place=task.place,
        value=task.value,
        of_loop=task.of_loop,
        step=wish.scope.path[:-1],
        attempt=wish.context.attempt,
        epoch=slot.sdk.epoch or 0,
    )
    return messages.OfferTask(
        place=f"{task.place}::{one.attempt}",  # another try is another offer
        program=slot.program,
        payload=write_try(one),
        tags=tuple(metadata.tags or ()),
        priority=runtime_priority(metadata.priority),
    )


async def _first_of(*calls: Callable[[], Awaitable[None]]) -> None:
    """Await several calls until one of them ends; raise its error, if that is how."""
    errors: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def run(call: Callable[[], Awaitable[None]]) -> None:
            try:
                await call()
            except Exception as error:  # noqa: BLE001 - it belongs to the caller
                errors.append(error)
            nursery.cancel_scope.cancel()

        for call in calls:
            nursery.start_soon(run, call)
    if errors:
        raise errors[0]


class Sharing(Awaiting):
    """Takes the walks of one instance with the help of others. Once it `is_over`, it rests before the next node."""

    def __init__(self, means: Means, held: Held, slot: Slot, is_over: Callable[[], bool]) -> None:
        super().__init__(means)
        self._held: Final = held
        self._slot: Final = slot
        self._is_over: Final = is_over

    async def _perform(self, wish: Any) -> Any:
        if self._is_over():
            raise HandedOver(instant_at(self._slot.sdk.now_ms()))
        if wish.__class__ is not Together:
            return await super()._perform(wish)
        await drive(self._held.saved(), self._part)
        with self._held.forking():
            return await super()._perform(wish)

    async def _part(self, wish: Any) -> Any:
        return await (self._slot.run(wish) if wish.__class__ is TryTask else patiently(self._means.perform, wish))

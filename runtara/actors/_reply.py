"""One answer on its way: who waits for it, until when, and what came of it.

A `Reply` lives on the thread of its system's event loop. It is settled exactly once: by the actor (value or error), by
its deadline, or by an asker that went away. Mail whose reply is settled already is dropped unread.
"""

from collections.abc import Callable
from math import inf
from typing import Final, Protocol, cast

import trio
from trio.lowlevel import Abort, Task, reschedule, wait_task_rescheduled

from runtara.errors import DeadlineExceeded, OutcomeUnknown

__all__ = ["Deadlines", "Expiring", "Reply"]

_TICK: Final = 0.01
"""Seconds. Deadlines are collected in buckets of this width, and are kept up to one width late, never early."""


class Reply:
    """A place for one answer. The waiter is a task of the loop, a callback, or nobody any more."""

    __slots__ = ("_deadlines", "_parked", "deadline", "error", "to", "value", "waiter")

    def __init__(
        self, to: str, deadline: float, deadlines: "Deadlines", waiter: "Task | Callable[[Reply], None]"
    ) -> None:
        self.to = to
        self.deadline = deadline
        self.waiter: Task | Callable[[Reply], None] | None = waiter
        self.value: object = None
        self.error: BaseException | None = None
        self._deadlines = deadlines
        self._parked = False
        deadlines.add(self)

    def settle(self, value: object) -> None:
        """Answer with `value`, unless the reply is settled."""
        if self.waiter is not None:
            self.value = value
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Answer with `error`, unless the reply is settled."""
        if self.waiter is not None:
            self.error = error
            self._wake()

    def expire(self) -> None:
        """Answer that the deadline has passed."""
        self.fail(
            DeadlineExceeded(f"{self.to} did not answer in time: ask again with the same ids, or allow more time")
        )

    def abandon(self) -> None:
        """Note that nobody waits any more."""
        self.waiter = None
        self._deadlines.discard(self)

    def result(self) -> object:
        """Return the value, or raise the error. Only of a settled reply."""
        if self.error is not None:
            raise self.error
        return self.value

    async def wait(self) -> object:
        """Wait as the task that was given as the waiter."""
        if self.waiter is None:  # answered already; now and then it is the turn of others all the same
            self._deadlines.answered_at_once += 1
            if self._deadlines.answered_at_once & 31:
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                await trio.lowlevel.checkpoint()
        else:
            self._parked = True
            await wait_task_rescheduled(self._abort)
        if self.error is not None:
            raise self.error
        return self.value

    def _wake(self) -> None:
        waiter, self.waiter = self.waiter, None
        self._deadlines.discard(self)
        if self._parked:
            reschedule(cast("Task", waiter))
        elif waiter is not None and not isinstance(waiter, Task):
            waiter(self)

    def _abort(self, _raise_cancel: object) -> Abort:
        self.abandon()
        return Abort.SUCCEEDED


class Expiring(Protocol):
    """Something to be done when it is due; equal to nothing but itself."""

    deadline: float

    def expire(self) -> None:
        """Do it."""


class Deadlines:
    """Knows the replies that are not settled, and whatever else is due some time, and expires them then.

    A timer per ask would cost as much as the ask; one per bucket of deadlines costs next to nothing.
    """

    __slots__ = ("_buckets", "_next", "_scope", "answered_at_once")

    def __init__(self) -> None:
        self.answered_at_once = 0
        self._buckets: dict[float, set[Expiring]] = {}
        self._next = inf
        self._scope = trio.CancelScope()

    def let_others_run(self) -> None:
        """Have the next asker that is answered at once give the others their turn."""
        self.answered_at_once |= 31

    def add(self, reply: Expiring) -> None:
        """Watch over a reply, or whatever expires."""
        deadline = reply.deadline
        tick = deadline if deadline == inf else int(deadline / _TICK) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {reply}
            if tick < self._next:
                self._next = tick
                self._scope.deadline = tick * _TICK
        else:
            bucket.add(reply)

    def discard(self, reply: Expiring) -> None:
        """Let go of `reply`; harmless if it is not watched over."""
        deadline = reply.deadline
        tick = deadline if deadline == inf else int(deadline / _TICK) + 1
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(reply)
            if not bucket:
                del self._buckets[tick]

    async def run(self) -> None:
        """Expire what is due, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._next * _TICK) as self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            for tick in [tick for tick in self._buckets if tick * _TICK <= now]:
                for reply in self._buckets.pop(tick):
                    reply.expire()
            self._next = min(self._buckets, default=inf)

    def close(self) -> None:
        """Answer what is still open when the system ends, as by a thread that is stuck: nobody shall wait for ever."""
        while self._buckets:
            _, bucket = self._buckets.popitem()
            for reply in bucket:
                if isinstance(reply, Reply):
                    reply.fail(
                        OutcomeUnknown(f"{reply.to} had not answered when its system ended: ask with the same ids")
                    )

"""One try of a task by a worker: under its loop or on one of its threads, and told once nobody waits for it."""

from functools import partial
from typing import Final

import trio

from runtara.sdk._bodies import Outcome, try_async, try_blocking
from runtara.sdk._scopes import Scope
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import use_sdk
from runtara.sdk.flow._faces import TryTask
from runtara.sdk.flow.context import StopFlag
from runtara.sdk.sync import RuntaraSdk
from runtara.transport import Door

__all__ = ["Tries"]


class Tries:
    """Runs tries of tasks for one instance, with the SDK of its program, which they may use."""

    def __init__(self, sdk: AsyncRuntaraSdk, door: Door, threads: trio.CapacityLimiter) -> None:
        self._sdk: Final = sdk
        self._blocking: Final = RuntaraSdk(door, sdk.clock)
        self._threads: Final = threads

    async def run(self, wish: TryTask) -> Outcome:
        """Run one. Where it is cancelled, an async task is as well; a plain one is told, and waited for."""
        if wish.wish.task.spec.is_async:
            with use_sdk(self._sdk):
                return wish.told(await try_async(wish.scope, wish.call_async, wish.timeout))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell, wish.context.stop)
            outcome = await trio.to_thread.run_sync(partial(self._call, wish), limiter=self._threads)
            nursery.cancel_scope.cancel()
        return wish.told(outcome)

    def _call(self, wish: TryTask) -> Outcome:
        scope = Scope(self._blocking, wish.scope.path)
        with use_sdk(self._blocking):
            return try_blocking(scope, wish.call, wish.timeout)


async def _tell(stop: StopFlag) -> None:
    """Set the flag when this is cancelled: with what it stands beside, or because that is over."""
    try:
        await trio.sleep_forever()
    finally:
        stop.is_set = True

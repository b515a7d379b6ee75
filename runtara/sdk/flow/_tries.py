"""One try of a task by a worker: under its loop or on one of its threads, and told once nobody waits for it."""

from typing import Final

import trio

from runtara.sdk._bodies import Outcome, try_async, try_blocking
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import use_sdk
from runtara.sdk.flow._faces import TryTask, facing
from runtara.sdk.flow.context import StopFlag
from runtara.sdk.sync import RuntaraSdk

__all__ = ["Tries"]


class Tries:
    """Runs tries of tasks for one instance, with the SDK of its program, which they may use."""

    def __init__(self, sdk: AsyncRuntaraSdk, threads: trio.CapacityLimiter) -> None:
        self._sdk: Final = sdk
        self._threads: Final = threads

    async def run(self, wish: TryTask) -> Outcome:
        """Run one. Where it is cancelled, an async task is as well; a plain one is told, and waited for."""
        with use_sdk(self._sdk):
            if wish.wish.task.spec.is_async:
                return wish.told(await try_async(wish.scope, wish.call_async, wish.timeout))
            return wish.told(await self._on_thread(wish))

    async def _on_thread(self, wish: TryTask) -> Outcome:
        with facing(wish, RuntaraSdk) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, wish.context.stop)
                outcome = await trio.to_thread.run_sync(
                    lambda: try_blocking(scope, wish.call, wish.timeout), limiter=self._threads
                )
                nursery.cancel_scope.cancel()
        return outcome


async def _tell(stop: StopFlag) -> None:
    """Set the flag when this is cancelled: with what it stands beside, or because that is over."""
    try:
        await trio.sleep_forever()
    finally:
        stop.is_set = True

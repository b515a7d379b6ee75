"""One try of a task by a worker: under its loop or on one of its threads, and told once nobody waits for it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

import trio

from runtara.sdk._bodies import Outcome, try_async, try_blocking, try_in_loop
from runtara.sdk._words import text_of
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import use_sdk
from runtara.sdk.flow._faces import TryTask, facing
from runtara.sdk.flow._libraries import Loops
from runtara.sdk.flow.context import StopFlag
from runtara.sdk.sync import RuntaraSdk
from runtara.threads import Canceller

__all__ = ["Bench", "Tries"]


class Bench(NamedTuple):
    """Where a worker runs tasks."""

    threads: trio.CapacityLimiter
    loops: Loops
    """Choose where an async task runs: in the worker's own loop, or under asyncio, in a loop for each try."""


class Tries:
    """Runs tries of tasks for one instance, with the SDK of its program, which they may use."""

    def __init__(self, sdk: AsyncRuntaraSdk, bench: Bench) -> None:
        self._sdk: Final = sdk
        self._bench: Final = bench

    async def run(self, wish: TryTask) -> Outcome:
        """Run one. Where it is cancelled, an async task is as well; a plain one is told, and waited for."""
        spec = wish.wish.task.spec
        library = self._bench.loops.of(spec.library)
        with use_sdk(self._sdk):
            if not spec.is_async:
                with facing(wish, RuntaraSdk) as scope:
                    contained = partial(_contained, wish.call, self._bench.loops)
                    call = partial(try_blocking, scope, contained, wish.timeout)
                    return wish.told(await self._on_thread(wish, call))
            if library == "trio":
                return wish.told(await self._tried(wish))
            canceller = Canceller()
            call = partial(try_in_loop, library, partial(self._tried, wish), canceller)
            return wish.told(await self._on_thread(wish, call, canceller.cancel))

    def _tried(self, wish: TryTask) -> Awaitable[Outcome]:
        return try_async(wish.scope, partial(_contained_async, wish.call_async), wish.timeout)

    async def _on_thread(
        self, wish: TryTask, call: Callable[[], Outcome], cancel: Callable[[], None] = lambda: None
    ) -> Outcome:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell, wish.context.stop, cancel)
            outcome = await trio.to_thread.run_sync(call, limiter=self._bench.threads)
            nursery.cancel_scope.cancel()
        return outcome


def _contained(call: Callable[[Loops], bytes], loops: Loops) -> bytes:
    """Call a task on a thread. What would end the program, or its thread, is an error of the task: it is no signal."""
    try:
        return call(loops)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as exit:
        raise _unwanted(exit) from exit


async def _contained_async(call: Callable[[], Awaitable[bytes]]) -> bytes:
    """Await a task. An interrupt may be the user's, and what cancels may be the worker's."""
    try:
        return await call()
    except SystemExit as exit:
        raise _unwanted(exit) from exit


def _unwanted(exit: BaseException) -> Exception:
    return RuntimeError(f"a task does not end its worker, and this one tried to, with {text_of(exit)}")


async def _tell(stop: StopFlag, cancel: Callable[[], None]) -> None:
    """Set the flag and cancel when this is cancelled: with what it stands beside, or because that is over."""
    try:
        await trio.sleep_forever()
    finally:
        stop.is_set = True
        cancel()

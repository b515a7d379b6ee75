"""Crossing between threads and event loops: into a trio loop from anywhere, and back to whoever waits.

The one door to asyncio. Everything crosses into a loop through an `Ingress`: a queue with one pending wake-up, so that
a flood of callbacks costs one wake-up, not one each. It knows nothing of what the callbacks do.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from math import inf
from typing import Any, Final, Literal, TypeVar

import sniffio
import trio

from runtara.errors import ActorStopped, MailboxFull

__all__ = [
    "INGRESS_BOUND",
    "Canceller",
    "ForeignEvent",
    "Ingress",
    "Library",
    "in_thread",
    "loop_time",
    "others_wait",
    "pause",
    "run_async",
    "running_library",
    "settled",
    "together",
    "within",
]

T = TypeVar("T")

Library = Literal["trio", "asyncio"]
"""The event loops that programs are written for."""

INGRESS_BOUND: Final = 65_536
"""Most callbacks from other threads on their way to one loop."""

_TURNS: Final = 16
"""How many turns of an asyncio loop let every task get to where it waits; asyncio cannot be asked."""


class Ingress:
    """Runs callbacks on the thread of one event loop, in order, from any thread. Made on that thread.

    `failed` is told of what a callback raises.
    """

    def __init__(self, name: str, failed: Callable[[Exception], object]) -> None:
        self._name = name
        self._failed = failed
        self._token = trio.lowlevel.current_trio_token()
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._pending = False
        self._closed = False

    def enter(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback` called on the loop, unless too much waits for it. Raises `MailboxFull` or `ActorStopped`."""
        if len(self._waiting) >= INGRESS_BOUND:
            raise MailboxFull(f"{INGRESS_BOUND} messages wait to enter {self._name}, the bound: try again later")
        self.post(callback, *args)

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback` called on the loop, for what must not be lost, such as answers. Raises `ActorStopped`."""
        if self._closed:
            raise self._gone()
        self._waiting.append((callback, args))
        if not self._pending:
            try:
                self._pending = True
                self._token.run_sync_soon(self._drain)
            except trio.RunFinishedError:
                self._drain()  # others may have relied on this wake-up; by now, all they can hear is a refusal
                raise self._gone() from None
            except BaseException:  # an interrupt from the keyboard: nobody may rely on this wake-up
                self._pending = False
                raise

    def close(self) -> None:
        """Take no more; what waits is still run."""
        self._closed = True
        self._drain()

    def _drain(self) -> None:
        # The flag falls before the queue is emptied: whoever appends after the last look schedules a new drain.
        self._pending = False
        waiting = self._waiting
        for _ in range(len(waiting)):
            try:
                callback, args = waiting.popleft()
            except IndexError:  # the loop is gone, and several threads are here
                return
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - an exception here would end the whole loop
                self._failed(error)
        if waiting and not self._pending:
            self._pending = True
            self._token.run_sync_soon(self._drain)

    def _gone(self) -> ActorStopped:
        return ActorStopped(f"{self._name} has stopped and did not read the message: ask while it is open")


class ForeignEvent:
    """Something that any thread may set and one task waits for, under trio or asyncio. Made by the task that waits."""

    def __init__(self) -> None:
        self._call: Callable[[Callable[[], object]], object]
        self._set: Callable[[], object]
        self._wait: Callable[[float], Awaitable[object]]
        self._now: Callable[[], float]
        if sniffio.current_async_library() == "asyncio":
            self._begin_asyncio()
        else:
            happened = trio.Event()
            self._call = trio.lowlevel.current_trio_token().run_sync_soon
            self._set, self._now = happened.set, trio.current_time
            self._wait = partial(_wait_under_trio, happened)

    def _begin_asyncio(self) -> None:
        import asyncio  # takes 40 ms, and most programs never need it

        happened, loop = asyncio.Event(), asyncio.get_running_loop()
        self._call = loop.call_soon_threadsafe
        self._set, self._now = happened.set, loop.time
        self._wait = lambda timeout: asyncio.wait_for(happened.wait(), timeout)

    def set(self) -> None:
        """Wake the task that waits; from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop has ended: nobody waits
            self._call(self._set)

    async def wait(self, timeout: float) -> float:
        """Return when it is set, or after `timeout` seconds; return how many passed, on the clock of the loop."""
        began = self._now()
        with contextlib.suppress(TimeoutError):
            await self._wait(timeout)
        return self._now() - began


async def _wait_under_trio(event: trio.Event, timeout: float) -> None:
    with trio.move_on_after(timeout):
        await event.wait()


async def settled(future: Future[T]) -> T:
    """Return what comes of a future, under trio or asyncio; cancel it if the task that waits is cancelled."""
    if sniffio.current_async_library() == "asyncio":
        import asyncio  # takes 40 ms, and most programs never need it

        return await asyncio.wrap_future(future)
    done = ForeignEvent()
    future.add_done_callback(lambda _: done.set())
    try:
        await done.wait(inf)
    except BaseException:
        future.cancel()
        raise
    return future.result()


async def within(timeout: float, call: Callable[[], Awaitable[T]]) -> tuple[bool, T | None]:
    """Await a call, under trio or asyncio, and cancel it after `timeout` seconds; tell whether that was done."""
    if sniffio.current_async_library() != "asyncio":
        with trio.move_on_after(timeout) as scope:
            return False, await call()
        assert scope.cancelled_caught
        return True, None
    import asyncio  # takes 40 ms, and most programs never need it

    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return False, await call()
    except TimeoutError:
        if not limit.expired():  # the call's own
            raise
        return True, None


async def in_thread(call: Callable[[], T]) -> T:
    """Have a function called on a thread, under trio or asyncio, and return what it returns."""
    if sniffio.current_async_library() != "asyncio":
        return await trio.to_thread.run_sync(call)
    import asyncio  # takes 40 ms, and most programs never need it

    return await asyncio.to_thread(call)


async def together(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Await several calls at the same time, under trio or asyncio; return what each returns, in their order.

    The first one that raises has the others cancelled, and its error is raised once they have ended.
    """
    results: list[Any] = [None] * len(calls)
    failure: BaseException | None = None

    async def run(i: int) -> None:
        results[i] = await calls[i]()

    try:
        if sniffio.current_async_library() != "asyncio":
            async with trio.open_nursery() as nursery:
                for i in range(len(calls)):
                    nursery.start_soon(run, i)
        else:
            import asyncio  # takes 40 ms, and most programs never need it

            async with asyncio.TaskGroup() as group:
                for i in range(len(calls)):
                    group.create_task(run(i))
    except BaseExceptionGroup as errors:
        failure = _first(errors)
    if failure is not None:
        raise failure  # from out here, where it keeps the cause that it has
    return results


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


async def pause(seconds: float) -> None:
    """Wait so long, under trio or asyncio."""
    if sniffio.current_async_library() != "asyncio":
        await trio.sleep(seconds)
        return
    import asyncio  # takes 40 ms, and most programs never need it

    await asyncio.sleep(seconds)


def running_library() -> Library:
    """Return of which kind the running loop is."""
    return "asyncio" if sniffio.current_async_library() == "asyncio" else "trio"


def loop_time() -> float:
    """Return seconds on the clock of the running loop, of trio or asyncio."""
    if sniffio.current_async_library() != "asyncio":
        return trio.current_time()
    import asyncio  # takes 40 ms, and most programs never need it

    return asyncio.get_running_loop().time()


class Canceller:
    """Cancels an async function that runs on another thread, as soon as it does; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_wanted = False
        self._cancel: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Have it cancelled, now or when it begins; harmless once it has ended."""
        with self._lock:
            self._is_wanted = True
            if self._cancel is not None:
                with contextlib.suppress(RuntimeError):  # its loop has ended
                    self._cancel()

    def begin(self, cancel: Callable[[], object]) -> None:
        """Say how it is cancelled: by a call from any thread."""
        with self._lock:
            self._cancel = cancel
            if self._is_wanted:
                cancel()


def run_async(library: str, main: Callable[[], Awaitable[T]], canceller: Canceller | None = None) -> T:
    """Run an async function in an event loop of its own, of trio or asyncio.

    Where one runs on this thread already, which it keeps waiting, another thread is taken. Under asyncio, a `canceller`
    may cancel it. Raises `concurrent.futures.CancelledError` where it was cancelled, by that or by itself.
    """
    if _is_in_loop():
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(copy_context().run, _begin_anew, library, main, canceller).result()
    if library != "asyncio":
        return trio.run(main)
    import asyncio  # takes 40 ms, and most programs never need it

    async def coroutine() -> T:
        task = asyncio.current_task()
        if canceller is not None and task is not None:
            canceller.begin(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
        return await main()

    try:
        return asyncio.run(coroutine())
    except asyncio.CancelledError as error:
        raise CancelledError("the async function was cancelled") from error


def _begin_anew(library: str, main: Callable[[], Awaitable[T]], canceller: Canceller | None) -> T:
    sniffio.current_async_library_cvar.set(None)  # it is that of the loop which waits
    return run_async(library, main, canceller)


def _is_in_loop() -> bool:
    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return False
    return True


async def others_wait() -> None:
    """Return when all other tasks of this loop wait for something (trio), or have had some turns (asyncio)."""
    if sniffio.current_async_library() != "asyncio":
        from trio.testing import wait_all_tasks_blocked  # takes time, and only rehearsals need it

        await wait_all_tasks_blocked()
        return
    import asyncio  # takes 40 ms, and most programs never need it

    for _ in range(_TURNS):
        await asyncio.sleep(0)

"""What flows wish for that concern more than one door, or files: done by blocking a thread, or by awaiting.

Owns the wishes of those who manage instances and images. Of a flow that emits, the items come out one by one: `Stream`
and `AsyncStream`.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

from runtara.clock import monotonic
from runtara.messages import Request
from runtara.sdk._drive import perform as perform_at
from runtara.sdk._drive import perform_blocking as perform_blocking_at
from runtara.sdk._flows import AwaitPush, Flow
from runtara.transport import Door

__all__ = [
    "AsyncStream",
    "Emit",
    "Stream",
    "ask",
    "await_push",
    "now",
    "perform",
    "perform_blocking",
    "work",
]

R = TypeVar("R")
T = TypeVar("T")


class _Ask(NamedTuple):
    """Have a command answered through a door."""

    door: Door
    command: Request[Any]
    timeout: float | None


class _Await(NamedTuple):
    """Wait until something is pushed to the session of a door."""

    door: Door
    wish: AwaitPush


class _Work(NamedTuple):
    """Have a function called that may block, as one that reads a file does."""

    call: Callable[[], Any]


class _Now(NamedTuple):
    """Look at the monotonic clock."""


class Emit(NamedTuple):
    """Hand an item to whoever iterates over the flow."""

    item: Any


def ask(door: Door, command: Request[R], timeout: float | None = None) -> Flow[R]:
    """Have a command answered, within `timeout` seconds or the door's own measure."""
    reply: R = yield _Ask(door, command, timeout)
    return reply


def await_push(door: Door, seconds: float, since: int) -> Flow[None]:
    """Wait until more than `since` things were pushed to the door's session, at most so many seconds."""
    yield _Await(door, AwaitPush(seconds, since))


def work(call: Callable[[], T]) -> Flow[T]:
    """Have a function called that may block, without holding up an event loop."""
    result: T = yield _Work(call)
    return result


def now() -> Flow[float]:
    """Return seconds on a clock that is never set."""
    seconds: float = yield _Now()
    return seconds


def perform_blocking(wish: Any) -> Any:
    """Do what a flow wishes for, blocking the thread."""
    kind = wish.__class__
    if kind is _Ask:
        return wish.door.call_from_thread(wish.command, timeout=wish.timeout)
    if kind is _Await:
        return perform_blocking_at(wish.door, wish.wish)
    return wish.call() if kind is _Work else monotonic()


async def perform(wish: Any) -> Any:
    """Do what a flow wishes for, awaiting it under trio or asyncio."""
    kind = wish.__class__
    if kind is _Ask:
        return await wish.door.call(wish.command, timeout=wish.timeout)
    if kind is _Await:
        return await perform_at(wish.door, wish.wish)
    from runtara.threads import in_thread, loop_time  # takes trio, which a blocking program need not wait for

    return await in_thread(wish.call) if kind is _Work else loop_time()


class _Emitting(Generic[T]):
    """A flow from which items come. `close` lets go of it; harmless when repeated."""

    def __init__(self, flow: Flow[None]) -> None:
        self._flow: Final = flow

    def close(self) -> None:
        """Have nothing more come."""
        self._flow.close()


class Stream(_Emitting[T]):
    """Items as they come, for `for`; the thread is blocked until there is one. `with` closes it at the end."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        value: Any = None
        error: Exception | None = None
        while True:
            wish = self._flow.send(value) if error is None else self._flow.throw(error)
            error = None
            if wish.__class__ is Emit:
                item: T = wish.item
                return item
            try:
                value = perform_blocking(wish)
            except Exception as raised:  # noqa: BLE001 - the flow decides what an error means
                error = raised

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(_Emitting[T]):
    """Items as they come, for `async for`, under trio or asyncio. `async with` closes it at the end."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        value: Any = None
        error: Exception | None = None
        while True:
            try:
                wish = self._flow.send(value) if error is None else self._flow.throw(error)
            except StopIteration:
                raise StopAsyncIteration from None
            error = None
            if wish.__class__ is Emit:
                item: T = wish.item
                return item
            try:
                value = await perform(wish)
            except Exception as raised:  # noqa: BLE001 - the flow decides what an error means
                error = raised

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

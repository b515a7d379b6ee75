"""Doing the same for many things, so many of them at a time."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

__all__ = ["for_each"]

T = TypeVar("T")
R = TypeVar("R")


async def for_each(items: Sequence[T], work: Callable[[T], Awaitable[R]], at_a_time: int) -> tuple[R, ...]:
    """Return what comes of the work on each item, in their order. What the work raises ends it all, as in a nursery."""
    found: dict[int, R] = {}
    left = iter(enumerate(items))

    async def carry_on() -> None:
        for at, item in left:
            found[at] = await work(item)

    async with trio.open_nursery() as nursery:
        for _ in range(min(at_a_time, len(items))):
            nursery.start_soon(carry_on)
    return tuple(found[at] for at in range(len(items)))

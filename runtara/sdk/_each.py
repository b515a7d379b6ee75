"""Loops whose items are done once: a checkpoint behind each, and a replay that goes on behind the last one.

Whatever an item calls (durable functions, signals) belongs to that item: it is found under the same names although a
replay leaves out the items before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, Self, TypeVar

from runtara import messages
from runtara.errors import InvalidInput
from runtara.sdk import _flows as flows
from runtara.sdk._base import SdkBase
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._results import Codec
from runtara.sdk._scopes import scope_in_use
from runtara.sdk._types import Signal

__all__ = ["AsyncEach", "Each"]

T = TypeVar("T")

_PLAIN: Final = re.compile(r"[\w .:@+-]+")
_JSON: Final = (type(None), bool, int, float, str, list, dict)
"""Types that JSON tells apart by itself; a state of another one comes back as that type."""


class _Loop(Generic[T]):
    """What both kinds of loop do, as flows."""

    def __init__(self, owner: SdkBase, items: Iterable[T], name: str, state: Any) -> None:
        _check(items, name)
        self.state = state
        """What the body hands from item to item, kept with each. Change it, or set it anew, in the body."""
        self._owner = owner
        self._items: Iterator[T] = iter(items)
        scope = owner.scope
        self._step = scope.step(f"each({name if _PLAIN.fullmatch(name) else repr(name)})", counted=True)
        self._inner = scope.inside(self._step)
        self._is_new = scope.is_program and not owner.is_resumed
        self._codec = Codec(Any if isinstance(state, _JSON) else type(state), f"the state of loop {name!r} is")
        self._around = scope_in_use.get()
        self._done = -1
        """How many items are done; -1 before the loop has begun."""
        self._runs = False
        """Whether the body of the next item runs, or has just ended."""

    def _next(self) -> flows.Flow[T]:
        """Keep what was done, and return the next item. Raises `_Done` at the end."""
        scope_in_use.set(self._around)
        if self._done < 0:
            self._done = yield from self._begin()
        if self._runs:
            yield from self._keep()
        yield from self._owner.look_for_signals()
        item = self._take()
        self._runs = True
        scope_in_use.set(self._inner.inside(self._id(self._done)))
        return item

    def _take(self) -> T:
        try:
            return next(self._items)
        except StopIteration:
            raise _Done from None

    def _begin(self) -> flows.Flow[int]:
        """Return how many items are done, find the state behind them, and leave them out."""
        done = 0
        if not self._is_new:
            done, state = yield from self._find()
            if done:
                self.state = self._codec.read(state, f"state of {self._step} is not what the loop keeps")
        for index in range(done):
            try:
                next(self._items)
            except StopIteration:
                raise InvalidInput(
                    f"{done} items of {self._step} are done, but there are only {index}: "
                    "give every attempt the same items, or give the loop a new name"
                ) from None
        return done

    def _find(self) -> flows.Flow[tuple[int, bytes | None]]:
        """Return how many items are done, and the last state. They are done in order: a few looks find the last."""
        done, undone = 0, None
        state: bytes | None = None
        while undone is None or done < undone:
            index = 2 * done if undone is None else (done + undone) // 2
            found: messages.CheckpointFound = yield messages.GetCheckpoint(checkpoint_id=self._id(index))
            if found.found:
                done, state = index + 1, found.state
            else:
                undone = index
        return done, state

    def _keep(self) -> flows.Flow[None]:
        what = f"the state of {self._step}"
        state, self.state = self._codec.keep(self.state, what)
        saved = yield messages.SaveCheckpoint(checkpoint_id=self._id(self._done), state=state)
        if saved.found:
            self.state = self._codec.read(saved.state, f"{what} is not what the loop keeps")
        self._done, self._runs = self._done + 1, False
        flows.raise_for(Signal.of(saved.signal))

    def _id(self, index: int) -> str:
        return self._inner.step(str(index), counted=False)


class _Done(Exception):
    """There are no more items. Not a `StopIteration`, which no generator lets through."""


class Each(_Loop[T]):
    """The loop that `RuntaraSdk.each` returns."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return drive_blocking(self._next(), self._owner.perform)  # type: ignore[attr-defined]  # each face has one
        except _Done:
            raise StopIteration from None


class AsyncEach(_Loop[T]):
    """The loop that `AsyncRuntaraSdk.each` returns."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await drive(self._next(), self._owner.perform)  # type: ignore[attr-defined]  # each face has one
        except _Done:
            raise StopAsyncIteration from None


def _check(items: object, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"a loop called {name!r} is not allowed: give it a name that says what is done")
    if not isinstance(items, Iterable):
        raise InvalidInput(f"items of loop {name!r} must be an iterable, not {type(items).__name__}")

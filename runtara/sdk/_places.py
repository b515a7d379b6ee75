"""Where a program takes its signals: the n-th signal of a name is taken at the n-th place, in every replay."""

import heapq
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Place", "Places"]


class Place:
    """One place, held by a call until it ends."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.is_taken = False
        """Whether something came of it: a signal, or that none came in time. If not, the next call looks here again."""


class Places:
    """Gives every call a place of its own, the first one that is free, also to calls at the same time.

    `part` returns what tells the places of one part of the program from those of another; most parts hold none.
    """

    def __init__(self, part: Callable[[], str] = str) -> None:
        self._part = part
        self._lock = threading.Lock()
        self._next: dict[str, int] = {}
        self._free: dict[str, list[int]] = {}
        """Places that were held and not taken, smallest first."""

    @contextmanager
    def hold(self, name: str) -> Iterator[Place]:
        """Hold the next place for a signal of that name."""
        number = self._hold(name)
        part = self._part()
        place = Place(f"signal::{name}::{part}::{number}" if part else f"signal::{name}::{number}")
        try:
            yield place
        finally:
            if not place.is_taken:
                with self._lock:
                    heapq.heappush(self._free[name], number)

    def _hold(self, name: str) -> int:
        with self._lock:
            free = self._free.setdefault(name, [])
            if free:
                return heapq.heappop(free)
            number = self._next[name] = self._next.get(name, -1) + 1
            return number

"""Quarantine: cells that could not be loaded several times in a row rest for a while before they are tried again.

One damaged cell must cost the store no more than a few reads, and its neighbours nothing.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Quarantine"]

K = TypeVar("K", bound=Hashable)


class Quarantine(Generic[K]):
    """Counts failed loads per key. Knows no clock: it is told the time, in seconds."""

    __slots__ = ("_lasts", "_resting", "_strikes", "_struck")

    def __init__(self, strikes: int, lasts: float) -> None:
        self._strikes = strikes
        self._lasts = lasts
        self._struck: dict[K, tuple[int, float]] = {}
        """Failed loads in a row, and when the latest was."""
        self._resting: dict[K, float] = {}

    def __len__(self) -> int:
        return len(self._resting)

    def rests(self, key: K, now: float) -> bool:
        """Return whether `key` must not be tried now."""
        until = self._resting.get(key)
        if until is None or now < until:
            return until is not None
        self.forgive(key)
        return False

    def strike(self, key: K, now: float) -> None:
        """Note that `key` could not be loaded."""
        strikes = self._struck.get(key, (0, now))[0] + 1
        self._struck[key] = strikes, now
        if strikes >= self._strikes:
            self._resting[key] = now + self._lasts

    def forgive(self, key: K) -> None:
        """Note that `key` could be loaded, or has rested long enough."""
        self._struck.pop(key, None)
        self._resting.pop(key, None)

    def forget(self, now: float) -> None:
        """Let go of what is over, so that nothing grows for ever."""
        for key in [key for key, (_, at) in self._struck.items() if at + self._lasts <= now]:
            self.forgive(key)

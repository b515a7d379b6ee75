"""The wall clock, and its only door.

Stored instants are integer milliseconds since 1970-01-01 UTC. Waits inside a process use the monotonic clock of the
event loop; the wall clock only decides *until when* to wait, so a jump of it can neither lose nor double a timer.
"""

import time
from typing import Final, Protocol

from runtara.errors import InvalidInput

__all__ = [
    "INSTANT_MAX_MS",
    "SPAN_MAX_MS",
    "Clock",
    "ManualClock",
    "SharedClock",
    "SystemClock",
    "check_instant_ms",
    "monotonic",
    "span_ms",
]

INSTANT_MAX_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""

SPAN_MAX_MS: Final = 100 * 366 * 86_400_000
"""The longest span that a sleep or a time-out may have: one hundred years."""


class Clock(Protocol):
    """Tells the time of day."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""


class SystemClock:
    """The clock of the operating system."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000


class SharedClock:
    """The clock of a database, which several machines share. Until it was heard of, the system's own.

    It goes on by this process's monotonic clock, so that neither a machine that is set wrongly nor one that is set anew
    disturbs it, and never goes back.
    """

    def __init__(self) -> None:
        self._heard: tuple[int, float] | None = None
        self._last = 0

    def set(self, now_ms: int, heard_at: float) -> None:
        """Take note that an answer said `now_ms` which was heard at `heard_at` (see `monotonic`).

        It was true a little earlier, so this clock is never ahead of the shared one.
        """
        self._heard = (now_ms, heard_at)

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        heard = self._heard
        if heard is None:
            return time.time_ns() // 1_000_000
        self._last = max(self._last, heard[0] + int((time.monotonic() - heard[1]) * 1000))
        return self._last


def monotonic() -> float:
    """Return seconds on a clock that is never set; only differences mean anything."""
    return time.monotonic()


class ManualClock:
    """A clock that stands where it was put; for tests and simulations."""

    def __init__(self, now_ms: int = 1_750_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the instant the clock was set to."""
        return self._now_ms

    def jump_ms(self, span_ms: int) -> None:
        """Move the clock by `span_ms` milliseconds, backwards when negative."""
        self._now_ms += span_ms


def span_ms(seconds: float, what: str = "duration") -> int:
    """Turn a span in seconds into whole milliseconds, rounded up so that no wait is ever too short.

    Raises `InvalidInput` for a span that is negative, not a number, infinite or longer than `SPAN_MAX_MS`.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInput(f"{what} must be a number of seconds, not {type(seconds).__name__}")
    if not 0 <= seconds <= SPAN_MAX_MS / 1000:
        raise InvalidInput(f"{what} of {seconds} s is not allowed: use 0 s to {SPAN_MAX_MS // 1000} s (100 years)")
    return -int(-seconds * 1000 // 1)


def check_instant_ms(instant_ms: int, what: str = "instant") -> int:
    """Return `instant_ms` if it lies between 1970 and 9999, else raise `InvalidInput`."""
    if isinstance(instant_ms, bool) or not isinstance(instant_ms, int):
        raise InvalidInput(f"{what} must be whole milliseconds since 1970, not {type(instant_ms).__name__}")
    if not 0 <= instant_ms <= INSTANT_MAX_MS:
        raise InvalidInput(f"{what} {instant_ms} ms lies outside the years 1970 to 9999")
    return instant_ms

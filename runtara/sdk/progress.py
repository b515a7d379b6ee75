"""How far a program has come, as it says itself: the last event of subtype `progress` in its audit log."""

from math import inf
from typing import Final

import msgspec

from runtara.clock import monotonic
from runtara.errors import InvalidInput
from runtara.messages import RecordEvent
from runtara.sdk._flows import Flow

__all__ = ["EVERY", "PROGRESS", "Progress", "Reporter"]

PROGRESS: Final = "progress"
"""The subtype of the events."""

EVERY: Final = 1.0
"""Seconds within which at most one event is written; what is said in between is overtaken by what is said later."""


class Progress(msgspec.Struct, frozen=True):
    """So much is done, of so much if that is known."""

    done: float
    """How much is done, in whatever the program counts."""
    total: float | None = None
    """How much there is to do."""
    message: str = ""
    """What it is about right now, for people."""

    @property
    def is_all(self) -> bool:
        """Whether everything is done."""
        return self.total is not None and self.done >= self.total

    def __str__(self) -> str:
        count = f"{self.done:g}" if self.total is None else f"{self.done:g} of {self.total:g}"
        return f"{count} · {self.message}" if self.message else count


class Reporter:
    """Writes what a program says of its progress, but not more often than anybody looks."""

    def __init__(self) -> None:
        self._written_at = -inf
        self._waiting: Progress | None = None

    def say(self, done: float, total: float | None, message: str) -> Flow[None]:
        """Note the progress, and write it if it is all, or if nothing was written for a while."""
        _check(done, total, message)
        self._waiting = Progress(done, total, message)
        if self._waiting.is_all or monotonic() - self._written_at >= EVERY:
            yield from self.write()

    def write(self) -> Flow[None]:
        """Write what was said last, unless it is written already."""
        if self._waiting is None:
            return
        event = RecordEvent(subtype=PROGRESS, payload=msgspec.json.encode(self._waiting))
        self._waiting, self._written_at = None, monotonic()
        yield event


def _check(done: object, total: object, message: object) -> None:
    for value in (done, 0 if total is None else total):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
            raise InvalidInput(f"progress of {value!r} is not allowed: use numbers, 0 or more")
    if not isinstance(message, str):
        raise InvalidInput(f"the message of a progress must be text, not {type(message).__name__}")

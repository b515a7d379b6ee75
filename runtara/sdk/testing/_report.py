"""What came of a program, and how two runs of it differ. Only data and pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from runtara.sdk._types import InstanceStatus

__all__ = ["CrashPoint", "Difference", "Outcome", "Report", "TakenSignal", "compare"]

SHOWN_CHARACTERS: Final = 200
"""Longest value that a report shows in full."""


class CrashPoint(msgspec.Struct, frozen=True):
    """One moment at which a program may die: at one of the calls by which it changes what is stored."""

    number: int
    """Of the call, from 1, over all attempts of the run."""
    is_stored: bool
    """Whether the change was stored, and only its answer lost; if not, nothing had happened yet."""
    call: str
    """What was called, for people."""

    def __str__(self) -> str:
        return f"{'after' if self.is_stored else 'before'} change {self.number}, {self.call}"


class TakenSignal(msgspec.Struct, frozen=True):
    """What the program saw when it waited or looked for a signal for the first time at one place."""

    name: str
    payload: bytes | None
    """None where there was no signal in time."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one run of a program ended, whatever happened to it meanwhile."""

    status: InstanceStatus | None
    """None where the program has never registered."""
    output: bytes | None = None
    error: str | None = None
    checkpoints: dict[str, bytes] = {}
    """States by id, in the order in which they were saved."""
    signals: tuple[TakenSignal, ...] = ()
    """In the order in which they were taken."""
    world: Any = None
    """What the scenario's `world` has become; any value of the test's own."""
    attempts: int = 1
    """How often the program was begun: after crashes, after rests, and the first time."""
    stuck: str | None = None
    """Why the run could not go on, where it could not; for example a wait for a signal that nobody sends."""


class Difference(msgspec.Struct, frozen=True):
    """The first thing in which a run with a crash differs from the unbroken one."""

    point: CrashPoint
    what: str
    expected: str
    """In the unbroken run."""
    found: str
    """In the run with the crash."""

    def __str__(self) -> str:
        return (
            f"crashed {self.point}: {self.what}\n"
            f"    unbroken run:  {_short(self.expected)}\n"
            f"    crashed run:   {_short(self.found)}"
        )


class Report(msgspec.Struct, frozen=True):
    """What came of crashing a program everywhere."""

    unbroken: Outcome
    points: tuple[CrashPoint, ...]
    """Where it was crashed, one run each."""
    differences: tuple[Difference, ...]
    """The first one of every run that has any."""

    @property
    def survived(self) -> bool:
        """Whether every run had the outcome of the unbroken one."""
        return not self.differences and self.unbroken.stuck is None

    def __str__(self) -> str:
        if self.unbroken.stuck is not None:
            return f"the program does not end, even without a crash: {self.unbroken.stuck}"
        if not self.differences:
            return f"the program survived crashes at {len(self.points)} points"
        count = f"{len(self.differences)} of {len(self.points)} crashes"
        return f"the program does not survive {count}; the first:\n{self.differences[0]}"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters)"


def compare(unbroken: Outcome, crashed: Outcome, point: CrashPoint, *, with_world: bool) -> Difference | None:
    """Return the first difference of two outcomes; None if there is none.

    A cancel ends a program that is dead at once, so a cancelled run may have got less far than the unbroken one.
    """
    is_cancelled = unbroken.status is crashed.status is InstanceStatus.CANCELLED
    for what, expected, found in _views(unbroken, crashed, is_cancelled=is_cancelled):
        if expected != found:
            return Difference(point, what, _text(expected), _text(found))
    if with_world and not is_cancelled and unbroken.world != crashed.world:
        text = "the world differs: something happens outside of a durable step, or more than once"
        return Difference(point, text, _text(unbroken.world), _text(crashed.world))
    return None


def _views(unbroken: Outcome, crashed: Outcome, *, is_cancelled: bool) -> Iterator[tuple[str, Any, Any]]:
    """Every pair of things to compare, the one that explains most first."""
    yield "the run does not go on", unbroken.stuck, crashed.stuck
    for checkpoint_id, state in unbroken.checkpoints.items():
        if not is_cancelled or checkpoint_id in crashed.checkpoints:
            yield f"checkpoint {checkpoint_id} is another one", state, crashed.checkpoints.get(checkpoint_id)
    more = [checkpoint_id for checkpoint_id in crashed.checkpoints if checkpoint_id not in unbroken.checkpoints]
    yield "there are checkpoints that the unbroken run does not save", [], more
    taken = unbroken.signals[: len(crashed.signals)] if is_cancelled else unbroken.signals
    yield "other signals were taken, or in another order", taken, crashed.signals
    yield "the status is another one", unbroken.status, crashed.status
    yield "the error is another one", unbroken.error, crashed.error
    yield "the output is another one", unbroken.output, crashed.output


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    return str(value) if isinstance(value, str) else repr(value)

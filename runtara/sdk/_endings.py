"""How a program ends is how its instance ends: the one place that turns the one into the other.

For programs of this process (`embedded.open(programs=...)`) and for those that run by themselves (`sdk.program()`).
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from typing import Any, Final

from runtara import messages
from runtara.errors import (
    Fenced,
    InstanceCancelled,
    InstancePaused,
    InstanceShutdown,
    InvalidState,
    Retry,
    RuntaraError,
)
from runtara.sdk._flows import Flow, Parked, acknowledge_pending
from runtara.sdk._results import encode
from runtara.sdk._types import InstanceStatus, SignalType
from runtara.sdk._words import text_of
from runtara.transport import Session

__all__ = ["End", "Program", "complete", "report"]


class Program:
    """What a program that runs by itself leaves behind."""

    def __init__(self) -> None:
        self.output: Any = None
        """The output of the instance: bytes as they are, anything else as JSON, None as nothing at all."""


class End(enum.Enum):
    """What a program has ended in, where it has not simply ended."""

    CRASH = "crash"
    """Not by itself: it was stopped, or the runtime could not do its part. It is to be launched again."""
    FAILURE = "failure"
    """With an error, which is reported."""
    PARKED = "parked"
    """To be launched again when it is time."""
    TOLD = "told"
    """As it was told: cancelled, paused or shut down, or because a newer attempt has taken over."""


def complete(session: Session, output: Any) -> Flow[None]:
    """Report that a program has ended well, unless it has said itself how it ended."""
    state = _bytes(output)
    if session.status in (None, InstanceStatus.RUNNING):
        yield messages.CompleteInstance(output=state)


def report(raised: BaseException) -> Flow[End]:
    """Report with what a program has ended."""
    reason = _deciding(raised)
    if _is_crash(reason):
        return End.CRASH
    if isinstance(reason, Parked):
        return End.PARKED
    if isinstance(reason, Fenced):
        return End.TOLD
    try:
        if isinstance(reason, InstancePaused | InstanceShutdown):
            return End.TOLD if (yield from _rest()) else End.CRASH
        if isinstance(reason, InstanceCancelled) and (yield from acknowledge_pending(SignalType.CANCEL)):
            return End.TOLD
        yield messages.FailInstance(error=text_of(reason)[:_TEXT_MAX])
    except _OVER:  # it has ended already, or rests
        return End.TOLD if isinstance(reason, _TOLD) else End.FAILURE
    return End.FAILURE


_TOLD: Final = (InstanceCancelled, InstancePaused, InstanceShutdown)
_OVER: Final = (Fenced, InvalidState, *_TOLD)
"""Refusals of a report that say that there is nothing to report: the attempt has ended, or rests, already."""

_TEXT_MAX: Final = 4_096

_FIRST: Final = (KeyboardInterrupt, Parked, Fenced, *_TOLD, Exception)


def _bytes(output: Any) -> bytes:
    if output is None:
        return b""
    return output if isinstance(output, bytes) else encode(output)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _deciding(raised: BaseException) -> BaseException:
    """Return the exception that says how a program ended, where a nursery has collected several."""
    leaves = list(_leaves(raised))
    return next((leaf for kind in _FIRST for leaf in leaves if isinstance(leaf, kind)), leaves[0])


def _is_crash(reason: BaseException) -> bool:
    """Whether a program has not ended by itself: it was stopped, or the runtime could not do its part for a while."""
    if isinstance(reason, RuntaraError):
        return reason.retry is not Retry.NEVER
    return isinstance(reason, (KeyboardInterrupt, *_cancelled()))


def _cancelled() -> Iterator[type[BaseException]]:
    """What a task is cancelled with; by loops that are not even imported, none is."""
    for loop, name in (("trio", "Cancelled"), ("asyncio", "CancelledError")):
        if loop in sys.modules:
            yield getattr(sys.modules[loop], name)


def _rest() -> Flow[bool]:
    """Let the pause or shutdown take hold. False if it was taken back while the program was ending, or never came."""
    pending = yield messages.PollSignals()
    for record in pending.signals:
        if record.kind in (SignalType.PAUSE, SignalType.SHUTDOWN):
            reply = yield messages.AcknowledgeSignal(signal_id=record.signal_id)
            return bool(reply.status is not InstanceStatus.RUNNING)
    return False

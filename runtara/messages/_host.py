"""What a process says to an instance by itself: that it is time, what became of its attempts, what one hands in.

No door offers these to others.

The package offers them.
"""

import msgspec

from runtara.messages._replies import Acknowledged, InstanceWoken
from runtara.messages._requests import Request

__all__ = [
    "CrashInstance",
    "DeclareSilent",
    "EnforceSignals",
    "ExitInstance",
    "RecordUsage",
    "SaveCheckpoints",
    "TimeOutInstance",
    "WakeInstance",
]


class WakeInstance(msgspec.Struct, Request[InstanceWoken], frozen=True, gc=False, tag=True, kw_only=True):
    """From the scheduler: the instance is due. Ignored unless it still waits for this very instant."""

    due_at: int


class DeclareSilent(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """From the heartbeat monitor: nothing was heard of the attempt for too long."""

    epoch: int


class CrashInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """From a runner: the attempt died without a report."""

    epoch: int
    error: str
    exit_code: int | None = None
    """Of the program; minus the number of the signal that killed it."""
    counts: bool = True
    """Whether the program may be at fault; False where it was the host that died or could not do its part."""


class ExitInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """From a runner: the program has ended by itself. What it reported before counts more."""

    epoch: int
    exit_code: int
    output: bytes | None = None
    """What it left as its output, where it left one."""
    error: str = ""
    """The end of what it wrote to stderr."""


class TimeOutInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """From a runner: the attempt has run for as long as it may."""

    epoch: int


class EnforceSignals(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """From a runner: the program had its time to act upon a cancel or shutdown; what still pends takes hold now."""

    epoch: int


class RecordUsage(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """From a runner: what an attempt has used, now that nothing is left of it. Whatever became of the instance."""

    epoch: int
    exit_code: int | None = None
    memory_peak: int | None = None
    """Most bytes of memory that it held."""
    cpu_seconds: float | None = None


class SaveCheckpoints(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """From the way of an attempt in this process: save what it has handed in, ids with their states, in this order.

    Those that are there already were sent before. One that is there with another state refuses all of them.
    """

    checkpoints: tuple[tuple[str, bytes], ...]

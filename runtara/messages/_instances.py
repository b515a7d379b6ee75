"""What is said to one instance, by its own program and by those who manage it, and what is asked about it.

Frozen and tagged like all messages; the package offers them.
"""

from typing import Literal

import msgspec

from runtara.messages._replies import (
    Acknowledged,
    CheckpointFound,
    CheckpointSaved,
    InputFound,
    InstanceInfo,
    InstanceRegistered,
    SignalAccepted,
    SignalsPending,
    SignalTaken,
    SleepStarted,
)
from runtara.messages._requests import Request

__all__ = [
    "AcknowledgeSignal",
    "AwaitedSignal",
    "CompleteInstance",
    "FailInstance",
    "FinishInstance",
    "GetCheckpoint",
    "GetInput",
    "GetStatus",
    "Heartbeat",
    "PollSignals",
    "RecordEvent",
    "RecordRetry",
    "RegisterInstance",
    "RestInstance",
    "SaveCheckpoint",
    "SendSignal",
    "SignalKind",
    "Sleep",
    "StepResult",
    "SuspendInstance",
    "TakeSignal",
]

SignalKind = Literal["cancel", "pause", "resume", "shutdown", "custom"]


class RegisterInstance(msgspec.Struct, Request[InstanceRegistered], frozen=True, gc=False, tag=True, kw_only=True):
    """Begin an attempt: create the instance if it is new, and take it over from any earlier attempt."""

    attempt_id: str
    """Fresh for every attempt; a registration that is sent again keeps it."""
    checkpoint_id: str | None = None
    """A checkpoint that must exist, where the attempt wants to continue from there."""
    replace: bool = False
    """Whether whatever has the instance's id is replaced, also where it is finished: it is stopped, all that is stored
    of it goes, and this is the first attempt of a new instance. A launched attempt cannot do that."""
    replay: bool = False
    """Whether the answer is to hold what a replay needs: input and checkpoints, as far as they are short."""
    fresh: bool = False
    """Whether the instance must be a new one, or one that is not launched and in which nothing has been saved yet: any
    other is refused with `already-exists`, and nobody is fenced."""


class SaveCheckpoint(msgspec.Struct, Request[CheckpointSaved], frozen=True, gc=False, tag=True, kw_only=True):
    """Save `state` under an id, or learn what is stored there already."""

    checkpoint_id: str
    state: bytes
    request: int | None = None
    """A number that the attempt gives to this call only: sent again after a lost answer, it gets the same answer."""


class GetCheckpoint(msgspec.Struct, Request[CheckpointFound], frozen=True, gc=False, tag=True, kw_only=True):
    """Look a checkpoint up."""

    checkpoint_id: str


class Sleep(msgspec.Struct, Request[SleepStarted], frozen=True, gc=False, tag=True, kw_only=True):
    """Store a checkpoint together with the instant until which to sleep; exactly one of the two times is given."""

    checkpoint_id: str
    state: bytes = b""
    duration_ms: int | None = None
    until: int | None = None
    park: bool = False
    """Suspend the instance: the program will end now and be launched again at its time."""
    request: int | None = None
    """As in `SaveCheckpoint`."""


class Heartbeat(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True):
    """Say that the attempt is alive. Any other message says so too."""


class CompleteInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """End well."""

    output: bytes = b""


class FailInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """End badly."""

    error: str


class AwaitedSignal(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A place of the program that looks for a custom signal."""

    name: str
    place: str


class SuspendInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """Stop for now, to be woken at `wake_at`, or by a resume signal if None."""

    wake_at: int | None = None
    awaits: tuple[AwaitedSignal, ...] = ()
    """Custom signals, each of which wakes it as well; one that is there already does so at once."""


class StepResult(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A checkpoint that is to be saved with something else."""

    checkpoint_id: str
    state: bytes


class RestInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """Come to rest with what was done until then: all of it is stored with one change, or nothing.

    What `SaveCheckpoint`, `RecordEvent`, and `Sleep` or `SuspendInstance` take one change each for. With `duration_ms`
    it rests for a delay, else until `wake_at`, or a signal. Where the delay is over, it does not rest: the status is
    running then, and the program goes on.
    """

    results: tuple[StepResult, ...] = ()
    """Checkpoints to be saved. One that is there with another state refuses the whole."""
    subtype: str | None = None
    """Of an event that says why it rests; None for no event."""
    payload: bytes = b""
    """Of that event."""
    checkpoint_id: str | None = None
    """Of the delay, whose end is fixed the first time, as that of a `Sleep`."""
    duration_ms: int | None = None
    wake_at: int | None = None
    """As in `SuspendInstance`."""
    awaits: tuple[AwaitedSignal, ...] = ()
    """Likewise; not for a delay."""


class FinishInstance(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """End well with what was done until then, as `SaveCheckpoint` and `CompleteInstance` would one after the other."""

    results: tuple[StepResult, ...] = ()
    """As in `RestInstance`."""
    output: bytes = b""


class RecordEvent(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """Write a custom event into the audit log."""

    subtype: str
    payload: bytes = b""
    request: int | None = None
    """As in `SaveCheckpoint`: sent again, the event is written once."""


class GetStatus(msgspec.Struct, Request[InstanceInfo], frozen=True, gc=False, tag=True):
    """Ask how the instance stands."""


class GetInput(msgspec.Struct, Request[InputFound], frozen=True, gc=False, tag=True):
    """Ask for the input that the instance was started with."""


class PollSignals(msgspec.Struct, Request[SignalsPending], frozen=True, gc=False, tag=True):
    """Read instance-wide signals; reading does not consume them."""


class TakeSignal(msgspec.Struct, Request[SignalTaken], frozen=True, gc=False, tag=True, kw_only=True):
    """Bind the oldest free custom signal called `name` to a place of the program; a bound place never changes."""

    name: str
    place: str
    timeout_ms: int | None = None
    """Counted from the first time the place asked; None where it only looks, or waits without end."""
    park: bool = False
    """Suspend the instance if there is no signal yet."""


class AcknowledgeSignal(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """Say that a signal was acted upon: a cancel then ends the instance, a pause or shutdown suspends it."""

    signal_id: str


class SendSignal(msgspec.Struct, Request[SignalAccepted], frozen=True, gc=False, tag=True, kw_only=True):
    """Send a signal to an instance. The same id sent twice is one signal.

    What a cancel, pause, resume or shutdown carries is kept in the audit log (see `Event`), up to 4,096 bytes of it.
    """

    kind: SignalKind
    signal_id: str
    name: str | None = None
    payload: bytes = b""
    grace_ms: int | None = None
    """How long a launched program may take to act upon a cancel or shutdown; None for the host's own measure."""


class RecordRetry(msgspec.Struct, Request[Acknowledged], frozen=True, gc=False, tag=True, kw_only=True):
    """Count a failed try of a step, durably."""

    checkpoint_id: str
    attempt: int
    error: str | None = None
    retry_after_ms: int | None = None

"""What happens to an instance, and what must then be done for it.

Owns the domain events (facts that `decide` has settled and `evolve` applies) and the effects (deeds for the runtime,
done after the commit and at most once). It applies nothing and does nothing; a list of frozen structs.

Every event that names a `trigger` is a status transition and leaves one line in the audit log.
"""

from typing import ClassVar, Final, Literal

import msgspec

from runtara.lifecycle import Status, TerminationReason, Trigger
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Wait

__all__ = [
    "DISARM",
    "UNTRACK",
    "Arm",
    "AttemptClaimed",
    "AttemptContinued",
    "AttemptLost",
    "AttemptRegistered",
    "CheckpointAdded",
    "Departure",
    "Disarm",
    "DomainEvent",
    "Effect",
    "Enforce",
    "EventRecorded",
    "Fork",
    "InstanceCreated",
    "InstanceEnded",
    "InstanceReplaced",
    "InstanceSuspended",
    "Launch",
    "Push",
    "Replacement",
    "RetryRecorded",
    "SignalAcknowledged",
    "SignalSent",
    "Stop",
    "StopHow",
    "Track",
    "Transition",
    "Untrack",
    "WaitBegun",
    "WaitEnded",
    "WakeMoved",
]


# Transitions ---------------------------------------------------------------------------------------------------------


class AttemptRegistered(msgspec.Struct, frozen=True, gc=False):
    """An attempt has taken the instance over, under a new epoch or under the one claimed for it."""

    trigger: ClassVar[Trigger] = Trigger.REGISTERED
    attempt_id: str
    epoch: int
    at: int
    launched: bool = False
    """Whether it lives in the process that the host has launched."""


class AttemptClaimed(msgspec.Struct, frozen=True, gc=False):
    """The host has claimed a new epoch and will launch the program; nobody has registered under it yet."""

    trigger: Trigger
    epoch: int
    at: int


class AttemptContinued(msgspec.Struct, frozen=True, gc=False):
    """A resumed attempt that the host did not launch goes on under the epoch it had."""

    trigger: ClassVar[Trigger] = Trigger.RESUMED
    epoch: int
    at: int


class InstanceSuspended(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The instance rests, until `wake_at` or until somebody wakes it."""

    trigger: Trigger
    reason: TerminationReason
    epoch: int
    at: int
    wake_at: int | None = None
    checkpoint_id: str | None = None
    """The checkpoint of the sleep, where it is one."""


class AttemptLost(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The attempt `epoch` crashed or went silent; the instance rests under the next epoch, which fences it."""

    trigger: Trigger
    reason: TerminationReason
    epoch: int
    at: int
    losses: int = 0
    """In a row, with this one."""
    wake_at: int | None = None
    exit_code: int | None = None
    error: str | None = None


class InstanceEnded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The instance is finished and never changes again."""

    trigger: Trigger
    reason: TerminationReason
    epoch: int
    at: int
    output: bytes | None = None
    exit_code: int | None = None
    error: str | None = None


Departure = InstanceSuspended | AttemptLost | InstanceEnded
"""The ways out of RUNNING."""

Transition = AttemptRegistered | AttemptClaimed | AttemptContinued | Departure
"""Every event that goes through `lifecycle.TRANSITIONS`."""


# Other events --------------------------------------------------------------------------------------------------------


class Fork(msgspec.Struct, frozen=True, gc=False):
    """From where a new instance was told to go on: the same words, told again, mean the same instance."""

    source: str
    checkpoint_id: str | None = None
    """None for all that the source has."""
    new_input: bool = False


class Replacement(msgspec.Struct, frozen=True, gc=False):
    """By what a new instance was told to be there whoever had its id: the same request, told again, means the same."""

    request_id: str
    status: Status | None = None
    """Of the instance that it replaces; None where there was none."""
    epoch: int | None = None
    """Likewise."""


class InstanceCreated(msgspec.Struct, frozen=True, gc=False):
    """The instance exists from now on. Its row has version 0: nothing is stored yet."""

    instance: Instance
    input: bytes | None = None
    env: dict[str, str] = {}
    fork: Fork | None = None
    source_created_at: int | None = None
    """Of a fork: when its source was created."""
    replacement: Replacement | None = None


class InstanceReplaced(msgspec.Struct, frozen=True, gc=False):
    """The instance that there was is gone, with all that belongs to it; another one exists under its id from now on.

    Epoch and version of the new row go on from the old one's, so that whoever still speaks for that one is fenced.
    """

    successor: InstanceCreated


class WakeMoved(msgspec.Struct, frozen=True, gc=False):
    """A resting instance is to be woken at another time."""

    wake_at: int
    resumed: bool = False
    """Whether what it rested for is over."""


class CheckpointAdded(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint was saved for the first time. The row itself is the record of it, so it leaves no audit line."""

    checkpoint: Checkpoint


class SignalSent(msgspec.Struct, frozen=True, gc=False):
    """A signal has arrived."""

    signal: Signal
    epoch: int


class SignalAcknowledged(msgspec.Struct, frozen=True, gc=False):
    """A signal was acted upon."""

    signal: Signal
    epoch: int
    at: int


class WaitBegun(msgspec.Struct, frozen=True, gc=False):
    """A place of the program waits for a signal; its deadline is fixed."""

    wait: Wait


class WaitEnded(msgspec.Struct, frozen=True, gc=False):
    """A place has found its signal, or has waited in vain; every replay sees the same."""

    wait: Wait


class RetryRecorded(msgspec.Struct, frozen=True, gc=False):
    """A try of a step has failed."""

    retry: Retry


class EventRecorded(msgspec.Struct, frozen=True, gc=False):
    """The program has written into the audit log."""

    event: Event


DomainEvent = (
    InstanceCreated
    | InstanceReplaced
    | Transition
    | WakeMoved
    | CheckpointAdded
    | SignalSent
    | SignalAcknowledged
    | WaitBegun
    | WaitEnded
    | RetryRecorded
    | EventRecorded
)


# Effects -------------------------------------------------------------------------------------------------------------


class Arm(msgspec.Struct, frozen=True, gc=False):
    """Wake the instance at `wake_at`. Derivable: pending and suspended rows with a program and a `wake_at`."""

    wake_at: int


class Disarm(msgspec.Struct, frozen=True, gc=False):
    """Forget the wake-up. Harmless if lost: a wake-up that nobody waits for changes nothing."""


class Track(msgspec.Struct, frozen=True, gc=False):
    """Watch the heartbeats of the attempt `epoch`. Derivable: running rows."""

    epoch: int


class Untrack(msgspec.Struct, frozen=True, gc=False):
    """Stop watching. Harmless if lost: an attempt that is not running is not declared silent."""


class Launch(msgspec.Struct, frozen=True, gc=False):
    """Start the program for the attempt `epoch`. Derivable: running rows with a program but no attempt."""

    program: str
    epoch: int
    timeout_at: int | None = None
    """When the attempt will have run for as long as it may."""


StopHow = Literal["leave", "ask", "kill"]
"""Give it time to leave by itself, or ask it to go now (SIGTERM), or kill it at once."""


class Stop(msgspec.Struct, frozen=True, gc=False):
    """Make sure that the launched attempt `epoch` is gone. Derivable: it is not the epoch of a running row."""

    epoch: int
    how: StopHow = "leave"


class Enforce(msgspec.Struct, frozen=True, gc=False):
    """Come back with `EnforceSignals` after a while. Derivable: done for every running attempt after a restart."""

    epoch: int
    after_ms: int | None = None
    """None for the host's own measure."""


class Push(msgspec.Struct, frozen=True, gc=False):
    """Show the signal to the live attempt. Derivable: it finds the signal with its next call."""

    signal: Signal


Effect = Arm | Disarm | Track | Untrack | Launch | Stop | Enforce | Push

DISARM: Final = Disarm()
UNTRACK: Final = Untrack()

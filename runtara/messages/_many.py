"""What is said about many instances at once: commands, and their replies.

Frozen and tagged like all messages; the package offers them. Each instance is asked for itself: what one
of them answers, or refuses, changes nothing for the others.
"""

from typing import Literal

import msgspec

from runtara.lifecycle import Status
from runtara.messages._queries import InstanceFilter
from runtara.messages._requests import Request
from runtara.messages._starts import StartInstance

__all__ = ["ManySignaled", "ManyStarted", "NamedStart", "SignalMany", "SignalOutcome", "StartMany", "StartOutcome"]


class NamedStart(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A start, and the id of the instance that it creates."""

    instance_id: str
    start: StartInstance


class StartOutcome(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What became of one start: the instance's status, or the code and text of the error that refused it."""

    instance_id: str
    created: bool = False
    """False also where the instance existed before."""
    status: Status | None = None
    code: str | None = None
    error: str | None = None


class ManyStarted(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """What became of each start, in the order in which they were given."""

    outcomes: tuple[StartOutcome, ...]


class SignalOutcome(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What became of the signal to one instance: its status, or the code and text of the error that refused it."""

    instance_id: str
    created: bool = False
    """False also where the signal was sent before."""
    status: Status | None = None
    code: str | None = None
    error: str | None = None


class ManySignaled(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """What became of each signal, by instance id; `cursor` goes on with the others and is None at their end."""

    outcomes: tuple[SignalOutcome, ...]
    cursor: str | None = None


class StartMany(msgspec.Struct, Request[ManyStarted], frozen=True, gc=False, tag=True, kw_only=True):
    """Start up to 1,000 instances. Sent again, it starts those that are missing."""

    starts: tuple[NamedStart, ...]


class SignalMany(msgspec.Struct, Request[ManySignaled], frozen=True, gc=False, tag=True, kw_only=True):
    """Send the same signal to all instances that a filter lets through and that are not finished, a page at a time."""

    kind: Literal["cancel", "pause", "resume"]
    signal_id: str
    """Each instance gets the signal under this id, so that it gets it once however often this is sent."""
    filter: InstanceFilter = InstanceFilter()
    grace_ms: int | None = None
    """As in `SendSignal`."""
    limit: int = 100
    """Most instances to send it to with this call."""
    cursor: str | None = None

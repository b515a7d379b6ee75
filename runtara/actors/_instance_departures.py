"""How an instance leaves RUNNING: what it meant to become, and what the pending signals make of that.

Owns the precedence of signals over everything else: a cancel turns every way out into CANCELLED, and a pause takes
hold as soon as the instance rests for whatever reason. So only a RUNNING instance has pending signals to it as a whole.
"""

from typing import NamedTuple

from msgspec.structs import replace

from runtara.actors._instance_case import Case, Decision, instance_wide
from runtara.actors._instance_events import (
    DISARM,
    UNTRACK,
    Arm,
    AttemptLost,
    Departure,
    DomainEvent,
    Effect,
    InstanceEnded,
    InstanceSuspended,
    SignalAcknowledged,
    Stop,
    StopHow,
)
from runtara.errors import InstanceCancelled
from runtara.lifecycle import TRANSITIONS, Status, TerminationReason, Trigger
from runtara.messages import Acknowledged
from runtara.records import Signal

__all__ = [
    "Change",
    "acknowledged",
    "cancelled",
    "depart",
    "leave",
    "park",
    "paused",
    "shut_down",
    "stop",
    "tell_cancelled",
]


class Change(NamedTuple):
    """What happens, what must be done about it, and what the instance is afterwards."""

    events: tuple[DomainEvent, ...]
    effects: tuple[Effect, ...]
    status: Status


def leave(case: Case, wish: Departure, answered: Signal | None = None, *, how: StopHow = "leave") -> Change:
    """Return what becomes of a RUNNING instance that would go by `wish`; `answered` is the signal it acted upon.

    A launched process ends in any case; `how` says with how much patience.

    A pending cancel makes it CANCELLED instead. Otherwise an instance that comes to rest settles the other signals to
    it as a whole: a pause holds it until it is resumed, a shutdown wanted no more, and a resume is out of date.
    """
    cancel = case.pending("cancel")
    if cancel is not None:
        return cancelled(case, cancel, answered, how=how)
    if isinstance(wish, InstanceEnded):
        return _ended(case, wish, how)
    settled = instance_wide(case.state)
    events: list[DomainEvent] = [acknowledged(case, signal) for signal in settled]
    events.append(wish)
    wake_at = wish.wake_at
    if wish.trigger is not Trigger.PAUSED and any(signal.kind == "pause" for signal in settled):
        events.append(paused(case, lost=isinstance(wish, AttemptLost)))
        wake_at = None
    effects: list[Effect] = [UNTRACK, *stop(case, how)]
    if case.managed and wake_at is not None:
        effects.append(Arm(wake_at))
    return Change(tuple(events), tuple(effects), Status.SUSPENDED)


def depart(case: Case, wish: Departure, how: StopHow = "leave") -> Decision:
    """Return the decision to let a RUNNING instance go by `wish`, told by its status."""
    change = leave(case, wish, how=how)
    return Decision(change.events, Acknowledged(change.status), change.effects)


def park(case: Case, first: tuple[DomainEvent, ...], wish: InstanceSuspended, reply: object) -> Decision:
    """Return the decision to let a program end for now, told by `reply`, after the events `first`.

    If a cancel pends, the instance ends instead: the program is told so, and `first` does not happen, because nothing
    will ever replay it.
    """
    change = leave(case, wish)
    if change.status is Status.CANCELLED:
        return tell_cancelled(case, change)
    return Decision(first + change.events, reply, change.effects)


def tell_cancelled(case: Case, change: Change) -> Decision:
    """Return the decision that stores a cancel and tells it to an asker who wanted something else."""
    told = InstanceCancelled(f"instance {case.row.instance_id!r} was cancelled: clean up and end")
    return Decision(change.events, told, change.effects)


def cancelled(case: Case, cancel: Signal, answered: Signal | None = None, *, how: StopHow = "leave") -> Change:
    """Return the end of an instance by the signal `cancel`, whatever its status."""
    end = InstanceEnded(
        trigger=Trigger.CANCELLED, reason=TerminationReason.CANCELLED, epoch=case.row.epoch, at=case.now
    )
    change = _ended(case, end, how)
    signals = [cancel] if answered is None or answered == cancel else [answered, cancel]
    return change._replace(events=(*(acknowledged(case, signal) for signal in signals), *change.events))


def paused(case: Case, *, lost: bool = False) -> InstanceSuspended:
    """Return the pause of an instance; `lost` where its attempt was lost just before."""
    return InstanceSuspended(
        trigger=Trigger.PAUSED, reason=TerminationReason.PAUSED, epoch=case.row.epoch + lost, at=case.now
    )


def shut_down(case: Case) -> InstanceSuspended:
    """Return the rest of an instance whose host goes down; it is due at once, for whoever can launch it."""
    return InstanceSuspended(
        trigger=Trigger.SHUT_DOWN,
        reason=TerminationReason.SHUTDOWN_REQUESTED,
        epoch=case.row.epoch,
        at=case.now,
        wake_at=case.now if case.managed else None,
    )


def acknowledged(case: Case, signal: Signal) -> SignalAcknowledged:
    """Return that `signal` was acted upon now."""
    return SignalAcknowledged(replace(signal, acknowledged_at=case.now), case.row.epoch, case.now)


def stop(case: Case, how: StopHow) -> tuple[Effect, ...]:
    """Return what sees to it that the newest launch is gone; harmless where it has gone already."""
    return () if case.row.claimed_epoch is None else (Stop(case.row.claimed_epoch, how),)


def _ended(case: Case, end: InstanceEnded, how: StopHow) -> Change:
    effects: list[Effect] = [UNTRACK]  # whatever the status: whoever waits for the end hears of it by this
    if case.armed:
        effects.append(DISARM)
    effects += stop(case, how)
    return Change((end,), tuple(effects), TRANSITIONS[case.row.status][end.trigger])

"""Decisions about the places where a program looks for a custom signal.

Owns the binding of signals to places: the oldest free signal of the name, once, for ever, and the same at every
replay. A place that gave up at its deadline has given up for ever too.
"""

from msgspec.structs import replace

from runtara.actors._instance_case import Case, Decision, Need
from runtara.actors._instance_departures import acknowledged, park
from runtara.actors._instance_events import DomainEvent, InstanceSuspended, WaitBegun, WaitEnded
from runtara.actors._instance_state import InstanceState
from runtara.errors import AlreadyExists
from runtara.lifecycle import Status, TerminationReason, Trigger
from runtara.messages import AwaitedSignal, SignalTaken, TakeSignal
from runtara.records import Signal, Wait

__all__ = ["begin_waits", "bind_signal", "bound_signal_id", "needs_of_take", "take_signal"]


def needs_of_take(state: InstanceState, command: TakeSignal) -> tuple[Need, ...]:
    """A replay sees the signal again that the place took."""
    wait = state.ended_waits.get(command.place)
    return () if wait is None or wait.signal_id is None else (Need("signal", wait.signal_id),)


def take_signal(case: Case, command: TakeSignal) -> Decision:
    """Return what the place sees: what it saw before, the oldest free signal, that time is up, or nothing yet."""
    wait = case.state.wait_at(command.place)
    if command.park and wait is not None and _waits(case, wait):
        return Decision((), SignalTaken(deadline_at=wait.deadline_at, parked=True))  # the reply was lost
    case.require_running()
    if wait is not None and wait.name != command.name:
        raise AlreadyExists(
            f"place {command.place!r} waits for signal {wait.name!r}, not {command.name!r}: use another place"
        )
    if wait is not None and wait.ended_at is not None:
        return Decision((), _seen(case, wait))
    open_wait = wait or _begun(case, command)
    signal = _oldest_free(case, command.name)
    if signal is not None:
        reply = SignalTaken(signal=replace(signal, acknowledged_at=case.now), deadline_at=open_wait.deadline_at)
        return Decision(_taken(case, open_wait, signal), reply)
    if open_wait.deadline_at is not None and open_wait.deadline_at <= case.now:
        ended = WaitEnded(replace(open_wait, ended_at=case.now))
        return Decision((ended,), SignalTaken(timed_out=True, deadline_at=open_wait.deadline_at))
    return _keep_waiting(case, command, open_wait, known=wait is not None)


def _keep_waiting(case: Case, command: TakeSignal, wait: Wait, *, known: bool) -> Decision:
    """Store the wait where it is new and has a deadline to keep, or somebody must find it; park where asked."""
    stored = not known and (wait.deadline_at is not None or command.park)
    begun: tuple[DomainEvent, ...] = (WaitBegun(wait),) if stored else ()
    reply = SignalTaken(deadline_at=wait.deadline_at, parked=command.park)
    if not command.park:
        return Decision(begun, reply)
    rest = InstanceSuspended(
        trigger=Trigger.SUSPENDED,
        reason=TerminationReason.WAITING_SIGNAL,
        epoch=case.row.epoch,
        at=case.now,
        wake_at=wait.deadline_at,
    )
    return park(case, begun, rest, reply)


def begin_waits(case: Case, awaits: tuple[AwaitedSignal, ...]) -> tuple[tuple[DomainEvent, ...], bool]:
    """Return what stores these waits, where they are not known yet, and whether a signal for one is there already."""
    begun: list[DomainEvent] = []
    is_there = False
    for awaited in awaits:
        wait = case.state.wait_at(awaited.place)
        if wait is None:
            begun.append(WaitBegun(Wait(place=awaited.place, name=awaited.name, started_at=case.now)))
        is_there |= wait is not None and wait.ended_at is not None
        is_there |= _oldest_free(case, awaited.name) is not None
    return tuple(begun), is_there


def _waits(case: Case, wait: Wait) -> bool:
    """Whether the instance is parked for this very wait already."""
    row = case.row
    parked = row.status is Status.SUSPENDED and row.termination_reason is TerminationReason.WAITING_SIGNAL
    return parked and wait.ended_at is None


def _begun(case: Case, command: TakeSignal) -> Wait:
    deadline_at = None if command.timeout_ms is None else case.now + command.timeout_ms
    return Wait(place=command.place, name=command.name, started_at=case.now, deadline_at=deadline_at)


def _seen(case: Case, wait: Wait) -> SignalTaken:
    signal = None if wait.signal_id is None else case.read_signal(wait.signal_id)
    return SignalTaken(signal=signal, timed_out=signal is None, deadline_at=wait.deadline_at)


def _oldest_free(case: Case, name: str) -> Signal | None:
    # Only custom signals have a name; and taking one acknowledges it, so what pends is free.
    return next((signal for signal in case.state.signals if signal.name == name), None)


def _taken(case: Case, wait: Wait, signal: Signal) -> tuple[DomainEvent, ...]:
    return (
        WaitEnded(replace(wait, ended_at=case.now, signal_id=signal.signal_id)),
        acknowledged(case, signal),
    )


def bound_signal_id(state: InstanceState, checkpoint_id: str) -> str | None:
    """Return the id of the signal that a checkpoint has taken: one of the checkpoint's own name, at its own place."""
    wait = state.ended_waits.get(checkpoint_id)
    return wait.signal_id if wait is not None and wait.name == checkpoint_id else None


def bind_signal(case: Case, checkpoint_id: str) -> tuple[Signal | None, tuple[DomainEvent, ...]]:
    """Return the custom signal of a checkpoint, and the events that bind it where that happens now."""
    state = case.state
    if not state.signals and not state.ended_waits:
        return None, ()  # nothing to bind, and nothing bound: so it is for nearly every checkpoint
    wait = state.wait_at(checkpoint_id)
    if wait is not None and wait.name != checkpoint_id:
        return None, ()  # the place belongs to a wait for another signal
    if wait is not None and wait.ended_at is not None:
        return (None if wait.signal_id is None else case.read_signal(wait.signal_id)), ()
    signal = _oldest_free(case, checkpoint_id)
    if signal is None:
        return None, ()
    wait = wait or Wait(place=checkpoint_id, name=checkpoint_id, started_at=case.now)
    return replace(signal, acknowledged_at=case.now), _taken(case, wait, signal)

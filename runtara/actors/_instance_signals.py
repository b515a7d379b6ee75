"""Decisions about signals: sending, reading and acknowledging them.

Pure functions of a `Case` and a command. Where a program waits for a custom signal is decided in `_instance_waits`;
what a pending signal does to an instance that leaves RUNNING, in `_instance_departures`.
"""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from runtara.actors._instance_case import Case, Decision, instance_wide
from runtara.actors._instance_departures import Change, acknowledged, cancelled, depart, leave, paused, shut_down
from runtara.actors._instance_events import (
    DISARM,
    Arm,
    AttemptContinued,
    Enforce,
    InstanceSuspended,
    Push,
    SignalSent,
    Track,
    WakeMoved,
)
from runtara.errors import Busy, InvalidInput, InvalidState, NotFound
from runtara.lifecycle import FINAL, Status, TerminationReason, Trigger
from runtara.messages import (
    Acknowledged,
    AcknowledgeSignal,
    EnforceSignals,
    PollSignals,
    SendSignal,
    SignalAccepted,
    SignalKind,
    SignalsPending,
)
from runtara.records import Signal

__all__ = ["acknowledge_signal", "enforce_signals", "poll_signals", "send_signal"]


# Send ----------------------------------------------------------------------------------------------------------------


def send_signal(case: Case, command: SendSignal) -> Decision:
    """Store a signal and let it take hold, now or when the program acts upon it. The same id twice is one signal."""
    row = case.row
    if command.signal_id in case.state.signal_ids:
        return _accepted(case, command.signal_id)
    if row.status in FINAL:
        raise InvalidState(f"instance {row.instance_id!r} is {row.status} already: a {command.kind} comes too late")
    if (command.kind == "custom") is (command.name is None):
        raise InvalidInput(f"a {command.kind} signal {'needs a' if command.name is None else 'has no'} name")
    signal = Signal(
        signal_id=command.signal_id,
        kind=command.kind,
        sent_at=case.now,
        name=command.name,
        payload=command.payload,
        seq=len(case.state.signal_ids) + 1,
    )
    decision = _SEND[command.kind](case, signal)
    return decision if command.kind not in _ENFORCED else _with_enforcement(case, decision, command.grace_ms)


def _with_enforcement(case: Case, decision: Decision, grace_ms: int | None) -> Decision:
    """Have the runner come back where a launched program has yet to act; also for a signal that asks for it again."""
    assert isinstance(decision.reply, SignalAccepted), "a signal is accepted or refused"
    if decision.reply.status is not Status.RUNNING or case.row.claimed_epoch is None:
        return decision
    return replace(decision, effects=(*decision.effects, Enforce(case.row.claimed_epoch, grace_ms)))


def _send_cancel(case: Case, signal: Signal) -> Decision:
    pending = case.pending("cancel")
    if pending is not None:
        return _accepted(case, pending.signal_id)
    if case.unregistered:  # nobody there who could act upon it
        return _take_hold(case, signal, cancelled(case, signal, how="ask"))
    if case.row.status is Status.RUNNING:
        return _deliver(case, signal)
    return _take_hold(case, signal, cancelled(case, signal))


def _send_pause(case: Case, signal: Signal) -> Decision:
    row = case.row
    pending = case.pending("pause")
    if pending is not None:
        return _accepted(case, pending.signal_id)
    if case.unregistered:
        return _leave_at_once(case, signal, paused(case))
    if row.status is Status.RUNNING:
        return _deliver(case, signal)
    case.require(Trigger.PAUSED)
    if row.termination_reason is TerminationReason.PAUSED:
        return _accepted(case, signal.signal_id)
    effects = (DISARM,) if case.armed else ()
    return _take_hold(case, signal, Change((acknowledged(case, signal), paused(case)), effects, Status.SUSPENDED))


def _send_shutdown(case: Case, signal: Signal) -> Decision:
    pending = case.pending("shutdown")
    if pending is not None:
        return _accepted(case, pending.signal_id)
    if case.unregistered:
        return _leave_at_once(case, signal, shut_down(case))
    if case.row.status is Status.RUNNING:
        return _deliver(case, signal)
    raise InvalidState(
        f"instance {case.row.instance_id!r} is {case.row.status}: there is no attempt to shut down, cancel or pause it"
    )


def _send_resume(case: Case, signal: Signal) -> Decision:
    row = case.row
    if row.status is Status.RUNNING:
        return _resume_running(case, signal)
    case.require(Trigger.RESUMED)
    if not case.managed:  # the program may still be connected, and goes on when it sees the signal
        goes_on = AttemptContinued(row.epoch, case.now)
        return _take_hold(case, signal, Change((goes_on,), (Track(row.epoch), Push(signal)), Status.RUNNING))
    done = acknowledged(case, signal)
    if row.wake_at is not None and row.wake_at <= case.now:  # it waits for its turn already, and keeps it
        return _take_hold(case, signal, Change((done,), (), row.status))
    return _take_hold(case, signal, Change((done, WakeMoved(case.now, True)), (Arm(case.now),), row.status))


def _resume_running(case: Case, signal: Signal) -> Decision:
    """Nothing to resume; but a pause that was not acted upon yet is taken back."""
    pause = case.pending("pause")
    done = acknowledged(case, signal)
    if pause is None:
        return _take_hold(case, signal, Change((done,), (), case.row.status))
    return _take_hold(case, signal, Change((acknowledged(case, pause), done), (Push(signal),), case.row.status))


def _send_custom(case: Case, signal: Signal) -> Decision:
    row, count = case.row, len(case.state.signals)
    # Of the other kinds one each may pend, and a flood of custom ones shall not keep anybody from cancelling.
    if count >= case.limits.pending_signals_max:
        raise Busy(f"instance {row.instance_id!r} has {count} unacknowledged signals: send it later")
    if row.status is Status.RUNNING:
        return _deliver(case, signal)
    parked = case.managed and row.termination_reason is TerminationReason.WAITING_SIGNAL
    awaited = parked and any(wait.name == signal.name for wait in case.state.open_waits)
    if not awaited or (row.wake_at is not None and row.wake_at <= case.now):  # an earlier wake-up is not put off
        return _take_hold(case, signal, Change((), (), row.status))
    return _take_hold(case, signal, Change((WakeMoved(case.now),), (Arm(case.now),), row.status))


_SEND: Final[dict[SignalKind, Callable[[Case, Signal], Decision]]] = {
    "cancel": _send_cancel,
    "pause": _send_pause,
    "resume": _send_resume,
    "shutdown": _send_shutdown,
    "custom": _send_custom,
}
"""What each kind of signal does when it arrives."""

_ENFORCED: Final = frozenset({"cancel", "shutdown"})
"""Kinds that take hold after a grace also if the program does nothing about them."""


def _deliver(case: Case, signal: Signal) -> Decision:
    """Keep the signal until the live attempt acts upon it, and show it to the attempt."""
    return _take_hold(case, signal, Change((), (Push(signal),), case.row.status))


def _leave_at_once(case: Case, signal: Signal, rest: InstanceSuspended) -> Decision:
    """Stop a program that has not registered, so that nobody there could act upon the signal."""
    change = leave(case, rest, how="ask")
    return _take_hold(case, signal, change._replace(events=(acknowledged(case, signal), *change.events)))


def _take_hold(case: Case, signal: Signal, change: Change) -> Decision:
    events = (SignalSent(signal, case.row.epoch), *change.events)
    return Decision(events, SignalAccepted(signal_id=signal.signal_id, status=change.status), change.effects)


def _accepted(case: Case, signal_id: str) -> Decision:
    """Sent before, or no different from what was sent before: nothing to store."""
    return Decision((), SignalAccepted(signal_id=signal_id, status=case.row.status, created=False))


# Read and acknowledge ------------------------------------------------------------------------------------------------


def poll_signals(case: Case, command: PollSignals) -> Decision:
    """Look only, whatever the status: a paused program that is still connected learns here that it is resumed."""
    return Decision((), SignalsPending(instance_wide(case.state)))


def acknowledge_signal(case: Case, command: AcknowledgeSignal) -> Decision:
    """Let a signal take hold; acknowledged twice, it does so once, also after the instance ended by it."""
    row, signal_id = case.row, command.signal_id
    if signal_id not in case.state.signal_ids:
        raise NotFound(f"instance {row.instance_id!r} was sent no signal {signal_id!r}: acknowledge one it was sent")
    signal = next((signal for signal in case.state.signals if signal.signal_id == signal_id), None)
    if signal is None:
        return Decision((), Acknowledged(row.status))
    case.require_running()
    change = _ACKNOWLEDGE.get(signal.kind, _just_acknowledge)(case, signal)
    return Decision(change.events, Acknowledged(change.status), change.effects)


def _just_acknowledge(case: Case, signal: Signal) -> Change:
    return Change((acknowledged(case, signal),), (), case.row.status)


def _acknowledge_pause(case: Case, signal: Signal) -> Change:
    return leave(case, paused(case), signal)


def _acknowledge_shutdown(case: Case, signal: Signal) -> Change:
    return leave(case, shut_down(case), signal)


_ACKNOWLEDGE: Final[dict[str, Callable[[Case, Signal], Change]]] = {
    "cancel": cancelled,
    "pause": _acknowledge_pause,
    "shutdown": _acknowledge_shutdown,
}
"""What the acknowledgement of a signal does, where it does more than that."""


def enforce_signals(case: Case, command: EnforceSignals) -> Decision:
    """Let a cancel or shutdown take hold that the program had its time for; without one, nothing changes."""
    unheeded = case.is_about_holder(command.epoch) and any(map(case.pending, _ENFORCED))
    if not unheeded:
        return Decision((), Acknowledged(case.row.status))
    return depart(case, shut_down(case), "ask")

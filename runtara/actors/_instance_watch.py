"""Decisions about what the host notices by itself: that it is time to launch, and that an attempt is over.

Pure functions of a `Case` and a command from a scheduler, a monitor or a runner. A report about a launch counts for the
attempt that lives in its process, whatever the number of that attempt has become; after a reported end, or about
another process, it changes nothing. Owns the budget of recovery: how often, and after what wait, a lost attempt is
followed by another.
"""

from typing import Final

import msgspec

from runtara.actors._instance_case import ORIGIN, Case, Decision, Need
from runtara.actors._instance_departures import depart
from runtara.actors._instance_events import (
    Arm,
    AttemptClaimed,
    AttemptLost,
    EventRecorded,
    InstanceEnded,
    Launch,
    Track,
)
from runtara.actors._instance_recovery import timeout_at
from runtara.actors._instance_replacing import is_of_the_old_one
from runtara.actors._instance_state import InstanceState
from runtara.lifecycle import Status, TerminationReason, Trigger, next_status
from runtara.messages import (
    Acknowledged,
    CrashInstance,
    DeclareSilent,
    ExitInstance,
    InstanceWoken,
    RecordUsage,
    TimeOutInstance,
    WakeInstance,
)
from runtara.records import Event

__all__ = [
    "crash_instance",
    "declare_silent",
    "exit_instance",
    "needs_of_usage",
    "record_usage",
    "time_out_instance",
    "wake_instance",
]

_DOUBLINGS_MAX: Final = 30
"""More make no difference: the longest wait is reached long before."""

_USAGE: Final = 2**53 + 1
"""The number under which an attempt's usage is written, which no program may use: said again, it is written once."""


# It is time ----------------------------------------------------------------------------------------------------------


def wake_instance(case: Case, command: WakeInstance) -> Decision:
    """Claim the next epoch for a launch, if the instance still waits for this very instant; else change nothing."""
    row = case.row
    waits = next_status(row.status, Trigger.WOKEN) is not None and row.wake_at == command.due_at
    if not waits or row.program is None:
        return Decision((), InstanceWoken(row.status, False))
    if case.now < command.due_at:  # the clock was set back after the scheduler had looked: not yet, but not never
        return Decision((), InstanceWoken(row.status, False), (Arm(command.due_at),))
    epoch = row.epoch + 1
    effects = (Launch(row.program, epoch, timeout_at(row, case.now)), Track(epoch))
    return Decision((AttemptClaimed(Trigger.WOKEN, epoch, case.now),), InstanceWoken(Status.RUNNING, True), effects)


# It is over ----------------------------------------------------------------------------------------------------------


def exit_instance(case: Case, command: ExitInstance) -> Decision:
    """Infer from an exit code what the program has not said: success, a failure at once, or a crash."""
    row, code = case.row, command.exit_code
    if not case.is_about_holder(command.epoch):
        return _unchanged(case)
    if code == 0:
        end = InstanceEnded(
            trigger=Trigger.COMPLETED,
            reason=TerminationReason.COMPLETED,
            epoch=row.epoch,
            at=case.now,
            output=command.output or b"",
            exit_code=code,
        )
        return depart(case, end)
    error = _storable(command.error) or f"the program has ended with exit code {code} and no word on stderr"
    if row.started_at is not None:
        return depart(case, _loss(case, Trigger.CRASHED, TerminationReason.CRASHED, error, exit_code=code))
    failure = InstanceEnded(  # a program that does not use the SDK would only do the same again
        trigger=Trigger.FAILED,
        reason=TerminationReason.APPLICATION_ERROR,
        epoch=row.epoch,
        at=case.now,
        exit_code=code,
        error=error,
    )
    return depart(case, failure)


def needs_of_usage(state: InstanceState, command: RecordUsage) -> tuple[Need, ...]:
    """An attempt that ends may be one of an instance that is gone."""
    return () if state.instance is None else (ORIGIN,)


def record_usage(case: Case, command: RecordUsage) -> Decision:
    """Write down what an attempt has used, once, also where it has ended its instance."""
    if is_of_the_old_one(case, command.epoch):
        return _unchanged(case)
    used = {"exit_code": command.exit_code, "memory_peak": command.memory_peak, "cpu_seconds": command.cpu_seconds}
    event = Event(
        type="usage",
        epoch=command.epoch,
        created_at=case.now,
        payload=msgspec.json.encode(used),
        request=_USAGE,
    )
    return Decision((EventRecorded(event),), Acknowledged(case.row.status))


def time_out_instance(case: Case, command: TimeOutInstance) -> Decision:
    """End an instance whose attempts have run, all together, for as long as they may."""
    if not case.is_about_holder(command.epoch) or case.row.timeout_ms is None:
        return _unchanged(case)
    end = InstanceEnded(
        trigger=Trigger.TIMED_OUT,
        reason=TerminationReason.TIMEOUT,
        epoch=case.row.epoch,
        at=case.now,
        error=f"it ran for longer than the {case.row.timeout_ms} ms that it had: give it more, or less to do",
    )
    return depart(case, end, "ask")


def crash_instance(case: Case, command: CrashInstance) -> Decision:
    """Fence an attempt that died."""
    if not case.is_about_holder(command.epoch):
        return _unchanged(case)
    error, counts = _storable(command.error), command.counts
    loss = _loss(case, Trigger.CRASHED, TerminationReason.CRASHED, error, exit_code=command.exit_code, counts=counts)
    return depart(case, loss)


def declare_silent(case: Case, command: DeclareSilent) -> Decision:
    """Fence and kill an attempt that was not heard of; a report about another attempt changes nothing.

    A launched program that has not registered may be one that never does: its runner watches its process.
    """
    if case.row.status is not Status.RUNNING or case.row.epoch != command.epoch or case.unregistered:
        return _unchanged(case)
    return depart(case, _loss(case, Trigger.WENT_SILENT, TerminationReason.HEARTBEAT_TIMEOUT), "kill")


def _loss(
    case: Case,
    trigger: Trigger,
    reason: TerminationReason,
    error: str | None = None,
    *,
    exit_code: int | None = None,
    counts: bool = True,
) -> AttemptLost | InstanceEnded:
    """Return the loss of the attempt that holds the instance; the end of the instance, where it was one too many."""
    row = case.row
    losses = row.losses + (case.managed and counts)
    if losses > case.limits.max_auto_restarts:
        return InstanceEnded(
            trigger=Trigger.GAVE_UP,
            reason=TerminationReason.RECOVERY_BUDGET_SPENT,
            epoch=row.epoch,
            at=case.now,
            exit_code=exit_code,
            error=f"lost {losses} attempts in a row without a new checkpoint, the last one because: {error or reason}",
        )
    return AttemptLost(
        trigger=trigger,
        reason=reason,
        epoch=row.epoch,
        at=case.now,
        losses=losses,
        wake_at=case.now + _wait(case, losses if counts else 1) if case.managed else None,
        exit_code=exit_code,
        error=error,
    )


def _wait(case: Case, losses: int) -> int:
    """Return milliseconds until the next launch; nobody here can launch a program that registers by itself."""
    limits = case.limits
    return int(min(limits.relaunch_after_ms << min(losses - 1, _DOUBLINGS_MAX), limits.relaunch_after_max_ms))


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode()  # what a program says may hold lone surrogates


def _unchanged(case: Case) -> Decision:
    return Decision((), Acknowledged(case.row.status))

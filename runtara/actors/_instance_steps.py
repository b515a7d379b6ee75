"""Decisions about the steps of a program: checkpoints, sleeps, failed tries and notes in the audit log.

Pure functions of a `Case` and a command.
"""

from msgspec.structs import replace

from runtara.actors._instance_case import Case, Decision, Need, instance_wide, refusal
from runtara.actors._instance_departures import park
from runtara.actors._instance_events import (
    CheckpointAdded,
    DomainEvent,
    EventRecorded,
    InstanceSuspended,
    RetryRecorded,
)
from runtara.actors._instance_state import InstanceState
from runtara.actors._instance_waits import bind_signal, bound_signal_id
from runtara.errors import InvalidInput, InvalidState
from runtara.lifecycle import FINAL, Status, TerminationReason, Trigger
from runtara.messages import (
    Acknowledged,
    CheckpointFound,
    CheckpointSaved,
    GetCheckpoint,
    RecordEvent,
    RecordRetry,
    SaveCheckpoint,
    SaveCheckpoints,
    Sleep,
    SleepStarted,
)
from runtara.records import Checkpoint, Event, Retry, Signal

__all__ = [
    "add_checkpoints",
    "get_checkpoint",
    "needs_of_checkpoint",
    "needs_of_checkpoints",
    "needs_of_save",
    "needs_of_saves",
    "record_event",
    "record_retry",
    "save_checkpoint",
    "save_checkpoints",
    "sleep",
    "sleeps_until",
]


def needs_of_checkpoint(state: InstanceState, command: SaveCheckpoint | GetCheckpoint | Sleep) -> tuple[Need, ...]:
    """Checkpoint states stay in the store; memory only knows which ids are taken."""
    checkpoint_id = command.checkpoint_id
    return (Need("checkpoint", checkpoint_id),) if checkpoint_id in state.checkpoint_ids else ()


def needs_of_save(state: InstanceState, command: SaveCheckpoint) -> tuple[Need, ...]:
    """A replay sees the custom signal again that was bound to the checkpoint."""
    if not state.ended_waits and command.checkpoint_id not in state.checkpoint_ids:
        return ()  # a new checkpoint, and no signal was ever taken: so it is nearly always
    checkpoint = needs_of_checkpoint(state, command)
    signal_id = bound_signal_id(state, command.checkpoint_id) if state.ended_waits else None
    return checkpoint if signal_id is None else (*checkpoint, Need("signal", signal_id))


def save_checkpoint(case: Case, command: SaveCheckpoint) -> Decision:
    """The first write wins: a later one learns what is stored. Either is told about signals."""
    case.require_running()
    checkpoint_id = command.checkpoint_id
    added: tuple[DomainEvent, ...] = ()
    state: bytes | None = None
    found = checkpoint_id in case.state.checkpoint_ids
    if found:
        stored = case.read_checkpoint(checkpoint_id)
        found = not _is_resent(case, command, stored)
        state = stored.state if found else None
    else:
        added = (CheckpointAdded(_checkpoint(case, command)),)
    custom_signal, binding = bind_signal(case, checkpoint_id)
    reply = CheckpointSaved(found=found, state=state, signal=_most_urgent(case), custom_signal=custom_signal)
    return Decision(added + binding, reply)


def needs_of_saves(state: InstanceState, command: SaveCheckpoints) -> tuple[Need, ...]:
    """Those that were sent before are compared with what is stored."""
    return needs_of_checkpoints(state, command.checkpoints)


def save_checkpoints(case: Case, command: SaveCheckpoints) -> Decision:
    """All of them or none: whoever does not wait for the answer is to hear of whatever it did not expect."""
    case.require_running()
    return Decision(add_checkpoints(case, command.checkpoints), Acknowledged(case.row.status))


def needs_of_checkpoints(state: InstanceState, checkpoints: tuple[tuple[str, bytes], ...]) -> tuple[Need, ...]:
    """Return what is needed to add several checkpoints: the states of those that are there."""
    known = state.checkpoint_ids
    return tuple(Need("checkpoint", checkpoint_id) for checkpoint_id, _ in checkpoints if checkpoint_id in known)


def add_checkpoints(case: Case, checkpoints: tuple[tuple[str, bytes], ...]) -> tuple[DomainEvent, ...]:
    """Return what adds those that are new; refuse one that is there with another state."""
    epoch, now, known = case.row.epoch, case.now, case.state.checkpoint_ids
    added = []
    for checkpoint_id, state in checkpoints:
        if checkpoint_id not in known:
            added.append(
                CheckpointAdded(Checkpoint(checkpoint_id=checkpoint_id, state=state, epoch=epoch, created_at=now))
            )
        elif case.read_checkpoint(checkpoint_id).state != state:
            raise InvalidState(f"checkpoint {checkpoint_id!r} exists with another state: an id is written once")
    return tuple(added)


def get_checkpoint(case: Case, command: GetCheckpoint) -> Decision:
    """Look only."""
    if command.checkpoint_id not in case.state.checkpoint_ids:
        return Decision((), CheckpointFound(found=False))
    return Decision((), CheckpointFound(found=True, state=case.read_checkpoint(command.checkpoint_id).state))


def sleep(case: Case, command: Sleep) -> Decision:
    """Store the deadline once; every later call learns what remains of it. Park where asked and something remains."""
    checkpoint_id = command.checkpoint_id
    stored = case.read_checkpoint(checkpoint_id) if checkpoint_id in case.state.checkpoint_ids else None
    resent = stored is not None and command.park and sleeps_until(case, stored.wake_at)
    if not resent:
        case.require_running()
    row = _checkpoint(case, command, _deadline(case, command)) if stored is None else stored
    wake_at = case.now if row.wake_at is None else row.wake_at  # a plain checkpoint leaves nothing to sleep
    added = (CheckpointAdded(row),) if stored is None else ()
    found = stored is not None and not _is_resent(case, command, stored)
    reply = SleepStarted(
        wake_at=wake_at,
        remaining_ms=max(0, wake_at - case.now),
        found=found,
        state=row.state if found else None,
        parked=resent,
        signal=_most_urgent(case),
    )
    if resent or not command.park or not reply.remaining_ms:
        return Decision(added, reply)
    rest = InstanceSuspended(
        trigger=Trigger.SLEPT,
        reason=TerminationReason.SLEEPING,
        epoch=case.row.epoch,
        at=case.now,
        wake_at=wake_at,
        checkpoint_id=checkpoint_id,
    )
    return park(case, added, rest, replace(reply, parked=True))


def sleeps_until(case: Case, wake_at: int | None) -> bool:
    """Whether the instance is parked for this very sleep already: the reply was lost and the call sent again."""
    row = case.row
    sleeps = row.status is Status.SUSPENDED and row.termination_reason is TerminationReason.SLEEPING
    return sleeps and wake_at is not None and row.wake_at == wake_at


def _deadline(case: Case, command: Sleep) -> int:
    if command.until is not None and command.duration_ms is None:
        return command.until
    if command.duration_ms is not None and command.until is None:
        return case.now + command.duration_ms
    raise InvalidInput(f"sleep {command.checkpoint_id!r} needs a duration or an instant: give exactly one of them")


def _is_resent(case: Case, command: SaveCheckpoint | Sleep, stored: Checkpoint) -> bool:
    """Whether this very call has saved the checkpoint: its answer was lost, and it gets the same one again."""
    request = command.request
    return request is not None and (stored.epoch, stored.request) == (case.row.epoch, request)


def _checkpoint(case: Case, command: SaveCheckpoint | Sleep, wake_at: int | None = None) -> Checkpoint:
    return Checkpoint(
        checkpoint_id=command.checkpoint_id,
        state=command.state,
        epoch=case.row.epoch,
        created_at=case.now,
        wake_at=wake_at,
        request=command.request,
    )


def _most_urgent(case: Case) -> Signal | None:
    return next(iter(instance_wide(case.state)), None) if case.state.signals else None


def record_retry(case: Case, command: RecordRetry) -> Decision:
    """Count a failed try. The same number recorded again is kept as it was first, by the store."""
    case.require_running()
    retry = Retry(
        checkpoint_id=command.checkpoint_id,
        attempt=command.attempt,
        recorded_at=case.now,
        error=command.error,
        retry_at=None if command.retry_after_ms is None else case.now + command.retry_after_ms,
    )
    return Decision((RetryRecorded(retry),), Acknowledged(case.row.status))


def record_event(case: Case, command: RecordEvent) -> Decision:
    """Write into the audit log. A program that is about to rest may still do so; a finished one may not.

    What is sent again under its number is kept once, by the store.
    """
    row = case.row
    if row.status in FINAL:
        raise refusal(row, Trigger.CHECKPOINTED)
    event = Event(
        type="custom",
        epoch=row.epoch,
        created_at=case.now,
        subtype=command.subtype,
        payload=command.payload,
        request=command.request,
    )
    return Decision((EventRecorded(event),), Acknowledged(row.status))

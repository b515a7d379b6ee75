"""Decisions about an attempt that says at once what it has done and how it goes on: it rests, or it is at its end.

Pure functions of a `Case` and a command. Each decides as the commands would that say the same one after the other:
`SaveCheckpoint`, `RecordEvent`, and `Sleep`, `SuspendInstance` or `CompleteInstance`. What was done is kept, whatever
a pending cancel or pause makes of the rest.
"""

from runtara.actors._instance_attempts import complete_instance, suspend_instance
from runtara.actors._instance_case import Case, Decision, Need
from runtara.actors._instance_departures import leave
from runtara.actors._instance_events import CheckpointAdded, DomainEvent, EventRecorded, InstanceSuspended
from runtara.actors._instance_state import InstanceState
from runtara.actors._instance_steps import add_checkpoints, needs_of_checkpoints, sleeps_until
from runtara.lifecycle import TerminationReason, Trigger
from runtara.messages import Acknowledged, CompleteInstance, FinishInstance, RestInstance, SuspendInstance
from runtara.records import Checkpoint, Event

__all__ = ["finish_instance", "needs_of_finish", "needs_of_rest", "rest_instance"]


def needs_of_rest(state: InstanceState, command: RestInstance) -> tuple[Need, ...]:
    """What was saved before is compared, and a delay that has begun has its end already."""
    delay = command.checkpoint_id
    has_begun = delay is not None and delay in state.checkpoint_ids
    saved = needs_of_checkpoints(state, _pairs(command))
    return (*saved, Need("checkpoint", delay)) if has_begun else saved


def rest_instance(case: Case, command: RestInstance) -> Decision:
    """Save, note why, and rest; sent again, it is answered as the first time, for as long as it rests."""
    if command.checkpoint_id is None:
        return _until(case, command)
    return _for_a_delay(case, command, command.checkpoint_id)


def _until(case: Case, command: RestInstance) -> Decision:
    """Rest until an instant, or until a signal; as `SuspendInstance`, which also knows one that was sent again."""
    rest = suspend_instance(case, SuspendInstance(wake_at=command.wake_at, awaits=command.awaits))
    if not rest.events:
        return rest
    return Decision((*_done(case, command), *rest.events), rest.reply, rest.effects)


def _for_a_delay(case: Case, command: RestInstance, delay: str) -> Decision:
    stored = case.read_checkpoint(delay) if delay in case.state.checkpoint_ids else None
    if stored is not None and sleeps_until(case, stored.wake_at):
        return Decision((), Acknowledged(case.row.status))
    case.require_running()
    added: tuple[DomainEvent, ...] = ()
    if stored is None:
        stored = Checkpoint(
            checkpoint_id=delay,
            state=b"",
            epoch=case.row.epoch,
            created_at=case.now,
            wake_at=case.now + (command.duration_ms or 0),
        )
        added = (CheckpointAdded(stored),)
    wake_at = case.now if stored.wake_at is None else stored.wake_at  # a plain checkpoint leaves nothing to wait for
    if wake_at <= case.now:
        return Decision((*add_checkpoints(case, _pairs(command)), *added), Acknowledged(case.row.status))
    wish = InstanceSuspended(
        trigger=Trigger.SLEPT,
        reason=TerminationReason.SLEEPING,
        epoch=case.row.epoch,
        at=case.now,
        wake_at=wake_at,
        checkpoint_id=delay,
    )
    change = leave(case, wish)
    return Decision((*_done(case, command), *added, *change.events), Acknowledged(change.status), change.effects)


def _done(case: Case, command: RestInstance) -> tuple[DomainEvent, ...]:
    """Return what keeps what was done, and why it rests."""
    saved = add_checkpoints(case, _pairs(command))
    if command.subtype is None:
        return saved
    note = Event(
        type="custom",
        epoch=case.row.epoch,
        created_at=case.now,
        subtype=command.subtype,
        payload=command.payload,
    )
    return (*saved, EventRecorded(note))


def needs_of_finish(state: InstanceState, command: FinishInstance) -> tuple[Need, ...]:
    """What was saved before is compared."""
    return needs_of_checkpoints(state, _pairs(command))


def finish_instance(case: Case, command: FinishInstance) -> Decision:
    """Save, and end well; sent again, it is answered as the first time."""
    end = complete_instance(case, CompleteInstance(output=command.output))
    if not end.events:
        return end
    return Decision((*add_checkpoints(case, _pairs(command)), *end.events), end.reply, end.effects)


def _pairs(command: RestInstance | FinishInstance) -> tuple[tuple[str, bytes], ...]:
    return tuple((result.checkpoint_id, result.state) for result in command.results)

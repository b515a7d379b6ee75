"""Decisions about the life of an instance: how it begins, who holds it, how it rests, wakes and ends.

Pure functions of a `Case` and a command. Signals and checkpoints have files of their own.
"""

from runtara.actors._instance_case import Case, Decision, Need, instance_wide, refusal, unknown_instance
from runtara.actors._instance_departures import Change, cancelled, leave, tell_cancelled
from runtara.actors._instance_events import (
    DISARM,
    Arm,
    AttemptClaimed,
    AttemptLost,
    AttemptRegistered,
    Departure,
    Effect,
    InstanceCreated,
    InstanceEnded,
    InstanceSuspended,
    Launch,
    Stop,
    Track,
)
from runtara.actors._instance_state import InstanceState
from runtara.errors import AlreadyExists, NotFound
from runtara.ids import InstanceKey
from runtara.lifecycle import Status, TerminationReason, Trigger, next_status
from runtara.messages import (
    Acknowledged,
    Call,
    CompleteInstance,
    CrashInstance,
    DeclareSilent,
    FailInstance,
    GetInput,
    GetStatus,
    Heartbeat,
    InputFound,
    InstanceInfo,
    InstanceRegistered,
    InstanceStarted,
    RegisterInstance,
    StartInstance,
    SuspendInstance,
    WakeInstance,
)
from runtara.records import Instance

__all__ = [
    "claim",
    "complete_instance",
    "crash_instance",
    "create_by_register",
    "create_by_start",
    "declare_silent",
    "fail_instance",
    "get_input",
    "get_status",
    "heartbeat",
    "needs_of_input",
    "needs_of_output",
    "needs_of_start",
    "register_instance",
    "start_instance",
    "suspend_instance",
    "wake_instance",
]


# Begin ---------------------------------------------------------------------------------------------------------------


def create_by_start(call: Call, command: StartInstance, now: int) -> Decision:
    """A new instance waits for its first launch, which is due at once."""
    row = _new_row(call.key, now, program=command.program, wake_at=now)
    reply = InstanceStarted(instance_id=row.instance_id, status=row.status, created=True)
    return Decision((InstanceCreated(row, command.input),), reply, (Arm(now),))


def create_by_register(call: Call, command: RegisterInstance, now: int) -> Decision:
    """A program that registers by itself creates its instance. An epoch or a checkpoint prove that there was one."""
    if call.epoch is not None:
        raise unknown_instance(call.key)
    if command.checkpoint_id is not None:
        raise _no_checkpoint(call.key, command.checkpoint_id)
    events = (InstanceCreated(_new_row(call.key, now)), AttemptRegistered(command.attempt_id, 1, now))
    return Decision(events, InstanceRegistered(epoch=1, resumed=False), (Track(1),))


def needs_of_start(state: InstanceState, command: StartInstance) -> tuple[Need, ...]:
    """Only a start of the same program is compared further."""
    return (Need("input"),) if state.instance is not None and state.instance.program == command.program else ()


def start_instance(case: Case, command: StartInstance) -> Decision:
    """The same start twice is one instance, whatever became of it."""
    row = case.row
    if row.program != command.program or case.read_payload("input") != command.input:
        raise AlreadyExists(
            f"instance {row.instance_id!r} exists with another program or input: use another id, or the same start"
        )
    return Decision((), InstanceStarted(instance_id=row.instance_id, status=row.status, created=False))


def register_instance(case: Case, command: RegisterInstance) -> Decision:
    """Hand the instance to an attempt, unless a newer one holds it, it is finished, or it is paused."""
    row, checkpoint_id = case.row, command.checkpoint_id
    if row.status is Status.RUNNING and row.attempt_id == command.attempt_id:
        return Decision((), _registered(case, row.epoch))  # sent again, perhaps still naming the epoch before
    if case.epoch is not None:
        case.require_owner()  # launched, or registered before, under an epoch that is no longer the newest
    if next_status(row.status, Trigger.REGISTERED) is None or row.termination_reason is TerminationReason.PAUSED:
        # A pause that was acknowledged holds until a resume, also when the program is started again by hand (I31).
        raise refusal(row, Trigger.REGISTERED)
    if checkpoint_id is not None and checkpoint_id not in case.state.checkpoint_ids:
        raise _no_checkpoint(case.state.key, checkpoint_id)
    cancel = case.pending("cancel")
    if cancel is not None:  # its owner died before it could end; nobody else shall begin
        return tell_cancelled(case, cancelled(case, cancel))
    claimed = case.managed and row.status is Status.RUNNING and row.attempt_id is None
    epoch = row.epoch if claimed else row.epoch + 1
    events = (AttemptRegistered(command.attempt_id, epoch, case.now),)
    return Decision(events, _registered(case, epoch), _effects_of_takeover(case, epoch))


def _effects_of_takeover(case: Case, epoch: int) -> tuple[Effect, ...]:
    effects: list[Effect] = [DISARM] if case.armed else []
    effects.append(Track(epoch))
    # An attempt that names the epoch it replaces lives in the launched process itself, which must not be stopped.
    if case.managed and case.row.status is Status.RUNNING and epoch != case.row.epoch and case.epoch is None:
        effects.append(Stop(case.row.epoch))
    return tuple(effects)


def _registered(case: Case, epoch: int) -> InstanceRegistered:
    # Custom signals are taken by name: thousands of them must not make the reply too large to be sent.
    return InstanceRegistered(
        epoch=epoch,
        resumed=case.state.checkpoint_count > 0,
        checkpoint_id=case.row.checkpoint_id,
        signals=instance_wide(case.state),
    )


def _new_row(key: InstanceKey, now: int, program: str | None = None, wake_at: int | None = None) -> Instance:
    return Instance(
        tenant_id=key.tenant_id,
        instance_id=key.instance_id,
        status=Status.PENDING,
        version=0,
        epoch=0,
        created_at=now,
        program=program,
        wake_at=wake_at,
    )


def _no_checkpoint(key: InstanceKey, checkpoint_id: str) -> NotFound:
    return NotFound(
        f"instance {key.instance_id!r} has no checkpoint {checkpoint_id!r}: register without one to begin anew"
    )


# Live ----------------------------------------------------------------------------------------------------------------


def heartbeat(case: Case, command: Heartbeat) -> Decision:
    """Nothing is stored: the runtime notes the sign of life itself. A refusal tells the program to stop."""
    case.require_running()
    return Decision((), Acknowledged(case.row.status))


def needs_of_output(state: InstanceState, command: GetStatus) -> tuple[Need, ...]:
    """Only a completed instance has an output."""
    completed = state.instance is not None and state.instance.status is Status.COMPLETED
    return (Need("output"),) if completed else ()


def get_status(case: Case, command: GetStatus) -> Decision:
    """Everything about the row, and the output where there is one."""
    row = case.row
    info = InstanceInfo(
        tenant_id=row.tenant_id,
        instance_id=row.instance_id,
        status=row.status,
        epoch=row.epoch,
        created_at=row.created_at,
        program=row.program,
        checkpoint_id=row.checkpoint_id,
        checkpoint_count=case.state.checkpoint_count,
        wake_at=row.wake_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        heartbeat_at=row.heartbeat_at,
        termination_reason=row.termination_reason,
        exit_code=row.exit_code,
        output=case.read_payload("output") if row.status is Status.COMPLETED else None,
        error=row.error,
    )
    return Decision((), info)


def needs_of_input(state: InstanceState, command: GetInput) -> tuple[Need, ...]:
    """The input is not part of the row."""
    return () if state.instance is None else (Need("input"),)


def get_input(case: Case, command: GetInput) -> Decision:
    """What the instance was started with."""
    return Decision((), InputFound(case.read_payload("input")))


# Rest and end --------------------------------------------------------------------------------------------------------


def complete_instance(case: Case, command: CompleteInstance) -> Decision:
    """End well; the same end twice is one end."""
    if case.row.status is Status.COMPLETED:
        return Decision((), Acknowledged(case.row.status))
    case.require(Trigger.COMPLETED)
    end = InstanceEnded(
        trigger=Trigger.COMPLETED,
        reason=TerminationReason.COMPLETED,
        epoch=case.row.epoch,
        at=case.now,
        output=command.output,
    )
    return _left(case, end)


def fail_instance(case: Case, command: FailInstance) -> Decision:
    """End badly; the same end twice is one end."""
    if case.row.status is Status.FAILED:
        return Decision((), Acknowledged(case.row.status))
    case.require_running()  # lifecycle lets a pending instance fail too, but not by its program
    end = InstanceEnded(
        trigger=Trigger.FAILED,
        reason=TerminationReason.APPLICATION_ERROR,
        epoch=case.row.epoch,
        at=case.now,
        error=command.error,
    )
    return _left(case, end)


def suspend_instance(case: Case, command: SuspendInstance) -> Decision:
    """Rest until an instant, or until a resume signal. Asked twice, it rests once."""
    row, wake_at = case.row, command.wake_at
    reason = TerminationReason.WAITING_SIGNAL if wake_at is None else TerminationReason.SLEEPING
    if row.status is Status.SUSPENDED and (row.termination_reason, row.wake_at) == (reason, wake_at):
        return Decision((), Acknowledged(row.status))
    case.require(Trigger.SUSPENDED)
    rest = InstanceSuspended(trigger=Trigger.SUSPENDED, reason=reason, epoch=row.epoch, at=case.now, wake_at=wake_at)
    return _left(case, rest)


def _left(case: Case, wish: Departure) -> Decision:
    change = leave(case, wish)
    return Decision(change.events, Acknowledged(change.status), change.effects)


# What the host notices -----------------------------------------------------------------------------------------------


def wake_instance(case: Case, command: WakeInstance) -> Decision:
    """Claim the next epoch for a launch, if the instance still waits for this very instant; else change nothing."""
    row = case.row
    waits = next_status(row.status, Trigger.WOKEN) is not None and row.wake_at == command.due_at
    if not waits or not case.managed:
        return Decision((), Acknowledged(row.status))
    if case.now < command.due_at:  # the clock was set back after the scheduler had looked: not yet, but not never
        return Decision((), Acknowledged(row.status), (Arm(command.due_at),))
    change = claim(case, Trigger.WOKEN)
    return Decision(change.events, Acknowledged(change.status), change.effects)


def claim(case: Case, trigger: Trigger) -> Change:
    """Return the claim of the next epoch by the host, which then launches the program."""
    assert case.row.program is not None, "only a managed instance is launched"
    epoch = case.row.epoch + 1
    effects = (Launch(case.row.program, epoch), Track(epoch))
    return Change((AttemptClaimed(trigger, epoch, case.now),), effects, Status.RUNNING)


def declare_silent(case: Case, command: DeclareSilent) -> Decision:
    """Fence and stop an attempt that was not heard of; a report about another attempt changes nothing."""
    return _lose(case, command.epoch, Trigger.WENT_SILENT, TerminationReason.HEARTBEAT_TIMEOUT)


def crash_instance(case: Case, command: CrashInstance) -> Decision:
    """Fence an attempt that died; a report about another attempt, or after a reported end, changes nothing."""
    return _lose(case, command.epoch, Trigger.CRASHED, TerminationReason.CRASHED, command.error)


def _lose(case: Case, epoch: int, trigger: Trigger, reason: TerminationReason, error: str | None = None) -> Decision:
    row = case.row
    if row.status is not Status.RUNNING or row.epoch != epoch:
        return Decision((), Acknowledged(row.status))
    loss = AttemptLost(
        trigger=trigger,
        reason=reason,
        epoch=epoch,
        at=case.now,
        wake_at=case.now if case.managed else None,  # nobody here can launch a program that registers by itself
        error=error,
    )
    return _left(case, loss)

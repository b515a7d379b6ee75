"""Decisions about the life of an instance as it is told: how it begins, who holds it, how it rests and ends.

Pure functions of a `Case` and a command. What the host notices by itself (that it is time, or that an attempt is lost),
signals and checkpoints have files of their own.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from runtara.actors import _cell
from runtara.actors._instance_case import ORIGIN, Case, Decision, Need, instance_wide, refusal, unknown_instance
from runtara.actors._instance_departures import cancelled, depart, leave, stop, tell_cancelled
from runtara.actors._instance_events import (
    DISARM,
    Arm,
    AttemptClaimed,
    AttemptRegistered,
    Effect,
    InstanceCreated,
    InstanceEnded,
    InstanceSuspended,
    Launch,
    Replacement,
    Track,
)
from runtara.actors._instance_recovery import timeout_at
from runtara.actors._instance_replacing import replace_by_register, replace_by_start, was_replaced_by
from runtara.actors._instance_replay import needs_of_replay, replay_of
from runtara.actors._instance_state import InstanceState, new_row
from runtara.actors._instance_waits import begin_waits
from runtara.actors._resources import join_resources
from runtara.errors import AlreadyExists, Fenced, NotFound
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status, TerminationReason, Trigger, next_status
from runtara.messages import (
    Acknowledged,
    Call,
    CompleteInstance,
    FailInstance,
    GetInput,
    GetStatus,
    Heartbeat,
    InputFound,
    InstanceInfo,
    InstanceRegistered,
    InstanceStarted,
    RegisterInstance,
    Replay,
    StartInstance,
    SuspendInstance,
)
from runtara.records import Instance

__all__ = [
    "claim_at_start",
    "complete_instance",
    "create_by_register",
    "create_by_start",
    "fail_instance",
    "get_input",
    "get_status",
    "heartbeat",
    "info_of",
    "needs_of_input",
    "needs_of_output",
    "needs_of_register",
    "needs_of_start",
    "register_instance",
    "start_instance",
    "suspend_instance",
]


# Begin ---------------------------------------------------------------------------------------------------------------


def create_by_start(call: Call, command: StartInstance, now: int, _: Mapping[Need, object]) -> Decision:
    """A new instance waits for its first launch, which is due at once, or when the start says."""
    wake_at = now if command.start_at is None else max(now, command.start_at)
    row = replace(
        new_row(call.key, now),
        program=command.program,
        wake_at=wake_at,
        timeout_ms=command.timeout_ms,
        priority=command.priority,
    )
    reply = InstanceStarted(instance_id=row.instance_id, status=row.status, created=True)
    env = join_resources(command.env, command.resources)
    return Decision((InstanceCreated(row, command.input, env, replacement=_asked(command)),), reply, (Arm(wake_at),))


def create_by_register(call: Call, command: RegisterInstance, now: int, _: Mapping[Need, object]) -> Decision:
    """A program that registers by itself creates its instance. An epoch or a checkpoint prove that there was one."""
    if call.epoch is not None:
        raise unknown_instance(call.key)
    if command.checkpoint_id is not None:
        raise _no_checkpoint(call.key, command.checkpoint_id)
    created = InstanceCreated(new_row(call.key, now), replacement=_asked(command))
    events = (created, AttemptRegistered(command.attempt_id, 1, now))
    nothing = Replay(steps=(), is_all=True) if command.replay else None
    return Decision(events, InstanceRegistered(epoch=1, resumed=False, replay=nothing), (Track(1),))


def claim_at_start(created: _cell.Decision, now: int) -> Decision:
    """Return the decision to create an instance for which a worker is idle: its first launch is claimed with it."""
    event = created.events[0]
    assert isinstance(event, InstanceCreated), "whoever asks has looked"
    row, epoch = event.instance, event.instance.epoch + 1
    assert row.program is not None, "likewise"
    effects = (Launch(row.program, epoch, timeout_at(row, now)), Track(epoch))
    reply = InstanceStarted(instance_id=row.instance_id, status=Status.RUNNING, created=True)
    return Decision((event, AttemptClaimed(Trigger.WOKEN, epoch, now)), reply, effects)


def _asked(command: StartInstance | RegisterInstance) -> Replacement | None:
    """Return by what a command is known again that would replace an instance if there was one."""
    request_id = command.request_id if isinstance(command, StartInstance) else command.attempt_id
    return Replacement(request_id or "") if command.replace else None


def needs_of_start(state: InstanceState, command: StartInstance) -> tuple[Need, ...]:
    """Only a start of the same program is compared further."""
    row = state.instance
    if row is None:
        return ()
    compared = (Need("input"), Need("env")) if row.program == command.program else ()
    return (ORIGIN, *compared) if command.replace else compared


def start_instance(case: Case, command: StartInstance) -> Decision:
    """The same start twice is one instance, whatever became of it; one that replaces is known by its request."""
    row = case.row
    if command.replace and not was_replaced_by(case, command.request_id):
        created = create_by_start(Call(case.state.key, command), command, case.now, case.found)
        return replace_by_start(case, created, command.request_id)
    if row.program != command.program or not _is_same_start(case, command):
        raise AlreadyExists(
            f"instance {row.instance_id!r} exists with another program, input, environment, timeout, priority or "
            "resources: use another id, or the same start"
        )
    return Decision((), InstanceStarted(instance_id=row.instance_id, status=row.status, created=False))


def _is_same_start(case: Case, command: StartInstance) -> bool:
    given = (command.timeout_ms, command.priority, command.input, join_resources(command.env, command.resources))
    return given == (case.row.timeout_ms, case.row.priority, case.read_payload("input"), case.read(Need("env")))


def needs_of_register(state: InstanceState, command: RegisterInstance) -> tuple[Need, ...]:
    """Whoever replaces may have done so already; whoever replays needs what was kept."""
    origin = (ORIGIN,) if command.replace and state.instance is not None else ()
    return (*origin, *needs_of_replay(state)) if command.replay else origin


def register_instance(case: Case, command: RegisterInstance) -> Decision:
    """Hand the instance to an attempt, unless a newer one holds it, it is finished, or it is paused."""
    row, checkpoint_id = case.row, command.checkpoint_id
    if row.status is Status.RUNNING and row.attempt_id == command.attempt_id:
        return Decision((), _registered(case, command, row.epoch))  # sent again, perhaps still naming the epoch before
    if command.replace and not was_replaced_by(case, command.attempt_id):
        if checkpoint_id is not None:
            raise _no_checkpoint(case.state.key, checkpoint_id)
        return replace_by_register(case, new_row(case.state.key, case.now), command)
    _require_fresh(case, command)
    if case.epoch is not None:
        case.require_owner()  # launched, or registered before, under an epoch that is no longer the newest
    if next_status(row.status, Trigger.REGISTERED) is None or _rests(case):
        raise refusal(row, Trigger.REGISTERED)
    _require_not_taken_back(case)
    if checkpoint_id is not None and checkpoint_id not in case.state.checkpoint_ids:
        raise _no_checkpoint(case.state.key, checkpoint_id)
    cancel = case.pending("cancel")
    if cancel is not None:  # its owner died before it could end; nobody else shall begin
        return tell_cancelled(case, cancelled(case, cancel))
    epoch = row.epoch if case.unregistered else row.epoch + 1
    launched = case.unregistered or _is_in_launched_process(case)
    events = (AttemptRegistered(command.attempt_id, epoch, case.now, launched),)
    return Decision(events, _registered(case, command, epoch), _effects_of_takeover(case, epoch, launched))


def _require_fresh(case: Case, command: RegisterInstance) -> None:
    row = case.row
    if command.fresh and (row.status in FINAL or row.program is not None or case.state.checkpoint_count > 0):
        raise AlreadyExists(f"instance {row.instance_id!r} is {row.status} already: use another id, or go on with it")


def _rests(case: Case) -> bool:
    """Return whether an instance is not to be taken up by this program now.

    A pause that was acknowledged holds until a resume, also when the program is started again by hand (I31). Whoever
    was launched and told to shut down is about to end: the instance waits for its next launch.
    """
    reason = case.row.termination_reason
    told_to_end = reason is TerminationReason.SHUTDOWN_REQUESTED and _is_in_launched_process(case)
    return reason is TerminationReason.PAUSED or told_to_end


def _require_not_taken_back(case: Case) -> None:
    """Refuse a launched process that a pause told to end before it had registered: a resume launches the next one."""
    if case.row.status is Status.SUSPENDED and case.row.attempt_id is None and _is_in_launched_process(case):
        raise Fenced(
            f"attempt {case.epoch} of instance {case.row.instance_id!r} was told to end before it had begun: "
            "end the program, the instance is launched again"
        )


def _is_in_launched_process(case: Case) -> bool:
    """Return whether who registers lives in the launched process itself, which must not be stopped for it.

    That names the epoch that it replaces. Of an instance that waits for its first launch nobody has one to name.
    """
    return case.epoch is not None and case.row.claimed_epoch is not None and case.row.status is not Status.PENDING


def _effects_of_takeover(case: Case, epoch: int, launched: bool) -> tuple[Effect, ...]:
    effects: list[Effect] = [DISARM] if case.armed else []
    effects.append(Track(epoch))
    if case.launched and not launched:
        effects += stop(case, "ask")
    return tuple(effects)


def _registered(case: Case, command: RegisterInstance, epoch: int) -> InstanceRegistered:
    # Custom signals are taken by name: thousands of them must not make the reply too large to be sent.
    return InstanceRegistered(
        epoch=epoch,
        resumed=case.state.checkpoint_count > 0,
        checkpoint_id=case.row.checkpoint_id,
        signals=instance_wide(case.state),
        replay=replay_of(case) if command.replay else None,
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
    output = case.read_payload("output") if case.row.status is Status.COMPLETED else None
    return Decision((), info_of(case.state, case.row, output))


def info_of(state: InstanceState, row: Instance, output: bytes | None) -> InstanceInfo:
    """Return what is told of an instance, of which `row` is the row."""
    return InstanceInfo(
        tenant_id=row.tenant_id,
        instance_id=row.instance_id,
        status=row.status,
        epoch=row.epoch,
        created_at=row.created_at,
        program=row.program,
        checkpoint_id=row.checkpoint_id,
        checkpoint_count=state.checkpoint_count,
        wake_at=row.wake_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        heartbeat_at=row.heartbeat_at,
        termination_reason=row.termination_reason,
        exit_code=row.exit_code,
        output=output,
        error=row.error,
        timeout_ms=row.timeout_ms,
        losses=row.losses,
        priority=row.priority,
    )


def needs_of_input(state: InstanceState, command: GetInput) -> tuple[Need, ...]:
    """The input is not part of the row, and seldom known."""
    return () if state.instance is None or state.input is not None else (Need("input"),)


def get_input(case: Case, command: GetInput) -> Decision:
    """What the instance was started with."""
    known = case.state.input
    return Decision((), InputFound(case.read_payload("input") if known is None else known))


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
    return depart(case, end)


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
    return depart(case, end)


def suspend_instance(case: Case, command: SuspendInstance) -> Decision:
    """Rest until an instant, or until a signal. Asked twice, it rests once."""
    row = case.row
    begun, is_there = begin_waits(case, command.awaits)
    wake_at = case.now if is_there else command.wake_at
    waits = command.awaits or wake_at is None
    reason = TerminationReason.WAITING_SIGNAL if waits else TerminationReason.SLEEPING
    rests = row.status is Status.SUSPENDED and row.termination_reason is reason
    if rests and (command.awaits or row.wake_at == wake_at):  # a signal may have moved it meanwhile
        return Decision((), Acknowledged(row.status))
    case.require(Trigger.SUSPENDED)
    rest = InstanceSuspended(trigger=Trigger.SUSPENDED, reason=reason, epoch=row.epoch, at=case.now, wake_at=wake_at)
    change = leave(case, rest)
    first = begun if change.status is Status.SUSPENDED else ()  # of what was cancelled, nothing will be replayed
    return Decision(first + change.events, Acknowledged(change.status), change.effects)

"""The pure heart of an instance: what a call leads to, given what is known and what time it is.

Owns the table of commands, and the way of every call: does the instance exist, does the asker hold it, what is
decided. It reads no clock, waits for nothing and stores nothing; the cell that calls it does, in this order:

    needs = needs_of(state, call)                  # read them from the store, if any
    decision = decide(state, call, now_ms, found)  # a refusal is raised, and nothing changes
    for event in decision.events:
        after = evolve(after, event)
    save = save_of(before, after, events)          # one commit for a whole burst of calls
    state = after.stored(save)                     # once it is on stable storage; then reply, then effects

A need is answered from the store, hence only when every earlier decision of the instance is committed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from runtara import messages
from runtara.actors import _instance_attempts as attempts
from runtara.actors import _instance_forks as forks
from runtara.actors import _instance_rests as rests
from runtara.actors import _instance_signals as signals
from runtara.actors import _instance_steps as steps
from runtara.actors import _instance_waits as waits
from runtara.actors import _instance_watch as watch
from runtara.actors._instance_attempts import claim_at_start, info_of
from runtara.actors._instance_case import Case, Decision, Limits, Need, Source, unknown_instance
from runtara.actors._instance_events import (
    Arm,
    Disarm,
    DomainEvent,
    Effect,
    Enforce,
    Launch,
    Push,
    Stop,
    Track,
    Untrack,
)
from runtara.actors._instance_memory import is_remembered, presumed, recalled
from runtara.actors._instance_recovery import derive
from runtara.actors._instance_save import save_of
from runtara.actors._instance_state import InstanceState, evolve
from runtara.endpoints import ENDPOINTS
from runtara.messages import Call

__all__ = [
    "Arm",
    "Decision",
    "Disarm",
    "DomainEvent",
    "Effect",
    "Enforce",
    "InstanceState",
    "Launch",
    "Limits",
    "Need",
    "Push",
    "Source",
    "Stop",
    "Track",
    "Untrack",
    "claim_at_start",
    "decide",
    "derive",
    "evolve",
    "info_of",
    "is_remembered",
    "needs_of",
    "presumed",
    "recalled",
    "save_of",
]

_NOTHING: Final[Mapping[Need, object]] = {}
_ANYTHING: Final = (Need("input"),)
_LIMITS: Final = Limits()


def needs_of(state: InstanceState, call: Call) -> tuple[Need, ...]:
    """Return what must be read from the store before `call` can be decided; mostly nothing."""
    if state.unread:
        return _ANYTHING  # the rest of what is stored comes with it
    needs = _NEEDS.get(type(call.command))
    return () if needs is None else needs(state, call.command)


def decide(
    state: InstanceState, call: Call, now_ms: int, found: Mapping[Need, object] = _NOTHING, limits: Limits = _LIMITS
) -> Decision:
    """Return what `call` leads to at `now_ms`; `found` holds what the store answered to every need.

    Raises the `RuntaraError` that refuses the call; then nothing has happened and nothing is stored.
    """
    command = call.command
    row = state.instance
    if row is None:
        create = _CREATE.get(type(command))
        if create is None:
            raise unknown_instance(call.key)
        return create(call, command, now_ms, found)
    case = Case(state, row, call.epoch, now_ms, found, limits)
    if type(command) in _OWNER_ONLY:
        case.require_owner()
    return _DECIDE[type(command)](case, command)


# Any, three times: each row takes its own command type.

_CREATE: Final[dict[type, Callable[[Call, Any, int, Mapping[Need, object]], Decision]]] = {
    messages.StartInstance: attempts.create_by_start,
    messages.ForkInstance: forks.create_by_fork,
    messages.RegisterInstance: attempts.create_by_register,
}
"""Commands that bring an instance into being."""

_DECIDE: Final[dict[type, Callable[[Case, Any], Decision]]] = {
    messages.StartInstance: attempts.start_instance,
    messages.ForkInstance: forks.fork_instance,
    messages.RegisterInstance: attempts.register_instance,
    messages.Heartbeat: attempts.heartbeat,
    messages.GetStatus: attempts.get_status,
    messages.GetInput: attempts.get_input,
    messages.CompleteInstance: attempts.complete_instance,
    messages.FailInstance: attempts.fail_instance,
    messages.SuspendInstance: attempts.suspend_instance,
    messages.RestInstance: rests.rest_instance,
    messages.FinishInstance: rests.finish_instance,
    messages.WakeInstance: watch.wake_instance,
    messages.DeclareSilent: watch.declare_silent,
    messages.CrashInstance: watch.crash_instance,
    messages.ExitInstance: watch.exit_instance,
    messages.TimeOutInstance: watch.time_out_instance,
    messages.EnforceSignals: signals.enforce_signals,
    messages.RecordUsage: watch.record_usage,
    messages.SaveCheckpoint: steps.save_checkpoint,
    messages.SaveCheckpoints: steps.save_checkpoints,
    messages.GetCheckpoint: steps.get_checkpoint,
    messages.Sleep: steps.sleep,
    messages.RecordRetry: steps.record_retry,
    messages.RecordEvent: steps.record_event,
    messages.SendSignal: signals.send_signal,
    messages.PollSignals: signals.poll_signals,
    messages.AcknowledgeSignal: signals.acknowledge_signal,
    messages.TakeSignal: waits.take_signal,
}
"""Commands to an instance that exists. What readers of the store answer never comes here."""

_NEEDS: Final[dict[type, Callable[[InstanceState, Any], tuple[Need, ...]]]] = {
    messages.StartInstance: attempts.needs_of_start,
    messages.ForkInstance: forks.needs_of_fork,
    messages.RegisterInstance: attempts.needs_of_register,
    messages.RecordUsage: watch.needs_of_usage,
    messages.GetStatus: attempts.needs_of_output,
    messages.GetInput: attempts.needs_of_input,
    messages.SaveCheckpoint: steps.needs_of_save,
    messages.SaveCheckpoints: steps.needs_of_saves,
    messages.GetCheckpoint: steps.needs_of_checkpoint,
    messages.Sleep: steps.needs_of_checkpoint,
    messages.RestInstance: rests.needs_of_rest,
    messages.FinishInstance: rests.needs_of_finish,
    messages.TakeSignal: waits.needs_of_take,
}
"""Commands that may need more than what is in memory."""

_OWNER_ONLY: Final = frozenset(
    row.command
    for row in ENDPOINTS.values()
    if row.caller == "program" and row.owner == "instance" and row.command is not messages.RegisterInstance
) | {messages.SaveCheckpoints}
"""What only the attempt that holds the instance may say. Registering is how it gets hold of it."""

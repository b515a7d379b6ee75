"""What must be done for an instance, judged by nothing but what is stored about it.

Effects happen at most once: those of a change that may or may not have been stored are lost with the doubt. Done anew
from here they do no harm, because whoever is in charge of them knows what it has done already.
"""

from runtara.actors._instance_case import instance_wide
from runtara.actors._instance_events import DISARM, UNTRACK, Arm, Effect, Enforce, Launch, Stop, Track
from runtara.actors._instance_state import InstanceState
from runtara.lifecycle import FINAL, Status
from runtara.records import Instance

__all__ = ["derive", "timeout_at"]


def derive(state: InstanceState) -> tuple[Effect, ...]:
    """Return all effects that the instance needs now, as if nothing had been done for it."""
    row = state.instance
    if row is None:
        return ()
    return _of_running(state, row) if row.status is Status.RUNNING else _of_resting(row)


def timeout_at(row: Instance, claimed_at: int) -> int | None:
    """Return when an attempt claimed at that instant will have used up what time the earlier ones left."""
    return None if row.timeout_ms is None else claimed_at + row.timeout_ms - row.ran_ms


def _of_running(state: InstanceState, row: Instance) -> tuple[Effect, ...]:
    effects: list[Effect] = [DISARM] if row.program is not None else []
    effects.append(Track(row.epoch))
    if row.program is None or row.claimed_epoch is None or row.claimed_at is None:
        return tuple(effects)
    if row.attempt_id is None:
        effects.append(Launch(row.program, row.claimed_epoch, timeout_at(row, row.claimed_at)))
    elif any(signal.kind in ("cancel", "shutdown") for signal in instance_wide(state)):
        effects.append(Enforce(row.claimed_epoch))
    return tuple(effects)


def _of_resting(row: Instance) -> tuple[Effect, ...]:
    effects: list[Effect] = [UNTRACK]
    if row.claimed_epoch is not None:
        effects.append(Stop(row.claimed_epoch))
    if row.program is not None:
        due = row.wake_at is not None and row.status not in FINAL
        effects.append(Arm(row.wake_at) if due and row.wake_at is not None else DISARM)
    return tuple(effects)

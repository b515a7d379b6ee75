"""What is told of an instance to an attempt that does again what was done: its input, and what its steps have kept.

Told with the registration, so that a replay asks for nothing by itself that is short. Pure functions of a `Case`.
"""

from itertools import islice
from typing import Final

from runtara.actors._instance_case import Case, Need
from runtara.actors._instance_state import InstanceState
from runtara.messages import KeptStep, Replay
from runtara.records import Checkpoint

__all__ = ["REPLAYED_MAX", "needs_of_replay", "replay_of"]

REPLAYED_MAX: Final = 32
"""Most checkpoints that are told with a registration; what comes behind them, the attempt has to ask for."""


def needs_of_replay(state: InstanceState) -> tuple[Need, ...]:
    """Return what is to be read: of one that has just begun, and whose input is known, nothing."""
    if state.instance is None:
        return ()
    needs = tuple(Need("short", checkpoint_id) for checkpoint_id in _first_ids(state))
    return needs if state.input is not None else (Need("input"), *needs)


def replay_of(case: Case) -> Replay:
    """Return what is known of input and checkpoints."""
    state = case.state
    rows = [case.found.get(Need("short", checkpoint_id)) for checkpoint_id in _first_ids(state)]
    steps = tuple(_kept(row, case.now) for row in rows if isinstance(row, Checkpoint))
    known = state.input if state.input is not None else case.found.get(Need("input"))
    return Replay(
        steps=steps,
        is_all=len(steps) == state.checkpoint_count,
        input=known if isinstance(known, bytes) else None,
    )


def _first_ids(state: InstanceState) -> list[str]:
    return list(islice(state.checkpoint_ids, REPLAYED_MAX)) if state.checkpoint_count else []


def _kept(row: Checkpoint, now: int) -> KeptStep:
    left = None if row.wake_at is None else max(0, row.wake_at - now)
    return KeptStep(checkpoint_id=row.checkpoint_id, state=row.state, remaining_ms=left)

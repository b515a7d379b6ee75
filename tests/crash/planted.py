"""Bugs to plant on purpose: each breaks one promise, and names the check that must notice. A check that cannot fail
proves nothing.

`plant` breaks the code of the process that calls it; `planting` puts it right again at the end of the block.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import trio
from msgspec.structs import replace

from runtara.actors import _instance_events as happened
from runtara.actors import _instance_save, _instance_steps, instance
from runtara.actors._instance_case import Case, Decision
from runtara.actors._instance_departures import depart
from runtara.actors._instance_state import EVOLVE, InstanceState
from runtara.actors.instances import Instances
from runtara.actors.scheduler import WakeScheduler
from runtara.actors.storage import Commit
from runtara.ids import InstanceKey
from runtara.lifecycle import TerminationReason, Trigger
from runtara.messages import (
    CheckpointSaved,
    CompleteInstance,
    InstanceWoken,
    SaveCheckpoint,
    Sleep,
    SleepStarted,
    WakeInstance,
)
from runtara.store import DueInstance

__all__ = ["PLANTED", "Planted", "planting"]

DELAY_S = 0.05

Patch = Callable[[pytest.MonkeyPatch], None]


class Planted(NamedTuple):
    """A bug. `check` is the name of the check in `tests.crash.checks`, or ``campaign``."""

    breaks: str
    check: str
    patch: Patch

    def plant(self) -> None:
        """Break this process for good."""
        self.patch(pytest.MonkeyPatch())


@contextmanager
def planting(bug: Planted) -> Iterator[None]:
    """Break this process for the length of the block."""
    with pytest.MonkeyPatch.context() as patches:
        bug.patch(patches)
        yield


def _reply_before_commit(patches: pytest.MonkeyPatch) -> None:
    def persist(self: Instances, writes: Sequence[Any], settle: Callable[[Any], None]) -> None:
        saves = []
        for write in writes:
            save = instance.save_of(write.before, write.after, write.events)
            write.after = write.after.stored(save)
            saves.append(save)
        settle([True] * len(writes))
        self.start_soon(_commit_later, self, tuple(saves))

    patches.setattr(Instances, "persist", persist)


async def _commit_later(region: Any, saves: Any) -> None:
    await trio.sleep(DELAY_S)
    region._writer.ask_then(Commit(saves), lambda _: None)


def _checkpoint_overwritten(patches: pytest.MonkeyPatch) -> None:
    def save(case: Case, command: SaveCheckpoint) -> Decision:
        case.require_running()
        added = happened.CheckpointAdded(_instance_steps._checkpoint(case, command))
        return Decision((added,), CheckpointSaved(found=False))

    patches.setitem(instance._DECIDE, SaveCheckpoint, save)


def _deadline_recomputed(patches: pytest.MonkeyPatch) -> None:
    right = _instance_steps.sleep

    def sleep(case: Case, command: Sleep) -> Decision:
        decision = right(case, command)
        assert isinstance(decision.reply, SleepStarted)
        wake_at = _instance_steps._deadline(case, command)
        reply = replace(decision.reply, wake_at=wake_at, remaining_ms=max(0, wake_at - case.now))
        return replace(decision, reply=reply)

    patches.setitem(instance._DECIDE, Sleep, sleep)


def _wait_not_stored(patches: pytest.MonkeyPatch) -> None:
    patches.setitem(_instance_save.WRITE, happened.WaitEnded, lambda draft, event: None)


def _epoch_not_checked(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Case, "require_owner", lambda case: None)


def _wake_without_claim(patches: pytest.MonkeyPatch) -> None:
    def wake(case: Case, command: WakeInstance) -> Decision:
        assert case.row.program is not None
        launch = happened.Launch(case.row.program, case.row.epoch + 1)
        return Decision((), InstanceWoken(case.row.status, True), (launch,))

    patches.setitem(instance._DECIDE, WakeInstance, wake)


def _completion_overwritten(patches: pytest.MonkeyPatch) -> None:
    def complete(case: Case, command: CompleteInstance) -> Decision:
        end = happened.InstanceEnded(
            trigger=Trigger.COMPLETED,
            reason=TerminationReason.COMPLETED,
            epoch=case.row.epoch,
            at=case.now,
            output=command.output,
        )
        return depart(case, end)

    patches.setitem(instance._DECIDE, CompleteInstance, complete)


def _resend_not_recognised(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(_instance_steps, "_is_resent", lambda case, command, stored: False)


def _park_wake_lost(patches: pytest.MonkeyPatch) -> None:
    right = WakeScheduler._arm
    known: set[InstanceKey] = set()

    def arm(self: WakeScheduler, due: DueInstance) -> None:
        if due.key not in known:
            known.add(due.key)
            right(self, due)

    patches.setattr(WakeScheduler, "_arm", arm)


def _budget_not_restored(patches: pytest.MonkeyPatch) -> None:
    right = EVOLVE[happened.CheckpointAdded]

    def add(state: InstanceState, event: happened.CheckpointAdded) -> InstanceState:
        after = right(state, event)
        assert state.instance is not None
        assert after.instance is not None
        return replace(after, instance=replace(after.instance, losses=state.instance.losses))

    patches.setitem(EVOLVE, happened.CheckpointAdded, add)


def _timeout_begins_anew(patches: pytest.MonkeyPatch) -> None:
    right = EVOLVE[happened.AttemptLost]

    def lose(state: InstanceState, event: happened.AttemptLost) -> InstanceState:
        after = right(state, event)
        assert after.instance is not None
        return replace(after, instance=replace(after.instance, ran_ms=0))

    patches.setitem(EVOLVE, happened.AttemptLost, lose)


PLANTED: dict[str, Planted] = {
    "reply-before-commit": Planted("what was acknowledged is stored", "campaign", _reply_before_commit),
    "checkpoint-overwritten": Planted("a checkpoint is written once", "checkpoint_is_kept", _checkpoint_overwritten),
    "deadline-recomputed": Planted("a deadline is stored once", "deadline_is_kept", _deadline_recomputed),
    "wait-not-stored": Planted("a replay sees the same signal", "signal_is_bound", _wait_not_stored),
    "epoch-not-checked": Planted("an older attempt is fenced", "older_attempt_is_fenced", _epoch_not_checked),
    "wake-without-claim": Planted("a sleep ends once", "wake_happens_once", _wake_without_claim),
    "completion-overwritten": Planted("an end is final", "end_is_final", _completion_overwritten),
    "resend-not-recognised": Planted(
        "a call sent again gets the same answer", "resend_is_answered_alike", _resend_not_recognised
    ),
    "park-wake-lost": Planted("who has parked is launched again", "parked_sleep_ends", _park_wake_lost),
    "budget-not-restored": Planted(
        "only crashes in a row without progress count", "progress_restores_the_budget", _budget_not_restored
    ),
    "timeout-begins-anew": Planted(
        "a timeout covers all attempts together", "timeout_covers_all_attempts", _timeout_begins_anew
    ),
}

"""At most one attempt of an instance is accepted at a time, on every way: whoever was taken over can change nothing."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from runtara.errors import Fenced
from runtara.messages import (
    AcknowledgeSignal,
    CompleteInstance,
    FailInstance,
    FinishInstance,
    Heartbeat,
    PollSignals,
    RecordEvent,
    RecordRetry,
    RestInstance,
    SaveCheckpoint,
    Sleep,
    StepResult,
    SuspendInstance,
    TakeSignal,
)
from runtara.sdk import InstanceStatus
from tests.doors.matrix import Way, ask, events_of
from tests.sdk.faces import outside, when_it_waits

CHANGES: Final[dict[str, Callable[[], Any]]] = {
    "checkpoint": lambda: SaveCheckpoint(checkpoint_id="late", state=b"late"),
    "found checkpoint": lambda: SaveCheckpoint(checkpoint_id="before", state=b"late"),
    "sleep": lambda: Sleep(checkpoint_id="nap", duration_ms=0),
    "heartbeat": Heartbeat,
    "complete": lambda: CompleteInstance(output=b"late"),
    "fail": lambda: FailInstance(error="late"),
    "suspend": SuspendInstance,
    "rest": lambda: RestInstance(
        results=(StepResult(checkpoint_id="late", state=b"late"),), checkpoint_id="nap", duration_ms=3_600_000
    ),
    "finish": lambda: FinishInstance(results=(StepResult(checkpoint_id="late", state=b"late"),), output=b"late"),
    "event": lambda: RecordEvent(subtype="late"),
    "poll": PollSignals,
    "take": lambda: TakeSignal(name="go", place="late", timeout_ms=0),
    "acknowledge": lambda: AcknowledgeSignal(signal_id="any"),
    "retry": lambda: RecordRetry(checkpoint_id="step", attempt=1),
}
"""Everything that only the attempt that holds the instance may say."""


@pytest.mark.parametrize("is_over", [False, True], ids=["running", "completed"])
def test_an_older_attempt_is_refused_whatever_it_says_and_changes_nothing(way: Way, is_over: bool) -> None:
    async def conversation(system: Any) -> None:
        old, new = system.sdk("i"), system.sdk("i")
        await old.register()
        await old.checkpoint("before", b"state")
        await new.register()
        if is_over:
            await new.completed(b"new")
        before = await system.status("i"), await events_of(new)

        for command in CHANGES.values():
            with pytest.raises(Fenced):
                await ask(old, command())

        assert (await system.status("i"), await events_of(new)) == before
        for sdk in (old, new):
            sdk.close()

    way.hold(conversation)


def test_a_chain_of_attempts_is_held_by_the_newest_alone(way: Way) -> None:
    async def conversation(system: Any) -> None:
        attempts = [system.sdk("i") for _ in range(4)]
        for number, attempt in enumerate(attempts):
            await attempt.register()
            await attempt.checkpoint(f"c{number}", b"")
            for older in attempts[:number]:
                with pytest.raises(Fenced):
                    await older.checkpoint("late", b"")

        await attempts[-1].completed(b"last")

        status = await system.status("i")
        assert (status.status, status.output, status.checkpoint_count) == (InstanceStatus.COMPLETED, b"last", 4)
        for attempt in attempts:
            attempt.close()

    way.hold(conversation)


@pytest.mark.parametrize("wait", ["sleep", "wait_for_signal"])
def test_an_attempt_that_waits_is_woken_when_it_is_taken_over(way: Way, wait: str) -> None:
    async def conversation(system: Any) -> None:
        old = system.sdk("i")
        await old.register()
        other_way = outside(system)

        def take_over() -> None:
            new = other_way.sdk("i", *([old.tenant_id] if hasattr(system, "tenant_id") else []))
            new.register()
            new.close()

        when_it_waits(old, take_over)
        with pytest.raises(Fenced):
            await (old.sleep(600, "nap") if wait == "sleep" else old.wait_for_signal("never"))
        old.close()

    way.hold(conversation)

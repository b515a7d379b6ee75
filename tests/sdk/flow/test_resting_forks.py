"""A fork of which one branch rests while workers are at the others: a signal or the time wakes it, and nothing is done
twice that was kept, whoever dies in between."""

import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest
import trio

from runtara.sdk.flow import Backend, Flow, Workflow, WorkflowClient, WorkflowStatus, task
from tests.sdk.flow.crashing import CrashingBackend
from tests.sdk.flow.pools import A_WHILE, Mortal, pool, wait_until

LEASE = 0.3
"""Seconds after which a worker that is not heard of has lost what it holds."""

LIVES = range(1, 12)
"""At which of its calls a worker dies; a fork that comes to rest takes about so many."""

EXPECTED = {"gate": ["opened", {"by": "Kim"}], "a1": ["a2", ["a1", 7]], "b": ["b", 7]}


class Seen:
    """What was called, and `before` which of them to wait."""

    def __init__(self, before: Callable[[str], object] = lambda _: None) -> None:
        self.calls: list[str] = []
        self._before = before

    def task(self, name: str) -> Any:
        """Return a task that takes note of being called."""

        def call(value: Any) -> list[Any]:
            self.calls.append(name)
            self._before(name)
            return [name, value]

        return task(name)(call)


def resting(name: str, seen: Seen) -> Workflow[Any, Any]:
    """Return a fork: one branch waits for a signal and then for a while, two have something to do."""
    gate = Flow("gate").wait_for_signal("go").delay("nap", "20ms").then(seen.task("opened"))
    fork = Flow(name).fork().branch(gate, name="gate").branch(seen.task("a1"), seen.task("a2"))
    return fork.branch(seen.task("b")).join(lambda outputs: outputs, name="join").build()


def rests(status: WorkflowStatus) -> bool:
    """Return whether there is nothing left to do before the signal comes."""
    return status.is_awaiting_signal() and status.signal_id == "gate/go"


@pytest.mark.parametrize("workers", [1, 4])
def test_the_others_are_done_while_one_rests_until_the_signal(
    every_backend: Backend, instance_id: str, workers: int
) -> None:
    seen = Seen()
    workflow = resting(instance_id, seen)

    with pool(every_backend, [workflow], workers=workers) as client:
        client.submit(workflow, instance_id, 7)
        wait_until(every_backend, instance_id, rests)
        before = sorted(seen.calls)
        client.send_signal(instance_id, "go", {"by": "Kim"})
        output = client.wait(instance_id, A_WHILE).output

    assert before == ["a1", "a2", "b"]
    assert output == EXPECTED
    assert sorted(seen.calls) == ["a1", "a2", "b", "opened"]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_signal_that_comes_while_the_others_are_under_way_is_not_missed(
    every_backend: Backend, instance_id: str, workers: int
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name != "opened":
            begun.set()
            may_end.wait(A_WHILE)

    seen = Seen(hold)
    workflow = resting(instance_id, seen)
    with pool(every_backend, [workflow], workers=workers) as client:
        client.submit(workflow, instance_id, 7)
        assert begun.wait(A_WHILE)
        client.send_signal(instance_id, "go", {"by": "Kim"})
        may_end.set()
        output = client.wait(instance_id, A_WHILE).output

    assert output == EXPECTED
    assert sorted(seen.calls) == ["a1", "a2", "b", "opened"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_and_so_it_is_where_the_one_who_leads_dies_in_between(
    every_backend: Backend, instance_id: str, workers: int, when: Literal["before", "after"]
) -> None:
    client, seen = WorkflowClient(every_backend), {at: Seen() for at in LIVES}
    names = {at: f"{instance_id}-{when}-{at}" for at in LIVES}
    workflows = {at: resting(name, seen[at]) for at, name in names.items()}
    mortals = {at: CrashingBackend(every_backend, at, when) for at in LIVES}

    for at in LIVES:
        await _lead_until_it_rests_or_dies(mortals[at], workflows[at], names[at], client)
    with pool(every_backend, list(workflows.values()), workers=workers):
        for at, name in names.items():
            await client.send_signal_async(name, "go", {"by": "Kim"})

            assert (await client.wait_async(name, A_WHILE)).output == EXPECTED
            twice = len(seen[at].calls) - len(set(seen[at].calls))
            assert twice <= (2 if mortals[at].crashed else 0), seen[at].calls

    assert sum(one.crashed for one in mortals.values()) >= 5


async def _lead_until_it_rests_or_dies(
    mortal: CrashingBackend, workflow: Workflow[Any, Any], name: str, client: WorkflowClient
) -> None:
    with Mortal(mortal, [workflow], claim_ttl=LEASE, max_concurrent_tasks=1) as worker:
        await client.submit_async(workflow, name, 7)
        async with trio.open_nursery() as nursery:

            async def until_it_rests() -> None:
                at_rest = lambda: wait_until(mortal.inner, name, rests)  # noqa: E731 - for a thread
                await trio.to_thread.run_sync(at_rest, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_it_rests)
            await worker.wait_dead()
            nursery.cancel_scope.cancel()

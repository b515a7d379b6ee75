"""What a worker holds back, to be stored with what it says next: so few changes does a workflow take."""

import threading
from typing import Any

import pytest

from runtara.actors.storage import Load
from runtara.ids import InstanceKey
from runtara.messages import KeptStep, Replay, StepResult
from runtara.records import Snapshot
from runtara.sdk import embedded
from runtara.sdk.flow import Backend, Flow, PooledWorker, SystemBackend, Workflow, WorkflowClient, task
from runtara.sdk.flow._held import HELD_MAX_BYTES, Held
from runtara.system import READER
from tests.sdk.flow.pools import A_WHILE, pool, wait_until

NAP = "20ms"


def named(name: str, result: Any = None) -> Any:
    """Return a task that returns its own name, or something else."""
    return task(name)(lambda _: name if result is None else result)


LINEAR = Flow("linear").then(named("a")).then(named("b")).then(named("c")).then(named("d")).build()
SLEEPER = Flow("sleeper").then(named("a")).delay("nap", NAP).then(named("b")).build()
TWICE = Flow("twice").delay("one", NAP).delay("two", NAP).build()
FORK = Flow("fork").then(named("a")).fork().branch(named("b")).branch(named("c")).join(lambda _: "d", name="d").build()
LARGE = Flow("large").then(named("a", "x" * HELD_MAX_BYTES)).then(named("b")).build()

CHANGES = [
    (LINEAR, 7),  # start; claim and registration; three results, the fourth with the end
    (SLEEPER, 7),  # start; twice claim and registration; the first result with the rest, the second with the end
    (TWICE, 10),  # start; three times claim and registration; two rests, and the end
    (FORK, 7),  # start; claim and registration; the result before the fork, two within, the last with the end
    (LARGE, 5),  # start; claim and registration; what is too large to be held, the second with the end
]
"""How many changes of its row a workflow takes that has to wait for a worker."""


@pytest.mark.parametrize(("workflow", "changes"), CHANGES, ids=[one.name for one, _ in CHANGES])
async def test_a_workflow_takes_so_many_changes(workflow: Workflow[Any, Any], changes: int) -> None:
    async with embedded.open(url="memory://") as system:
        backend = SystemBackend(system)
        client = WorkflowClient(backend)
        await client.submit_async(workflow, "one", 0)
        async with PooledWorker("worker", backend, [workflow]).open():
            assert (await client.wait_async("one", A_WHILE)).status == "completed"
        key = InstanceKey(backend.tenant_id, "one")

        found = (await system.runtime.system.ref(READER).ask(Load((key,))))[key]

    assert isinstance(found, Snapshot)
    assert found.instance.version == changes


def test_what_rests_says_until_when_and_in_what(backend: Backend, instance_id: str) -> None:
    workflow = Flow("rests").then(named("a")).delay("long", "1h").build()

    with pool(backend, [workflow]) as client:
        client.submit(workflow, instance_id, 0)
        status = wait_until(backend, instance_id, lambda status: status.is_waiting())

    assert status.delay_id == "long"
    assert status.wake_at is not None
    assert client.get_task_result(instance_id, "a") == "a"


def test_a_result_is_saved_before_the_next_task_begins(every_backend: Backend, instance_id: str) -> None:
    seen: list[Any] = []

    def look(_: str) -> None:
        seen.append(WorkflowClient(every_backend).get_task_result(instance_id, "a"))

    workflow = Flow("looks").then(named("a")).then(task("look")(look)).build()
    with pool(every_backend, [workflow]) as client:
        client.submit(workflow, instance_id, 0)
        client.wait(instance_id, A_WHILE)

    assert seen == ["a"]


def test_a_result_before_a_failure_is_saved(every_backend: Backend, instance_id: str) -> None:
    route = (
        Flow("fails").then(named("a")).route(named("key", "nowhere"), keys=["here"]).branch("here", named("b")).done()
    )
    workflow = route.build()
    with pool(every_backend, [workflow]) as client:
        client.submit(workflow, instance_id, 0)
        status = client.wait(instance_id, A_WHILE)

    assert status.status == "failed"
    assert client.get_task_result(instance_id, "a") == "a"


def test_a_cancel_that_comes_during_the_last_task_is_an_end_that_keeps_its_result(
    every_backend: Backend, instance_id: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: int) -> str:
        begun.set()
        assert go_on.wait(A_WHILE)
        return "a"

    workflow = Flow("cancelled").then(task("a")(wait)).delay("nap", "1h").build()
    with pool(every_backend, [workflow]) as client:
        client.submit(workflow, instance_id, 0)
        assert begun.wait(A_WHILE)
        client.pause(instance_id)
        go_on.set()
        status = wait_until(every_backend, instance_id, lambda status: status.is_paused())
        client.unpause(instance_id)
        wait_until(every_backend, instance_id, lambda status: status.is_waiting())
        client.cancel(instance_id)
        end = client.wait(instance_id, A_WHILE)

    assert status.status == "paused"
    assert end.status == "cancelled"


# By itself ------------------------------------------------------------------------------------------------------------


def test_one_result_is_held_at_a_time_and_none_while_branches_are_under_way() -> None:
    held = Held()
    with held.forking():
        assert not held.take("a", b"1")
    assert not held.take("a", bytes(HELD_MAX_BYTES + 1))

    assert held.take("a", b"1")
    assert not held.take("b", b"2")

    assert held.results() == (StepResult(checkpoint_id="a", state=b"1"),)


def test_what_the_registration_has_told_need_not_be_looked_for() -> None:
    held, step = Held(), KeptStep(checkpoint_id="a", state=b"1")
    held.replay(None)
    assert (held.known("a"), held.knows_all, held.input) == (None, False, None)

    held.replay(Replay(steps=(step,), is_all=True, input=b"in"))

    assert (held.known("a"), held.known("b"), held.knows_all, held.input) == (step, None, True, b"in")

"""What another system gets wrong, each by name, and right here. (The numbers are those of our notes on it.)"""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from pydantic import BaseModel

from runtara.clock import monotonic
from runtara.sdk.flow import (
    Backend,
    BuildErrors,
    CheckpointingRunner,
    Flow,
    InProcessRunner,
    LoopResult,
    TaskTimedOut,
    Workflow,
    WorkflowClient,
    pause_workflow,
    task,
)
from tests.sdk.flow.crashing import Crash
from tests.sdk.flow.pools import A_WHILE, Mortal, pool, run_pooled, wait_until


class Order(BaseModel):
    number: int


def test_01_a_fork_under_workers_gives_each_branch_the_input_and_the_join_all_outputs(
    backend: Backend, instance_id: str
) -> None:
    @task("a")
    def a(x: int) -> int:
        return x + 1

    @task("b")
    def b(x: int) -> int:
        return x * 2

    flow = Flow("fork").fork().branch(a).branch(b).join(lambda outputs: outputs).build()

    assert run_pooled(backend, flow, instance_id, 3).output == {"a": 4, "b": 6}


def test_02_a_route_a_loop_and_a_child_end_under_workers(backend: Backend, instance_id: str) -> None:
    def climb(x: int) -> LoopResult[int]:
        return LoopResult.Again(x + 1) if x < 4 else LoopResult.Done(x)

    child = Flow("child").loop(climb).build()
    flow = (
        Flow("all")
        .route(lambda x: "up" if x < 3 else "down", keys=["up", "down"])
        .branch("up", lambda x: x + 1)
        .branch("down", lambda x: x - 1)
        .done()
        .then(lambda envelope: envelope["result"])
        .then_flow(child)
        .build()
    )

    assert run_pooled(backend, flow, instance_id, 1).output == 4


def test_03_a_process_that_dies_in_a_loop_goes_on_at_the_iteration_that_it_was_in(
    backend: Backend, instance_id: str
) -> None:
    calls: list[int] = []

    def climb(x: int) -> LoopResult[int]:
        calls.append(x)
        if calls == [1, 2, 3]:
            raise Crash
        return LoopResult.Again(x + 1) if x < 5 else LoopResult.Done(x)

    workflow = Flow("loop").loop(climb).build()
    runner = CheckpointingRunner(backend)
    with pytest.raises(Crash):
        runner.run(workflow, instance_id, 1)

    assert runner.resume(workflow, instance_id).output == 5
    assert calls == [1, 2, 3, 3, 4, 5]


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """The end of the test, for what waits for it."""
    end = threading.Event()
    yield end
    end.set()


def too_slow(end: threading.Event, *, is_async: bool) -> Workflow[Any, Any]:
    """A workflow whose one task takes longer than it may."""

    @task("slow", timeout=0.05)
    def slow(x: int) -> int:
        end.wait(A_WHILE)  # Python cannot stop a thread: it ends later
        return x

    @task("slow", timeout=0.05)
    async def slow_async(x: int) -> int:
        await trio.sleep(A_WHILE)
        return x

    return Flow("timeout").then(slow_async if is_async else slow).build()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_04_a_timeout_is_enforced(backend: Backend, instance_id: str, is_async: bool, end: threading.Event) -> None:
    flow, began = too_slow(end, is_async=is_async), monotonic()
    status = CheckpointingRunner(backend).run(flow, instance_id, 1)

    assert status.is_failed
    assert "task 'slow' took longer than 0.05 seconds" in str(status.error)
    assert status.failure is not None
    assert status.failure.error_type.endswith(TaskTimedOut.__name__)
    assert monotonic() - began < A_WHILE / 2


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_04_a_timeout_is_enforced_by_workers(
    backend: Backend, instance_id: str, is_async: bool, end: threading.Event
) -> None:
    flow, began = too_slow(end, is_async=is_async), monotonic()
    status = run_pooled(backend, flow, instance_id, 1)

    assert "task 'slow' took longer than 0.05 seconds" in str(status.error)
    assert status.failure is not None
    assert status.failure.error_type.endswith(TaskTimedOut.__name__)
    assert monotonic() - began < A_WHILE / 2


def test_05_a_signal_that_does_not_come_in_time_is_none_under_workers_too(
    every_backend: Backend, instance_id: str
) -> None:
    flow = Flow("silence").wait_for_signal("go", timeout="1ms").then(lambda payload: ["got", payload]).build()

    assert run_pooled(every_backend, flow, instance_id, 1).output == ["got", None]


def test_05_a_signal_that_does_not_come_in_time_is_none_to_the_next_task(backend: Backend, instance_id: str) -> None:
    flow = Flow("silence").wait_for_signal("go", timeout="1ms").then(lambda payload: ["got", payload]).build()
    runner = CheckpointingRunner(backend)

    status = runner.run(flow, instance_id, 1)
    while not status.is_completed:
        trio.run(trio.sleep, 0.005)
        status = runner.resume(flow, instance_id)

    assert status.output == ["got", None]


def test_06_a_wait_with_a_name_of_its_own_keeps_its_result_under_that_name(backend: Backend, instance_id: str) -> None:
    flow = Flow("named").wait_for_signal("go", name="wait here").then(lambda payload: payload).build()
    runner, client = CheckpointingRunner(backend), WorkflowClient(backend)

    assert runner.run(flow, instance_id, 1).signal_id == "wait here"
    client.send_signal(instance_id, "go", {"by": "me"})

    assert runner.resume(flow, instance_id).output == {"by": "me"}


def test_06_and_so_it_does_under_workers(backend: Backend, instance_id: str) -> None:
    flow = Flow("named").wait_for_signal("go", name="wait here").then(lambda payload: payload).build()

    with pool(backend, [flow]) as client:
        client.submit(flow, instance_id, 1)
        status = wait_until(backend, instance_id, lambda status: status.is_awaiting_signal())
        client.send_signal(instance_id, "go", {"by": "me"})

        assert status.signal_id == "wait here"
        assert client.wait(instance_id, A_WHILE).output == {"by": "me"}


def test_07_a_task_may_tell_its_own_workflow_what_to_do(backend: Backend, instance_id: str) -> None:
    def pause(x: int) -> int:
        pause_workflow(instance_id, backend)
        return x

    flow = Flow("own").then(pause).then(lambda x: x).build()

    assert CheckpointingRunner(backend).run(flow, instance_id, 1).is_paused


def test_08_an_async_task_may_return_a_model() -> None:
    async def make(number: int) -> Order:
        return Order(number=number)

    def read(order: Order) -> int:
        return order.number + 1

    assert InProcessRunner().run(Flow("model").then(make).then(read).build(), 1).output == 2
    assert InProcessRunner().run(Flow("model").then(make).build(), 1).output == {"number": 1}


def test_09_branches_run_at_the_same_time(backend: Backend, instance_id: str) -> None:
    met = [trio.Event(), trio.Event()]

    async def left(x: int) -> str:
        met[0].set()
        await met[1].wait()
        return "left"

    async def right(x: int) -> str:
        met[1].set()
        await met[0].wait()
        return "right"

    flow = Flow("at once").fork().branch(left).branch(right).join(sorted).build()

    async def main() -> Any:
        with trio.fail_after(A_WHILE):
            return await CheckpointingRunner(backend).run_async(flow, instance_id, 1)

    assert trio.run(main).output == ["left", "right"]


def test_10_an_id_that_is_used_twice_is_refused() -> None:
    def same(x: int) -> int:
        return x

    with pytest.raises(BuildErrors, match="2 nodes have this id"):
        Flow("twice").then(same).then(same).build()


def test_12_a_cancel_does_not_wait_for_the_task_that_a_worker_runs_to_end(backend: Backend, instance_id: str) -> None:
    begun = threading.Event()

    async def long(x: int) -> None:
        begun.set()
        await trio.sleep_forever()

    flow = Flow("long").then(long).build()
    with pool(backend, [flow]) as client:
        client.submit(flow, instance_id, 1)
        assert begun.wait(A_WHILE)
        client.cancel(instance_id)

        assert client.wait(instance_id, A_WHILE).is_cancelled


def test_13_metadata_and_versions_are_accepted_and_a_version_is_part_of_the_definition() -> None:
    def versioned(version: str) -> str:
        return Flow("v").then(task("t", version=version)(lambda x: x)).build().definition_hash

    assert versioned("1") != versioned("2")


def test_15_a_signal_that_was_taken_is_not_lost_where_the_process_dies_right_behind_it(
    backend: Backend, instance_id: str
) -> None:
    dies = [True]

    def after(payload: str) -> str:
        if dies.pop() if dies else False:
            raise Crash
        return payload

    flow = Flow("taken").wait_for_signal("go").then(after).build()
    runner, client = CheckpointingRunner(backend), WorkflowClient(backend)
    runner.run(flow, instance_id, 1)
    client.send_signal(instance_id, "go", "only once")
    with pytest.raises(Crash):
        runner.resume(flow, instance_id)

    assert runner.resume(flow, instance_id).output == "only once"


def test_15_and_not_where_it_is_a_worker_that_dies(backend: Backend, instance_id: str) -> None:
    dies = [True]

    def after(payload: str) -> str:
        if dies.pop() if dies else False:
            raise Crash
        return payload

    flow, client = Flow("taken").wait_for_signal("go").then(after).build(), WorkflowClient(backend)
    client.submit(flow, instance_id, 1)
    client.send_signal(instance_id, "go", "only once")
    with Mortal(backend, [flow], claim_ttl=0.2, max_concurrent_tasks=1) as worker:
        worker.join()

    with pool(backend, [flow]):
        assert client.wait(instance_id, A_WHILE).output == "only once"

"""When the result of a task is saved: before the next one begins, or later, if the store ends with the process."""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara import messages
from runtara.errors import Retry, RuntaraError
from runtara.sdk import embedded
from runtara.sdk.flow import (
    Backend,
    CheckpointingRunner,
    Flow,
    InMemoryBackend,
    RetryPolicy,
    SqliteBackend,
    SystemBackend,
    Workflow,
    WorkflowClient,
    WorkflowStatus,
    task,
)
from runtara.system import INSTANCES, WRITER
from tests.actors.stage import crash_actor


def chain(function: Any, times: int) -> Workflow[Any, Any]:
    """A workflow of so many tasks, all of which call one function."""
    flow: Any = Flow("chain")
    for number in range(times):
        flow = flow.then(function, name=f"t{number}")
    return flow.build()  # type: ignore[no-any-return]  # a flow that is made in a loop has no type


def test_whoever_looks_sees_the_result_of_every_task_that_has_ended(backend: Backend, instance_id: str) -> None:
    saved: list[int] = []

    def look(x: int) -> int:
        info = backend.beside(instance_id).call_from_thread(messages.GetStatus())
        saved.append(info.checkpoint_count)
        return x + 1

    status = CheckpointingRunner(backend).run(chain(look, 5), instance_id, 0)

    assert status.output == 5
    assert saved == [1, 2, 3, 4, 5]  # what was begun is the first one


def test_in_a_file_the_next_task_does_not_begin_before_the_result_is_there(tmp_path: Path) -> None:
    rows: list[int] = []

    def look(x: int) -> int:
        with sqlite3.connect(tmp_path / "runtara.db") as connection:
            rows.extend(connection.execute("SELECT COUNT(*) FROM checkpoints").fetchone())
        connection.close()
        return x

    with SqliteBackend(str(tmp_path)) as backend:
        CheckpointingRunner(backend).run(chain(look, 4), "one", 0)

    assert rows == [1, 2, 3, 4]


def test_what_is_handed_in_is_saved_before_a_run_rests_or_ends(backend: Backend, instance_id: str) -> None:
    runner = CheckpointingRunner(backend)
    workflow = Flow("rests").then(abs).then(abs, name="again").wait_for_signal("go").then(abs, name="last").build()

    rested = runner.run(workflow, instance_id, -1)
    at_rest = backend.beside(instance_id).call_from_thread(messages.GetStatus())
    WorkflowClient(backend).send_signal(instance_id, "go", 2)
    ended = runner.resume(workflow, instance_id)
    at_end = backend.beside(instance_id).call_from_thread(messages.GetStatus())

    assert (rested.is_awaiting_signal(), at_rest.checkpoint_count) == (True, 3)
    assert (ended.output, at_end.checkpoint_count) == (2, 4)


def test_what_is_handed_in_is_saved_before_a_run_fails(backend: Backend, instance_id: str) -> None:
    def fail(_: int) -> int:
        raise ValueError("no luck")

    status = CheckpointingRunner(backend).run(Flow("fails").then(abs).then(fail).build(), instance_id, -1)
    info = backend.beside(instance_id).call_from_thread(messages.GetStatus())

    assert (status.status, info.checkpoint_count) == ("failed", 2)


def test_a_failed_try_is_counted_behind_the_results_before_it(backend: Backend, instance_id: str) -> None:
    tries: list[int] = []

    @task("shaky", retries=RetryPolicy(max_retries=2, initial_delay_secs=0.001, backoff_multiplier=1.0))
    def shaky(x: int) -> int:
        info = backend.beside(instance_id).call_from_thread(messages.GetStatus())
        tries.append(info.checkpoint_count)
        if len(tries) < 3:
            raise OSError("not yet")
        return x

    status = CheckpointingRunner(backend).run(Flow("tries").then(abs).then(shaky).build(), instance_id, -1)

    assert (status.output, tries) == (1, [2, 2, 2])


class Interrupted(BaseException):
    """What ends a run in the middle of a task, as an interrupt from the keyboard does."""


def test_a_run_that_is_interrupted_in_a_task_has_saved_all_results_before_it(
    backend: Backend, instance_id: str
) -> None:
    ran: list[int] = []
    interrupts = [3]

    def work(x: int) -> int:
        ran.append(x)
        if x in interrupts:
            interrupts.clear()
            raise Interrupted
        return x + 1

    workflow = chain(work, 6)
    runner = CheckpointingRunner(backend)

    with pytest.raises(Interrupted):
        runner.run(workflow, instance_id, 0)
    status = runner.resume(workflow, instance_id)

    assert (status.output, ran) == (6, [0, 1, 2, 3, 3, 4, 5])


@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_cancel_in_the_middle_keeps_what_is_done_and_begins_nothing_more(
    backend: Backend, instance_id: str, at: int
) -> None:
    ran: list[int] = []

    def work(x: int) -> int:
        ran.append(x)
        if x == at:
            WorkflowClient(backend).cancel(instance_id, "enough")
        return x + 1

    workflow = chain(work, 8)

    status = CheckpointingRunner(backend).run(workflow, instance_id, 0)
    info = backend.beside(instance_id).call_from_thread(messages.GetStatus())

    assert (status.is_cancelled(), ran) == (True, list(range(at + 1)))
    assert info.checkpoint_count == at + 2


def test_a_cancel_that_comes_from_beside_ends_a_run_of_many_tasks(backend: Backend, instance_id: str) -> None:
    async def main() -> tuple[WorkflowStatus, int]:
        ran = 0
        begun = trio.Event()

        async def work(x: int) -> int:
            nonlocal ran
            ran += 1
            if ran == 20:
                begun.set()
            await trio.lowlevel.checkpoint()
            return x + 1

        async def cancel() -> None:
            await begun.wait()
            await WorkflowClient(backend).cancel_async(instance_id)

        workflow = chain(work, 5_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            status = await CheckpointingRunner(backend).run_async(workflow, instance_id, 0)
        return status, ran

    status, ran = trio.run(main)
    info = backend.beside(instance_id).call_from_thread(messages.GetStatus())

    assert status.is_cancelled
    assert 20 <= ran < 5_000
    assert info.checkpoint_count in (ran, ran + 1)  # the last result is refused where the run has ended before


@pytest.mark.parametrize("path", [INSTANCES, WRITER])
@pytest.mark.parametrize("at", [1, 4, 9])
async def test_a_run_whose_instance_crashes_in_between_ends_right(path: str, at: int) -> None:
    ran: list[int] = []

    async with embedded.open(url="memory://") as system:

        async def work(x: int) -> int:
            ran.append(x)
            if x == at and ran.count(x) == 1:
                await crash_actor(system.runtime.system, path)
            return x + 1

        runner = CheckpointingRunner(SystemBackend(system))
        workflow = chain(work, 10)
        status = await _to_the_end(runner, workflow)

    assert status.output == 10
    assert sorted(set(ran)) == list(range(10))
    assert [x for x in range(10) if ran.count(x) > 1] in ([], [at])


async def _to_the_end(runner: CheckpointingRunner, workflow: Workflow[int, int]) -> WorkflowStatus:
    """Do what somebody does whose run is told that it is to try again: resume it."""
    go_on = partial(runner.run_async, workflow, "one", 0)
    while True:
        try:
            return await go_on()
        except RuntaraError as error:
            if error.retry is Retry.NEVER:
                raise
        await trio.sleep(0.05)
        go_on = partial(runner.resume_async, workflow, "one")


def test_a_large_result_is_kept_in_its_place_among_small_ones() -> None:
    sizes = iter([1, 100_000, 2, 20_000, 3])

    def grow(_: object) -> str:
        return "x" * next(sizes)

    with InMemoryBackend() as backend:
        CheckpointingRunner(backend).run(chain(grow, 5), "one", 0)
        page = backend.beside("one").call_from_thread(messages.ListCheckpoints())

    assert [one.checkpoint_id for one in page.checkpoints] == ["flow:begin", *(f"flow::t{i}" for i in range(5))]

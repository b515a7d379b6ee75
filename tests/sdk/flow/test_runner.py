"""One suite for all runners: every kind of node, without a crash, and with one at every place where one can be."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from runtara.errors import InstanceNotFound
from runtara.sdk import sdk
from runtara.sdk.flow import (
    Backend,
    BackendError,
    CheckpointingRunner,
    Flow,
    InProcessRunner,
    InstanceAlreadyExistsError,
    RetryPolicy,
    Workflow,
    WorkflowClient,
    WorkflowStatus,
    task,
)
from runtara.threads import run_async
from tests.sdk.faces import Unspeakable
from tests.sdk.flow.crashing import Crash, CrashingBackend
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph

graphs = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


def to_the_end(
    runner: CheckpointingRunner, workflow: Workflow[Any, Any], instance_id: str, status: WorkflowStatus
) -> WorkflowStatus:
    """Resume until nothing rests any more; a rest here lasts some milliseconds."""
    while status.is_waiting or status.is_awaiting_signal or status.is_in_progress:
        if status.wake_at is not None:
            trio.run(trio.sleep, 0.02)
        status = runner.resume(workflow, instance_id)
    return status


def run_blocking(backend: Backend, workflow: Workflow[Any, Any], instance_id: str, value: Any) -> WorkflowStatus:
    runner = CheckpointingRunner(backend)
    return to_the_end(runner, workflow, instance_id, runner.run(workflow, instance_id, value))


def run_awaiting(library: str) -> Callable[[Backend, Workflow[Any, Any], str, Any], WorkflowStatus]:
    def run(backend: Backend, workflow: Workflow[Any, Any], instance_id: str, value: Any) -> WorkflowStatus:
        runner = CheckpointingRunner(backend)

        async def main() -> WorkflowStatus:
            return await runner.run_async(workflow, instance_id, value)

        return to_the_end(runner, workflow, instance_id, run_async(library, main))

    return run


ways = pytest.mark.parametrize(
    "run",
    [
        pytest.param(run_blocking, id="blocking"),
        pytest.param(run_awaiting("trio"), id="trio"),
        pytest.param(run_awaiting("asyncio"), id="asyncio"),
    ],
)


@graphs
def test_a_run_that_is_not_kept_comes_to_its_output(graph: Graph) -> None:
    calls = Calls()

    status = InProcessRunner().run(graph.build(calls), graph.input)

    assert (status.output, status.error, len(calls.seen)) == (graph.output, None, graph.tasks)


@graphs
@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_a_run_that_is_not_kept_comes_to_the_same_where_it_is_awaited(graph: Graph, library: str) -> None:
    calls = Calls()
    workflow = graph.build(calls)

    async def main() -> WorkflowStatus:
        return await InProcessRunner().run_async(workflow, graph.input)

    assert run_async(library, main).output == graph.output


@graphs
@ways
def test_a_run_that_is_kept_comes_to_the_same(graph: Graph, run: Any, backend: Backend, instance_id: str) -> None:
    calls = Calls()

    status = run(backend, graph.build(calls), instance_id, graph.input)

    assert (status.output, status.error, len(calls.seen)) == (graph.output, None, graph.tasks)


whens = pytest.mark.parametrize("when", ["before", "after"])


@graphs
@whens
def test_a_run_that_dies_at_any_call_comes_to_the_same_and_runs_no_task_again_that_was_kept(
    graph: Graph, when: Any, backend: Backend, instance_id: str
) -> None:
    die_at_any_call(graph, run_blocking, when, backend, instance_id)


@graphs
@whens
@pytest.mark.parametrize("backend", ["memory"], indirect=True)
def test_and_so_does_a_run_that_is_awaited(graph: Graph, when: Any, backend: Backend, instance_id: str) -> None:
    die_at_any_call(graph, run_awaiting("trio"), when, backend, instance_id)


@pytest.mark.slow
@graphs
@whens
@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_and_so_it_does_on_every_store_and_under_asyncio(
    graph: Graph, when: Any, library: str, every_backend: Backend, instance_id: str
) -> None:
    die_at_any_call(graph, run_awaiting(library), when, every_backend, instance_id)


def die_at_any_call(graph: Graph, run: Any, when: Any, backend: Backend, instance_id: str) -> None:
    """Die at the first call, then in another run at the second, and so on, until a run is over before it dies."""
    for at in range(1, 100):
        calls, mortal = Calls(), CrashingBackend(backend, at, when)
        workflow, name = graph.build(calls), f"{instance_id}-{at}"

        try:
            status = run(mortal, workflow, name, graph.input)
        except Crash:
            status = go_on(backend, workflow, name, graph.input)

        assert status.output == graph.output, f"after a death {when} call {at}"
        assert len(calls.seen) <= graph.tasks + BRANCHES, f"after a death {when} call {at}: {calls.seen}"
        if not mortal.crashed:
            assert at > graph.tasks
            return
    raise AssertionError("a run without a crash was expected in the end")


BRANCHES = 3
"""So many tasks at most are under way at once, and run again after a crash."""


def go_on(backend: Backend, workflow: Workflow[Any, Any], instance_id: str, value: Any) -> WorkflowStatus:
    """Do what somebody does whose run has died: resume it, or run it again where it was not even begun."""
    runner = CheckpointingRunner(backend)
    try:
        status = runner.resume(workflow, instance_id)
    except BackendError:
        status = runner.run(workflow, instance_id, value)
    return to_the_end(runner, workflow, instance_id, status)


def test_more_branches_than_an_instance_takes_questions_at_once_all_run(backend: Backend, instance_id: str) -> None:
    fork = Flow("wide").fork()
    for number in range(400):
        fork = fork.branch(abs, name=f"b{number}")
    workflow = fork.join(len, name="count").build()

    async def main() -> WorkflowStatus:
        return await CheckpointingRunner(backend).run_async(workflow, instance_id, 1)

    assert trio.run(main).output == 400


# Two at the same moment ----------------------------------------------------------------------------------------------


class Overtaken(CrashingBackend):
    """Does something else right before the `at`-th call of a program: what somebody was faster with."""

    def __init__(self, inner: Backend, at: int, other: Callable[[], object]) -> None:
        super().__init__(inner, at, "before")
        self.other = other

    def begin(self) -> int:
        """Count a call, and let the other one go first where it is due."""
        self.calls += 1
        if self.calls == self.at:
            self.other()
        return self.calls


ECHO = Flow("echo").then(abs).build()
REGISTER, BEGIN = 1, 2
"""The first calls of a run."""


def run_async_under_trio(runner: CheckpointingRunner, instance_id: str, value: int) -> WorkflowStatus:
    return trio.run(runner.run_async, ECHO, instance_id, value)


def run_here(runner: CheckpointingRunner, instance_id: str, value: int) -> WorkflowStatus:
    return runner.run(ECHO, instance_id, value)


@pytest.mark.parametrize("at", [REGISTER, BEGIN])
@pytest.mark.parametrize("run", [run_here, run_async_under_trio])
@pytest.mark.parametrize("value", [1, 2], ids=["the same input", "another input"])
def test_of_two_runs_that_begin_at_the_same_moment_one_is_refused(
    backend: Backend, instance_id: str, run: Any, at: int, value: int
) -> None:
    overtaken = Overtaken(backend, at, lambda: run_here(CheckpointingRunner(backend), instance_id, 1))

    with pytest.raises(InstanceAlreadyExistsError, match="already exists, and is completed"):
        run(CheckpointingRunner(overtaken), instance_id, value)

    assert CheckpointingRunner(backend).resume(ECHO, instance_id).output == 1


@pytest.mark.parametrize("at", [REGISTER, BEGIN])
@pytest.mark.parametrize("run", [run_here, run_async_under_trio])
def test_of_two_runs_that_begin_at_the_same_moment_one_gets_the_status_of_the_other_where_it_wants_that(
    backend: Backend, instance_id: str, run: Any, at: int
) -> None:
    overtaken = Overtaken(backend, at, lambda: run_here(CheckpointingRunner(backend), instance_id, 1))

    status = run(CheckpointingRunner(overtaken, conflict_policy="use_existing"), instance_id, 2)

    assert (status.is_completed, status.output) == (True, 1)


@pytest.mark.parametrize("run", [run_here, run_async_under_trio])
def test_a_run_that_replaces_does_so_also_where_another_begins_at_the_same_moment(
    backend: Backend, instance_id: str, run: Any
) -> None:
    overtaken = Overtaken(backend, REGISTER, lambda: run_here(CheckpointingRunner(backend), instance_id, 1))

    status = run(CheckpointingRunner(overtaken, conflict_policy="terminate_existing"), instance_id, 2)

    assert status.output == 2


def test_a_run_begins_where_another_has_died_before_it_had_begun(backend: Backend, instance_id: str) -> None:
    with pytest.raises(Crash):
        run_here(CheckpointingRunner(CrashingBackend(backend, BEGIN, "before")), instance_id, 1)

    assert run_here(CheckpointingRunner(backend), instance_id, 2).output == 2


RESTING = Flow("resting").then(abs).wait_for_signal("go").build()


def begin_anew(backend: Backend, instance_id: str) -> object:
    return CheckpointingRunner(backend, conflict_policy="terminate_existing").run(RESTING, instance_id, 2)


def cancel(backend: Backend, instance_id: str) -> object:
    return WorkflowClient(backend).cancel(instance_id)


@pytest.mark.parametrize("does", [begin_anew, cancel])
@pytest.mark.parametrize("at", range(1, 8))
def test_whoever_is_interrupted_at_any_call_is_told_how_the_instance_stands(
    backend: Backend, instance_id: str, at: int, does: Callable[[Backend, str], object]
) -> None:
    begin_anew(backend, instance_id)
    overtaken = Overtaken(backend, at, lambda: does(backend, instance_id))

    status = CheckpointingRunner(overtaken).resume(RESTING, instance_id)

    assert status.is_awaiting_signal or status.is_cancelled


@pytest.mark.parametrize("at", range(3, 8))
def test_a_run_that_is_replaced_at_any_call_is_told_how_the_other_one_stands(
    backend: Backend, instance_id: str, at: int
) -> None:
    overtaken = Overtaken(backend, at, lambda: begin_anew(backend, instance_id))

    status = CheckpointingRunner(overtaken).run(RESTING, instance_id, 1)

    assert status.is_awaiting_signal


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unspeakable(), "Unspeakable: its words cannot be told, because of a LookupError in its __str__"),
        (ValueError("caf\udc80"), r"ValueError: caf\udc80"),
    ],
    ids=["unspeakable", "no characters"],
)
@pytest.mark.parametrize("retries", [0, 1])
def test_an_error_that_cannot_be_told_is_told_as_well_as_can_be(
    backend: Backend, instance_id: str, error: Exception, words: str, retries: int
) -> None:
    def fails(_: int) -> None:
        raise error

    workflow = Flow("w").then(task("t", retries=RetryPolicy(retries, 0))(fails)).build()

    kept, gone = CheckpointingRunner(backend).run(workflow, instance_id, 1), InProcessRunner().run(workflow, 1)

    assert (kept.error, kept.failure) == (gone.error, gone.failure)
    assert str(kept.error).startswith(f"task 't' failed: {words}")
    assert kept.failure is not None
    assert kept.failure.attempts == retries + 1
    assert kept.failure == CheckpointingRunner(backend).resume(workflow, instance_id).failure


@pytest.mark.parametrize("retries", [0, 1])
def test_an_iterator_that_is_at_its_end_is_named_as_what_it_is(
    backend: Backend, instance_id: str, retries: int
) -> None:
    def first(values: list[int]) -> int:
        return next(iter(values))

    workflow = Flow("w").then(task("first", retries=RetryPolicy(retries, 0))(first)).build()

    kept, gone = CheckpointingRunner(backend).run(workflow, instance_id, []), InProcessRunner().run(workflow, [])

    assert (kept.error, kept.failure) == (gone.error, gone.failure)
    assert str(kept.error).startswith("task 'first' failed: StopIteration: ")


def test_of_an_error_that_says_very_much_the_beginning_is_kept(backend: Backend, instance_id: str) -> None:
    def fails(_: int) -> None:
        raise ValueError("x" * 3_000_000)

    status = CheckpointingRunner(backend).run(Flow("w").then(fails).build(), instance_id, 1)

    assert status.failure is not None
    assert (len(str(status.error)), len(status.failure.message)) == (4_096, 65_536)


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_the_error_of_a_branch_is_the_cause_of_the_failure_however_it_is_run(library: str) -> None:
    def fails(_: int) -> None:
        raise LookupError("out of stock")

    workflow = Flow("w").fork().branch(fails).join(len).build()

    statuses = [
        InProcessRunner().run(workflow, 1),
        run_async(library, lambda: InProcessRunner().run_async(workflow, 1)),
    ]

    assert [status.failure.message for status in statuses if status.failure] == ["out of stock", "out of stock"]


def test_what_the_runtime_refuses_a_task_for_good_is_the_failure_of_that_task(
    backend: Backend, instance_id: str
) -> None:
    def looks(_: int) -> None:
        raise InstanceNotFound("there is no instance 'other': check its id, or start it first")

    def naps(_: int) -> None:
        blocking: Any = sdk()
        blocking.sleep("1s", "nap")

    for function, words in (
        (looks, "InstanceNotFound: there is no instance 'other'"),
        (naps, "InvalidInput: duration"),
    ):
        name = function.__name__
        status = CheckpointingRunner(backend).run(Flow(name).then(function).build(), f"{instance_id}-{name}", 1)

        assert status.failure is not None
        assert (status.failure.task_id, str(status.error).partition(words)[0]) == (name, f"task {name!r} failed: ")

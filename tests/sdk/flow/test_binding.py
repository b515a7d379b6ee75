"""What is written for the field's Python binding means the same here, name by name; each fact was seen there first.

Where ours differs on purpose, docs/reference/workflow-binding.md says so, and the last tests here hold it to that.
"""

import inspect
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runtara.sdk import flow as public
from runtara.sdk.flow import (
    Backend,
    BackendError,
    BuildErrors,
    DurableEngine,
    Flow,
    InMemoryBackend,
    InstanceAlreadyExistsError,
    LoopResult,
    NodeInfo,
    OnMax,
    PostgresBackend,
    RetryPolicy,
    SqliteBackend,
    TaskError,
    TaskMetadata,
    Worker,
    WorkflowClient,
    WorkflowError,
    cancel_workflow,
    get_task_context,
    parse_duration,
    resume_workflow,
    run_durable_workflow,
    run_workflow,
    send_signal,
    task,
)


def inc(x: int) -> int:
    return x + 1


def dbl(x: int) -> int:
    return x * 2


def same(x: Any) -> Any:
    return x


# Hashes, as the wheel sayiir 1.0.0 computes them ----------------------------------------------------------------------

HASHES: dict[str, tuple[Any, str]] = {
    "a loop": (
        lambda: Flow("n").loop(inc),
        "286f0ef0c57440170a0950181788233be7949d82db108db5096044a56f88414c",
    ),
    "a loop whose body is named": (
        lambda: Flow("n").loop(inc, name="q"),
        "61dccad6cd2e20d527abe7ac0af64592edc8bae670ef5f01f428c501558aa470",
    ),
    "a loop of a lambda": (
        lambda: Flow("n").loop(lambda x: x),
        "516bfcbf9a07c8bffb2ef3fafeb81d96cfa691550e36c4a0e46d64be35218f26",
    ),
    "branches that are named by their first tasks": (
        lambda: (
            Flow("n")
            .fork()
            .branch(inc, dbl, name="w")
            .branch(same, name="q")
            .join(lambda d: d, name="jj")
            .then(inc, name="after")
        ),
        "cc05576c82b1906124b7a184dc89f69ac48bc3d2bdc1f44d4bf1eda209200abb",
    ),
}


@pytest.mark.parametrize("case", HASHES)
def test_a_definition_has_the_hash_that_it_has_there(case: str) -> None:
    flow, expected = HASHES[case]

    assert flow().build().definition_hash == expected


def test_every_kind_of_node_together_has_the_hash_that_it_has_there() -> None:
    @task("named", timeout="30s", retries=3, tags=["x"], description="d", priority=1)
    def f(x: int) -> int:
        return x

    def ident(x: Any) -> Any:
        return x

    child = Flow("c").then(dbl, name="cd").build()
    workflow = (
        Flow("n")
        .then(f)
        .delay("d", "5m")
        .wait_for_signal("s", timeout=2.5)
        .fork()
        .branch(inc, lambda x: x, name="b1")
        .branch(dbl)
        .join(ident)
        .route(lambda r: "a", keys=["a", "b"])
        .branch("a", inc, name="ra")
        .default_branch(dbl, name="rd")
        .done()
        .loop(LoopResult.done, name="lp", max_iterations=4, on_max="exit_with_last")
        .then_flow(child)
        .then(inc, name="last")
        .build()
    )

    assert workflow.definition_hash == "c58c317151b25ef4b8547fb7004a70743adf2f14b7ac68021e4ae036ccb83a34"
    assert sorted(workflow._task_registry) == [
        "b1",
        "branch_0::key_fn",
        "cd",
        "dbl",
        "ident",
        "lambda_0",
        "last",
        "lp",
        "named",
        "ra",
        "rd",
    ]


# Signatures -----------------------------------------------------------------------------------------------------------

SIGNATURES = {
    "run_workflow": "workflow input_data instance_id= backend= conflict_policy=",
    "run_durable_workflow": "workflow instance_id input_data backend= conflict_policy=",
    "resume_workflow": "workflow instance_id backend",
    "cancel_workflow": "instance_id backend reason= cancelled_by=",
    "pause_workflow": "instance_id backend reason= paused_by=",
    "unpause_workflow": "instance_id backend",
    "send_signal": "instance_id signal_name payload backend",
    "parse_duration": "value",
    "get_task_context": "",
    "init_tracing": "",
    "shutdown_tracing": "",
    "WorkflowClient": "backend conflict_policy=",
    "WorkflowClient.submit": "workflow instance_id input",
    "WorkflowClient.cancel": "instance_id reason= cancelled_by=",
    "WorkflowClient.pause": "instance_id reason= paused_by=",
    "WorkflowClient.unpause": "instance_id",
    "WorkflowClient.send_signal": "instance_id signal_name payload",
    "WorkflowClient.status": "instance_id",
    "WorkflowClient.get_task_result": "instance_id task_id",
    "DurableEngine": "backend conflict_policy=",
    "DurableEngine.run": "workflow instance_id input task_registry",
    "DurableEngine.resume": "workflow instance_id task_registry",
    "DurableEngine.cancel": "instance_id reason= cancelled_by=",
    "DurableEngine.pause": "instance_id reason= paused_by=",
    "DurableEngine.unpause": "instance_id",
    "DurableEngine.send_signal": "instance_id signal_name payload",
    "WorkflowEngine.run": "workflow input task_registry",
    "Worker": "worker_id backend poll_interval= claim_ttl=",
    "Worker.start": "workflows",
    "WorkerHandle.shutdown": "",
    "WorkerHandle.join": "",
    "Flow": "name= metadata=",
    "Flow.then": "task_func name=",
    "Flow.delay": "name duration",
    "Flow.wait_for_signal": "signal_name name= timeout=",
    "Flow.route": "key_fn keys=",
    "Flow.loop": "task_func max_iterations= on_max= name=",
    "Flow.then_flow": "child_workflow",
    "Flow.fork": "",
    "Flow.build": "",
    "ForkBuilder.branch": "name=",
    "ForkBuilder.join": "task_func name=",
    "BranchBuilder.branch": "key name=",
    "BranchBuilder.default_branch": "name=",
    "BranchBuilder.done": "",
    "RetryPolicy": "max_retries= initial_delay_secs= backoff_multiplier=",
    "TaskMetadata": "display_name= description= timeout_secs= retries= tags= version= priority=",
    "PostgresBackend": (
        "url max_connections= min_connections= acquire_timeout_secs= idle_timeout_secs= max_lifetime_secs= "
        "statement_timeout_secs= idle_in_transaction_session_timeout_secs="
    ),
    "LoopResult": "tag value",
    "LoopResult.again": "value",
    "LoopResult.done": "value",
    "LoopResult.to_dict": "",
}
"""By what arguments things are called there, in their order; = for those that may be left out."""


@pytest.mark.parametrize("name", SIGNATURES)
def test_it_is_called_with_the_same_arguments(name: str) -> None:
    found: Any = public
    for part in name.split("."):
        found = getattr(found, part)
    parameters = dict(inspect.signature(found).parameters)
    parameters.pop("self", None)
    wanted = SIGNATURES[name].split()

    assert [one for one in parameters if one in {word.rstrip("=") for word in wanted}] == [
        word.rstrip("=") for word in wanted
    ]
    for word in wanted:
        may_be_left_out = parameters[word.rstrip("=")].default is not inspect.Parameter.empty
        assert may_be_left_out or not word.endswith("=")
    assert all(
        one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) or f"{key}" in wanted
        for key, one in parameters.items()
    ), "what is ours alone may be left out"


# The builder ----------------------------------------------------------------------------------------------------------


def test_a_flow_has_a_name_and_no_metadata_unless_they_are_given() -> None:
    workflow = Flow().then(inc).build()

    assert (workflow.workflow_id, workflow.metadata) == ("workflow", None)
    assert Flow("n", metadata={"a": 1}).then(inc).build().metadata == {"a": 1}


def test_every_call_returns_the_flow_itself() -> None:
    flow: Flow[Any, Any] = Flow("x")

    calls: list[Any] = [
        flow.then(inc),
        flow.delay("d", timedelta(seconds=1)),
        flow.wait_for_signal("s", timeout="1h"),
        flow.fork().branch(dbl).join(same),
        flow.loop(inc, name="z"),
        flow.route(inc, keys=["a"]).branch("a", inc, name="k").done(),
    ]

    assert all(one is flow for one in calls)


def test_nodes_are_a_list_with_the_bodies_of_loops_and_what_they_follow() -> None:
    nodes = Flow("n").then(inc).delay("d", "5m").loop(dbl, name="body").then(same).build().iter_nodes()

    assert isinstance(nodes, list)
    assert [(one.id, one.kind, one.predecessor_id, one.timeout_secs, one.priority) for one in nodes] == [
        ("inc", "task", None, None, None),
        ("d", "delay", "inc", 300.0, None),
        ("loop_0", "loop", "d", None, None),
        ("body", "task", "loop_0", None, None),
        ("same", "task", "loop_0", None, None),
    ]
    assert isinstance(nodes[0], NodeInfo)


def test_whatever_can_be_called_is_a_task() -> None:
    class Adder:
        def __call__(self, x: int) -> int:
            return x + 7

        def method(self, x: int) -> int:
            return x + 9

    def run(function: Any, value: Any) -> Any:
        return run_workflow(Flow("x").then(function, name="f").build(), value)

    assert [run(int, "12"), run(str, 3), run(list, "ab"), run(float, "1"), run(len, "abc")] == [
        12,
        "3",
        ["a", "b"],
        1.0,
        3,
    ]
    assert [run(str.upper, "a"), run(Adder(), 1), run(Adder().method, 1)] == ["A", 8, 10]
    assert [one.id for one in Flow("x").then(Adder()).build().iter_nodes()] == ["lambda_0"]


def test_a_branch_without_a_function_or_a_key_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="not in the declared keys"):
        Flow("bad").route(inc, keys=["a"]).branch("z", inc)
    with pytest.raises(ValueError, match="missing branches for keys: b, c"):
        Flow("bad").route(inc, keys=["a", "b", "c"]).branch("a", inc).done()
    with pytest.raises(ValueError, match="at least one task"):
        Flow("bad").fork().branch()
    with pytest.raises(ValueError, match="at least one task"):
        Flow("bad").route(inc, keys=["a"]).branch("a")
    with pytest.raises(ValueError, match="at least one task"):
        Flow("bad").route(inc, keys=["a"]).default_branch()


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (lambda: Flow("x"), "needs a node"),
        (lambda: Flow("x").fork().join(same), "at least one branch"),
        (lambda: Flow("x").loop(inc, max_iterations=0), "max_iterations must be at least 1"),
        (lambda: Flow("x").loop(inc, on_max="stop"), "on_max"),
        (lambda: Flow("x").delay("d", "soon"), "not understood"),
        (lambda: Flow("x").wait_for_signal("s", timeout=-1), "less than|0 or more"),
        (lambda: Flow("x").route(inc, keys=["a", "b"]).branch("a", inc).done(), "missing branches for keys: b"),
        (lambda: Flow("x").route(inc, keys=["a"]).branch("a", inc).branch("z", dbl).done(), "not in the declared keys"),
    ],
    ids=range(8),
)
def test_what_cannot_be_built_is_a_value_error(flow: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        flow().build()


# Tasks ----------------------------------------------------------------------------------------------------------------


def test_a_task_is_marked_with_what_it_says() -> None:
    @task("charge", timeout="30s", retries=3, tags=["a"], description="d", priority=2)
    def charge(x: int) -> str:
        return str(x)

    @task
    def bare(x):  # type: ignore[no-untyped-def]  # the subject
        return x

    marked: Any = charge
    plain: Any = bare
    said = marked._metadata
    assert (marked._task_id, said.timeout_secs, said.tags, said.description, said.priority) == (
        "charge",
        30.0,
        ["a"],
        "d",
        2,
    )
    assert said.retries == RetryPolicy(3, 1.0, 2.0)
    assert (marked._input_type, marked._output_type, charge(3)) == (int, str, "3")
    assert (plain._task_id, plain._input_type, plain._output_type) == ("bare", None, None)
    assert plain._metadata == TaskMetadata()


def test_a_name_and_a_time_out_can_be_given_in_either_way() -> None:
    @task(name="first", timeout_secs=5)
    def one(x: int) -> int:
        return x

    @task("second", timeout="3s", timeout_secs=9)
    def two(x: int) -> int:
        return x

    def third(x: int) -> int:
        return x

    infos = Flow("w").then(one).then(two).then(task(func=third)).build().iter_nodes()

    assert [(info.id, info.timeout_secs) for info in infos] == [("first", 5.0), ("second", 3.0), ("third", None)]


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": "bad"}, {"priority": 0}, {"priority": 6}, {"tags": ["a"] * 21}, {"tags": [""]}, {"tags": ["x" * 65]}],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        task("t", **wrong)


def test_a_duration_is_a_number_of_seconds() -> None:
    spans: list[Any] = ["30s", "5m", "1h", "100ms", " 2 s ", "1.5H", 3, 2.5]

    assert [parse_duration(span) for span in spans] == [30.0, 300.0, 3600.0, 0.1, 2.0, 5400.0, 3.0, 2.5]
    assert isinstance(parse_duration(3), float)


def test_a_task_knows_what_was_said_of_it_and_of_its_workflow() -> None:
    seen: list[Any] = []

    @task(timeout="30s", tags=["io"], retries=2)
    def look(x: int) -> int:
        seen.append(get_task_context())
        return x

    run_durable_workflow(Flow("w", metadata={"k": 1}).then(look).build(), "run-1", 1)
    run_workflow(Flow("w").then(look).build(), 1)

    assert [(one.workflow_id, one.task_id, one.workflow_metadata) for one in seen] == [
        ("w", "look", {"k": 1}),
        ("w", "look", None),
    ]
    assert (seen[0].instance_id, seen[0].metadata.timeout_secs, seen[0].metadata.tags) == ("run-1", 30.0, ["io"])
    assert get_task_context() is None


# Loops ----------------------------------------------------------------------------------------------------------------


def test_a_result_of_a_loop_is_made_read_and_written_the_same_way() -> None:
    again, done = LoopResult.again(42), LoopResult.done("end")

    assert (again.is_again, again.is_done, again.value) == (True, False, 42)
    assert (done.is_again, done.is_done, done.value) == (False, True, "end")
    assert [again.to_dict(), done.to_dict()] == [{"_loop": "again", "value": 42}, {"_loop": "done", "value": "end"}]
    assert [repr(again), repr(done)] == ["LoopResult.again(42)", "LoopResult.done('end')"]
    assert LoopResult("done", 5).to_dict() == {"_loop": "done", "value": 5}
    assert [str(one) for one in OnMax] == ["fail", "exit_with_last"]
    with pytest.raises(ValueError):
        LoopResult("maybe", 1)


def count_to_five(n: int) -> LoopResult[int]:
    return LoopResult.done(n) if n >= 5 else LoopResult.again(n + 1)


def test_a_body_may_return_the_same_as_plain_values() -> None:
    assert run_workflow(Flow("l").loop(count_to_five).build(), 0) == 5
    assert run_workflow(Flow("l").loop(lambda n: count_to_five(n).to_dict(), name="plain").build(), 0) == 5


@pytest.mark.parametrize("returned", [6, {"value": 1}, {"_loop": "maybe", "value": 1}, None], ids=str)
def test_a_body_that_returns_something_else_fails(returned: Any) -> None:
    with pytest.raises(WorkflowError, match=r"return LoopResult\.again"):
        run_workflow(Flow("l").loop(lambda _: returned).build(), 0)


def test_a_loop_that_does_not_end_is_a_task_error_or_ends_with_the_last_value() -> None:
    def up(n: int) -> LoopResult[int]:
        return LoopResult.again(n + 1)

    with pytest.raises(TaskError, match="3 iterations"):
        run_workflow(Flow("l").loop(up, max_iterations=3).build(), 0)
    assert run_workflow(Flow("l").loop(up, max_iterations=3, on_max="exit_with_last").build(), 0) == 3
    assert run_workflow(Flow("l").loop(up, max_iterations=3, on_max=OnMax.EXIT_WITH_LAST).build(), 0) == 3


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_status_is_asked_with_or_without_brackets() -> None:
    status = run_durable_workflow(Flow("w").then(inc).build(), "run-1", 1)
    questions = "completed failed cancelled in_progress paused waiting awaiting_signal".split()

    asked = [getattr(status, f"is_{one}")() for one in questions]

    assert asked == [True, False, False, False, False, False, False]
    assert [bool(getattr(status, f"is_{one}")) for one in questions] == asked
    assert (status.is_completed(), repr(status.is_failed())) == (True, "False")
    assert repr(status) == "WorkflowStatus::Completed(output=2)"


def boom(_: Any) -> None:
    raise ValueError("boom")


def test_the_error_of_a_task_is_raised_or_is_in_the_status(backend: Backend, instance_id: str) -> None:
    workflow = Flow("w").then(boom).build()

    with pytest.raises(TaskError, match="ValueError: boom") as caught:
        run_workflow(workflow, 1)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(TaskError, match="ValueError: boom") as caught:
        run_workflow(workflow, 1, instance_id=instance_id, backend=backend)
    assert (caught.value.task_id, caught.value.error_type) == ("boom", "ValueError")
    status = resume_workflow(workflow, instance_id, backend)
    assert (status.is_failed(), status.output) == (True, None)
    assert "ValueError: boom" in str(status.error)


def test_a_key_without_a_branch_is_a_task_error() -> None:
    with pytest.raises(TaskError, match="no branch 'z'"):
        run_workflow(Flow("w").route(lambda _: "z", keys=["a"]).branch("a", inc).done().build(), 1)


def test_a_route_and_a_branch_name_their_first_tasks() -> None:
    route = (
        Flow("b").route(lambda _: "a", keys=["a"]).branch("a", inc, dbl, name="first").default_branch(same, name="d")
    )
    workflow = route.done().build()

    assert run_workflow(workflow, 1) == {"branch": "a", "result": 4}
    assert [one.id for one in workflow.iter_nodes()] == ["branch_0", "first", "dbl", "d"]
    forked = Flow("f").fork().branch(inc, dbl, name="first").branch(lambda x: x).join(same).build()
    assert run_workflow(forked, 5) == {"first": 12, "lambda_0": 5}


async def double_later(x: int) -> int:
    import asyncio

    await asyncio.sleep(0)
    return x * 2


def test_async_tasks_are_written_for_asyncio(backend: Backend, instance_id: str) -> None:
    workflow = Flow("l").then(double_later).then(inc).build()
    client = WorkflowClient(backend)

    assert run_workflow(workflow, 3) == 7
    assert run_durable_workflow(workflow, instance_id, 3, backend).output == 7
    client.submit(workflow, f"{instance_id}-pooled", 3)
    handle = Worker(f"{instance_id}-worker", backend, poll_interval=0.1).start([workflow])
    try:
        assert client.wait(f"{instance_id}-pooled", "60s").output == 7
    finally:
        handle.shutdown()
        handle.join()


class Order(BaseModel):
    number: int


class Receipt(BaseModel):
    euros: float


def test_models_come_in_checked_and_go_out_as_plain_values() -> None:
    @task
    def price(order: Order) -> Receipt:
        return Receipt(euros=order.number * 2.5)

    @task
    async def price_later(order: Order) -> Receipt:
        return Receipt(euros=order.number * 2.5)

    assert run_workflow(Flow("m").then(price).build(), {"number": 2}) == {"euros": 5.0}
    assert run_durable_workflow(Flow("m").then(price_later).build(), "run-1", {"number": 2}).output == {"euros": 5.0}
    with pytest.raises(TaskError, match="validation error"):
        run_workflow(Flow("m").then(price).build(), {"pieces": 2})


def test_a_run_that_rests_is_resumed_and_one_whose_output_is_wanted_is_an_error(
    backend: Backend, instance_id: str
) -> None:
    workflow = Flow("w").delay("nap", 0.5).wait_for_signal("go").then(same).build()

    with pytest.raises(WorkflowError, match="it is waiting"):
        run_workflow(workflow, 1, instance_id=instance_id, backend=backend)
    while (status := resume_workflow(workflow, instance_id, backend)).is_waiting():
        time.sleep(0.01)
    assert (status.is_awaiting_signal(), status.signal_name) == (True, "go")
    send_signal(instance_id, "go", {"a": 1}, backend)
    assert resume_workflow(workflow, instance_id, backend).output == {"a": 1}


def test_a_second_run_of_an_id_keeps_to_the_policy(backend: Backend, instance_id: str) -> None:
    workflow = Flow("w").then(inc).build()
    run_durable_workflow(workflow, instance_id, 1, backend)

    with pytest.raises(InstanceAlreadyExistsError, match="already exists"):
        run_durable_workflow(workflow, instance_id, 2, backend)
    assert run_durable_workflow(workflow, instance_id, 2, backend, "use_existing").output == 2
    assert (
        run_workflow(workflow, 9, instance_id=instance_id, backend=backend, conflict_policy="terminate_existing") == 10
    )
    with pytest.raises(ValueError, match="conflict policy"):
        WorkflowClient(backend, conflict_policy="bad")


def test_what_is_not_there_was_not_found(backend: Backend) -> None:
    client = WorkflowClient(backend)

    for call in (client.status, client.cancel, client.pause, client.unpause):
        with pytest.raises(BackendError, match="not found"):
            call("nobody")
    with pytest.raises(BackendError, match="not found"):
        client.get_task_result("nobody", "inc")


def test_a_pool_of_connections_may_be_described() -> None:
    backend = PostgresBackend(
        "postgresql://localhost/x",
        max_connections=5,
        min_connections=1,
        acquire_timeout_secs=3.0,
        idle_timeout_secs=60.0,
        max_lifetime_secs=600.0,
        statement_timeout_secs=2.5,
        idle_in_transaction_session_timeout_secs=30.0,
    )

    assert backend._options == {"url": "postgresql://localhost/x", "database_timeout_ms": 2500}
    assert [repr(backend), repr(InMemoryBackend())] == ["PostgresBackend()", "InMemoryBackend()"]


@pytest.mark.parametrize("wrong", [None, "memory://", InMemoryBackend])
def test_what_is_no_backend_is_a_type_error(wrong: Any) -> None:
    workflow = Flow("w").then(inc).build()
    calls: list[Any] = [
        lambda: WorkflowClient(wrong),
        lambda: DurableEngine(wrong),
        lambda: Worker("w", wrong),
        lambda: resume_workflow(workflow, "run-1", wrong),
        lambda: cancel_workflow("run-1", wrong),
        lambda: send_signal("run-1", "go", 1, wrong),
    ]

    for call in calls:
        with pytest.raises(TypeError, match="is no backend"):
            call()


@pytest.mark.parametrize("wrong", ["", "nonsense", "memory://", "sqlite:///x.db", "mysql://root:secret@h/d", None])
def test_another_address_than_one_of_postgresql_opens_no_other_store(wrong: Any) -> None:
    with pytest.raises(BackendError, match="no address of a PostgreSQL database") as refused:
        PostgresBackend(wrong)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("poll_interval", [0, 0.005, 5, 300.0])
def test_a_worker_takes_any_interval(backend: Backend, poll_interval: float) -> None:
    handle = Worker("any-interval", backend, poll_interval=poll_interval).start([Flow("w").then(inc).build()])

    handle.shutdown()
    handle.join()


# Where ours differs ---------------------------------------------------------------------------------------------------


def test_what_differs_on_purpose(backend: Backend, instance_id: str) -> None:
    seen: list[Any] = []
    resting = Flow("w").wait_for_signal("go", name="gate", timeout="1h").build()
    status = run_durable_workflow(resting, instance_id, 1, backend)

    assert status.signal_id == "gate", "a name, not its SHA-256"
    assert status.wake_at is not None
    assert status.wake_at.tzinfo is not None, "an instant, not a text"
    with pytest.raises(BackendError):
        send_signal("nobody", "go", 1, backend)
    with pytest.raises(BuildErrors):
        Flow("w").then(inc).then(inc).build()
    with pytest.raises(WorkflowError):
        run_workflow(Flow("w").then(same).build(), float("nan"))
    with pytest.raises(TaskError):
        run_workflow(Flow("w").then(inc).build(), "text")
    run_workflow(Flow("w").then(lambda _: seen.append(get_task_context())).build(), 1)
    assert seen[0].instance_id == "", "what is not kept has no id that could be mistaken for one"


def test_a_backend_of_sqlite_needs_a_folder(tmp_path: Path) -> None:
    nowhere: Any = None
    workflow = Flow("w").then(inc).build()

    with pytest.raises(BackendError, match="give the path of one"):
        SqliteBackend(nowhere)
    with SqliteBackend(tmp_path) as backend:
        assert run_durable_workflow(workflow, "run-1", 1, backend).output == 2

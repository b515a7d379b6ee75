"""What the documentation of the system whose names we follow shows, in Python: its quick start, its builder row by row,
and its names. What only its Rust side has (registries of tasks, macros, injection) has no counterpart."""

from datetime import timedelta
from typing import Any

import pytest

from runtara.sdk import flow as public
from runtara.sdk.flow import (
    Backend,
    BuildErrors,
    CheckpointingRunner,
    ConflictPolicy,
    Flow,
    InMemoryBackend,
    InProcessRunner,
    InstanceAlreadyExistsError,
    JsonCodec,
    LoopResult,
    NodeInfo,
    OnMax,
    RetryPolicy,
    TaskExecutionContext,
    TaskMetadata,
    WorkflowClient,
    WorkflowContext,
    WorkflowError,
    get_task_context,
    resume_workflow,
    run_durable_workflow,
    run_workflow,
    send_signal,
    task,
)


def add(number: int) -> int:
    return number + 1


def double(number: int) -> int:
    return number * 2


def output(flow: "Flow[Any, Any]", value: Any) -> Any:
    """Run a flow in this process, and return what it comes to."""
    status = InProcessRunner().run(flow.build(), value)
    assert status.error is None
    return status.output


def infos(flow: "Flow[Any, Any]") -> list[NodeInfo]:
    return list(flow.build().iter_nodes())


# The quick start ------------------------------------------------------------------------------------------------------


async def test_the_quick_start_of_the_runner() -> None:
    async def step1(i: int) -> int:
        return i + 1

    backend = InMemoryBackend()
    runner = CheckpointingRunner(backend)

    context = WorkflowContext("my-workflow", JsonCodec(), {})
    workflow = Flow(context).then(step1, name="step1").build()

    # Run workflow: what each task has returned is kept
    status = await runner.run_async(workflow, "instance-123", 1)
    assert (status.is_completed(), status.output) == (True, 2)

    # Resume from there if needed
    assert (await runner.resume_async(workflow, "instance-123")) == status
    backend.close()


def test_a_runner_has_a_conflict_policy_and_says_where_it_keeps_things(backend: Backend, instance_id: str) -> None:
    runner = CheckpointingRunner(backend)
    workflow = Flow("conflicts").then(add).build()
    first = runner.run(workflow, instance_id, 1)

    assert runner.backend is backend is runner.with_conflict_policy("use_existing").backend
    with pytest.raises(InstanceAlreadyExistsError):
        runner.run(workflow, instance_id, 5)
    assert runner.with_conflict_policy(ConflictPolicy.USE_EXISTING).run(workflow, instance_id, 5) == first
    assert runner.with_conflict_policy("useExisting").run(workflow, instance_id, 5) == first


# The builder, row by row ----------------------------------------------------------------------------------------------


def test_then_is_a_task_under_its_name_or_that_of_its_function() -> None:
    flow = Flow("then").then(add).then(double, name="twice").then(lambda x: x)

    assert [(node.id, node.kind, node.timeout, node.retry_policy) for node in infos(flow)] == [
        ("add", "task", None, None),
        ("twice", "task", None, None),
        ("lambda_0", "task", None, None),
    ]
    assert output(flow, 1) == 4


def test_what_a_task_says_of_itself_is_known_of_its_node() -> None:
    @task(
        "ship",
        timeout="30s",
        retries=3,
        version="2",
        priority=1,
        tags=["gpu"],
        display_name="Ship it",
        description="Send the parcel",
    )
    def send(x: int) -> int:
        return x

    (node,) = infos(Flow("task").then(send))

    assert node == NodeInfo(
        id="ship",
        kind="task",
        timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(3, 1.0, 2.0),
        priority=1,
        tags=("gpu",),
        version="2",
    )
    assert send(3) == 3, "it stays a function"


def test_metadata_can_be_given_as_one_thing() -> None:
    metadata = TaskMetadata(timeout_secs=1, retries=RetryPolicy(), tags=("a",))

    (node,) = infos(Flow("metadata").then(task("x", metadata=metadata)(lambda x: x)))

    assert (node.timeout, node.retry_policy, node.tags) == (timedelta(seconds=1), RetryPolicy(2, 1.0, 2.0), ("a",))


def test_branches_get_the_same_input_and_join_gets_each_output_by_its_name() -> None:
    @task("b", retries=2)
    def second(x: int) -> int:
        return x * 2

    seen: list[dict[str, Any]] = []
    flow = Flow("fork").fork().branch(add, name="a").branch(second).branch(add, double, name="long").join(seen.append)

    output(flow, 3)

    assert seen == [{"a": 4, "b": 6, "long": 8}]
    nodes = {node.id: node for node in infos(Flow("f").fork().branch(add, name="a").branch(second).join(len))}
    assert nodes["a||b"].kind == "fork"
    assert nodes["b"].retry_policy == RetryPolicy(2), "a branch keeps what it says of itself"


def test_a_route_runs_one_branch_and_says_which() -> None:
    def size(x: int) -> str:
        return "big" if x > 10 else "small"

    def flow() -> "Flow[Any, Any]":
        route = Flow("route").route(size, keys=["big", "small", "odd"])
        return route.branch("big", double).branch("small", add).default_branch(lambda x: x).done()

    assert output(flow(), 20) == {"branch": "big", "result": 40}
    assert output(flow(), 1) == {"branch": "small", "result": 2}
    assert (infos(flow())[0].id, infos(flow())[0].kind) == ("branch_0", "branch")
    assert "B:branch_0{" in flow().build().definition


def test_keys_without_a_branch_and_branches_without_a_key_cannot_be_built() -> None:
    def kinds(call: Any) -> set[str]:
        with pytest.raises(BuildErrors) as caught:
            call()
        return {error.kind for error in caught.value.errors}

    assert kinds(Flow("r").route(add, keys=["a", "b"]).branch("a", add).done) == {"MissingBranches"}
    assert kinds(lambda: Flow("r").route(add, keys=["a"]).branch("z", double)) == {"OrphanBranches"}


def test_a_delay_passes_its_input_on() -> None:
    flow = Flow("delay").then(add).delay("nap", timedelta(milliseconds=1)).then(double)

    assert output(flow, 1) == 4
    assert [node.kind for node in infos(flow)] == ["task", "delay", "task"]


def test_the_payload_of_a_signal_is_the_next_input_and_none_where_none_came(backend: Backend, instance_id: str) -> None:
    workflow = Flow("signal").then(add).wait_for_signal("go", name="wait", timeout="1h").then(lambda x: [x]).build()
    status = run_durable_workflow(workflow, instance_id, 1, backend)
    assert (status.is_awaiting_signal(), status.signal_id, status.signal_name) == (True, "wait", "go")

    send_signal(instance_id, "go", {"by": "Kim"}, backend)

    assert resume_workflow(workflow, instance_id, backend).output == [{"by": "Kim"}]
    assert output(Flow("silence").wait_for_signal("go", timeout="1ms").then(lambda x: [x]), 1) == [None]


def test_a_loop_goes_round_until_it_is_done_or_may_no_more() -> None:
    def climb(x: int) -> LoopResult[int]:
        return LoopResult.Again(x + 1) if x < 4 else LoopResult.Done(x * 100)

    assert output(Flow("loop").loop(climb), 1) == 400
    assert infos(Flow("loop").loop(climb))[0].id == "loop_0"
    assert output(Flow("cut").loop(climb, max_iterations=2, on_max=OnMax.EXIT_WITH_LAST), 1) == 3
    assert "has not ended" in str(InProcessRunner().run(Flow("no").loop(climb, max_iterations=2).build(), 1).error)
    with pytest.raises(BuildErrors, match="max_iterations must be at least 1"):
        Flow("none").loop(climb, max_iterations=0).build()


def test_a_child_is_a_part_of_the_same_instance(backend: Backend, instance_id: str) -> None:
    child = Flow("child").then(add).build()
    workflow = Flow("parent").then(add).then_flow(child).build()

    assert run_workflow(workflow, 1, instance_id=instance_id, backend=backend) == 3
    assert [(node.id, node.kind) for node in workflow.iter_nodes()] == [
        ("add", "task"),
        ("child_0", "child_workflow"),
        ("add", "task"),
    ]
    client = WorkflowClient(backend)
    assert [client.get_task_result(instance_id, name) for name in ("add", "child_0/add")] == [2, 3]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BuildErrors) as caught:
        Flow("wrong").then(add).then(add).delay("nap", "soon").loop(LoopResult.Done, max_iterations=0).build()

    assert [error.kind for error in caught.value.errors] == [
        "InvalidDuration",
        "InvalidMaxIterations",
        "DuplicateTaskId",
    ]


def test_a_workflow_tells_of_itself() -> None:
    workflow = Flow("told", metadata={"team": "shop"}).then(add).then(double).build()

    assert (workflow.workflow_id, workflow.metadata, len(workflow.definition_hash)) == ("told", {"team": "shop"}, 64)
    assert [(node.id, node.predecessor_id) for node in workflow.iter_nodes()] == [("add", None), ("double", "add")]


# The names ------------------------------------------------------------------------------------------------------------

NAMES = """
task parse_duration Flow ForkBuilder BranchBuilder Workflow NodeInfo LoopResult OnMax RetryPolicy TaskMetadata
TaskExecutionContext get_task_context InMemoryBackend PostgresBackend run_workflow run_durable_workflow resume_workflow
cancel_workflow pause_workflow unpause_workflow send_signal WorkflowClient Worker WorkerHandle WorkflowStatus
WorkflowError TaskError BackendError InstanceAlreadyExistsError CheckpointingRunner PooledWorker InProcessRunner
WorkflowContext""".split()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_its_documentation_is_ours_as_well(name: str) -> None:
    assert name in public.__all__
    assert getattr(public, name).__doc__


def fail(_: int) -> int:
    raise ValueError("no")


def test_errors_are_of_the_families_that_it_says() -> None:
    assert issubclass(WorkflowError, RuntimeError)
    assert all(issubclass(getattr(public, name), WorkflowError) for name in ("TaskError", "BackendError"))
    with pytest.raises(WorkflowError, match="task 'fail' failed: ValueError: no"):
        run_workflow(Flow("f").then(fail).build(), 1)


def test_a_task_knows_where_it_runs(backend: Backend, instance_id: str) -> None:
    seen: list[TaskExecutionContext | None] = []

    @task(tags=["t"], priority=2)
    def look(x: int) -> int:
        seen.append(get_task_context())
        return x

    run_durable_workflow(Flow("where").then(look).build(), instance_id, 1, backend)

    (context,) = seen
    assert context is not None
    assert (context.workflow_id, context.instance_id, context.task_id) == ("where", instance_id, "look")
    assert (context.metadata.tags, context.metadata.priority) == (["t"], 2)

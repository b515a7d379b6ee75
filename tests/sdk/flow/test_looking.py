"""The graphs of instances that run, on every backend: what is drawn is what has happened."""

from typing import Any

import msgspec
import pytest

from runtara.errors import RetriesExhausted
from runtara.sdk.flow import (
    MSGPACK,
    Backend,
    BackendError,
    CheckpointingRunner,
    Flow,
    LoopResult,
    RetryPolicy,
    WorkflowClient,
    task,
)
from runtara.sdk.flow._kept import BEGIN
from runtara.threads import run_async
from tests.sdk.flow.crashing import Crash
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph
from tests.sdk.flow.standings import named, standing


@pytest.mark.parametrize("example", GRAPHS, ids=lambda example: example.name)
def test_whatever_has_completed_is_done_or_was_skipped(backend: Backend, instance_id: str, example: Graph) -> None:
    workflow = example.build(Calls())
    assert CheckpointingRunner(backend, waits=True).run(workflow, instance_id, example.input).is_completed

    graph = WorkflowClient(backend).graph(instance_id)

    assert (graph.workflow, graph.instance_id, graph.status) == (workflow.name, instance_id, "completed")
    assert {node.state for node in graph.iter_nodes()} <= {"done", "skipped"}
    assert {node.state for node in graph.nodes} == {"done"}


def test_an_instance_is_seen_from_inside_a_task_and_while_it_rests(backend: Backend, instance_id: str) -> None:
    seen: list[str] = []

    def look(x: Any) -> Any:
        seen.append(standing(WorkflowClient(backend).graph(instance_id)))
        return x

    flow = (
        Flow("look")
        .then(named("a"))
        .then(look)
        .wait_for_signal("go")
        .loop(lambda x: LoopResult.Again(x) if len(seen) < 2 else LoopResult.Done(look(x)), name="loop")
        .build()
    )
    runner, client = CheckpointingRunner(backend), WorkflowClient(backend)
    runner.run(flow, instance_id, 1)
    resting = standing(client.graph(instance_id))
    client.send_signal(instance_id, "go")
    seen.append("")
    runner.resume(flow, instance_id)

    assert seen[0] == "done, running, not_reached, not_reached"
    assert resting == "done, done, awaiting_signal, not_reached"
    assert seen[2] == "done, done, done, running #1"
    assert standing(client.graph(instance_id)) == "done, done, done, done #1"


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_the_branch_that_a_key_leads_to_is_known_before_anything_in_it_is(
    backend: Backend, instance_id: str, codec: str
) -> None:
    def fail(x: Any) -> Any:
        raise Crash

    flow = Flow("keys").route(lambda x: x).branch("True", fail).branch("b", named("b")).done()
    workflow = flow.build(codec=MSGPACK) if codec == "msgpack" else flow.build()
    with pytest.raises(Crash):
        CheckpointingRunner(backend).run(workflow, instance_id, True)

    assert standing(WorkflowClient(backend).graph(instance_id)) == "running, running, skipped"


def test_failed_tries_and_the_failure_are_shown_where_they_happened(backend: Backend, instance_id: str) -> None:
    def fail(x: Any) -> Any:
        raise OSError("no disk")

    policy = RetryPolicy(max_retries=1, initial_delay_secs=0.001)
    flow = Flow("fails").fork().branch(task("bad", retries=policy)(fail)).join(named("join")).build()
    assert CheckpointingRunner(backend).run(flow, instance_id, 1).is_failed

    shown = standing(WorkflowClient(backend).graph(instance_id))

    assert shown == "failed, failed after 2 (no disk), not_reached"
    assert RetriesExhausted.__name__ not in shown


def test_one_that_was_submitted_has_a_graph_before_any_worker_has_it(backend: Backend, instance_id: str) -> None:
    flow = Flow("submitted").then(named("a")).then(named("b")).build()
    client = WorkflowClient(backend)
    client.submit(flow, instance_id, 1)

    assert standing(client.graph(instance_id)) == "due, not_reached"


def test_a_graph_can_be_awaited(backend: Backend, instance_id: str) -> None:
    flow = Flow("awaited").delay("nap", "1h").build()

    async def main() -> None:
        await CheckpointingRunner(backend).run_async(flow, instance_id, 1)
        graph = await WorkflowClient(backend).graph_async(instance_id)
        assert [(node.state, node.wake_at is None) for node in graph.nodes] == [("waiting", False)]

    run_async("trio", main)


def test_an_instance_without_a_workflow_or_without_a_graph_has_none_to_show(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)
    with pytest.raises(BackendError, match="instance 'nobody' was not found"):
        client.graph("nobody")
    with backend.sdk(instance_id) as sdk:
        with pytest.raises(BackendError, match="not one of a workflow"):
            client.graph(instance_id)
        begin = {"workflow": "w", "hash": "", "definition": "", "codec": "json", "input": "", "graph": None}
        sdk.checkpoint(BEGIN, msgspec.json.encode(begin))
        with pytest.raises(BackendError, match="keeps no graph that can be read"):
            client.graph(instance_id)

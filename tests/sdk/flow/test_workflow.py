from typing import Any

import pytest

from runtara.sdk.flow import Flow, InProcessRunner, LoopResult, get_task_context, task


def test_a_workflow_says_what_it_is() -> None:
    workflow = Flow("orders").then(lambda x: x).build()

    assert repr(workflow) == f"Workflow('orders', {workflow.definition_hash[:12]})"


def test_a_loop_is_two_nodes_and_a_route_is_one() -> None:
    workflow = Flow("w").loop(LoopResult.Done).route(lambda x: "a").branch("a", lambda x: x).done().build()

    assert [(node.id, node.kind) for node in workflow.iter_nodes()] == [
        ("loop_0", "loop"),
        ("Done", "task"),
        ("branch_0", "branch"),
        ("lambda_0", "task"),
    ]


def test_a_task_knows_where_it_runs_and_nobody_else_does() -> None:
    seen: list[Any] = []

    @task("look", tags=["t"])
    def look(x: int) -> int:
        seen.append(get_task_context())
        return x

    inner = Flow("inner").then(look).build()
    InProcessRunner().run(Flow("outer").then_flow(inner).build(), 1)

    (context,) = seen
    assert (context.workflow_id, context.task_id, context.attempt) == ("outer", "child_0/look", 1)
    assert context.metadata.tags == ["t"]
    assert get_task_context() is None


@pytest.mark.parametrize("value", [1, "x"])
def test_the_body_of_a_loop_that_returns_no_loop_result_fails_by_name(value: Any) -> None:
    status = InProcessRunner().run(Flow("w").loop(lambda x: x).build(), value)

    assert "the body of loop_0#1 has returned" in str(status.error)


def test_a_loop_that_does_not_end_fails_by_name() -> None:
    status = InProcessRunner().run(Flow("w").loop(LoopResult.Again, max_iterations=2).build(), 1)

    assert "loop loop_0 has not ended after 2 iterations" in str(status.error)


def test_an_unknown_key_fails_by_name() -> None:
    flow = Flow("w").route(lambda x: "z").branch("a", lambda x: x).branch("b", lambda x: x).done().build()

    status = InProcessRunner().run(flow, 1)

    assert "branch_0 has no branch 'z', and no default one: it has a, b" in str(status.error)


def test_a_wait_that_nobody_can_end_fails_by_name() -> None:
    status = InProcessRunner().run(Flow("w").wait_for_signal("go").build(), 1)

    assert "go waits for signal 'go', which nobody can send" in str(status.error)

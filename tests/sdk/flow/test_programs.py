"""How workflows are known to the pool."""

from typing import Any

import pytest

from runtara.ids import ID_MAX_CHARS, check_id, is_pooled
from runtara.sdk.flow import Flow, LoopResult, Migration, Workflow, WorkflowError
from runtara.sdk.flow._programs import Served, program_of, served_by
from tests.sdk.flow.graphs import GRAPHS, Calls, drawn


def named(name: str) -> Workflow[Any, Any]:
    return Flow(name).then(len).build()


def test_a_program_is_called_after_the_workflow_and_its_definition() -> None:
    workflow = named("order")

    assert program_of(workflow) == f"pool:order@{workflow.definition_hash[:16]}"


@pytest.mark.parametrize("name", ["päckchen", "a b", "a/b", "x" * 1_000, "ä" * 200, "-", "a:b@c", "\ud800"])
def test_a_name_that_no_id_may_have_becomes_one_that_no_other_name_has(name: str) -> None:
    program = program_of(named(name))

    assert check_id(program, "program") == program
    assert is_pooled(program)
    assert len(program) <= ID_MAX_CHARS
    assert program != program_of(named(name + "!"))


def test_every_task_is_found_at_its_place() -> None:
    inner = Flow("inner").then(len, name="a").loop(LoopResult.Done, name="again").build()
    workflow = (
        Flow("outer")
        .then(len, name="a")
        .fork()
        .branch(len, name="left")
        .branch(sorted, repr)
        .join(len, name="join")
        .route(ascii, keys=["x"])
        .branch("x", abs)
        .done()
        .then_flow(inner)
        .build()
    )
    served = Served(workflow)

    found = {
        place: served.task_at(place).spec.function
        for place in ("a", "sorted", "branch_0::key_fn", "abs", "child_0/a", "child_0/loop_0#7")
    }

    assert found["a"] is found["child_0/a"] is len
    assert found["child_0/loop_0#7"] == LoopResult.Done
    with pytest.raises(WorkflowError, match="has no task at 'child_1/a'"):
        served.task_at("child_1/a")


def test_every_task_of_the_suite_is_found_where_it_is_called() -> None:
    for graph in GRAPHS:
        workflow = graph.build(Calls())
        served = Served(workflow)
        for node in drawn(workflow):
            if node.kind == "task" and not graph.name.startswith("child"):
                assert served.task_at(node.id).id == node.id


def test_a_worker_serves_older_definitions_that_a_migration_names() -> None:
    old = named("w")
    new = Flow("w").then(len).then(repr).build(migrations=[Migration(from_hash=old.definition_hash)])

    assert set(served_by([new])) == {program_of(old), program_of(new)}

import pytest

from runtara.sdk.flow import Flow, Graph
from runtara.sdk.flow._states import peeks, with_states
from tests.sdk.flow.standings import CASES, LOOP, RUNNING, Case, facts, kept, shape, standing


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_node_stands_as_the_facts_say(case: Case) -> None:
    assert shape(case) == case.states


def test_only_what_came_of_routes_and_of_last_iterations_must_be_known() -> None:
    flow = Flow("both").loop(lambda x: x).route(lambda x: x).default_branch(lambda x: x).done().build()

    assert peeks(flow.graph, kept("loop_0#1", "loop_0#2")) == ["loop_0#2"]
    assert peeks(flow.graph, kept("loop_0#1", "branch_0::key_fn")) == ["branch_0::key_fn", "loop_0#1"]
    assert peeks(LOOP.graph, ()) == []


def test_a_kind_of_node_that_is_not_known_here_stands_as_a_task() -> None:
    graph = Graph.kept_as("later", b'[{"id":"a","kind":"with_inner"},{"id":"b"}]')

    assert standing(with_states(graph, facts(RUNNING, *kept("a")))) == "done, running"

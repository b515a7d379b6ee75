import msgspec
import pytest

from runtara.sdk.flow import Flow, Graph, LoopResult
from tests.sdk.flow.graphs import GRAPHS, Calls, drawn
from tests.sdk.flow.graphs import Graph as Example
from tests.sdk.flow.standings import CHILD, FORK, named


@pytest.mark.parametrize("example", GRAPHS, ids=lambda example: example.name)
def test_what_an_instance_keeps_is_the_whole_graph(example: Example) -> None:
    workflow = example.build(Calls())

    assert Graph.kept_as(workflow.name, workflow.graph_json) == workflow.graph
    assert [(node.id, node.kind) for node in workflow.graph.iter_nodes()] == [
        (node.id, node.kind) for node in drawn(workflow)
    ]


def test_an_id_may_hold_whatever_separates_ids_in_the_text_of_a_definition() -> None:
    workflow = Flow("odd").then(named("a;T:b")).then(named("]{=>,")).build()

    assert [node.id for node in Graph.kept_as("odd", workflow.graph_json).iter_nodes()] == ["a;T:b", "]{=>,"]


def test_a_result_is_kept_under_the_place_of_its_node() -> None:
    assert [node.place for node in CHILD.graph.iter_nodes()] == ["a", "child_0", "child_0/a", "child_0/nap", "z"]
    assert [node.place for node in FORK.graph.iter_nodes()] == ["a||b1", "a", "b1", "b2", "join"]


def test_what_is_kept_is_short_and_says_nothing_twice() -> None:
    flow = Flow("short").then(named("a")).delay("nap", "90s").loop(LoopResult.Done, max_iterations=3).build()

    assert msgspec.json.decode(flow.graph_json) == [
        {"id": "a"},
        {"id": "nap", "kind": "delay", "detail": "1.5m"},
        {
            "id": "loop_0",
            "kind": "loop",
            "title": "Done",
            "detail": "at most 3 times",
            "max_iterations": 3,
            "fails_at_max": True,
        },
    ]


def test_what_was_written_by_others_is_drawn_as_well_as_it_can_be() -> None:
    odd = b'[{"id":"a","kind":"later"},{"id":"b","kind":"child_workflow"},{"id":"c","kind":"fork","branches":[{}]}]'

    graph = Graph.kept_as("odd", odd)

    assert [node.label for node in graph.iter_nodes()] == ["a", "b", "c"]
    assert graph.to_text() == "odd\n  - a\n  - b\n  - c\n"
    assert graph.to_mermaid().count("-->") == 4

"""A graph that is too large is drawn with what stands alike told together, and what is under way kept."""

import pytest
from msgspec.structs import replace

from runtara.lifecycle import Status
from runtara.sdk.flow import Graph
from runtara.sdk.flow._collapsing import collapsed
from runtara.sdk.flow._states import Facts, with_states
from tests.sdk.flow.large import line, nested, wide
from tests.sdk.flow.standings import FORK, facts, kept


def test_a_graph_that_is_small_enough_is_drawn_as_it_is() -> None:
    assert collapsed(FORK.graph, 5) is FORK.graph
    assert line(2_000).to_text().count("\n") == 2_001


def test_a_long_line_keeps_its_ends_and_says_how_much_is_between_them() -> None:
    workflow = line(5_000)

    assert workflow.to_text() == (
        "line · 4,994 nodes are not drawn one by one\n"
        "  - n0\n  - n1\n  - n2\n  - … 4,994 more nodes\n  - n4997\n  - n4998\n  - n4999\n"
    )
    assert workflow.to_text(nodes_max=None).count("\n") == 5_001
    assert workflow.to_mermaid().count("-->") == 8
    assert "4,994 nodes are not drawn one by one" in workflow.to_mermaid()


def test_what_is_under_way_is_kept() -> None:
    done = kept(*(f"n{number}" for number in range(3_000)))
    graph = with_states(line(5_000).graph, facts(Status.RUNNING, *done))

    assert [(node.label, node.state) for node in collapsed(graph, 2_000).nodes] == [
        *((f"n{number}", "done") for number in (0, 1, 2)),
        ("… 2,994 more nodes", "done"),
        *((f"n{number}", "done") for number in (2_997, 2_998, 2_999)),
        ("n3000", "running"),
        *((f"n{number}", "not_reached") for number in (3_001, 3_002, 3_003)),
        ("… 1,993 more nodes", "not_reached"),
        *((f"n{number}", "not_reached") for number in (4_997, 4_998, 4_999)),
    ]


def test_of_many_branches_only_some_are_drawn_but_all_that_are_under_way() -> None:
    workflow = wide(1_000, 3)
    begun = replace(Facts(status=Status.RUNNING, now_ms=1), steps=kept("b500.0"))

    drawn, running = collapsed(workflow.graph, 2_000), collapsed(with_states(workflow.graph, begun), 2_000)

    keys = [branch.key for branch in drawn.nodes[0].branches]
    assert keys == ["b0.0", "b1.0", "b2.0", "…", "b997.0", "b998.0", "b999.0"]
    assert drawn.nodes[0].branches[3].nodes[0].label == "… 2,982 nodes of 994 more branches"
    assert drawn.hidden == 2_982
    assert "b500.0" in [branch.key for branch in running.nodes[0].branches]


@pytest.mark.parametrize("depth", [1, 4])
def test_where_that_is_not_enough_what_is_deep_inside_is_only_counted(depth: int) -> None:
    graph = nested(depth).graph

    drawn = collapsed(graph, 40 if depth == 4 else 7)

    assert sum(1 for _ in drawn.iter_nodes()) <= 40
    assert any("nodes inside" in node.detail for node in drawn.iter_nodes())
    assert drawn.hidden == sum(1 for _ in graph.iter_nodes()) - sum(1 for _ in drawn.iter_nodes())
    assert isinstance(drawn, Graph)

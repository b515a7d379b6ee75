"""Graphs as Mermaid and as text: what is drawn, and that no name can be more than text."""

import re

import pytest
from msgspec.structs import replace

from runtara.sdk.flow import Flow, LoopResult, Workflow, task
from runtara.sdk.flow._states import with_states
from tests.sdk.flow.standings import CASES, CHILD, Case, named

EVERYTHING = (
    Flow("every kind")
    .then(task("a", display_name="Look it up")(lambda x: x))
    .fork()
    .branch(named("left"))
    .branch(named("r1"), named("r2"))
    .join(named("join"))
    .wait_for_signal("go", name="wait", timeout="48h")
    .route(lambda x: x)
    .branch("yes", named("ship"))
    .default_branch(named("undo"))
    .done()
    .loop(LoopResult.Done, max_iterations=3, name="poll")
    .then_flow(Flow("inner").delay("nap", "2h").build())
    .build()
)


def test_text_has_a_line_for_each_node() -> None:
    assert EVERYTHING.to_text() == (
        "every kind\n"
        "  - Look it up\n"
        "  - fork\n"
        "      - left\n"
        "      r1:\n"
        "        - r1\n"
        "        - r2\n"
        "  - join\n"
        "  - wait · signal go, at most 48h\n"
        "  - branch_0 · route\n"
        "      yes:\n"
        "        - ship\n"
        "      default:\n"
        "        - undo\n"
        "  - poll · loop · at most 3 times\n"
        "  - child_0 · workflow inner\n"
        "      - nap · delay · 2h\n"
    )


def test_mermaid_has_a_node_and_an_arrow_for_each() -> None:
    assert EVERYTHING.to_mermaid() == (
        "flowchart TD\n"
        '    n0(["every kind"])\n'
        '    n1["Look it up"]\n'
        "    n0 --> n1\n"
        '    n2[["fork"]]\n'
        "    n1 --> n2\n"
        '    n3["left"]\n'
        '    n2 -->|"left"| n3\n'
        '    n4["r1"]\n'
        '    n2 -->|"r1"| n4\n'
        '    n5["r2"]\n'
        "    n4 --> n5\n"
        '    n6["join"]\n'
        "    n3 --> n6\n"
        "    n5 --> n6\n"
        '    n7{{"wait<br>signal go, at most 48h"}}\n'
        "    n6 --> n7\n"
        '    n8{"branch_0<br>route"}\n'
        "    n7 --> n8\n"
        '    n9["ship"]\n'
        '    n8 -->|"yes"| n9\n'
        '    n10["undo"]\n'
        '    n8 -->|"default"| n10\n'
        '    n11[/"poll<br>loop<br>at most 3 times"/]\n'
        "    n9 --> n11\n"
        "    n10 --> n11\n"
        '    n11 -->|"again"| n11\n'
        '    subgraph n12["child_0 · workflow inner"]\n'
        '        n13(["nap<br>delay<br>2h"])\n'
        "        n11 --> n13\n"
        "    end\n"
        '    finish(["end"])\n'
        "    n13 --> finish\n"
    )


LINE = re.compile(
    r"""flowchart\ TD | end
    | (?:n\d+|finish) (?P<shape>\[\[|\(\[|\{\{|\[/|\{|\[) "(?P<label>[^"]*)" (?:\]\]|\]\)|\}\}|/\]|\}|\])
    | subgraph\ n\d+\["(?P<title>[^"]*)"\]
    | n\d+\ -->(?:\|"(?P<arrow>[^"]*)"\|)?\ (?:n\d+|finish)
    | classDef\ [a-z_]+\ [#a-z0-9:,\-\ ]+ | class\ n\d+(?:,n\d+)*\ [a-z_]+""",
    re.VERBOSE,
)
SAFE = re.compile(r"(?:[\w \-.,/()·]|#\d+;|<br>)*")


def texts(chart: str) -> list[str]:
    """Return all that is written in a chart, in which every line must be one of the few kinds that there are."""
    found = [LINE.fullmatch(line.strip()) for line in chart.splitlines()]
    assert all(found), [line for line, match in zip(chart.splitlines(), found, strict=True) if not match]
    return [match[name] for match in found if match for name in ("label", "title", "arrow") if match[name]]


@pytest.mark.parametrize(
    "name",
    [
        '"] --> x["',
        "%%{init: {'securityLevel': 'loose'}}%%",
        "<img src=x onerror=alert(1)>",
        "`**bold**`",
        "end",
        "a#quot;b;c",
        "click n1 call alert()",
        "schön ☃",
    ],
)
def test_no_name_is_more_than_text(name: str) -> None:
    inner = Flow(name).then(named(name)).build()
    flow: Workflow[object, object] = (
        Flow(name)
        .then(named(f"first {name}"))
        .fork()
        .branch(named("b"), name=name)
        .join(named("join"))
        .route(lambda x: x)
        .branch(name, named("c"))
        .done()
        .wait_for_signal(name, name="s")
        .then_flow(inner)
        .build()
    )

    for written in texts(flow.to_mermaid()):
        assert SAFE.fullmatch(written), written


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_node_of_an_instance_has_the_colour_of_its_state(case: Case) -> None:
    graph = with_states(case.workflow.graph, case.facts)
    texts(graph.to_mermaid())

    coloured = re.findall(r"class (\S+) (\w+)", graph.to_mermaid())
    assert sum(names.count("n") for names, _ in coloured) == sum(
        node.kind != "child_workflow" for node in graph.iter_nodes()
    )


def test_what_is_not_printable_is_spelled_out_in_text() -> None:
    node = CHILD.graph.nodes[0]
    graph = replace(CHILD.graph, nodes=(replace(node, title="red\x1b[31m"),))

    assert graph.to_text() == "child\n  - red\\x1b[31m\n"

"""The graph of a workflow on the page of its instance: each state as the command line has it, and live."""

import json
from pathlib import Path
from typing import Final

import msgspec

from runtara.lifecycle import Status
from runtara.messages import StartInstance
from runtara.sdk.flow._collapsing import collapsed
from runtara.sdk.flow._kept import write_begin
from runtara.sdk.flow._programs import program_of
from runtara.sdk.flow._runs import begun
from runtara.sdk.flow._states import with_states
from tests.console.cdp import Page
from tests.console.test_access import CHECKS, STICKS_OUT
from tests.console.test_timeline import told
from tests.console.world import open_world, quiet
from tests.sdk.flow.large import line, nested, wide
from tests.sdk.flow.standings import CASES, LINEAR, facts, kept

STANDING: Final = """
  const { beginning, everyNode, withStates } = await import("/ui/graph.js");
  return cases.map(([begin, facts]) => [...everyNode(withStates(beginning(begin).nodes, facts))].map((node) =>
    node.state + (node.wakeAt ? ` until ${node.wakeAt}` : "") + (node.iteration ? ` #${node.iteration}` : "")
    + (node.failedTries ? ` after ${node.failedTries}` : "") + (node.error ? ` (${node.error})` : "")).join(", "));
"""

ODD: Final = """
  const { beginning, wordOf } = await import("/ui/graph.js");
  const deep = (n) => (n ? [{ id: "x", kind: "fork", branches: [{ nodes: deep(n - 1) }] }] : [{ id: "x" }]);
  const begin = (graph) => beginning(JSON.stringify({ workflow: "w", codec: "json", graph }));
  const many = Array(10_001).fill({ id: "x" });
  const keys = ['"a"', "true", "null", "1.50", "{"].map((text) => wordOf("b::key_fn", text, "json"));
  return [beginning("no json"), beginning("{}"), begin(null), begin([null]), begin(deep(100)), begin(many),
    begin([{ id: 7, kind: "constructor" }]).nodes[0].kind, begin([{ id: 7, kind: "child_workflow" }]).nodes[0].kind,
    begin([{ id: 7, kind: "fork", branches: [{}] }]).nodes[0].branches.length, wordOf("l#1", "-12", "json"), ...keys,
    wordOf("b::key_fn", "x", "own")];
"""


async def test_each_node_stands_in_the_console_as_at_the_command_line(tmp_path: Path, chromium: str) -> None:
    cases = [
        [
            msgspec.json.encode(
                {"workflow": "w", "codec": "json", "graph": msgspec.Raw(case.workflow.graph_json)}
            ).decode(),
            {"now": case.facts.now_ms} | msgspec.to_builtins(case.facts),
        ]
        for case in CASES
    ]
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()

        assert await told(page, STANDING, cases=cases) == [case.states for case in CASES]
        assert await told(page, ODD) == [None] * 6 + ["task", "task", 0, "-", "a", "True", "None", "1.50", None, None]


SMALL: Final = """
  const { beginning, everyNode, withStates } = await import("/ui/graph.js");
  const { collapsed } = await import("/ui/graph_collapsing.js");
  return cases.map(([begin, facts, most]) => {
    const { nodes, hidden } = collapsed(withStates(beginning(begin).nodes, facts), most);
    return [hidden, [...everyNode(nodes)].map((node) => [node.label, node.state, node.detail])];
  });
"""


async def test_a_graph_that_is_too_large_is_drawn_as_at_the_command_line(tmp_path: Path, chromium: str) -> None:
    done = facts(Status.RUNNING, *kept(*(f"n{number}" for number in range(3_000))))
    begun_one = facts(Status.RUNNING, *kept("b500.0"))
    cases = [
        (line(5_000), done, 2_000),
        (wide(1_000, 3), begun_one, 2_000),
        (nested(4), done, 40),
        (nested(1), done, 2_000),
    ]
    told_here = [collapsed(with_states(workflow.graph, known), most) for workflow, known, most in cases]
    given = [
        [
            msgspec.json.encode({"workflow": "w", "codec": "json", "graph": msgspec.Raw(workflow.graph_json)}).decode(),
            {"now": known.now_ms} | msgspec.to_builtins(known),
            most,
        ]
        for workflow, known, most in cases
    ]
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()

        assert await told(page, SMALL, cases=given) == [
            [graph.hidden, [[node.label, node.state, node.detail] for node in graph.iter_nodes()]]
            for graph in told_here
        ]


async def test_how_much_is_not_drawn_is_said_in_the_console(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        large = line(2_500)
        begin = write_begin(begun(large, 1))
        await world.ask("large", StartInstance(program=program_of(large), input=begin))
        page = await world.visit("#/instances/large")

        await page.wait("document.querySelector('#graph-title').textContent.includes('2,493 nodes are not drawn')")
        assert await page.evaluate("document.querySelectorAll('.graph .node').length") == 8


def states(*names: str) -> str:
    """Return an expression: whether the nodes of these names stand as the words behind them say."""
    wanted = [name.split(": ") for name in names]
    found = (
        "[...document.querySelectorAll('.node')].find((one) => one.querySelector('.node-name').textContent === name)"
    )
    return f"{json.dumps(wanted)}.every(([name, state]) => {found}?.classList.contains(state))"


async def test_the_graph_of_an_instance_is_drawn_and_changes_by_itself(
    tmp_path: Path, chromium: str, pictures: Path
) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.ask("parcel-1", StartInstance(program="flow.py", input=b"1"))
        page = await world.visit("#/instances/parcel-1")
        await page.wait(
            states("price: done", "book: done", "poll: done", "approval: awaiting_signal", "stamp: not_reached")
        )
        assert await page.evaluate("document.querySelector('#graph-title').textContent") == "Workflow parcel"
        assert "<img src=x" in await page.evaluate("document.querySelector('.node').getAttribute('aria-label')")
        assert not await page.evaluate("window.pwned || document.querySelector('.graph-card img')")
        assert await page.evaluate(CHECKS) == []
        await page.screenshot(pictures / "graph-light.png")

        await world.signal("parcel-1", "approval", {"way": "post"})

        await page.wait(states("approval: done", "stamp: done", "pack: skipped", "label: done"))
        await world.wait_until("parcel-1", "completed")
        await page.wait(states("rest: done"))
        await walk_through(page)
        await page.prefer(dark=True)
        await page.screenshot(pictures / "graph-dark.png")
        await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=4, y=4)  # no tip of the timeline below it
        await page.resize(400, 800)
        assert await page.evaluate(STICKS_OUT) == []
    assert quiet(page)


async def walk_through(page: Page) -> None:
    """Go from node to node with the keyboard, and read the list."""
    await page.evaluate("document.querySelector('.graph [tabindex=\"0\"]').focus()")
    named = "document.activeElement.getAttribute('aria-label')"
    await page.press("ArrowDown")
    assert (await page.evaluate(named)) == "fork, done"
    await page.press("End")
    assert (await page.evaluate(named)).startswith("rest, delay, 50ms, done")
    await page.press("Home")
    assert "task, done" in await page.evaluate(named)
    await page.click(".graph-card summary")
    assert "poll, loop, at most 10 times, done, iteration 3" in await page.text(".graph-list")


async def test_failed_tries_are_seen_and_what_was_submitted_and_what_is_no_workflow(
    tmp_path: Path, chromium: str
) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.ask("parcel-2", StartInstance(program="flow.py", input=b"1"))
        await world.signal("parcel-2", "approval", {"way": "box"})
        begin = write_begin(begun(LINEAR, 1))
        await world.ask("submitted", StartInstance(program=program_of(LINEAR), input=begin))
        await world.start("plain", ["save", 1])
        page = await world.visit("#/instances/parcel-2")
        await page.wait(states("pack: waiting", "stamp: skipped"))
        label = "[...document.querySelectorAll('.node.waiting')].at(-1).getAttribute('aria-label')"
        assert "1 failed tries, OSError('there is no more tape')" in await page.evaluate(label)

        await page.evaluate("location.hash = '#/instances/submitted'")
        await page.wait(states("a: due", "b: not_reached"))

        await page.evaluate("location.hash = '#/instances/plain'")
        await page.wait(
            "document.querySelector('h1').textContent === 'plain' && document.querySelector('.timeline .mark')"
        )
        assert await page.evaluate("document.querySelector('.graph-card').hidden")
    assert quiet(page)

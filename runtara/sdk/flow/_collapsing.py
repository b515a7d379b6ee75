"""A graph that is too large to be looked at, made small enough: what stands alike is told once, with how much it is.

What is under way is kept, and so are the ends of each run of nodes, or of branches, that stand alike. Pure.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from msgspec.structs import replace

from runtara.sdk.flow.graph import Graph, GraphBranch, GraphNode, NodeState

__all__ = ["collapsed"]

_KEPT: Final = 3
"""So many nodes, or branches, at each end of a run that stands alike."""

_DEPTH: Final = 8
"""From here on inwards, nodes are only counted, and further outwards where that is not enough."""

_QUIET: Final[tuple[NodeState | None, ...]] = (None, "done", "not_reached", "skipped", "stopped")
"""How nodes stand that may be told together."""


def collapsed(graph: Graph, nodes_max: int) -> Graph:
    """Return a graph of at most so many nodes, or of few more, that says how many it does not show."""
    whole = _count(graph.nodes)
    if whole <= nodes_max:
        return graph
    nodes, depth = _shortened(graph.nodes), _DEPTH
    while _count(nodes) > nodes_max and depth:
        depth -= 1
        nodes = _cut(nodes, depth)
    return replace(graph, nodes=nodes, hidden=whole - sum(one.id != _MORE for one in _every(nodes)))


def _shortened(nodes: tuple[GraphNode, ...]) -> tuple[GraphNode, ...]:
    inside = [replace(node, branches=_fewer(node.branches)) for node in nodes]
    kept: list[GraphNode] = []
    for state, run in groupby(range(len(nodes)), lambda i: nodes[i].state):
        members = list(run)
        head, middle, tail = _ends(members) if state in _QUIET else (members, [], [])
        kept += [inside[i] for i in head]
        kept += [_more([nodes[i] for i in middle], state)] if middle else []
        kept += [inside[i] for i in tail]
    return tuple(kept)


def _fewer(branches: tuple[GraphBranch, ...]) -> tuple[GraphBranch, ...]:
    inside = [replace(branch, nodes=_shortened(branch.nodes)) for branch in branches]
    kept: list[GraphBranch] = []
    for states, run in groupby(range(len(branches)), lambda i: [node.state for node in branches[i].nodes]):
        head, middle, tail = _ends(list(run))
        kept += [inside[i] for i in head]
        kept += [_more_branches([branches[i] for i in middle], _foremost(states))] if middle else []
        kept += [inside[i] for i in tail]
    return tuple(kept)


def _ends(run: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Return what is kept of a run at its beginning, what is told together, and what is kept at its end."""
    if len(run) <= 2 * _KEPT + 1:
        return run, [], []
    return run[:_KEPT], run[_KEPT:-_KEPT], run[-_KEPT:]


def _foremost(states: list[NodeState | None]) -> NodeState | None:
    """Return where a branch is: at the first of its nodes that is not done."""
    return next((state for state in states if state != "done"), "done")


_MORE: Final = "…"


def _more(nodes: Sequence[GraphNode], state: NodeState | None) -> GraphNode:
    return GraphNode(id=_MORE, title=f"… {_count(nodes):,} more nodes", state=state)


def _more_branches(branches: Sequence[GraphBranch], state: NodeState | None) -> GraphBranch:
    count = sum(_count(branch.nodes) for branch in branches)
    node = GraphNode(id=_MORE, title=f"… {count:,} nodes of {len(branches):,} more branches", state=state)
    return GraphBranch(key=_MORE, nodes=(node,))


def _cut(nodes: tuple[GraphNode, ...], depth: int) -> tuple[GraphNode, ...]:
    """Return nodes of which nothing deeper inside is shown, only counted."""
    return tuple(_closed(node) if not depth else _cut_inside(node, depth - 1) for node in nodes)


def _cut_inside(node: GraphNode, depth: int) -> GraphNode:
    return replace(node, branches=tuple(replace(branch, nodes=_cut(branch.nodes, depth)) for branch in node.branches))


def _closed(node: GraphNode) -> GraphNode:
    if not node.branches:
        return node
    count = sum(_count(branch.nodes) for branch in node.branches)
    words = [word for word in (node.detail, f"{count:,} nodes inside") if word]
    return replace(node, branches=(), kind="task", detail=" · ".join(words))


def _count(nodes: Sequence[GraphNode]) -> int:
    return sum(1 for _ in _every(nodes))


def _every(nodes: Sequence[GraphNode]) -> list[GraphNode]:
    found = list(nodes)
    for node in found:  # grows while it is read
        for branch in node.branches:
            found.extend(branch.nodes)
    return found

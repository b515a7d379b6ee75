"""The graph of a workflow, to be looked at: its nodes, what is inside them, and how each of them stands in an instance.

Made of a workflow, or of what an instance keeps of the one that it was begun with. Drawn as Mermaid or as text by
`_drawing`; what each node's state is, `_states` decides.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from runtara.decoders import decode_json
from runtara.sdk.flow._nodes import Child, Delay, Fork, Loop, Node, Route, Steps, Task, WaitForSignal
from runtara.sdk.flow._policies import OnMax, written_duration

__all__ = ["DRAWN_MAX", "Graph", "GraphBranch", "GraphNode", "NodeState"]

NodeState = Literal[
    "not_reached", "due", "running", "waiting", "awaiting_signal", "done", "failed", "stopped", "skipped"
]
"""``due``: next, once the instance goes on. ``stopped``: was next when the instance ended elsewhere. ``skipped``: of a
branch that was not taken. A node with others inside it stands as the one of them does that matters most."""


DRAWN_MAX: Final = 2_000
"""Most nodes that are drawn one by one, unless it is said otherwise."""


class GraphBranch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the sequences inside a node."""

    key: str = ""
    """Name of the branch of a fork, key of that of a route; empty inside a child."""
    nodes: "tuple[GraphNode, ...]" = ()
    is_default: bool = False
    """Whether it is taken where no other branch has the key."""


class GraphNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node, and how it stands where the graph is that of an instance."""

    id: str
    kind: str = "task"
    """``task``, ``fork``, ``delay``, ``await_signal``, ``branch``, ``loop`` or ``child_workflow``."""
    title: str = ""
    """What it is called for people, where that is not its id."""
    detail: str = ""
    """What else is to be said of it: how long a delay is, how often a loop may go round."""
    signal_name: str = ""
    """What it waits for."""
    max_iterations: int = 0
    fails_at_max: bool = False
    branches: tuple[GraphBranch, ...] = ()
    place: str = ""
    """Under what its result is kept: its id, behind those of the children that it is in."""
    state: NodeState | None = None
    """None in the graph of a workflow."""
    wake_at: datetime | None = None
    """When its delay, its time for a signal, or the wait before its next try is over."""
    iteration: int = 0
    """Of a loop: the one that it is in, or was in last, from 1."""
    failed_tries: int = 0
    """How often its task has failed so far."""
    error: str = ""
    """With what, the last time."""

    @property
    def label(self) -> str:
        """What it is called for people."""
        return self.title or self.id


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes of a workflow, in their order."""

    workflow: str
    """Its name."""
    nodes: tuple[GraphNode, ...]
    instance_id: str | None = None
    """None in the graph of a workflow."""
    status: str | None = None
    """How the instance stands, as `WorkflowStatus.status` says it."""
    hidden: int = 0
    """How many nodes are not among these, of a graph that was too large to be drawn whole."""

    @classmethod
    def of(cls, workflow: str, steps: Steps) -> "Graph":
        """Return the graph of a workflow."""
        return cls(workflow=workflow, nodes=_placed(_nodes(steps)))

    @staticmethod
    def to_keep(steps: Steps) -> bytes:
        """Return the nodes of a workflow as each instance keeps them: as JSON, without what can be told again."""
        return msgspec.json.encode(_nodes(steps))

    @classmethod
    def kept_as(cls, workflow: str, nodes: bytes) -> "Graph":
        """Return the graph whose nodes are kept as these bytes."""
        return cls(workflow=workflow, nodes=_placed(decode_json(nodes, tuple[GraphNode, ...])))

    def iter_nodes(self) -> Iterator[GraphNode]:
        """Return every node, each before what is inside it and behind it."""
        return _iter(self.nodes)

    def to_mermaid(self, nodes_max: int | None = DRAWN_MAX) -> str:
        """Return the graph as a Mermaid flowchart, coloured by state where it is that of an instance.

        Of more than `nodes_max` nodes, those that stand alike are told together, with how many they are.
        """
        from runtara.sdk.flow._drawing import mermaid

        return mermaid(self._to_draw(nodes_max))

    def to_text(self, nodes_max: int | None = DRAWN_MAX) -> str:
        """Return the graph as lines of text, one for each node; of too many nodes, as `to_mermaid` does."""
        from runtara.sdk.flow._drawing import text

        return text(self._to_draw(nodes_max))

    def _to_draw(self, nodes_max: int | None) -> "Graph":
        from runtara.sdk.flow._collapsing import collapsed

        return self if nodes_max is None else collapsed(self, nodes_max)


def _placed(nodes: tuple[GraphNode, ...], where: str = "") -> tuple[GraphNode, ...]:
    """Return nodes that know under what their results are kept. Of what others have written, empty branches go."""
    return tuple(
        replace(
            node,
            place=where + node.id,
            branches=tuple(
                replace(one, nodes=_placed(one.nodes, _inner_place(node, where))) for one in node.branches if one.nodes
            ),
        )
        for node in nodes
    )


def _inner_place(node: GraphNode, where: str) -> str:
    """Return what stands before the places of what is inside a node; only children have places of their own."""
    return f"{where}{node.id}/" if node.kind == "child_workflow" else where


def _iter(nodes: tuple[GraphNode, ...]) -> Iterator[GraphNode]:
    for node in nodes:
        yield node
        for branch in node.branches:
            yield from _iter(branch.nodes)


# Of a workflow --------------------------------------------------------------------------------------------------------


def _nodes(steps: Steps) -> tuple[GraphNode, ...]:
    return tuple(_NODE[type(node)](node) for node in steps)


def _task(node: Task) -> GraphNode:
    return GraphNode(id=node.id, title=node.spec.metadata.display_name or "")


def _delay(node: Delay) -> GraphNode:
    return GraphNode(id=node.id, kind="delay", detail=written_duration(node.duration))


def _signal(node: WaitForSignal) -> GraphNode:
    limit = "" if node.timeout is None else f", at most {written_duration(node.timeout)}"
    detail = f"signal {node.signal_name}{limit}"
    return GraphNode(id=node.id, kind="await_signal", detail=detail, signal_name=node.signal_name)


def _fork(node: Fork) -> GraphNode:
    branches = tuple(GraphBranch(key=name, nodes=_nodes(steps)) for name, steps in node.branches)
    return GraphNode(id=node.id, kind="fork", title="fork", branches=branches)


def _route(node: Route) -> GraphNode:
    branches = [GraphBranch(key=key, nodes=_nodes(steps)) for key, steps in node.branches]
    if node.default is not None:
        branches.append(GraphBranch(key="default", nodes=_nodes(node.default), is_default=True))
    return GraphNode(
        id=node.id, kind="branch", title=node.key.spec.metadata.display_name or "", branches=tuple(branches)
    )


def _loop(node: Loop) -> GraphNode:
    return GraphNode(
        id=node.id,
        kind="loop",
        title=node.body.spec.metadata.display_name or _own_name(node.body),
        detail=f"at most {node.max_iterations} times",
        max_iterations=node.max_iterations,
        fails_at_max=node.on_max is OnMax.FAIL,
    )


def _own_name(body: Task) -> str:
    """Return what the body of a loop is called, for people; nothing, where it has only got a number."""
    return "" if body.id.startswith("lambda_") else body.id


def _child(node: Child) -> GraphNode:
    inner = GraphBranch(nodes=_nodes(node.steps))
    return GraphNode(id=node.id, kind="child_workflow", detail=f"workflow {node.name}", branches=(inner,))


_NODE: Final[dict[type[Node], Callable[[Any], GraphNode]]] = {
    Task: _task,
    Delay: _delay,
    WaitForSignal: _signal,
    Fork: _fork,
    Route: _route,
    Loop: _loop,
    Child: _child,
}

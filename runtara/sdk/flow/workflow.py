"""A workflow: a graph of tasks under a name, built once, run as often as wanted."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import msgspec

from runtara.sdk.flow._codecs import JSON, Codec
from runtara.sdk.flow._definition import definition_hash, definition_text
from runtara.sdk.flow._nodes import Child, Delay, Fork, Loop, Node, Route, Steps, Task, WaitForSignal, inner, walk_nodes
from runtara.sdk.flow._policies import RetryPolicy, checked_priority
from runtara.sdk.flow.graph import DRAWN_MAX, Graph

__all__ = ["Migration", "NodeInfo", "Workflow", "WorkflowContext"]

I = TypeVar("I")  # noqa: E741 - input and output, as everywhere in this package
O = TypeVar("O")  # noqa: E741 - likewise


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one node of a workflow."""

    id: str
    kind: str
    """``task``, ``fork``, ``delay``, ``await_signal``, ``branch``, ``loop`` or ``child_workflow``."""
    predecessor_id: str | None = None
    """The node before it; in a fork, branch, loop or child, the node that it is inside of where it is the first."""
    timeout: timedelta | None = None
    """How long a try of a task, or a wait for a signal, may take; how long a delay is."""
    retry_policy: RetryPolicy | None = None
    priority: int | None = None
    tags: tuple[str, ...] = ()
    version: str | None = None

    @property
    def timeout_secs(self) -> float | None:
        """The same as `timeout`, in seconds."""
        return None if self.timeout is None else self.timeout.total_seconds()


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """Says that instances of an older definition may be continued with this one."""

    from_hash: str
    """`Workflow.definition_hash` of the older one."""
    renamed: Mapping[str, str] = {}
    """Ids of nodes of this definition, and what they were called in the older one."""


class WorkflowContext(msgspec.Struct, frozen=True):
    """What several workflows may have in common, or one of them says at once: for `Flow`, in place of the name."""

    name: str
    codec: Codec = JSON
    """Keeps the values."""
    metadata: Mapping[str, Any] | None = None
    """What is said about it beside its graph; ``priority`` is from 1, critical, to 5, minor."""


class Workflow(Generic[I, O]):
    """Made by `Flow.build()`; never changes."""

    def __init__(
        self,
        name: str,
        steps: Steps,
        *,
        metadata: Mapping[str, Any] | None,
        codec: Codec = JSON,
        migrations: tuple[Migration, ...] = (),
    ) -> None:
        self.name: Final = name
        self.steps: Final = steps
        self.metadata: Final = None if metadata is None else dict(metadata)
        self.codec: Final = codec
        self.migrations: Final = {one.from_hash: one for one in migrations}

    @property
    def workflow_id(self) -> str:
        """The name, as which instances of it are known."""
        return self.name

    @property
    def priority(self) -> int:
        """From 1, critical, to 5, minor: ``priority`` of its metadata, or 3."""
        return checked_priority((self.metadata or {}).get("priority", 3))

    @cached_property
    def definition(self) -> str:
        """The definition as a text."""
        return definition_text(self.steps)

    @cached_property
    def definition_hash(self) -> str:
        """SHA-256 of the definition; the same as that of sayiir 1.0 for the same graph."""
        return definition_hash(self.steps)

    @cached_property
    def graph(self) -> Graph:
        """The graph, to be looked at."""
        return Graph.of(self.name, self.steps)

    @cached_property
    def graph_json(self) -> bytes:
        """The nodes of the graph, as each instance keeps them."""
        return Graph.to_keep(self.steps)

    def to_mermaid(self, nodes_max: int | None = DRAWN_MAX) -> str:
        """Return the graph as a Mermaid flowchart; see `Graph.to_mermaid`."""
        return self.graph.to_mermaid(nodes_max)

    def to_text(self, nodes_max: int | None = DRAWN_MAX) -> str:
        """Return the graph as lines of text, one for each node; see `Graph.to_text`."""
        return self.graph.to_text(nodes_max)

    def iter_nodes(self) -> list[NodeInfo]:
        """Return every node, each before what is inside it and behind it."""
        return list(_infos(self.steps, None))

    # As the field's binding calls them, where its engines are handed a workflow in parts

    @property
    def _inner(self) -> "Workflow[I, O]":
        return self

    @cached_property
    def _task_registry(self) -> dict[str, Callable[..., Any]]:
        tasks = [node for node in walk_nodes(self.steps) if isinstance(node, Task)]
        return {node.id: node.spec.function for node in reversed(tasks)}  # that of a parent goes before a child's

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, {self.definition_hash[:12]})"


def _infos(steps: Steps, outer: str | None) -> Iterator[NodeInfo]:
    before = outer
    for node in steps:
        yield _INFO[type(node)](node, before)
        for part in _parts(node):
            yield from _infos(part, node.id)
        before = node.id


def _parts(node: Node) -> Iterator[Steps]:
    """Return the sequences inside a node; a route's key function is no node of its own."""
    return (part for part in inner(node) if not (isinstance(node, Route) and part == (node.key,)))


def _task_info(node: Task, before: str | None) -> NodeInfo:
    metadata = node.spec.metadata
    return NodeInfo(
        id=node.id,
        kind="task",
        predecessor_id=before,
        timeout=metadata.timeout,
        retry_policy=metadata.retries,
        priority=metadata.priority,
        tags=tuple(metadata.tags or ()),
        version=metadata.version,
    )


def _of_kind(kind: str) -> Callable[[Any, str | None], NodeInfo]:
    return lambda node, before: NodeInfo(
        id=node.id, kind=kind, predecessor_id=before, timeout=getattr(node, "timeout", getattr(node, "duration", None))
    )


_INFO: Final[dict[type, Callable[[Any, str | None], NodeInfo]]] = {
    Task: _task_info,
    Delay: _of_kind("delay"),
    WaitForSignal: _of_kind("await_signal"),
    Fork: _of_kind("fork"),
    Route: _of_kind("branch"),
    Loop: _of_kind("loop"),
    Child: _of_kind("child_workflow"),
}

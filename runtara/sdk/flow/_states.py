"""How each node of an instance stands: decided from what the runtime knows of the instance. Pure.

The console decides the same in a browser (transport/http/ui/flow_states.js); one table of cases holds both to it.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from runtara.lifecycle import Status
from runtara.messages import Step
from runtara.sdk.flow._kept import PREFIX, instant_at
from runtara.sdk.flow.graph import Graph, GraphBranch, GraphNode, NodeState
from runtara.sdk.flow.status import TaskFailure

__all__ = ["Facts", "peeks", "with_states"]

Nodes = tuple[GraphNode, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime knows of an instance."""

    status: Status
    now_ms: int
    steps: tuple[Step, ...] = ()
    """All that it has done, in order."""
    states: Mapping[str, str] = {}
    """By place: the key that a route's function has returned; ``+`` or ``-`` for whether a loop goes on."""
    failure: TaskFailure | None = None


def with_states(graph: Graph, facts: Facts) -> Graph:
    """Return a graph whose nodes say how they stand."""
    return replace(graph, nodes=_Reading(facts).sequence(graph.nodes, True).nodes)


def peeks(graph: Graph, steps: tuple[Step, ...]) -> list[str]:
    """Return the places of which must be known what came of them, not only that something did."""
    results = _Results(steps)
    routes = [_key_place(node) for node in graph.iter_nodes() if node.kind == "branch"]
    loops = [_last_place(node, results) for node in graph.iter_nodes() if node.kind == "loop"]
    return [place for place in (*routes, *loops) if place in results.kept]


class _Results:
    """What steps say, by place."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.kept: set[str] = set()
        self.sleeps: dict[str, Step] = {}
        self.waits: dict[str, Step] = {}
        self.tries: dict[str, Step] = {}
        """The last failed one of each."""
        for step in steps:
            if step.step_id.startswith(PREFIX):
                self._add(step.step_id.removeprefix(PREFIX), step)

    def _add(self, place: str, step: Step) -> None:
        if step.type == "checkpoint":
            self.kept.add(place)
        elif step.type in _BY_TYPE:
            getattr(self, _BY_TYPE[step.type])[place] = step

    def iterations(self, node: GraphNode) -> int:
        """Return how many iterations of a loop are over."""
        count = 0
        while f"{node.place}#{count + 1}" in self.kept:
            count += 1
        return count


_BY_TYPE: Final = {"sleep": "sleeps", "signal": "waits", "retry": "tries"}


def _key_place(node: GraphNode) -> str:
    return f"{node.place}::key_fn"


def _last_place(node: GraphNode, results: _Results) -> str:
    return f"{node.place}#{results.iterations(node)}"


class _Read(NamedTuple):
    """Nodes that say how they stand, and whether all of them are over."""

    nodes: Nodes
    is_over: bool


class _Reading:
    """Goes over a graph as a walk does, as far as that has come."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._results = _Results(facts.steps)
        failure = facts.failure
        self._failed_at = "" if failure is None else failure.task_id

    def sequence(self, nodes: Nodes, reached: bool) -> _Read:
        """Read a sequence that was reached or not."""
        read: list[GraphNode] = []
        for node in nodes:
            read.append(self._node(node) if reached else _all(node, "not_reached"))
            reached = read[-1].state == "done"
        return _Read(tuple(read), reached)

    def _node(self, node: GraphNode) -> GraphNode:
        return _READ.get(node.kind, _Reading.task)(self, node)

    # Each kind of node

    def task(self, node: GraphNode) -> GraphNode:
        """Kept, or next."""
        return replace(node, state="done") if node.place in self._results.kept else self._next(node, node.place)

    def loop(self, node: GraphNode) -> GraphNode:
        """Over with the iteration that says so, or with the last one that there may be."""
        over = self._results.iterations(node)
        last = f"{node.place}#{over}"
        if self._facts.status is Status.COMPLETED or (over and self._facts.states.get(last) == "-"):
            return replace(node, state="done", iteration=over)
        if over < node.max_iterations:
            return replace(self._next(node, f"{node.place}#{over + 1}"), iteration=over + 1)
        return replace(self._next(node, last) if node.fails_at_max else replace(node, state="done"), iteration=over)

    def delay(self, node: GraphNode) -> GraphNode:
        """Over when its time is."""
        sleep = self._results.sleeps.get(node.place)
        if sleep is None or sleep.wake_at is None:
            return self._next(node, node.place)
        if sleep.wake_at <= self._facts.now_ms or self._facts.status is Status.COMPLETED:
            return replace(node, state="done")
        return self._resting(node, "waiting", sleep.wake_at)

    def signal(self, node: GraphNode) -> GraphNode:
        """Over when one was taken, or none came in time."""
        wait = self._results.waits.get(node.place)
        if self._facts.status is Status.COMPLETED or (wait is not None and wait.completed_at is not None):
            return replace(node, state="done")
        return self._resting(node, "awaiting_signal", None if wait is None else wait.wake_at)

    def all_at_once(self, node: GraphNode) -> GraphNode:
        """Over when all that is inside is."""
        return self._with_inner(node, node.branches)

    def route(self, node: GraphNode) -> GraphNode:
        """Only one branch is gone into."""
        place = _key_place(node)
        if place not in self._results.kept:
            return replace(self._next(node, place), branches=_not_reached(node.branches))
        taken = self._taken(node, place)
        if taken is None:
            return replace(self._next(node, place), branches=_not_reached(node.branches))
        read = self._with_inner(node, (taken,))
        branches = tuple(read.branches[0] if one is taken else _every(one, "skipped") for one in node.branches)
        return replace(read, branches=branches)

    def _taken(self, node: GraphNode, place: str) -> GraphBranch | None:
        """Return the branch that was taken; where the key cannot be read, the one of which something is known."""
        key = self._facts.states.get(place)
        if key is not None:
            default = next((one for one in node.branches if one.is_default), None)
            return next((one for one in node.branches if one.key == key and not one.is_default), default)
        return next((one for one in node.branches if self._has_begun(one)), None)

    def _has_begun(self, branch: GraphBranch) -> bool:
        first = branch.nodes[0]
        return any(first.place in found for found in (self._results.kept, self._results.tries))

    # What is in common

    def _with_inner(self, node: GraphNode, branches: tuple[GraphBranch, ...]) -> GraphNode:
        """Read the branches of a node, and say of itself what matters most of what is said of them."""
        read = [self.sequence(branch.nodes, True) for branch in branches]
        inner = tuple(replace(branch, nodes=one.nodes) for branch, one in zip(branches, read, strict=True))
        found = {one.state for branch in inner for one in branch.nodes}
        state = "done" if all(one.is_over for one in read) else next(one for one in _FIRST if one in found)
        return replace(node, state=state, branches=inner)

    def _next(self, node: GraphNode, place: str) -> GraphNode:
        """Return a node that is next, with what is known of its tries."""
        state = self._state_of_next(node, place)
        failure = self._facts.failure
        error = failure.message if failure is not None and state == "failed" else ""
        last = self._results.tries.get(place)
        if last is None:
            return replace(node, state=state, error=error)
        node = replace(node, state=state, failed_tries=last.attempt or 0, error=error or last.error or "")
        if state not in ("running", "due") or (last.wake_at or 0) <= self._facts.now_ms:
            return node
        return replace(node, state="waiting", wake_at=instant_at(last.wake_at))

    def _state_of_next(self, node: GraphNode, place: str) -> NodeState:
        if self._facts.status is not Status.FAILED:
            return _NEXT[self._facts.status]
        return "failed" if self._failed_at in (place, node.place, "") else "stopped"

    def _resting(self, node: GraphNode, state: NodeState, wake_at: int | None) -> GraphNode:
        """Return a node that rests, unless the instance has ended."""
        if self._facts.status in (Status.FAILED, Status.CANCELLED):
            return replace(node, state="stopped")
        return replace(node, state=state, wake_at=instant_at(wake_at))


_READ: Final[dict[str, Callable[[_Reading, GraphNode], GraphNode]]] = {
    "task": _Reading.task,
    "loop": _Reading.loop,
    "delay": _Reading.delay,
    "await_signal": _Reading.signal,
    "fork": _Reading.all_at_once,
    "child_workflow": _Reading.all_at_once,
    "branch": _Reading.route,
}

_NEXT: Final[dict[Status, NodeState]] = {
    Status.PENDING: "due",
    Status.RUNNING: "running",
    Status.SUSPENDED: "due",
    Status.COMPLETED: "done",
    Status.CANCELLED: "stopped",
}
"""How what is next stands in an instance that has not failed."""

_FIRST: Final[tuple[NodeState, ...]] = ("failed", "running", "due", "awaiting_signal", "waiting", "stopped", "done")
"""What matters most of what is inside a node."""


def _all(node: GraphNode, state: NodeState) -> GraphNode:
    return replace(node, state=state, branches=tuple(_every(one, state) for one in node.branches))


def _every(branch: GraphBranch, state: NodeState) -> GraphBranch:
    return replace(branch, nodes=tuple(_all(node, state) for node in branch.nodes))


def _not_reached(branches: tuple[GraphBranch, ...]) -> tuple[GraphBranch, ...]:
    return tuple(_every(one, "not_reached") for one in branches)

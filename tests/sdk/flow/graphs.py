"""The workflows that every runner is tried with: one or more of every kind of node, with what they come to."""

from collections.abc import Callable
from typing import Any, NamedTuple

from runtara.sdk.flow import Flow, LoopResult, NodeInfo, RetryPolicy, Workflow, task
from runtara.sdk.flow._nodes import Loop, walk_nodes

__all__ = ["GRAPHS", "Calls", "Graph", "drawn"]


def drawn(workflow: Workflow[Any, Any]) -> list[NodeInfo]:
    """Return the nodes of a workflow that have a place of their own: not the bodies of loops."""
    bodies = {node.body.id for node in walk_nodes(workflow.steps) if isinstance(node, Loop)}
    return [node for node in workflow.iter_nodes() if node.id not in bodies]


class Calls:
    """How often each task was called. Named functions, so that a workflow can be told by its definition.

    `inside` is told of each call in the middle of it, and may raise.
    """

    def __init__(self, inside: Callable[[str], object] = lambda _: None) -> None:
        self.seen: list[str] = []
        self._inside = inside

    def task(self, name: str, function: Callable[[Any], Any], **options: Any) -> Callable[[Any], Any]:
        """Return a plain task that takes note of being called."""

        def call(value: Any) -> Any:
            self.seen.append(name)
            self._inside(name)
            return function(value)

        return task(name, **options)(call)

    def async_task(self, name: str, function: Callable[[Any], Any], **options: Any) -> Callable[[Any], Any]:
        """Return an async task that takes note of being called."""

        async def call(value: Any) -> Any:
            self.seen.append(name)
            self._inside(name)
            return function(value)

        return task(name, **options)(call)


class Graph(NamedTuple):
    """A workflow, an input, and what comes of it."""

    name: str
    build: Callable[[Calls], Workflow[Any, Any]]
    input: Any
    output: Any
    tasks: int
    """How many calls of tasks a run without a crash takes."""


def _linear(calls: Calls) -> Workflow[Any, Any]:
    return (
        Flow("linear")
        .then(calls.task("add", lambda x: x + 1))
        .then(calls.async_task("double", lambda x: x * 2))
        .then(calls.task("pair", lambda x: (x, "é")))
        .then(calls.task("count", lambda pair: [type(pair).__name__, *pair]))
        .build()
    )


def _fork(calls: Calls) -> Workflow[Any, Any]:
    return (
        Flow("fork")
        .then(calls.task("start", lambda x: x))
        .fork()
        .branch(calls.task("a", lambda x: x + 1))
        .branch(calls.async_task("b", lambda x: x * 2), calls.task("c", lambda x: x * 10))
        .branch(calls.task("d", lambda _: None))
        .join(calls.task("join", lambda outputs: outputs))
        .build()
    )


def _route(calls: Calls) -> Workflow[Any, Any]:
    return (
        Flow("route")
        .route(
            calls.task("size", lambda x: "big" if x > 10 else "odd" if x % 2 else "other"), keys=["big", "odd", "other"]
        )
        .branch("big", calls.task("shrink", lambda x: x - 10))
        .branch("odd", calls.task("grow", lambda x: x + 1), calls.async_task("square", lambda x: x * x))
        .default_branch(calls.task("keep", lambda x: x))
        .done()
        .then(calls.task("open", lambda envelope: [envelope["branch"], envelope["result"]]))
        .build()
    )


def _loop(calls: Calls) -> Workflow[Any, Any]:
    def body(x: int) -> LoopResult[int]:
        return LoopResult.Again(x + 1) if x < 4 else LoopResult.Done(x * 100)

    return (
        Flow("loop")
        .then(calls.task("first", lambda x: x))
        .loop(calls.task("climb", body))
        .then(calls.task("last", lambda x: x + 1))
        .build()
    )


def _endless(calls: Calls) -> Workflow[Any, Any]:
    return (
        Flow("endless")
        .loop(calls.task("again", lambda x: LoopResult.Again(x + 1)), max_iterations=3, on_max="exit_with_last")
        .build()
    )


def _child(calls: Calls) -> Workflow[Any, Any]:
    inner = Flow("inner").then(calls.task("add", lambda x: x + 1)).then(calls.task("twice", lambda x: x * 2)).build()
    return Flow("outer").then(calls.task("add", lambda x: x + 10)).then_flow(inner).then_flow(inner).build()


def _delay(calls: Calls) -> Workflow[Any, Any]:
    return (
        Flow("delay")
        .then(calls.task("before", lambda x: x + 1))
        .delay("nap", "10ms")
        .then(calls.task("after", lambda x: x * 2))
        .build()
    )


def _timeout(calls: Calls) -> Workflow[Any, Any]:
    return Flow("silence").wait_for_signal("go", timeout="10ms").then(calls.task("told", lambda x: {"got": x})).build()


def _retries(calls: Calls) -> Workflow[Any, Any]:
    def flaky(x: int) -> int:
        if calls.seen.count("flaky") < 3:
            raise OSError("not yet")
        return x + 1

    policy = RetryPolicy(max_retries=5, initial_delay_secs=0.001)
    return Flow("retries").then(calls.task("flaky", flaky, retries=policy)).then(calls.task("end", lambda x: x)).build()


GRAPHS = (
    Graph("linear", _linear, 1, ["list", 4, "é"], 4),
    Graph("fork", _fork, 3, {"a": 4, "b": 60, "d": None}, 6),
    Graph("route-big", _route, 20, ["big", 10], 3),
    Graph("route-odd", _route, 3, ["odd", 16], 4),
    Graph("route-default", _route, 4, ["other", 4], 3),
    Graph("loop", _loop, 1, 401, 6),
    Graph("loop-cut-short", _endless, 1, 4, 3),
    Graph("child", _child, 1, 50, 5),
    Graph("delay", _delay, 1, 4, 2),
    Graph("silence", _timeout, 1, {"got": None}, 1),
    Graph("retries", _retries, 1, 2, 4),
)

"""Instances as the runtime may know of them, with how each node then stands: for our two readers of that, here and in
the console."""

from typing import Any, NamedTuple

from msgspec.structs import replace

from runtara.lifecycle import Status
from runtara.messages import Step
from runtara.sdk.flow import Flow, Graph, LoopResult, Workflow, task
from runtara.sdk.flow._states import Facts, with_states
from runtara.sdk.flow.status import TaskFailure

__all__ = ["CASES", "Case", "shape"]

NOW = 1_000_000


class Case(NamedTuple):
    """A workflow, what is known of an instance of it, and how its nodes stand, in their order."""

    name: str
    workflow: Workflow[Any, Any]
    facts: Facts
    states: str


def named(name: str) -> Any:
    """Return a task that does nothing."""
    return task(name)(lambda x: x)


LINEAR = Flow("linear").then(named("a")).then(named("b")).then(named("c")).build()
FORK = Flow("fork").fork().branch(named("a")).branch(named("b1"), named("b2")).join(named("join")).build()
ROUTE = (
    Flow("route")
    .route(lambda x: x)
    .branch("x", named("a"))
    .branch("y", named("b"))
    .default_branch(named("c"))
    .done()
    .then(named("end"))
    .build()
)
STRICT = Flow("strict").route(lambda x: x).branch("x", named("a")).done().build()
LOOP = Flow("loop").loop(LoopResult.Done, max_iterations=3).then(named("end")).build()
EXITS = Flow("exits").loop(LoopResult.Done, max_iterations=2, on_max="exit_with_last").then(named("end")).build()
RESTS = Flow("rests").delay("nap", "1h").wait_for_signal("go").then(named("end")).build()
CHILD = (
    Flow("child")
    .then(named("a"))
    .then_flow(Flow("in").then(named("a")).delay("nap", 1).build())
    .then(named("z"))
    .build()
)


def kept(*places: str) -> tuple[Step, ...]:
    """Return checkpoints."""
    return tuple(step("checkpoint", place, status="completed", completed_at=10) for place in places)


def step(kind: str, place: str, **more: Any) -> Step:
    """Return something that was done."""
    return replace(Step(step_id=f"flow::{place}", type=kind, status="running", started_at=10), **more)


def tried(place: str, attempt: int, retry_at: int) -> Step:
    """Return a failed try."""
    return step("retry", place, status="failed", attempt=attempt, wake_at=retry_at, error="OSError('no')")


def facts(status: Status, *steps: Step, **more: Any) -> Facts:
    """Return what is known of an instance."""
    return Facts(status=status, now_ms=NOW, steps=steps, **more)


def failed(place: str) -> TaskFailure:
    """Return why it has failed."""
    return TaskFailure(task_id=place, error_type="ValueError", message="no luck")


RUNNING, SUSPENDED = Status.RUNNING, Status.SUSPENDED
FAILED, COMPLETED, CANCELLED = Status.FAILED, Status.COMPLETED, Status.CANCELLED

CASES = (
    Case("nothing is done yet", LINEAR, facts(RUNNING), "running, not_reached, not_reached"),
    Case("one is done", LINEAR, facts(RUNNING, *kept("a")), "done, running, not_reached"),
    Case("it was interrupted", LINEAR, facts(SUSPENDED, *kept("a")), "done, due, not_reached"),
    Case("it was cancelled", LINEAR, facts(CANCELLED, *kept("a")), "done, stopped, not_reached"),
    Case("all is done", LINEAR, facts(COMPLETED, *kept("a", "b", "c")), "done, done, done"),
    Case(
        "a task failed", LINEAR, facts(FAILED, *kept("a"), failure=failed("b")), "done, failed (no luck), not_reached"
    ),
    Case("it failed, and nobody said where", LINEAR, facts(FAILED), "failed, not_reached, not_reached"),
    Case(
        "a task is tried again",
        LINEAR,
        facts(RUNNING, tried("a", 1, 5), tried("a", 2, NOW)),
        "running after 2 (OSError('no')), not_reached, not_reached",
    ),
    Case(
        "a task waits to be tried again",
        LINEAR,
        facts(RUNNING, tried("a", 1, NOW + 5)),
        "waiting until 1000005 after 1 (OSError('no')), not_reached, not_reached",
    ),
    Case(
        "what is not of the workflow",
        LINEAR,
        facts(RUNNING, step("checkpoint", "z")),
        "running, not_reached, not_reached",
    ),
    Case("branches run at once", FORK, facts(RUNNING, *kept("b1")), "running, running, done, running, not_reached"),
    Case("one branch is done", FORK, facts(RUNNING, *kept("a")), "running, done, running, not_reached, not_reached"),
    Case("all branches are done", FORK, facts(RUNNING, *kept("a", "b1", "b2")), "done, done, done, done, running"),
    Case(
        "one branch failed",
        FORK,
        facts(FAILED, *kept("b1"), failure=failed("a")),
        "failed, failed (no luck), done, stopped, not_reached",
    ),
    Case("no key yet", ROUTE, facts(RUNNING), "running, not_reached, not_reached, not_reached, not_reached"),
    Case(
        "a key",
        ROUTE,
        facts(RUNNING, *kept("branch_0::key_fn"), states={"branch_0::key_fn": "y"}),
        "running, skipped, running, skipped, not_reached",
    ),
    Case(
        "another key",
        ROUTE,
        facts(RUNNING, *kept("branch_0::key_fn", "c"), states={"branch_0::key_fn": "default"}),
        "done, skipped, skipped, done, running",
    ),
    Case(
        "a key that cannot be read",
        ROUTE,
        facts(RUNNING, *kept("branch_0::key_fn", "b")),
        "done, skipped, done, skipped, running",
    ),
    Case(
        "a key that cannot be read, and nothing behind it",
        ROUTE,
        facts(RUNNING, *kept("branch_0::key_fn")),
        "running, not_reached, not_reached, not_reached, not_reached",
    ),
    Case(
        "a key without a branch",
        STRICT,
        facts(FAILED, *kept("branch_0::key_fn"), states={"branch_0::key_fn": "z"}, failure=failed("")),
        "failed (no luck), not_reached",
    ),
    Case(
        "the function of a route failed",
        ROUTE,
        facts(FAILED, failure=failed("branch_0::key_fn")),
        "failed (no luck), not_reached, not_reached, not_reached, not_reached",
    ),
    Case("the first iteration", LOOP, facts(RUNNING), "running #1, not_reached"),
    Case(
        "the second iteration",
        LOOP,
        facts(RUNNING, *kept("loop_0#1"), tried("loop_0#2", 1, 5), states={"loop_0#1": "+"}),
        "running #2 after 1 (OSError('no')), not_reached",
    ),
    Case(
        "a loop that is over",
        LOOP,
        facts(RUNNING, *kept("loop_0#1", "loop_0#2"), states={"loop_0#2": "-"}),
        "done #2, running",
    ),
    Case(
        "a loop that did not end",
        LOOP,
        facts(FAILED, *kept("loop_0#1", "loop_0#2", "loop_0#3"), states={"loop_0#3": "+"}, failure=failed("")),
        "failed #3 (no luck), not_reached",
    ),
    Case(
        "an iteration failed",
        LOOP,
        facts(FAILED, *kept("loop_0#1"), states={"loop_0#1": "+"}, failure=failed("loop_0#2")),
        "failed #2 (no luck), not_reached",
    ),
    Case(
        "a loop that was cut short",
        EXITS,
        facts(RUNNING, *kept("loop_0#1", "loop_0#2"), states={"loop_0#2": "+"}),
        "done #2, running",
    ),
    Case(
        "a delay",
        RESTS,
        facts(SUSPENDED, step("sleep", "nap", wake_at=NOW + 9)),
        "waiting until 1000009, not_reached, not_reached",
    ),
    Case(
        "a delay that is over",
        RESTS,
        facts(RUNNING, step("sleep", "nap", wake_at=NOW)),
        "done, awaiting_signal, not_reached",
    ),
    Case(
        "a delay of what was cancelled",
        RESTS,
        facts(CANCELLED, step("sleep", "nap", wake_at=NOW + 9)),
        "stopped, not_reached, not_reached",
    ),
    Case("a delay that has not begun", RESTS, facts(SUSPENDED), "due, not_reached, not_reached"),
    Case(
        "a signal with a deadline",
        RESTS,
        facts(SUSPENDED, step("sleep", "nap", wake_at=5), step("signal", "go", name="go", wake_at=NOW + 7)),
        "done, awaiting_signal until 1000007, not_reached",
    ),
    Case(
        "a signal that came",
        RESTS,
        facts(SUSPENDED, step("sleep", "nap", wake_at=5), step("signal", "go", completed_at=6)),
        "done, done, due",
    ),
    Case("inside a child", CHILD, facts(RUNNING, *kept("a")), "done, running, running, not_reached, not_reached"),
    Case(
        "a child rests",
        CHILD,
        facts(SUSPENDED, *kept("a", "child_0/a"), step("sleep", "child_0/nap", wake_at=NOW + 1)),
        "done, waiting, done, waiting until 1000001, not_reached",
    ),
    Case(
        "behind a child",
        CHILD,
        facts(RUNNING, *kept("a", "child_0/a"), step("sleep", "child_0/nap", wake_at=NOW - 1)),
        "done, done, done, done, running",
    ),
)


def shape(case: Case) -> str:
    """Return how the nodes of a case stand, in the words of the table."""
    return standing(with_states(case.workflow.graph, case.facts))


def standing(graph: Graph) -> str:
    """Return how the nodes of a graph stand, in the words of the table."""
    words = []
    for node in graph.iter_nodes():
        until = "" if node.wake_at is None else f" until {round(node.wake_at.timestamp() * 1000)}"
        iteration = f" #{node.iteration}" if node.iteration else ""
        tries = f" after {node.failed_tries}" if node.failed_tries else ""
        words.append(f"{node.state}{until}{iteration}{tries}" + (f" ({node.error})" if node.error else ""))
    return ", ".join(words)

"""The graph of a workflow: nodes in sequences, some of which hold sequences of their own. Only data, never changed."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec

from runtara.sdk.flow._policies import OnMax
from runtara.sdk.flow._tasks import TaskSpec

__all__ = ["Child", "Delay", "Fork", "Loop", "Node", "Route", "Steps", "Task", "WaitForSignal", "inner", "walk_nodes"]


class Task(msgspec.Struct, frozen=True):
    """Call a function with the output of the node before."""

    id: str
    spec: TaskSpec


class Delay(msgspec.Struct, frozen=True):
    """Wait, then go on with what there was before."""

    id: str
    duration: timedelta


class WaitForSignal(msgspec.Struct, frozen=True):
    """Wait for a signal, whose payload is the output; null, where none came in time."""

    id: str
    signal_name: str
    timeout: timedelta | None = None


class Fork(msgspec.Struct, frozen=True):
    """Run several sequences at once, each with the same input. The output is that of each, by its name."""

    id: str
    branches: "tuple[tuple[str, Steps], ...]"


class Route(msgspec.Struct, frozen=True):
    """Run the one sequence whose key a task returns. The output says which it was, and what it came to."""

    id: str
    key: Task
    branches: "tuple[tuple[str, Steps], ...]"
    default: "Steps | None" = None


class Loop(msgspec.Struct, frozen=True):
    """Call a task again and again, until it says that it is done."""

    id: str
    body: Task
    max_iterations: int
    on_max: OnMax


class Child(msgspec.Struct, frozen=True):
    """Run another workflow's sequence in this place."""

    id: str
    name: str
    steps: "Steps"


Node: TypeAlias = Task | Delay | WaitForSignal | Fork | Route | Loop | Child
Steps: TypeAlias = tuple[Any, ...]
"""A sequence of nodes. (`Any`, since msgspec does not read types that hold each other.)"""


def inner(node: Node) -> Iterator[Steps]:
    """Return the sequences inside a node, in the order in which they are written."""
    if isinstance(node, Fork):
        yield from (steps for _, steps in node.branches)
    elif isinstance(node, Route):
        yield (node.key,)
        yield from (steps for _, steps in node.branches)
        if node.default is not None:
            yield node.default
    elif isinstance(node, Loop):
        yield (node.body,)
    elif isinstance(node, Child):
        yield node.steps


def walk_nodes(steps: Steps) -> Iterator[Node]:
    """Return every node, each before what is inside it and behind it."""
    waiting = [iter(steps)]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
            continue
        yield node
        waiting.extend(iter(part) for part in reversed(list(inner(node))))

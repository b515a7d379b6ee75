"""Workflows that are too large to be looked at: long ones, wide ones, and deep ones."""

from typing import Any

from runtara.sdk.flow import Flow, Workflow
from tests.sdk.flow.standings import named

__all__ = ["line", "nested", "wide"]


def same(x: Any) -> Any:
    """Return what it is given."""
    return x


def line(count: int) -> Workflow[Any, Any]:
    """Return so many tasks, one after the other."""
    flow: Flow[Any, Any] = Flow("line")
    for number in range(count):
        flow = flow.then(same, name=f"n{number}")
    return flow.build()


def wide(branches: int, length: int) -> Workflow[Any, Any]:
    """Return a fork of so many branches, each with so many tasks."""
    fork = Flow("wide").fork()
    for number in range(branches):
        fork = fork.branch(*(named(f"b{number}.{step}") for step in range(length)))
    return fork.join(same).build()


def nested(depth: int) -> Workflow[Any, Any]:
    """Return five workflows, each of which holds five, and so on; two tasks at the bottom."""
    flow: Flow[Any, Any] = Flow("leaf").then(same, name="a").then(same, name="b")
    for level in range(depth):
        outer: Flow[Any, Any] = Flow(f"level {level}")
        for _ in range(5):
            outer = outer.then_flow(flow)
        flow = outer
    return flow.build()

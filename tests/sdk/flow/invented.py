"""Workflows that nobody thought of: invented from a seed, with what they must come to, found in another way."""

from collections.abc import Callable
from random import Random
from typing import Any

from runtara.sdk.flow import Flow, LoopResult, Workflow

__all__ = ["invent"]

_MOD = 997
_DEPTH = 2

Plan = list[tuple[str, Any]]
"""A workflow as data: the kind of each node, and what it is made of."""


def invent(seed: int) -> tuple[Workflow[Any, Any], int, int]:
    """Return a workflow, an input, and the output that it must come to."""
    random = Random(seed)
    plan = _plan(random, _DEPTH)
    value = random.randrange(_MOD)
    return _flow(plan, f"invented-{seed}").build(), value, _expected(plan, value)


def _plan(random: Random, depth: int) -> Plan:
    return [_node(random, depth) for _ in range(random.randint(1, 4))]


def _node(random: Random, depth: int) -> tuple[str, Any]:
    kind = random.choice(["task", "task", "async", "fork", "route", "loop", "delay", *(["child"] if depth else [])])
    if kind == "fork":
        return kind, [_factors(random) for _ in range(random.randint(1, 3))]
    if kind == "route":
        return kind, ([_factors(random) for _ in range(random.randint(1, 3))], random.random() < 0.5)
    if kind == "loop":
        return kind, (random.randint(1, 4), random.randint(1, 5))
    if kind == "child":
        return kind, _plan(random, depth - 1)
    return kind, _factor(random)


def _factor(random: Random) -> tuple[int, int]:
    return random.randrange(1, _MOD), random.randrange(_MOD)


def _factors(random: Random) -> list[tuple[int, int]]:
    return [_factor(random) for _ in range(random.randint(1, 2))]


# What it comes to -----------------------------------------------------------------------------------------------------


def _expected(plan: Plan, value: int) -> int:
    for kind, what in plan:
        value = _EXPECTED[kind](what, value)
    return value


def _step(what: tuple[int, int], value: int) -> int:
    return (value * what[0] + what[1]) % _MOD


def _steps(factors: list[tuple[int, int]], value: int) -> int:
    for what in factors:
        value = _step(what, value)
    return value


def _routed(what: Any, value: int) -> int:
    branches, has_default = what
    chosen = value % (len(branches) + has_default)
    return _steps(branches[chosen], value) if chosen < len(branches) else value


def _looped(what: tuple[int, int], value: int) -> int:
    rounds, most = what
    return (value + min(rounds, most)) % _MOD


_EXPECTED: dict[str, Callable[[Any, int], int]] = {
    "task": _step,
    "async": _step,
    "fork": lambda branches, value: sum(_steps(branch, value) for branch in branches) % _MOD,
    "route": _routed,
    "loop": _looped,
    "delay": lambda _, value: value,
    "child": _expected,
}


# How it is written ----------------------------------------------------------------------------------------------------


def _flow(plan: Plan, name: str) -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow(name)
    for number, (kind, what) in enumerate(plan):
        flow = _WRITTEN[kind](flow, what, f"n{number}")
    return flow


def _task(what: tuple[int, int]) -> Callable[[int], int]:
    return lambda value: _step(what, value)


def _async_task(what: tuple[int, int]) -> Callable[[int], Any]:
    async def call(value: int) -> int:
        return _step(what, value)

    return call


def _fork(flow: Flow[Any, Any], branches: list[list[tuple[int, int]]], name: str) -> Flow[Any, Any]:
    fork = flow.fork()
    for number, factors in enumerate(branches):
        fork = fork.branch(
            *_named(factors, f"{name}.{number}"), name=f"{name}.{number}.0" if len(factors) == 1 else f"{name}.{number}"
        )
    return fork.join(lambda outputs: sum(outputs.values()) % _MOD, name=f"{name}.join")


def _route(flow: Flow[Any, Any], what: Any, name: str) -> Flow[Any, Any]:
    branches, has_default = what
    route = flow.route(lambda value: str(value % (len(branches) + has_default)))
    for number, factors in enumerate(branches):
        route = route.branch(str(number), *_named(factors, f"{name}.{number}"))
    if has_default:
        route = route.default_branch(*_named([(1, 0)], f"{name}.default"))
    return route.done().then(lambda envelope: envelope["result"], name=f"{name}.open")


def _named(factors: list[tuple[int, int]], name: str) -> list[Callable[[int], int]]:
    functions = []
    for number, what in enumerate(factors):
        function = _task(what)
        function.__name__ = f"{name}.{number}"
        functions.append(function)
    return functions


def _loop(flow: Flow[Any, Any], what: tuple[int, int], name: str) -> Flow[Any, Any]:
    rounds, most = what

    def body(pair: list[int]) -> LoopResult[list[int]]:
        value, left = pair
        grown = [(value + 1) % _MOD, left - 1]
        return LoopResult.Again(grown) if left > 1 else LoopResult.Done(grown)

    return (
        flow.then(lambda value: [value, rounds], name=f"{name}.before")
        .loop(body, max_iterations=most, on_max="exit_with_last", name=name)
        .then(lambda pair: pair[0], name=f"{name}.after")
    )


_WRITTEN: dict[str, Callable[[Flow[Any, Any], Any, str], Flow[Any, Any]]] = {
    "task": lambda flow, what, name: flow.then(_task(what), name=name),
    "async": lambda flow, what, name: flow.then(_async_task(what), name=name),
    "fork": _fork,
    "route": _route,
    "loop": _loop,
    "delay": lambda flow, _, name: flow.delay(name, "1ms"),
    "child": lambda flow, plan, name: flow.then_flow(_flow(plan, name)),
}

"""How a workflow goes on: one walk over its graph, the same for every runner. No I/O.

A walk is a generator. It yields what is to be done next (run a task, wait, take several walks at once) and is sent what
came of it. Values are bytes, as the workflow's codec makes them. Each wish has a place: the id of its node, with those
of the children and the number of the iteration that it is in, under which a runner keeps what came of it.
"""

from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, Final, TypeAlias

import msgspec

from runtara.sdk.flow._codecs import Codec, read, write
from runtara.sdk.flow._nodes import Child, Delay, Fork, Loop, Node, Route, Steps, Task, WaitForSignal
from runtara.sdk.flow._policies import LoopResult, OnMax
from runtara.sdk.flow.errors import BranchKeyNotFound, MaxIterationsExceeded, WorkflowError
from runtara.sdk.flow.workflow import Workflow

__all__ = ["AwaitSignal", "Rest", "RunTask", "Together", "Walk", "is_again", "keep", "take", "walk"]


class RunTask(msgspec.Struct, frozen=True):
    """Call a task with a value; the reply is what it returns, as bytes."""

    place: str
    task: Task
    value: bytes
    of_loop: bool = False
    """Whether it returns a `LoopResult`, kept as a pair: whether to go on, and the value."""


class Rest(msgspec.Struct, frozen=True):
    """Wait for so long, counted from the first time; there is no reply."""

    place: str
    duration: timedelta


class AwaitSignal(msgspec.Struct, frozen=True):
    """Wait for a signal; the reply is its payload, or None where none came in time."""

    place: str
    name: str
    timeout: timedelta | None


class Together(msgspec.Struct, frozen=True):
    """Take several walks at once; the reply is what each of them came to, in their order. If one fails, all do."""

    place: str
    walks: list[Any]


Walk: TypeAlias = Generator[RunTask | Rest | AwaitSignal | Together, Any, bytes]


def walk(workflow: Workflow[Any, Any], value: bytes) -> Walk:
    """Return the walk from a workflow's input to its output."""
    return _steps(workflow.codec, workflow.steps, value, "")


def _steps(codec: Codec, steps: Steps, value: bytes, where: str) -> Walk:
    for node in steps:
        if node.__class__ is Task:  # most are, and need no generator of their own
            value = yield RunTask(where + node.id, node, value)
        else:
            value = yield from _VISITS[type(node)](codec, node, value, where)
    return value


def _delay(_codec: Codec, node: Delay, value: bytes, where: str) -> Walk:
    yield Rest(where + node.id, node.duration)
    return value


def _signal(codec: Codec, node: WaitForSignal, _value: bytes, where: str) -> Walk:
    payload = yield AwaitSignal(where + node.id, node.signal_name, node.timeout)
    return codec.encode(None) if payload is None else bytes(payload)


def _fork(codec: Codec, node: Fork, value: bytes, where: str) -> Walk:
    walks = [_steps(codec, steps, value, where) for _, steps in node.branches]
    outputs = yield Together(where + node.id, walks)
    return codec.join({name: output for (name, _), output in zip(node.branches, outputs, strict=True)})


def _route(codec: Codec, node: Route, value: bytes, where: str) -> Walk:
    place = where + node.key.id
    key = read(codec, (yield RunTask(place, node.key, value)), Any, f"the key of {place}")
    steps = dict(node.branches).get(str(key), node.default)
    if steps is None:
        known = ", ".join(name for name, _ in node.branches)
        raise BranchKeyNotFound(
            f"{where}{node.id} has no branch {key!r}, and no default one: it has {known}",
            task_id=f"{where}{node.id}",
            error_type=BranchKeyNotFound.__name__,
        )
    output = yield from _steps(codec, steps, value, where)
    return codec.join({"branch": write(codec, str(key), f"the key of {place}"), "result": output})


def _loop(codec: Codec, node: Loop, value: bytes, where: str) -> Walk:
    for iteration in range(1, node.max_iterations + 1):
        output = yield RunTask(f"{where}{node.id}#{iteration}", node.body, value, of_loop=True)
        value = output[1:]
        if not is_again(output):
            return value
    if node.on_max is OnMax.EXIT_WITH_LAST:
        return value
    raise MaxIterationsExceeded(
        f"loop {where}{node.id} has not ended after {node.max_iterations} iterations: "
        "raise max_iterations, or let it end with on_max='exit_with_last'",
        task_id=f"{where}{node.id}",
        error_type=MaxIterationsExceeded.__name__,
    )


def _child(codec: Codec, node: Child, value: bytes, where: str) -> Walk:
    return (yield from _steps(codec, node.steps, value, f"{where}{node.id}/"))


_VISITS: Final[dict[type[Node], Callable[[Codec, Any, bytes, str], Walk]]] = {
    Delay: _delay,
    WaitForSignal: _signal,
    Fork: _fork,
    Route: _route,
    Loop: _loop,
    Child: _child,
}

_AGAIN: Final = b"+"
_DONE: Final = b"-"


def is_again(output: bytes) -> bool:
    """Return whether the body of a loop, of whose result this is kept, wants another iteration."""
    return output[:1] == _AGAIN


def take(codec: Codec, wish: RunTask) -> tuple[Any, ...]:
    """Return the arguments for a task. Raises `CodecError` for a value that is not what the task declares."""
    spec = wish.task.spec
    if not spec.takes_input:
        return ()
    return (read(codec, wish.value, spec.input_type, f"the input of {wish.place}"),)


def keep(codec: Codec, wish: RunTask, returned: Any) -> bytes:
    """Return what a task has returned, as bytes. Raises `CodecError`, or `WorkflowError` for no `LoopResult`."""
    if not wish.of_loop:
        return write(codec, returned, f"the result of {wish.place}")
    result = LoopResult.of(returned)
    if result is None:
        raise WorkflowError(
            f"the body of {wish.place} has returned {type(returned).__name__}: "
            "return LoopResult.again(value) or LoopResult.done(value)"
        )
    return (_AGAIN if result.is_again else _DONE) + write(codec, result.value, f"the result of {wish.place}")

"""For which event loop an async task is written is read from its own code, where it says so."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
import sniffio
import trio
import trio.lowlevel

from runtara.sdk import durable
from runtara.sdk.flow import (
    Backend,
    CheckpointingRunner,
    Flow,
    InMemoryBackend,
    InProcessRunner,
    RetryPolicy,
    get_task_context,
    run_workflow,
    task,
)
from runtara.sdk.flow._libraries import Loops, library_of
from runtara.threads import run_async
from tests.sdk.flow.pools import run_pooled

_later = asyncio.sleep


async def of_asyncio(x: int) -> int:
    await asyncio.sleep(0)
    return x


async def of_trio(x: int) -> int:
    await trio.lowlevel.checkpoint()
    return x


async def by_another_name(x: int) -> int:
    await _later(0)
    return x


async def imports_inside(x: int) -> int:

    await trio.lowlevel.checkpoint()
    return x


async def deep_inside(x: int) -> int:
    async def inner() -> int:
        await trio.lowlevel.checkpoint()
        return x

    return await inner()


async def unsaid(x: int) -> str:
    return f"{x} {sniffio.current_async_library()}"


async def both(x: int) -> int:
    await (asyncio if x else trio).sleep(0)
    return x


class Called:
    async def __call__(self, x: int) -> int:
        await trio.lowlevel.checkpoint()
        return x

    async def method(self, x: int) -> int:
        await asyncio.sleep(0)
        return x


def closing_over(sleep: Callable[[float], Any]) -> Callable[[int], Any]:
    async def nap(x: int) -> int:
        await sleep(0)
        return x

    return nap


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def around(x: int) -> Any:
        return await function(x)

    return around


SAID: dict[str, tuple[Callable[..., Any], str | None]] = {
    "asyncio": (of_asyncio, "asyncio"),
    "trio": (of_trio, "trio"),
    "a function of its module": (by_another_name, "asyncio"),
    "an import inside": (imports_inside, "trio"),
    "a function inside": (deep_inside, "trio"),
    "a closure": (closing_over(asyncio.sleep), "asyncio"),
    "what is wrapped": (wrapped(of_trio), "trio"),
    "what is bound": (functools.partial(of_trio), "trio"),
    "what can be called": (Called(), "trio"),
    "a method": (Called().method, "asyncio"),
    "neither": (unsaid, None),
    "both": (both, None),
    "not written in Python": (len, None),
}


@pytest.mark.parametrize("case", SAID)
def test_the_code_of_a_task_says_it(case: str) -> None:
    function, library = SAID[case]

    assert library_of(function) == library


def test_what_a_runner_was_told_goes_before_what_the_code_says() -> None:
    assert Loops("trio").of("asyncio") == "trio"
    assert Loops(None, "asyncio").of("trio") == "trio"
    assert Loops(None, "asyncio").of(None) == "asyncio"


def test_tasks_of_both_kinds_run_in_one_workflow() -> None:
    workflow = Flow("both").then(of_asyncio).then(of_trio).then(unsaid).build()

    assert InProcessRunner().run(workflow, 1).output == "1 trio"
    assert InProcessRunner(library="asyncio").run(Flow("one").then(unsaid).build(), 1).output == "1 asyncio"
    assert run_workflow(workflow, 1) == "1 asyncio"
    with InMemoryBackend() as backend:
        assert CheckpointingRunner(backend).run(workflow, "kept", 1).output == "1 trio"


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_whoever_runs_one_inside_of_a_loop_keeps_that_waiting(run: Callable[[Any], Any]) -> None:
    workflow = Flow("both").then(of_asyncio).then(of_trio).build()

    async def main() -> int:
        return int(run_workflow(workflow, 7))

    assert run(main()) == 7


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def around(x: int) -> Any:
        return function(x)

    return around


async def who_runs(x: int) -> str:
    context = get_task_context()
    assert context is not None
    return f"{x} {sniffio.current_async_library()} {context.task_id}"


COROUTINES = Flow("w").then(decorated(who_runs), name="around").build()
"""What `inspect` sees of its task is a plain function."""


@pytest.mark.parametrize("function", [of_asyncio, of_trio, by_another_name, deep_inside])
def test_a_coroutine_that_a_plain_task_returns_is_run_in_the_loop_that_its_code_is_written_for(function: Any) -> None:
    flow = Flow("w").then(decorated(function)).build()

    assert InProcessRunner().run(flow, 3).output == 3
    assert run_workflow(flow, 3) == 3


def test_a_coroutine_whose_code_says_nothing_is_run_in_the_loop_of_whoever_runs_the_task() -> None:
    assert InProcessRunner().run(COROUTINES, 1).output == "1 trio around"
    assert run_workflow(COROUTINES, 1) == "1 asyncio around"
    for library in ("trio", "asyncio"):
        status = run_async(library, lambda: InProcessRunner().run_async(COROUTINES, 1))
        assert status.output == f"1 {library} around"


def test_a_coroutine_has_what_an_async_task_has(backend: Backend, instance_id: str) -> None:
    tries: list[int] = []

    @durable
    async def kept(x: int) -> int:
        tries.append(x)
        return x * 2

    async def works(x: int) -> int:
        value = await kept(x)
        if len(tries) == 1:
            tries.append(0)
            raise KeyError("once")
        return value

    flow = Flow("w").then(task("often", retries=RetryPolicy(1, 0))(decorated(works))).build()

    status = CheckpointingRunner(backend).run(flow, instance_id, 4)

    assert status.output == 8
    assert tries == [4, 0], "a step of a step is kept"


def test_a_coroutine_is_run_by_workers(backend: Backend, instance_id: str) -> None:
    fork = Flow("w").fork().branch(COROUTINES).branch(decorated(of_asyncio), name="b").join(lambda d: d, name="j")

    status = run_pooled(backend, fork.build(), instance_id, 1, workers=2)

    assert status.output == {"child_0": "1 trio child_0/around", "b": 1}

"""Workflows: linear ones, fan-outs, and such as wait for a signal. Our side; see `sayiir_flows`, `dbos_flows`."""

import math
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from benchmarks.servers import database
from runtara.sdk import embedded
from runtara.sdk.flow import (
    CheckpointingRunner,
    Flow,
    InMemoryBackend,
    InProcessRunner,
    PooledWorker,
    SystemBackend,
    Workflow,
    WorkflowClient,
)

RUNS = 2_000
TURNS = 300
RUNS_IN_TURN = 2
LONG, SHORT = 24, 4
AT_ONCE = 100
EACH = 5
BRANCHES = 16
FANS_AT_ONCE = 20
SIGNALLED = 50
WORKERS = 4
SLOTS = 25
SUBMITTED = 300
SLEEPERS = 1_000
WAITERS = 20
SLEEP = 20.0


def step(number: int) -> int:
    """Do next to nothing."""
    return number + 1


async def step_async(number: int) -> int:
    """Do next to nothing."""
    return number + 1


def linear(steps: int, task: Any = step) -> Workflow[int, int]:
    """A workflow of so many tasks, one after the other."""
    flow: Any = Flow("linear")
    for number in range(steps):
        flow = flow.then(task, name=f"step-{number}")
    return flow.build()  # type: ignore[no-any-return]  # a flow that is made in a loop has no type


def fan_out() -> Workflow[int, Any]:
    """A workflow of 16 branches that are joined."""
    fork: Any = Flow("fan-out").fork()
    for number in range(BRANCHES):
        fork = fork.branch(step_async, name=f"branch-{number}")
    return fork.join(total).build()  # type: ignore[no-any-return]  # likewise


async def total(outputs: dict[str, int]) -> int:
    """Add up what the branches have returned."""
    return sum(outputs.values())


def in_process() -> float:
    """Workflows per second that are kept nowhere."""
    runner, workflow = InProcessRunner(), linear(SHORT)
    began = time.perf_counter()
    for _ in range(RUNS):
        assert runner.run(workflow, 0).output == SHORT
    return RUNS / (time.perf_counter() - began)


def in_memory() -> float:
    """Workflows per second that are kept in memory, one after the other."""
    return 1 / _in_memory()[0]


def tasks_in_memory() -> float:
    """Tasks per second in memory, beyond what a workflow costs by itself."""
    short, long = _in_memory()
    return (LONG - SHORT) / (long - short)


def _in_memory() -> tuple[float, float]:
    with InMemoryBackend() as backend:
        runner = CheckpointingRunner(backend)

        def run(workflow: Workflow[int, int], name: str, steps: int) -> None:
            assert runner.run(workflow, name, 0).output == steps

        return short_and_long(linear, run)


def short_and_long(linear: Callable[[int], Any], run: Callable[[Any, str, int], None]) -> tuple[float, float]:
    """How many seconds a workflow of `SHORT` tasks takes, and one of `LONG`; for either side.

    The best of many turns, each of a few milliseconds: whatever else the machine does disturbs these least.
    """
    workflows = {steps: linear(steps) for steps in (SHORT, LONG)}
    best = dict.fromkeys(workflows, math.inf)
    for turn in range(TURNS):
        for steps, workflow in workflows.items():
            began = time.perf_counter()
            for number in range(RUNS_IN_TURN):
                run(workflow, f"{steps}-{turn}-{number}", steps)
            best[steps] = min(best[steps], (time.perf_counter() - began) / RUNS_IN_TURN)
    return best[SHORT], best[LONG]


def memory_at_once() -> float:
    """Workflows per second that are kept in memory, 100 at once on the loop of the system."""
    return trio.run(_at_once, "memory://", _linear, AT_ONCE)


def sqlite_at_once() -> float:
    """Workflows per second that are kept in SQLite, 100 at once."""
    return _on_sqlite(_linear, AT_ONCE)


def postgres_at_once() -> float:
    """Workflows per second that are kept in PostgreSQL, 100 at once."""
    with database() as url:
        return trio.run(_at_once, url, _linear, AT_ONCE)


def sqlite_fan_out() -> float:
    """Fan-outs per second that are kept in SQLite, 20 at once."""
    return _on_sqlite(_fan, FANS_AT_ONCE)


def postgres_fan_out() -> float:
    """Fan-outs per second that are kept in PostgreSQL, 20 at once."""
    with database() as url:
        return trio.run(_at_once, url, _fan, FANS_AT_ONCE)


def postgres_signalled() -> float:
    """Workflows per second that wait for a signal in their middle, 50 at once."""
    with database() as url:
        return trio.run(_at_once, url, _signalled, SIGNALLED)


def sqlite_signalled() -> float:
    """The same, kept in SQLite."""
    return _on_sqlite(_signalled, SIGNALLED)


def postgres_resume() -> float:
    """Milliseconds from sending a signal until the task behind it runs, one after the other; the median."""
    with database() as url:
        return trio.run(_resume, url)


_Run = Callable[[CheckpointingRunner, str], Awaitable[None]]


def _on_sqlite(run: _Run, at_once: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(_at_once, f"sqlite:///{folder}/flows.db", run, at_once)


async def _at_once(url: str, run: _Run, at_once: int) -> float:
    """Have so many workflows run at once, five times each; return how many come to their end in a second."""
    async with embedded.open(url=url) as system:
        runner = CheckpointingRunner(SystemBackend(system), waits=True)
        await run(runner, "warm")

        async def some(worker: int) -> None:
            for number in range(EACH):
                await run(runner, f"{worker}-{number}")

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for worker in range(at_once):
                nursery.start_soon(some, worker)
        return at_once * EACH / (time.perf_counter() - began)


_LINEAR = linear(SHORT, step_async)
_FAN = fan_out()


async def _linear(runner: CheckpointingRunner, name: str) -> None:
    assert (await runner.run_async(_LINEAR, name, 0)).output == SHORT


async def _fan(runner: CheckpointingRunner, name: str) -> None:
    assert (await runner.run_async(_FAN, name, 0)).output == BRANCHES


async def _signalled(runner: CheckpointingRunner, name: str) -> None:
    """Pick up, wait for a kick, emit; return once it has come to its end."""
    await _kicked(runner, name)


async def _kicked(runner: CheckpointingRunner, name: str) -> float:
    """The same; return how many seconds after the kick it emits."""
    picked_up = trio.Event()
    emitted_at = 0.0

    async def pickup(_: int) -> None:
        picked_up.set()

    async def emit(_: Any) -> None:
        nonlocal emitted_at
        emitted_at = time.perf_counter()

    async def run() -> None:
        status = await runner.run_async(workflow, name, 0)
        assert status.status == "completed", status

    workflow = Flow("kicked").then(pickup).wait_for_signal("kick").then(emit).build()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await picked_up.wait()
        sent_at = time.perf_counter()
        await WorkflowClient(runner.backend).send_signal_async(name, "kick")
    return emitted_at - sent_at


async def _resume(url: str) -> float:
    async with embedded.open(url=url) as system:
        runner = CheckpointingRunner(SystemBackend(system), waits=True)
        return 1000 * statistics.median([await _kicked(runner, f"w{number}") for number in range(SIGNALLED)])


def postgres_pooled() -> float:
    """Workflows per second that are submitted to four workers of one process, of 25 slots each."""
    with database() as url:
        return trio.run(_pooled, url)


def postgres_sleepers() -> float:
    """Of 1,000 workflows that sleep: how many wake and end in a second, once the first of them is due."""
    with database() as url:
        return trio.run(_sleepers, url)


async def _pooled(url: str) -> float:
    async with _pool(url, _LINEAR) as client:
        began = time.perf_counter()
        await _bring_to_its_end(client, _LINEAR, SUBMITTED)
        return SUBMITTED / (time.perf_counter() - began)


async def _sleepers(url: str) -> float:
    fell_asleep: list[float] = []

    async def fall_asleep(_: int) -> None:
        fell_asleep.append(time.perf_counter())

    async def wake_up(_: Any) -> None:
        """Do nothing."""

    workflow = Flow("sleeper").then(fall_asleep).delay("sleep", SLEEP).then(wake_up).build()
    async with _pool(url, workflow) as client:
        await _bring_to_its_end(client, workflow, SLEEPERS)
        return SLEEPERS / (time.perf_counter() - min(fell_asleep) - SLEEP)


@asynccontextmanager
async def _pool(url: str, workflow: Workflow[Any, Any]) -> AsyncIterator[WorkflowClient]:
    async with embedded.open(url=url) as system, AsyncExitStack() as stack:
        backend = SystemBackend(system)
        for number in range(WORKERS):
            worker = PooledWorker(f"worker-{number}", backend, [workflow], max_concurrent_tasks=SLOTS)
            await stack.enter_async_context(worker.open())
        yield WorkflowClient(backend)


async def _bring_to_its_end(client: WorkflowClient, workflow: Workflow[int, Any], runs: int) -> None:
    """Submit so many, and wait until each has ended."""
    names = [f"submitted-{number}" for number in range(runs)]

    async def wait(some: list[str]) -> None:
        for name in some:
            assert (await client.wait_async(name)).status == "completed"

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(client.submit_async, workflow, name, 0)
    async with trio.open_nursery() as nursery:
        for first in range(WAITERS):
            nursery.start_soon(wait, names[first::WAITERS])

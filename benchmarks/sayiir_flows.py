"""The workflows of `flows` with sayiir 1.0, a Rust core behind a Python binding, as its documentation shows it.

A runner of it runs in the thread that calls it; more than 16 threads are no faster, and wait too long for its pool of
connections.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sayiir import (
    Flow,
    InMemoryBackend,
    PostgresBackend,
    resume_workflow,
    run_durable_workflow,
    run_workflow,
    send_signal,
    task,
)

from benchmarks.flows import BRANCHES, KEPT, LONG, RUNS, SHORT, step
from benchmarks.servers import database

WORKERS = 16
STORED = 96
FANNED = 32
RESUMED = 20


def linear(steps: int) -> Any:
    """A workflow of so many tasks, one after the other."""
    flow = Flow("linear")
    for number in range(steps):
        flow = flow.then(task(step, name=f"step-{number}"))
    return flow.build()


def fan_out() -> Any:
    """A workflow of 16 branches that are joined."""
    names = [f"branch-{number}" for number in range(BRANCHES)]
    fork = Flow("fan-out").fork()
    for name in names:
        fork = fork.branch(step, name=name)
    return fork.join(lambda outputs: sum(outputs.values()), name="total").build()


def in_process() -> float:
    """Workflows per second that are kept nowhere."""
    workflow = linear(SHORT)
    began = time.perf_counter()
    for _ in range(RUNS):
        assert run_workflow(workflow, 0) == SHORT
    return RUNS / (time.perf_counter() - began)


def in_memory() -> float:
    """Workflows per second that are kept in memory, one after the other."""
    return 1 / _seconds(SHORT)


def tasks_in_memory() -> float:
    """Tasks per second in memory, beyond what a workflow costs by itself."""
    return (LONG - SHORT) / (_seconds(LONG) - _seconds(SHORT))


def _seconds(steps: int) -> float:
    backend, workflow, runs = InMemoryBackend(), linear(steps), KEPT * SHORT // steps // 3

    def batch(name: str) -> float:
        began = time.perf_counter()
        for number in range(runs):
            assert run_durable_workflow(workflow, f"{name}-{number}", 0, backend=backend).output == steps
        return (time.perf_counter() - began) / runs

    run_durable_workflow(workflow, "warm", 0, backend=backend)
    return statistics.median(batch(name) for name in "abc")


def postgres_at_once() -> float:
    """Workflows per second that are kept in PostgreSQL."""
    workflow = linear(SHORT)

    def run(backend: PostgresBackend, name: str) -> None:
        assert run_durable_workflow(workflow, name, 0, backend=backend).output == SHORT

    return _at_once(run, STORED)


def postgres_fan_out() -> float:
    """Fan-outs per second that are kept in PostgreSQL."""
    workflow = fan_out()

    def run(backend: PostgresBackend, name: str) -> None:
        assert run_durable_workflow(workflow, name, 0, backend=backend).output == BRANCHES

    return _at_once(run, FANNED)


def postgres_signalled() -> float:
    """Workflows per second that wait for a signal in their middle."""

    def run(backend: PostgresBackend, name: str) -> None:
        _kicked(backend, name)

    return _at_once(run, STORED)


def postgres_resume() -> float:
    """Milliseconds from sending a signal until the task behind it runs, one after the other; the median."""
    with database() as url:
        backend = PostgresBackend(url)
        return 1000 * statistics.median([_kicked(backend, f"w{number}") for number in range(RESUMED)])


def _kicked(backend: PostgresBackend, name: str) -> float:
    """Pick up, wait for a kick, emit; return how many seconds after the kick it emits.

    It rests in between, and is resumed by hand, which is quicker than any worker of it that polls.
    """
    emitted_at = 0.0

    def emit(_: Any) -> None:
        nonlocal emitted_at
        emitted_at = time.perf_counter()

    workflow = Flow("kicked").then(step, name="pickup").wait_for_signal("kick").then(emit, name="emit").build()
    assert run_durable_workflow(workflow, name, 0, backend=backend).is_awaiting_signal()
    sent_at = time.perf_counter()
    send_signal(name, "kick", None, backend=backend)
    assert resume_workflow(workflow, name, backend=backend).is_completed()
    return emitted_at - sent_at


def _at_once(run: Callable[[PostgresBackend, str], None], runs: int) -> float:
    with database() as url:
        backend = PostgresBackend(url)
        run(backend, "warm")
        began = time.perf_counter()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda number: run(backend, f"w{number}"), range(runs)))
        return runs / (time.perf_counter() - began)

"""The workflows of `flows` with sayiir 1.0, a Rust core behind a Python binding, as its documentation shows it.

A runner of it runs in the thread that calls it; more than 16 threads are no faster, and wait too long for its pool of
connections.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sayiir import (
    Flow,
    InMemoryBackend,
    PostgresBackend,
    Worker,
    WorkflowClient,
    resume_workflow,
    run_durable_workflow,
    run_workflow,
    send_signal,
    task,
)

from benchmarks.flows import BRANCHES, LONG, RUNS, SHORT, short_and_long, step
from benchmarks.servers import database

WORKERS = 16
STORED = 96
FANNED = 32
RESUMED = 20
POOL = 4
POLL_EVERY = 0.005
SUBMITTED = 60
SLEEPERS = 40
SLEEP = 8.0


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
    return 1 / _in_memory()[0]


def tasks_in_memory() -> float:
    """Tasks per second in memory, beyond what a workflow costs by itself."""
    short, long = _in_memory()
    return (LONG - SHORT) / (long - short)


def _in_memory() -> tuple[float, float]:
    backend = InMemoryBackend()

    def run(workflow: Any, name: str, steps: int) -> None:
        assert run_durable_workflow(workflow, name, 0, backend=backend).output == steps

    return short_and_long(linear, run)


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


def postgres_pooled() -> float:
    """Workflows per second that are submitted to four workers, which look for work every 5 ms."""
    workflow = linear(SHORT)
    with _pool(workflow) as client:
        began = time.perf_counter()
        _bring_to_its_end(client, workflow, SUBMITTED)
        return SUBMITTED / (time.perf_counter() - began)


def postgres_sleepers() -> float:
    """Of 40 workflows that sleep: how many wake and end in a second, once the first of them is due."""
    fell_asleep: list[float] = []

    def fall_asleep(_: int) -> int:
        fell_asleep.append(time.perf_counter())
        return 0

    workflow = (
        Flow("sleeper")
        .then(task(fall_asleep, name="fall-asleep"))
        .delay("sleep", SLEEP)
        .then(task(step, name="wake-up"))
        .build()
    )
    with _pool(workflow) as client:
        _bring_to_its_end(client, workflow, SLEEPERS)
        return SLEEPERS / (time.perf_counter() - min(fell_asleep) - SLEEP)


@contextmanager
def _pool(workflow: Any) -> Iterator[WorkflowClient]:
    with database() as url:
        backend = PostgresBackend(url)
        workers = [Worker(f"worker-{number}", backend, poll_interval=POLL_EVERY) for number in range(POOL)]
        handles = [worker.start([workflow]) for worker in workers]
        yield WorkflowClient(backend)
        for handle in handles:
            handle.shutdown()
        for handle in handles:
            handle.join()


def _bring_to_its_end(client: WorkflowClient, workflow: Any, runs: int) -> None:
    """Submit so many, and wait until each has ended."""
    names = [f"submitted-{number}" for number in range(runs)]
    for name in names:
        client.submit(workflow, name, 0)
    for name in names:
        while not client.status(name).is_completed():
            time.sleep(POLL_EVERY)

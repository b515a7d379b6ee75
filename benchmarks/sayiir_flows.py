"""The workflows of `flows` with sayiir 1.0, a Rust core behind a Python binding, as its documentation shows it."""

import time
from concurrent.futures import ThreadPoolExecutor

from sayiir import Flow, InMemoryBackend, PostgresBackend, run_durable_workflow, run_workflow, task

from benchmarks.flows import KEPT, RUNS
from benchmarks.postgres import database

WORKERS = 8
STORED = 160


@task
def a(number: int) -> int:
    return number + 1


@task
def b(number: int) -> int:
    return number + 1


@task
def c(number: int) -> int:
    return number + 1


@task
def d(number: int) -> int:
    return number + 1


WORKFLOW = Flow("linear").then(a).then(b).then(c).then(d).build()


def in_process() -> float:
    """Workflows per second that are kept nowhere."""
    began = time.perf_counter()
    for _ in range(RUNS):
        assert run_workflow(WORKFLOW, 0) == 4
    return RUNS / (time.perf_counter() - began)


def in_memory() -> float:
    """Workflows per second that are kept in memory, one after the other."""
    backend = InMemoryBackend()
    began = time.perf_counter()
    for number in range(KEPT):
        assert run_durable_workflow(WORKFLOW, f"w{number}", 0, backend=backend).output == 4
    return KEPT / (time.perf_counter() - began)


def postgres_at_once() -> float:
    """Workflows per second that are kept in PostgreSQL, by eight threads."""
    with database() as url:
        backend = PostgresBackend(url)

        def run(number: int) -> None:
            assert run_durable_workflow(WORKFLOW, f"w{number}", 0, backend=backend).output == 4

        began = time.perf_counter()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(run, range(STORED)))
        return STORED / (time.perf_counter() - began)

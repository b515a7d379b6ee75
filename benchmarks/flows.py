"""Workflows of four tasks, one after the other, per second. Our side; the peer's is in `sayiir_flows`."""

import time

import trio

from benchmarks.postgres import database
from runtara.sdk import embedded
from runtara.sdk.flow import CheckpointingRunner, Flow, InMemoryBackend, InProcessRunner, SystemBackend

RUNS = 2_000
KEPT = 300
AT_ONCE = 100
EACH = 5


def step(number: int) -> int:
    """Do next to nothing."""
    return number + 1


WORKFLOW = Flow("linear").then(step).then(step, name="b").then(step, name="c").then(step, name="d").build()


def in_process() -> float:
    """Workflows per second that are kept nowhere."""
    runner = InProcessRunner()
    began = time.perf_counter()
    for _ in range(RUNS):
        assert runner.run(WORKFLOW, 0).output == 4
    return RUNS / (time.perf_counter() - began)


def in_memory() -> float:
    """Workflows per second that are kept in memory, one after the other."""
    with InMemoryBackend() as backend:
        runner = CheckpointingRunner(backend)
        runner.run(WORKFLOW, "warm", 0)
        began = time.perf_counter()
        for number in range(KEPT):
            assert runner.run(WORKFLOW, f"w{number}", 0).output == 4
        return KEPT / (time.perf_counter() - began)


def postgres_at_once() -> float:
    """Workflows per second that are kept in PostgreSQL, 100 at once."""
    with database() as url:
        return trio.run(_at_once, url)


async def _at_once(url: str) -> float:
    async with embedded.open(url=url) as system:
        runner = CheckpointingRunner(SystemBackend(system))

        async def some(worker: int) -> None:
            for number in range(EACH):
                status = await runner.run_async(WORKFLOW, f"w{worker}-{number}", 0)
                assert status.output == 4

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for worker in range(AT_ONCE):
                nursery.start_soon(some, worker)
        return AT_ONCE * EACH / (time.perf_counter() - began)

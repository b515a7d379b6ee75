"""The workflows of `flows` with DBOS, as its documentation shows them, with its default settings."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, DBOSConfig

from benchmarks.flows import AT_ONCE, BRANCHES, EACH, FANS_AT_ONCE, SHORT, SIGNALLED, SLEEP, SLEEPERS
from benchmarks.servers import database

EMITTED: dict[str, float] = {}
"""When a workflow has emitted, by its id, or fell asleep, by its number."""


@DBOS.step()
def step(number: int) -> int:
    """Do next to nothing, durably."""
    return number + 1


@DBOS.step()
async def step_async(number: int) -> int:
    """Do next to nothing, durably."""
    return number + 1


@DBOS.workflow()
def linear(number: int) -> int:
    """Four steps, one after the other."""
    for _ in range(SHORT):
        number = step(number)
    return number


@DBOS.workflow()
async def fan_out(number: int) -> int:
    """16 steps at once."""
    return sum(await asyncio.gather(*(step_async(number) for _ in range(BRANCHES))))


@DBOS.workflow()
def sleeper(number: int) -> None:
    """Sleep between two steps."""
    EMITTED[str(number)] = time.perf_counter()
    step(number)
    DBOS.sleep(SLEEP)
    step(number)


@DBOS.step()
def emit() -> None:
    """Note when."""
    assert DBOS.workflow_id is not None
    EMITTED[DBOS.workflow_id] = time.perf_counter()


@DBOS.workflow()
def kicked(number: int) -> None:
    """Pick up, wait for a kick, emit."""
    step(number)
    DBOS.recv("kick")
    emit()


def postgres_at_once() -> float:
    """Workflows per second on PostgreSQL, 100 at once."""
    with _on_postgres():
        return _at_once(linear, AT_ONCE * EACH)


def sqlite_at_once() -> float:
    """Workflows per second on SQLite, 100 at once."""
    with _on_sqlite():
        return _at_once(linear, AT_ONCE)


def postgres_fan_out() -> float:
    """Fan-outs per second on PostgreSQL."""
    with _on_postgres():
        return asyncio.run(_fans(FANS_AT_ONCE * EACH))


def sqlite_fan_out() -> float:
    """Fan-outs per second on SQLite."""
    with _on_sqlite():
        return asyncio.run(_fans(FANS_AT_ONCE))


def postgres_signalled() -> float:
    """Workflows per second that wait for a signal in their middle, on PostgreSQL."""
    with _on_postgres():
        return _signalled(SIGNALLED)


def sqlite_signalled() -> float:
    """The same on SQLite."""
    with _on_sqlite():
        return _signalled(SIGNALLED)


def postgres_resume() -> float:
    """Milliseconds from sending a message until the step behind it runs, one after the other; the median."""
    with _on_postgres():
        return 1000 * statistics.median([_kick_one() for _ in range(SIGNALLED)])


def postgres_sleepers() -> float:
    """Of 500 workflows that sleep: how many wake and end in a second, once the first of them is due."""
    with _on_postgres():
        handles = [DBOS.start_workflow(sleeper, number) for number in range(SLEEPERS)]
        for handle in handles:
            handle.get_result()
        return SLEEPERS / (time.perf_counter() - min(EMITTED.values()) - SLEEP)


def _at_once(workflow: Callable[[int], Any], runs: int) -> float:
    DBOS.start_workflow(workflow, 0).get_result()
    began = time.perf_counter()
    for handle in [DBOS.start_workflow(workflow, 0) for _ in range(runs)]:
        assert handle.get_result() == SHORT
    return runs / (time.perf_counter() - began)


async def _fans(runs: int) -> float:
    await fan_out(0)
    began = time.perf_counter()
    handles = [await DBOS.start_workflow_async(fan_out, 0) for _ in range(runs)]
    for handle in handles:
        assert await handle.get_result() == BRANCHES
    return runs / (time.perf_counter() - began)


def _signalled(runs: int) -> float:
    began = time.perf_counter()
    handles = [DBOS.start_workflow(kicked, 0) for _ in range(runs)]
    for handle in handles:
        DBOS.send(handle.workflow_id, None, "kick")
    for handle in handles:
        handle.get_result()
    return runs / (time.perf_counter() - began)


def _kick_one() -> float:
    handle = DBOS.start_workflow(kicked, 0)
    time.sleep(0.05)  # until it waits
    sent_at = time.perf_counter()
    DBOS.send(handle.workflow_id, None, "kick")
    handle.get_result()
    return EMITTED[handle.workflow_id] - sent_at


@contextmanager
def _on_postgres() -> Iterator[None]:
    with database() as url, _launched(url):
        yield


@contextmanager
def _on_sqlite() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, _launched(f"sqlite:///{folder}/dbos.sqlite"):
        yield


@contextmanager
def _launched(url: str) -> Iterator[None]:
    config: DBOSConfig = {
        "name": "benchmark",
        "system_database_url": url,
        "log_level": "ERROR",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()

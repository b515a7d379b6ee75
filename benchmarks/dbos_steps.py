"""Durable steps per second: DBOS on SQLite, as its documentation shows it, with its default settings."""

import tempfile
import time
from pathlib import Path

from dbos import DBOS, DBOSConfig

STEPS = 100
AT_ONCE = 100
EACH = 5


@DBOS.step()
def double(number: int) -> int:
    """Do next to nothing, durably."""
    return 2 * number


@DBOS.workflow()
def program(steps: int) -> float:
    """Take steps one after the other; return how many seconds they took."""
    double(-1)
    began = time.perf_counter()
    for number in range(steps):
        double(number)
    return time.perf_counter() - began


def _launch(folder: str) -> None:
    config: DBOSConfig = {
        "name": "benchmark",
        "system_database_url": f"sqlite:///{Path(folder) / 'dbos.sqlite'}",
        "log_level": "ERROR",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()


def sequential() -> float:
    """Steps per second of one workflow."""
    with tempfile.TemporaryDirectory() as folder:
        _launch(folder)
        elapsed = program(STEPS)
        DBOS.destroy()
    return STEPS / elapsed


def concurrent() -> float:
    """Steps per second of 100 workflows at once."""
    with tempfile.TemporaryDirectory() as folder:
        _launch(folder)
        began = time.perf_counter()
        handles = [DBOS.start_workflow(program, EACH - 1) for _ in range(AT_ONCE)]
        for handle in handles:
            handle.get_result()
        elapsed = time.perf_counter() - began
        DBOS.destroy()
    return AT_ONCE * EACH / elapsed

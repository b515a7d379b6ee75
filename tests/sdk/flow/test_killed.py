"""Workflows of a process that is killed with SIGKILL, wherever it can be seen to be."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import ROOT, environment

LINES = 40
"""More than the program ever says."""


def say(folder: Path, approved: str, until: int | None) -> Iterator[str]:
    """Return what the program says, up to the line at which it is killed."""
    command = [sys.executable, "-m", "tests.sdk.flow.orders", str(folder), approved]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            for number, line in enumerate(program.stdout, 1):
                yield line.strip()
                if number == until:
                    return
        finally:
            program.kill()


def check(first: list[str], second: list[str], came_to: str) -> None:
    """Hold what two lives have said to what a life without a death says."""
    assert second[-1] == f"came to {came_to}"
    begun = [line for line in first + second if line.startswith("begin")]
    for name in ("reserve", "label", "charge", "ship", "unlabel", "refund"):
        times = begun.count(f"begin {name}")
        assert times <= 2, f"{name} ran {times} times"
        if _is_behind(first, name):
            assert f"begin {name}" not in second, f"{name} was kept, and ran again"


def _is_behind(life: list[str], name: str) -> bool:
    """Whether something was said that is only said once the task's result is kept."""
    behind = {"reserve": "begin label", "label": "stands", "charge": "stands", "unlabel": "begin refund"}
    return any(line.startswith(behind.get(name, "came to")) for line in life)


def lives(folder: Path, approved: str, came_to: str, deaths: Iterator[int] | range) -> int:
    """Kill the program at each of these lines, and let it go on; return how often it was killed."""
    killed = 0
    for until in deaths:
        place = folder / f"{approved}-{until}"
        first = list(say(place, approved, until))
        if len(first) < until:
            assert first[-1] == f"came to {came_to}"
            return killed
        killed += 1
        check(first, list(say(place, approved, None)), came_to)
    return killed


SHIPPED = "{'branch': 'ship', 'result': 'shipped'}"
REFUNDED = "{'branch': 'undo', 'result': 'refunded'}"


def test_an_order_that_is_killed_here_and_there_is_shipped_once(tmp_path: Path) -> None:
    assert lives(tmp_path, "yes", SHIPPED, range(2, LINES, 4)) >= 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("approved", "came_to"), [("yes", SHIPPED), ("no", REFUNDED)])
def test_an_order_that_is_killed_at_every_line_comes_to_its_end(tmp_path: Path, approved: str, came_to: str) -> None:
    assert lives(tmp_path, approved, came_to, range(1, LINES)) >= 8

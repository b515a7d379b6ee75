"""Workflows of a process that is killed with SIGKILL, wherever it can be seen to be."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import ROOT, environment

LINES = 40
"""More than the program ever says."""


def say(until: int | None, program: str, *arguments: str) -> Iterator[str]:
    """Return what a program says, up to the line at which it is killed."""
    command = [sys.executable, "-m", f"tests.sdk.flow.{program}", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for number, line in enumerate(process.stdout, 1):
                yield line.strip()
                if number == until:
                    return
        finally:
            process.kill()


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
        first = list(say(until, "orders", str(place), approved))
        if len(first) < until:
            assert first[-1] == f"came to {came_to}"
            return killed
        killed += 1
        check(first, list(say(None, "orders", str(place), approved)), came_to)
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


# Tasks that use the SDK -----------------------------------------------------------------------------------------------

STEPS = ("one", "two", "three", "four")
"""Steps inside of tasks."""


def check_inside(folder: Path, until: int | None) -> bool:
    """Kill the program at a line, and let it go on; tell whether it came to its end before."""
    first = list(say(until, "inside", str(folder)))
    second = [] if until is None or len(first) < until else list(say(None, "inside", str(folder)))

    assert (first + second)[-1] == "came to {'plain': 'onetwo', 'awaited': 'threefour'}"
    for name in STEPS:
        times = (first + second).count(f"begin {name}")
        assert times <= (2 if second else 1), f"{name} ran {times} times"
    assert all(line == "heard go" for line in first + second if line.startswith("heard"))
    if second and "heard go" in first:
        assert "begin one" not in second, "it was kept, and ran again"
    if second and "begin four" in first:
        assert "begin three" not in second, "it was kept, and ran again"
    return not second


def test_steps_inside_of_tasks_are_not_done_again_by_a_second_try_or_a_second_life(tmp_path: Path) -> None:
    assert check_inside(tmp_path / "whole", None)
    assert not check_inside(tmp_path / "killed", 7)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_steps_inside_of_tasks_survive_a_kill_at_every_line(tmp_path: Path) -> None:
    lines = next(until for until in range(1, LINES) if check_inside(tmp_path / str(until), until))

    assert lines > 8

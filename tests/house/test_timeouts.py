"""A run of tests does not stand still: what hangs fails by its name."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.house.source import ROOT

HEARS = """
import threading
import pytest
import trio

soon = pytest.mark.timeout(0.5)

@soon
def test_whose_failure_takes_long_to_tell():
    raise KeyError("by itself, and at once")

@soon
def test_a_loop():
    while True:
        pass

@soon
async def test_a_task_that_cannot_be_cancelled():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

@soon
async def test_a_thread_that_is_waited_for():
    await trio.to_thread.run_sync(threading.Event().wait)

def test_what_comes_after():
    pass
"""

DEAF = """
import collections
import itertools
import pytest

@pytest.mark.timeout(0.5)
def test_c_code():
    collections.deque(itertools.repeat(0), maxlen=0)  # holds the lock of the interpreter for ever

def test_what_comes_after():
    pass
"""

TERSE = """
import time
import pytest
from tests import timeouts

timeouts.GRACE_S, timeouts.SLACK_S = 4, 0

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    time.sleep(1 if "takes_long_to_tell" in item.name else 0)
    return (yield)
"""


def test_what_hangs_fails_by_its_name_and_the_run_ends(tmp_path: Path) -> None:
    for name, content in {"hears": HEARS, "deaf": DEAF, "conftest": TERSE}.items():
        (tmp_path / ("conftest.py" if name == "conftest" else f"test_{name}.py")).write_text(content)

    done = run(tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED test_hears.py::test_whose_failure_takes_long_to_tell - KeyError" in done.stdout
    for name in ("test_a_loop", "test_a_task_that_cannot_be_cancelled", "test_a_thread_that_is_waited_for"):
        assert f"FAILED test_hears.py::{name}" in done.stdout
    assert "FAILED test_deaf.py::test_c_code" in done.stdout
    assert "5 failed, 1 passed" in done.stdout, "what follows a test that was interrupted runs"
    assert "most recent call first" in done.stderr, "where the code stood that heard nothing is dumped"


def run(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the tests of a folder as `make test` does, but with two workers."""
    (line,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("PYTEST := ")]
    _, *words = shlex.split(line.removeprefix("PYTEST := "))
    options = ["--rootdir", str(folder), "-c", str(ROOT / "pyproject.toml"), "-p", "tests.timeouts"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *words, *options, "-n", "2", "."],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

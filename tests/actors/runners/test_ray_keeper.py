"""Keepers without Ray: they are objects like others. What they are in a cluster is in test_ray.py."""

import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from runtara.actors.runners import _shim
from runtara.actors.runners._ray_keeper import Keeper, Order
from tests.actors.runners.hall import PATIENCE_S, is_alive, wait_gone
from tests.house.source import ROOT
from tests.requirements import require

if sys.platform != "linux":
    require("linux", "programs are launched as processes of Linux")

Make = Callable[..., Keeper]


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"runtara-ray-{os.getuid()}"


def order_of(text: str, **more: Any) -> Order:
    """What it takes to launch a script for the shell."""
    order: Order = {
        "launch_id": os.urandom(16).hex(),
        "shim": Path(_shim.__file__).read_bytes(),
        "name": "program",
        "program": f"#!/bin/sh\n{text}\n".encode(),
        "by_python": False,
        "input": None,
        "env": {},
        "logs": {},
        "limits": {},
        "log_bytes": 1 << 20,
        "grace_ms": 60_000,
        "output_max_bytes": 100,
    }
    return cast("Order", order | more)


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes keepers, and stops what they have launched."""
    made: list[Keeper] = []

    def make(text: str, **more: Any) -> Keeper:
        made.append(Keeper({"epoch": 1}, order_of(text, **more)))
        return made[-1]

    yield make
    for keeper in made:
        keeper.stop("kill")
        if not keeper.about()["failed"]:
            assert keeper.wait_ended(PATIENCE_S)
            keeper.leave(0)


def wait_written(keeper: Keeper, text: bytes) -> bytes:
    """Wait until a program has written something; return all of it."""
    known = None
    while True:
        known = keeper.wait_news(known, PATIENCE_S)
        found, _, _ = keeper.read_log("stdout", 0, 1 << 20)
        if text in found:
            return found


def test_an_end_is_told_as_often_as_it_is_asked_for_and_nothing_is_left(make: Make, base: Path) -> None:
    keeper = make("printf out >$RUNTARA_OUTPUT_FILE; echo word; echo note >&2")

    found = [keeper.wait_ended(PATIENCE_S) for _ in range(2)]
    left = keeper.leave(3)

    assert keeper.about() == {"epoch": 1, "failed": ""}
    assert found == [{"exit_code": 0, "output": b"out", "error": "note"}] * 2
    assert left == {"stdout": (2, b"rd\n"), "stderr": (2, b"te\n")}
    assert [path.name for path in base.iterdir()] == ["lock"]


def test_a_program_goes_on_behind_what_earlier_ones_have_written(make: Make) -> None:
    keeper = make("echo new; echo aside >&2", logs={"stdout": (100, b"old\n"), "stderr": (7, b"")})

    ended = keeper.wait_ended(PATIENCE_S)

    assert keeper.read_log("stdout", 0, 100)[:2] == (b"old\nnew\n", 100)
    assert keeper.read_log("stderr", -100, 100)[:2] == (b"aside\n", 7)
    assert ended == {"exit_code": 0, "output": None, "error": "aside"}


def test_no_wait_is_longer_than_its_patience(make: Make) -> None:
    keeper = make("echo ready; exec sleep 1000")
    wait_written(keeper, b"ready")
    known = keeper.wait_news(None, PATIENCE_S)

    assert keeper.wait_ended(0.0) is None
    assert keeper.wait_news(known, 0.0) >= known


def test_a_program_whose_shim_was_killed_is_killed_and_nobody_knows_how_it_ended(make: Make) -> None:
    keeper = make("(setsid sh -c 'echo $$; exec sleep 1000' &)\nexec sleep 1000")
    orphan = int(wait_written(keeper, b"\n"))

    keeper.stop("destroy")
    ended = keeper.wait_ended(PATIENCE_S)

    assert ended is not None
    assert (ended["exit_code"], "nobody saw" in ended["error"]) == (None, True)
    assert not is_alive(orphan)


def test_a_folder_for_temporary_files_that_others_can_write_to_is_not_used(make: Make, base: Path) -> None:
    base.mkdir()
    base.chmod(0o777)

    assert "is open to others" in make("true").about()["failed"]


def test_what_a_keeper_has_left_that_is_gone_is_swept_away(make: Make, base: Path) -> None:
    first = make("exec sleep 1000")
    (base / "left").mkdir()
    (base / "left" / "keeper").touch()

    make("true")

    assert not (base / "left").exists()
    assert first.wait_ended(0.0) is None
    assert len([path for path in base.iterdir() if path.is_dir()]) == 2


HOME = """
import os, pickle, sys, tempfile
from runtara.actors.runners._ray_keeper import Keeper
tempfile.tempdir = sys.argv[1]
keeper, known, found = Keeper({}, pickle.load(sys.stdin.buffer)), None, b""
while found.count(b"\\n") < 2:
    known = keeper.wait_news(known, 60)
    found, _, _ = keeper.read_log("stdout", 0, 100)
print(found.decode(), flush=True)
os.kill(os.getpid(), 9)
"""


async def test_a_program_and_its_descendants_do_not_outlive_the_process_of_their_keeper(tmp_path: Path) -> None:
    order = order_of("(setsid sh -c 'echo $$; exec sleep 1000' &)\necho $$; trap '' TERM; sleep 1000 & wait")

    command = [sys.executable, "-c", HOME, str(tmp_path)]
    done = await trio.run_process(command, stdin=pickle.dumps(order), capture_stdout=True, check=False, cwd=ROOT)
    pids = [int(word) for word in done.stdout.split()]
    for pid in pids:
        with trio.fail_after(PATIENCE_S):
            await wait_gone(pid)

    assert done.returncode == -signal.SIGKILL
    assert len(pids) == 2

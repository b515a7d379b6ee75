import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from runtara.actors.runners._process import boot_id, kill_launched, kill_process, open_process, reap
from runtara.actors.runners._shim import start_time
from tests.actors.runners.hall import descriptors, is_alive


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], env={"PATH": os.defpath, "RUNTARA_LAUNCH_ID": "abc"}) as process:
        yield process
        process.kill()


def ended(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_a_process_is_known_by_its_number_and_its_start(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    descriptor = open_process(sleeper.pid, started)
    before = descriptors()

    assert descriptor is not None
    assert not ended(descriptor)
    assert open_process(sleeper.pid, started + 1) is None
    assert descriptors() == before
    os.close(descriptor)


def test_there_is_no_process_where_there_is_none(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_time(sleeper.pid) or 0
    sleeper.kill()
    sleeper.wait()

    assert start_time(sleeper.pid) is None
    assert open_process(sleeper.pid, started) is None
    kill_process(sleeper.pid, started)


def test_only_the_process_that_is_meant_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_time(sleeper.pid) or 0

    kill_process(sleeper.pid, started - 1)
    survived = is_alive(sleeper.pid)
    kill_process(sleeper.pid, started)

    assert survived
    assert sleeper.wait() == -signal.SIGKILL


def test_whatever_carries_the_mark_of_a_launch_is_killed_and_nothing_else(sleeper: subprocess.Popen[bytes]) -> None:
    before = descriptors()
    with subprocess.Popen(["sleep", "1000"], env={"RUNTARA_LAUNCH_ID": "abcd", "X": "RUNTARA_LAUNCH_ID=abc"}) as other:
        kill_launched("abc")
        gone, left = not is_alive(sleeper.pid), is_alive(other.pid)
        other.kill()

    assert (gone, left) == (True, True)
    assert descriptors() <= before


def test_an_ended_child_leaves_the_process_table_and_others_are_left_alone() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", ""], {})
    mine, parents = os.pidfd_open(pid), os.pidfd_open(os.getppid())

    select.select([mine], [], [])
    reap(mine)
    reap(mine)
    reap(parents)

    assert start_time(pid) is None
    os.close(mine)
    os.close(parents)


def test_the_boot_has_a_name() -> None:
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()

"""Processes that are stopped (SIGSTOP) for longer than the heartbeat timeout, and go on later."""

import select
import signal
import subprocess

import pytest

from runtara.lifecycle import Status, TerminationReason
from runtara.messages import GetCheckpoint, GetStatus
from runtara.sdk import _flows as flows
from runtara.sdk._drive import perform_blocking
from tests.crash.host.processes import Process
from tests.crash.host.scene import LIMIT_S, Scene
from tests.crash.host.server import Server

pytestmark = pytest.mark.slow

TIMEOUT_S = 3.0
"""Ten times as long as a program is silent at most: a busy machine may keep one from speaking for a while."""


@pytest.fixture
def strict(scene: Scene) -> Scene:
    """A scene whose server is impatient with the silent, and runs."""
    scene.server = Server(
        scene.site,
        heartbeat_timeout_ms=int(TIMEOUT_S * 1000),
        heartbeat_interval_ms=300,
        park_after_ms=600_000,
    )
    scene.server.start()
    return scene


def test_a_server_that_was_stopped_declares_no_healthy_program_dead(strict: Scene) -> None:
    own = strict.register("own")
    strict.start("one")
    strict.start("two")
    for who in ("own", "one", "two"):
        strict.await_begun(who)

    strict.server.send(signal.SIGSTOP)
    select.select([], [], [], 2 * TIMEOUT_S)
    strict.server.send(signal.SIGCONT)
    strict.say("one", "go", "end")
    strict.say("two", "end")
    _write(own, "end")
    ends = [strict.await_end(who).status for who in ("own", "one", "two")]

    assert ends == [Status.COMPLETED] * 3
    for who in ("own", "one", "two"):
        assert strict.status(who).epoch == 1, strict.story(who)


def test_a_program_that_was_stopped_for_too_long_is_killed_and_launched_again(strict: Scene) -> None:
    strict.start("one")
    born = strict.await_begun("one")
    strict.say("one", "first")
    strict.await_lines("ack", "one")
    older = Process.find(born.pid, born.started)
    assert older is not None

    older.send(signal.SIGSTOP)
    strict.await_begun("one", 2)

    assert older.is_gone(), "two processes are the same instance"
    strict.say("one", "end")
    ended = strict.await_end("one")
    assert (ended.status, ended.output) == (Status.COMPLETED, b"2 steps")
    assert strict.status("one").epoch > 1
    older.close()


def test_a_program_of_its_own_that_wakes_too_late_is_fenced(strict: Scene) -> None:
    older = strict.register("own")
    strict.await_begun("own")

    older.send_signal(signal.SIGSTOP)
    _await_silent(strict, "own")
    newer = strict.register("own")
    strict.await_begun("own", 2)
    older.send_signal(signal.SIGCONT)
    _write(older, "late")
    fenced = strict.await_lines("fenced", "own")

    assert [(line.value, line.epoch) for line in fenced] == [(str(older.pid), 1)]
    assert strict.ask("own", GetCheckpoint(checkpoint_id="step-0")).state is None
    _write(newer, "end")
    assert strict.await_end("own").status is Status.COMPLETED


def test_a_program_of_its_own_that_wakes_late_and_alone_may_write_no_more(strict: Scene) -> None:
    alone = strict.register("own")
    strict.await_begun("own")

    alone.send_signal(signal.SIGSTOP)
    _await_silent(strict, "own")
    alone.send_signal(signal.SIGCONT)
    _write(alone, "late")
    strict.await_lines("fenced", "own")

    assert strict.ask("own", GetCheckpoint(checkpoint_id="step-0")).state is None


def _await_silent(scene: Scene, who: str) -> None:
    """Wait until an instance has lost its attempt to silence."""
    door = scene.door.beside(who, watch=True)
    while True:
        since = door.session.pushes
        info = door.call_from_thread(GetStatus())
        if info.termination_reason is TerminationReason.HEARTBEAT_TIMEOUT:
            break
        waited = perform_blocking(door, flows.AwaitPush(LIMIT_S, since))
        assert waited < LIMIT_S, f"{who} is {info.status} still\n{scene.site.tails()}"
    door.close()


def _write(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()

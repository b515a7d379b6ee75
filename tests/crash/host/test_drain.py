"""A server is asked to go down: everything comes to rest in time, and goes on with the next server."""

import signal
from contextlib import suppress
from itertools import count

import pytest

from runtara.errors import DeadlineExceeded, Draining
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import GetStatus, StartInstance
from tests.crash.host.processes import Process
from tests.crash.host.scene import LIMIT_S, PATIENT, Scene
from tests.crash.host.server import Server

PROGRAMS = ("one", "two", "three", "four", "five")
"""More than there are places for."""


def test_a_drained_server_leaves_everything_at_rest_and_the_next_one_goes_on(scene: Scene) -> None:
    scene.server.start()
    for who in PROGRAMS:
        scene.start(who)
    running = [scene.await_begun(who) for who in PROGRAMS[:3]]

    code, seconds = scene.server.drain()

    assert code == 0, scene.site.tails()
    assert seconds < 10, "programs that shut down by themselves were waited for"
    assert [Process.find(born.pid, born.started) for born in running] == [None] * 3
    scene.server.start()
    for who in PROGRAMS:
        scene.say(who, "end")
    assert [scene.await_end(who).status for who in PROGRAMS] == [Status.COMPLETED] * 5


@pytest.mark.slow
def test_a_program_that_does_not_go_is_killed_when_its_time_is_over(scene: Scene) -> None:
    scene.server = Server(scene.site, shutdown_grace_ms=1_500, kill_grace_ms=500, **PATIENT)
    scene.server.start()
    scene.start("one", "stubborn")
    born = scene.await_begun("one")

    code, seconds = scene.server.drain()

    assert code == 0, scene.site.tails()
    assert seconds < 6
    assert Process.find(born.pid, born.started) is None
    scene.server.start()
    scene.await_begun("one", 2)
    assert scene.status("one").status is Status.RUNNING


@pytest.mark.slow
def test_a_server_that_goes_down_starts_nothing_new_and_still_talks_about_what_it_knows(scene: Scene) -> None:
    scene.server = Server(scene.site, shutdown_grace_ms=60_000, kill_grace_ms=60_000, **PATIENT)
    scene.server.start()
    scene.start("one", "stubborn")
    born = scene.await_begun("one")

    scene.server.send(signal.SIGTERM)
    with pytest.raises(Draining):
        _start_again_and_again(scene)
    known = scene.ask("one", GetStatus())

    assert known.status is Status.SUSPENDED
    assert known.termination_reason is TerminationReason.SHUTDOWN_REQUESTED
    scene.server.send(signal.SIGTERM)
    assert scene.server.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert Process.find(born.pid, born.started) is None


def _start_again_and_again(scene: Scene) -> None:
    """Start new instances until it is refused: it takes a moment until the server has heard the signal."""
    for number in count():
        command = StartInstance(program=scene.site.program("tests.crash.host.stubborn"))
        with suppress(DeadlineExceeded):  # the last answer may be on its way when time is up
            scene.door.beside(f"new-{number}").call_from_thread(command, timeout=0.5)

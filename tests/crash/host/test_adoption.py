"""The server is killed while programs run: they live on, and the next server knows them again."""

import os
import signal

import pytest

from runtara.lifecycle import Status
from tests.crash.host.late import PIPE
from tests.crash.host.processes import Process
from tests.crash.host.scene import LIMIT_S, Scene


def test_a_running_program_is_adopted_and_goes_on_as_the_same_attempt(scene: Scene) -> None:
    scene.server.start()
    scene.start("one")
    born = scene.await_begun("one")

    scene.server.kill()
    scene.server.start()
    scene.say("one", "go", "end")
    ended = scene.await_end("one")

    assert (ended.status, ended.output) == (Status.COMPLETED, b"2 steps")
    assert scene.status("one").epoch == 1
    assert [line.value for line in scene.await_lines("begun", "one")] == [str(born)]


def test_a_program_that_ends_while_no_server_runs_is_reported_by_the_next(scene: Scene) -> None:
    os.mkfifo(scene.site.path / PIPE)
    scene.server.start()
    scene.start("one", "late")
    born = scene.await_begun("one")
    program = Process.find(born.pid, born.started)
    shim = Process.find(born.parent, born.parent_started)
    assert program is not None
    assert shim is not None

    scene.server.kill()
    (scene.site.path / PIPE).write_text("nobody listens")
    assert program.is_gone(LIMIT_S)
    assert shim.is_gone(LIMIT_S)
    scene.server.start()
    ended = scene.await_end("one")

    assert (ended.status, ended.output) == (Status.COMPLETED, b"nobody listens")
    assert scene.status("one").exit_code == 0
    assert scene.status("one").epoch == 1
    program.close()
    shim.close()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["program", "shim"])
def test_a_program_that_is_killed_while_no_server_runs_is_launched_again_by_the_next(scene: Scene, target: str) -> None:
    scene.server.start()
    scene.start("one")
    born = scene.await_begun("one")
    scene.say("one", "first")
    scene.await_lines("ack", "one")
    program = Process.find(born.pid, born.started)
    shim = Process.find(born.parent, born.parent_started)
    assert program is not None
    assert shim is not None

    scene.server.kill()
    (program if target == "program" else shim).send(signal.SIGKILL)
    assert program.is_gone(LIMIT_S)
    assert shim.is_gone(LIMIT_S)
    scene.server.start()
    scene.say("one", "second", "end")
    ended = scene.await_end("one")

    assert (ended.status, ended.output) == (Status.COMPLETED, b"3 steps")
    told = [line.value for line in scene.await_lines("ack", "one") if line.op == "checkpoint"]
    assert told == ["first False", "first True", "second False", "end False"]
    program.close()
    shim.close()

"""`runtara fork` and `retry`."""

import json

from runtara.errors import Code
from runtara.sdk import InstanceStatus
from tests.cli.terminal import Terminal

FAIL, GREET, WAIT = "/programs/fail.py", "/programs/greet.py", "/programs/wait.py"


def test_a_fork_goes_on_with_the_checkpoints_of_its_source(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "one", "--wait")

    done = terminal("fork", "one", "two", "--input", '"you"', "--wait")

    assert (done.exit_code, done.stdout) == (0, 'hello "you"\n')
    events = "\n".join(terminal.lines("events", "two"))
    assert "the instance was created to go on where one was, from its checkpoint greeted" in events


def test_a_fork_may_leave_later_checkpoints_behind(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "one", "--wait")

    said = terminal.lines("fork", "one", "two", "--checkpoint", "begun")
    again = json.loads(terminal("fork", "one", "two", "--checkpoint", "begun", "--json").stdout)
    other = terminal("fork", "one", "two")

    assert said == ["two"]
    assert (again["instance_id"], again["created"]) == ("two", False)
    assert other.exit_code == Code.ALREADY_EXISTS.exit_code


def test_a_fork_of_nobody_is_refused(terminal: Terminal) -> None:
    done = terminal("fork", "nobody", "two")

    assert done.exit_code == Code.INSTANCE_NOT_FOUND.exit_code
    assert "there is no instance 'nobody'" in done.stderr


def test_an_instance_that_has_failed_is_retried_under_a_name_that_counts(terminal: Terminal) -> None:
    terminal("start", FAIL, "--id", "order-7", "--wait")

    first = terminal("retry", "order-7", "--wait")
    again = terminal.lines("retry", "order-7")
    second = terminal.lines("retry", "order-7.r1")

    assert (first.exit_code, first.stderr.splitlines()[0]) == (1, "order-7.r1")
    assert (again, second) == (["order-7.r1"], ["order-7.r2"])


def test_an_instance_that_was_cancelled_is_retried(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "one")
    terminal("stop", "one", "--wait")

    terminal.lines("retry", "one")
    terminal("signal", "one.r1", "word", "--payload", "go")

    assert terminal.system.wait("one.r1", 30).output == b"go"
    assert terminal.system.status("one").status is InstanceStatus.CANCELLED


def test_an_instance_that_runs_or_has_completed_is_not_retried(terminal: Terminal) -> None:
    terminal("start", GREET, "--id", "one", "--wait")

    done = terminal("retry", "one")

    assert done.exit_code == Code.INVALID_STATE.exit_code
    assert "is completed: only one that has failed or was cancelled is retried" in done.stderr

"""`runtara signal`, `stop` and `resume`."""

import json
from pathlib import Path

import pytest

from runtara.errors import Code
from runtara.sdk import InstanceStatus
from tests.cli.terminal import Terminal

WAIT = "/programs/wait.py"


def test_a_word_that_is_no_kind_is_the_name_of_a_custom_signal(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "i")

    said = terminal.lines("signal", "i", "word", "--payload", "go")

    assert said in (["pending"], ["running"])
    assert terminal.system.wait("i", 30).output == b"go"


def test_a_signal_may_wait_for_what_comes_of_it(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "i")

    done = terminal("signal", "i", "word", "--payload", "go", "--wait")

    assert (done.exit_code, done.stdout) == (0, "go\n")


def test_a_payload_may_be_a_file(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes(b"\x00\x01")
    terminal("start", WAIT, "--id", "i")

    terminal("signal", "i", "word", "--payload", f"@{tmp_path / 'word'}")

    assert terminal.system.wait("i", 30).output == b"\x00\x01"


def test_a_kind_concerns_the_instance_as_a_whole(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "i")

    terminal("signal", "i", "cancel")

    assert terminal.system.wait("i", 30).status is InstanceStatus.CANCELLED


def test_a_custom_signal_may_bear_the_name_of_a_kind(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "i")

    accepted = json.loads(terminal("signal", "i", "cancel", "--custom", "--json").stdout)

    assert (accepted["type"], accepted["created"]) == ("SignalAccepted", True)
    terminal("signal", "i", "word")
    assert terminal.system.wait("i", 30).status is InstanceStatus.COMPLETED


def test_stop_waits_for_the_end_and_exits_like_it(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "i")

    done = terminal("stop", "i", "--grace", "5", "--wait")

    assert done.exit_code == 5
    assert "instance i is cancelled (cancelled)" in done.stderr


def test_what_rests_goes_on_when_it_is_resumed(terminal: Terminal) -> None:
    with terminal.system.sdk("i") as sdk:
        sdk.suspended()

    done = terminal("resume", "i")

    assert (done.exit_code, done.stdout) == (0, "running\n")


def test_what_runs_rests_when_it_is_paused(terminal: Terminal) -> None:
    with terminal.system.sdk("i") as sdk:
        done = terminal("pause", "i")
        signal = sdk.poll_signal()

    assert (done.exit_code, done.stdout) == (0, "running\n")
    assert signal is not None
    assert signal.signal_type == "pause"


@pytest.mark.parametrize(
    "arguments",
    [("signal", "i", "pause"), ("stop", "i"), ("pause", "i"), ("resume", "i"), ("signal", "i", "word")],
)
def test_an_instance_that_nobody_knows_cannot_be_told_anything(terminal: Terminal, arguments: tuple[str, ...]) -> None:
    done = terminal(*arguments)

    assert (done.exit_code, done.stdout) == (Code.INSTANCE_NOT_FOUND.exit_code, "")


def test_a_finished_instance_hears_of_nothing(terminal: Terminal) -> None:
    with terminal.system.sdk("i") as sdk:
        sdk.completed()

    done = terminal("stop", "i")

    assert done.exit_code == Code.INVALID_STATE.exit_code
    assert done.stderr.endswith("[invalid-state]\n")


def test_a_grace_that_makes_no_sense_is_refused(terminal: Terminal) -> None:
    assert terminal("stop", "i", "--grace", "-1").exit_code == Code.INVALID_INPUT.exit_code

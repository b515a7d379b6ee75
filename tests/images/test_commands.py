"""Programs are run without a shell, for so long and no longer, and what they say last is shown."""

import sys
from pathlib import Path

import pytest

from runtara.errors import ConfigError, InvalidInput
from runtara.images._commands import find_program, run_command


def run(folder: Path, code: str, timeout_s: float = 60, **environment: str) -> None:
    arguments = [sys.executable, "-c", code]
    run_command(arguments, what="counting", folder=folder, environment=environment, timeout_s=timeout_s)


def test_a_program_has_its_folder_and_the_environment_that_it_is_given(tmp_path: Path) -> None:
    run(tmp_path, "import os; open('seen', 'w').write(os.environ['A'] + str('HOME' in os.environ))", A="; rm")

    assert (tmp_path / "seen").read_text() == "; rmFalse"
    assert [path.name for path in tmp_path.iterdir()] == ["seen"]


def test_the_last_that_a_program_said_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"counting has failed; it said: (?s:.*)the end$") as failed:
        run(tmp_path, "print('x' * 100_000); print('the end'); raise SystemExit(3)")

    assert len(str(failed.value)) < 5_000


def test_a_program_that_says_nothing_has_failed_too(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="counting has failed, and said nothing"):
        run(tmp_path, "raise SystemExit(1)")


def test_a_program_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE).wait()"

    with pytest.raises(InvalidInput, match=r"counting took more than 0\.5 seconds"):
        run(tmp_path, code, 0.5)


def test_where_there_is_no_way_to_wait_for_a_process_its_end_is_seen_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.pidfd_open")

    run(tmp_path, "")
    with pytest.raises(InvalidInput, match="took more"):
        run(tmp_path, "import threading; threading.Event().wait()", 0.3)


def test_a_program_that_is_not_installed_is_named_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="the program no-such-program is not installed on this machine: get it"):
        find_program("no-such-program", {"PATH": "/usr/bin"}, "get it")
    assert find_program("sh", {}, "").endswith("/sh")

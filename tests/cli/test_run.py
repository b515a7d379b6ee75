"""`runtara run`, as the process that it is."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from runtara.errors import Code
from tests.cli.terminal import SECONDS, popen

GREET = """
import sys
from runtara.sdk import RuntaraSdk
with RuntaraSdk.from_env() as sdk:
    print("working", flush=True)
    print("hmm", file=sys.stderr, flush=True)
    sdk.completed(b"hello " + (sdk.load_input() or b"nobody"))
"""

PATIENT = """
import os, time
from runtara.sdk import InstanceShutdown, RuntaraSdk
with RuntaraSdk.from_env() as sdk:
    print("attempt", sdk.epoch, flush=True)
    try:
        if sdk.epoch == 1:
            sdk.wait_for_signal("word")
    except InstanceShutdown:
        sdk.suspended()
    else:
        sdk.completed(b"done")
"""

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
signal.pause()
"""


def run(folder: Path, text: str, *options: str) -> subprocess.Popen[bytes]:
    (folder / "program.py").write_text(text)
    return popen("run", "program.py", *options, cwd=folder)


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    out, errors = process.communicate(timeout=SECONDS)
    return process.returncode, out.decode(), errors.decode()


def read_line(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Read what a process writes to stdout until a line holds the text."""
    assert process.stdout is not None
    while text not in (line := process.stdout.readline()):
        assert line, "it has ended"


def test_what_the_program_writes_passes_through_and_its_output_comes_last(tmp_path: Path) -> None:
    done = end_of(run(tmp_path, GREET, "--input", '"you"'))

    assert done == (0, 'working\nhello "you"\n', "hmm\n")


@pytest.mark.slow
def test_the_same_id_again_prints_the_same_output_and_runs_nothing(tmp_path: Path) -> None:
    end_of(run(tmp_path, GREET, "--id", "mine"))

    code, out, errors = end_of(run(tmp_path, GREET, "--id", "mine", "--json"))

    assert (code, errors) == (0, "")
    assert (json.loads(out)["status"], json.loads(out)["epoch"]) == ("completed", 1)


@pytest.mark.slow
def test_a_program_without_the_sdk_is_judged_by_its_exit_code(tmp_path: Path) -> None:
    good = end_of(run(tmp_path, "print('plain')", "--id", "good"))
    bad = end_of(run(tmp_path, "import sys\nprint('why', file=sys.stderr)\nsys.exit(3)", "--id", "bad"))

    assert good == (0, "plain\n", "")
    assert bad[:2] == (1, "")
    assert bad[2].startswith("why\nruntara: instance bad is failed (application-error): ")


@pytest.mark.slow
def test_an_interrupt_has_it_shut_down_and_the_same_id_continues(tmp_path: Path) -> None:
    first = run(tmp_path, PATIENT, "--id", "mine")
    read_line(first, b"attempt 1")
    first.send_signal(signal.SIGINT)
    interrupted = end_of(first)

    continued = end_of(run(tmp_path, PATIENT, "--id", "mine"))

    assert interrupted[0] == 130
    assert "runtara: shutting down; once more kills the program\n" in interrupted[2]
    assert interrupted[2].endswith("runtara: it is suspended; to continue: runtara run program.py --id mine\n")
    assert continued == (0, "attempt 2\ndone\n", "")


@pytest.mark.slow
def test_a_second_interrupt_kills(tmp_path: Path) -> None:
    process = run(tmp_path, STUBBORN, "--id", "mine")
    read_line(process, b"up")

    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, _, errors = end_of(process)

    assert code == 130
    assert errors.startswith("runtara: killing\n")
    assert "to continue: runtara run program.py --id mine" in errors


@pytest.mark.slow
def test_an_id_belongs_to_one_program(tmp_path: Path) -> None:
    end_of(run(tmp_path, "pass", "--id", "mine"))
    (tmp_path / "other.py").write_text("pass")

    code, out, errors = end_of(popen("run", "other.py", "--id", "mine", cwd=tmp_path))

    assert (code, out) == (Code.ALREADY_EXISTS.exit_code, "")
    assert errors.endswith("[already-exists]\n")


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    code, out, errors = end_of(popen("run", "missing.py", cwd=tmp_path))

    assert (code, out) == (Code.NOT_FOUND.exit_code, "")
    assert errors.endswith("[not-found]\n")
    assert errors.count("\n") == 1

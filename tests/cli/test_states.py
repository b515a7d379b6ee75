"""`runtara input`, `checkpoint` and `retries`."""

import base64
import json

import pytest

from runtara.errors import Code
from tests.cli.terminal import Terminal

GREET = "/programs/greet.py"


@pytest.fixture
def greeted(terminal: Terminal) -> Terminal:
    terminal("start", GREET, "--id", "g", "--input", '"Ada"', "--wait")
    return terminal


def test_an_input_is_printed_as_it_was_given(greeted: Terminal) -> None:
    greeted("start", GREET, "--id", "raw", "--input", "-", stdin=b"\xff\x00")
    greeted("start", GREET, "--id", "none")

    assert greeted("input", "g").stdout == '"Ada"'
    assert greeted("input", "raw").stdout_bytes == b"\xff\x00"
    assert greeted("input", "none").stdout == ""
    assert json.loads(greeted("input", "g", "--json").stdout)["input"] == base64.b64encode(b'"Ada"').decode()


def test_a_checkpoint_is_printed_as_it_was_saved(greeted: Terminal) -> None:
    missing = greeted("checkpoint", "g", "no")

    assert [greeted("checkpoint", "g", name).stdout for name in ("begun", "greeted")] == ["", "x" * 2000]
    assert json.loads(greeted("checkpoint", "g", "begun", "--json").stdout) == {
        "type": "CheckpointFound",
        "found": True,
        "state": "",
    }
    assert (missing.exit_code, "see `runtara checkpoints`" in missing.stderr) == (Code.NOT_FOUND.exit_code, True)


def test_failed_tries_are_listed(greeted: Terminal) -> None:
    with greeted.system.sdk("r") as sdk:
        for number in (1, 2):
            sdk.record_retry_attempt("step", number, f"no paper {number}")
        lines = greeted.lines("retries", "r", "step")
        rows = json.loads(greeted("retries", "r", "step", "--json").stdout)["retries"]

    assert [(line.split()[0], line.endswith(f"no paper {line.split()[0]}")) for line in lines[1:]] == [
        ("1", True),
        ("2", True),
    ]
    assert [row["attempt"] for row in rows] == [1, 2]


@pytest.mark.parametrize("words", [["input", "x"], ["checkpoint", "x", "a"], ["retries", "x", "a"]])
def test_what_is_unknown_is_refused(words: list[str], terminal: Terminal) -> None:
    assert terminal(*words).exit_code == Code.INSTANCE_NOT_FOUND.exit_code

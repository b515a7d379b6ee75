"""What type checkers see of a workflow: a task that takes something else than what it gets is an error."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

HEAD = """
from runtara.sdk.flow import Flow, Workflow

def length(text: str) -> int:
    return len(text)

def shout(text: str) -> str:
    return text.upper()

async def half(number: int) -> float:
    return number / 2
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ('built: Workflow[object, float] = Flow("w").then(shout).then(length).then(half).build()', None),
        ('Flow("w").then(length).then(shout)', "incompatible type"),
        ('Flow("w").then(half).then(shout)', "incompatible type"),
        ('Flow("w").then(shout).delay("d", 1).then(half)', "incompatible type"),
        ('Flow("w").then(shout).fork().branch(length).join(length)', "incompatible type"),
    ],
)
def test_a_wrong_next_step_is_seen(tmp_path: Path, line: str, verdict: str | None) -> None:
    (tmp_path / "flows.py").write_text(f"{HEAD}\n{line}\n")

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--follow-imports=silent",
            str(tmp_path / "flows.py"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) is (verdict is None), done.stdout
    assert verdict is None or verdict in done.stdout

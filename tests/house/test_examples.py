"""Every example runs, and prints what it says it prints.

An example ends with a comment that begins ``# Output:``; the lines below it, without their ``# ``, are what it must
print, ``...`` standing for anything. A program that a host launches ends with ``# Session:`` instead, and a session at
the command line (see `transcript`). An example whose output is different every time ends with ``# Output varies:``
and the reason; it must still run and exit with 0. Examples run in an empty folder of their own.
"""

import re
from pathlib import Path

import pytest

from runtara.actors.runners._oci_cgroups import find_cgroups
from tests.house.source import ROOT, run_python, squash
from tests.house.transcript import play
from tests.requirements import require

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINES = 60
"""Longest example, its output left aside; demo.py is a program."""
LONGER = {
    "demo.py": "the program behind `make demo`: it starts an example, kills it and starts it again",
    "07_three_nodes.py": "it starts two hundred instances, kills a server and counts",
    "14_workers.py": "it starts a server and two workers, kills one of them and counts",
    "nodes.py": "the servers of 07_three_nodes.py, and a database for whoever has none",
    "rootfs.py": "a tool: it collects an interpreter, its packages and their libraries, and packs them",
}
ON_A_DATABASE = {"07_three_nodes.py", "nodes.py"}
"""Examples that need PostgreSQL: here it is one that the tests start."""

IN_CONTAINERS = {"10_container.py"}
"""Examples that run a container, for which a machine must have a runtime."""


def promise(source: str) -> tuple[str | None, str | None]:
    """What an example says that it prints, or why it does not say."""
    found = re.search(r"(?m)^# Output(?: varies: (?P<reason>.+)|:)\n(?P<lines>(?:#.*\n)*)\Z", source)
    if not found:
        return None, None
    return (None, found["reason"]) if found["reason"] else (_uncomment(found["lines"]), None)


def session(source: str) -> str | None:
    """The session that an example ends with, or None."""
    found = re.search(r"(?m)^# Session:\n(?P<lines>(?:#.*\n)*)\Z", source)
    return found and _uncomment(found["lines"])


def _uncomment(lines: str) -> str:
    return re.sub(r"(?m)^# ?", "", lines)


PLAIN = [path for path in EXAMPLES if session(path.read_text(encoding="utf-8")) is None]
LAUNCHED = [path for path in EXAMPLES if path not in PLAIN]


@pytest.mark.parametrize("example", PLAIN, ids=lambda path: path.name)
def test_an_example_ends_with_its_output(example: Path) -> None:
    expected, reason = promise(example.read_text(encoding="utf-8"))

    assert expected or reason, "end it with `# Output:` and the lines, or with `# Output varies: <reason>`"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(example: Path) -> None:
    code = re.split(r"(?m)^# (?:Output|Session)", example.read_text(encoding="utf-8"))[0]

    assert len(code.rstrip().splitlines()) <= LINES or example.name in LONGER


@pytest.mark.parametrize("example", PLAIN, ids=lambda path: path.name)
@pytest.mark.timeout(240)
def test_an_example_prints_what_it_says(example: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    expected, _ = promise(example.read_text(encoding="utf-8"))
    more = {"RUNTARA_DATABASE_URL": request.getfixturevalue("database")} if example.name in ON_A_DATABASE else {}

    done = run_python(str(example), cwd=tmp_path, timeout=200, **more)

    assert done.returncode == 0, done.stderr
    assert expected is None or squash(expected).fullmatch(done.stdout.strip()), f"it printed:\n{done.stdout}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("example", LAUNCHED, ids=lambda path: path.name)
def test_a_host_runs_an_example_as_it_says(example: Path, tmp_path: Path) -> None:
    if example.name in IN_CONTAINERS:
        require("runc", "the session of this example runs a container")
        require("control groups", "it holds the container to limits", found=find_cgroups().version)

    play(session(example.read_text(encoding="utf-8")) or "", tmp_path)

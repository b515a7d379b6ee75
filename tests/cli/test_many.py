"""`runtara cancel`."""

import json

import pytest

from runtara.sdk import InstanceStatus
from tests.cli.terminal import Terminal

WAIT = "/programs/wait.py"


@pytest.fixture
def waiting(terminal: Terminal) -> Terminal:
    """A terminal in front of some instances that wait."""
    for name in ("order-1", "order-2", "invoice-1"):
        terminal("start", WAIT, "--id", name)
    terminal("start", "/programs/greet.py", "--id", "order-0", "--wait")
    return terminal


def test_all_that_the_options_let_through_are_cancelled(waiting: Terminal) -> None:
    lines = waiting.lines("cancel", "--all", "--prefix", "order-")

    assert [line.split()[0] for line in lines[1:]] == ["order-1", "order-2"]
    assert waiting.system.wait("order-2", 30).status is InstanceStatus.CANCELLED
    assert waiting.system.status("invoice-1").status is not InstanceStatus.CANCELLED
    assert waiting.system.status("order-0").status is InstanceStatus.COMPLETED


def test_a_dry_run_only_lists_whom_it_would_concern(waiting: Terminal) -> None:
    lines = waiting.lines("cancel", "--all", "--program", WAIT, "--dry-run")
    later = waiting.lines("cancel", "--all", "--created-from", "2999-01-01T00:00:00+02:00", "--dry-run")
    page = json.loads(waiting("cancel", "--all", "--created-before", "2999-01-01", "--dry-run", "--json").stdout)

    assert [line.split()[0] for line in lines[1:]] == ["invoice-1", "order-1", "order-2"]
    assert len(later) == 1
    assert [row["instance_id"] for row in page["instances"]] == ["invoice-1", "order-1", "order-2"]
    assert waiting.system.status("order-1").status is not InstanceStatus.CANCELLED


def test_what_came_of_it_can_be_read_by_a_program(waiting: Terminal) -> None:
    done = waiting("cancel", "--all", "--json", "--grace", "1")

    outcomes = json.loads(done.stdout)["outcomes"]
    assert [outcome["instance_id"] for outcome in outcomes] == ["invoice-1", "order-1", "order-2"]
    assert all(outcome["created"] for outcome in outcomes)


def test_nobody_is_cancelled_by_mistake(waiting: Terminal) -> None:
    done = waiting("cancel", "--prefix", "order-")

    assert (done.exit_code, "say --all" in done.stderr) == (2, True)
    assert waiting.system.status("order-1").status is not InstanceStatus.CANCELLED


def test_an_image_that_is_not_kept_here_is_said_to_be_so(waiting: Terminal) -> None:
    assert "keeps no images" in waiting("cancel", "--all", "--image", "report").stderr


def test_many_are_started_from_lines_of_json(terminal: Terminal) -> None:
    lines = [
        {"id": "a", "program": "/programs/greet.py", "input": {"name": "Ada"}, "priority": 5},
        {"id": "b", "program": WAIT, "timeout": 60, "env": {"A": "1"}},
    ]
    text = "\n".join(json.dumps(line) for line in lines).encode() + b"\n\n"
    done, again = (terminal("start-many", "-", stdin=text) for _ in range(2))

    assert (done.exit_code, again.exit_code) == (0, 0)
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["a", "pending"], ["b", "pending"]]
    assert terminal.system.wait("a", 30).output == b'hello {"name": "Ada"}'
    assert json.loads(terminal("status", "b", "--json").stdout)["timeout_ms"] == 60_000


def test_what_is_refused_of_a_start_is_told_beside_the_others(terminal: Terminal) -> None:
    terminal("start", WAIT, "--id", "a")
    text = b'{"id": "a", "program": "/programs/greet.py"}\n{"id": "b", "program": "/programs/greet.py"}\n'
    done = terminal("start-many", "-", "--json", stdin=text)

    assert done.exit_code == 1
    assert [outcome["code"] for outcome in json.loads(done.stdout)] == ["already-exists", None]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"id": "a"}', b'{"id": "a", "program": "p", "colour": 1}', b"\xff"])
def test_a_line_that_is_no_start_is_named(line: bytes, terminal: Terminal) -> None:
    done = terminal("start-many", "-", stdin=b'{"id": "a", "program": "p"}\n' + line + b"\n")

    assert (done.exit_code, "line 2 of the starts" in done.stderr) == (2, True)
    assert terminal.lines("ps")[1:] == []


def test_many_are_paused_and_resumed(waiting: Terminal) -> None:
    nobody = waiting("signal-many", "pause")
    done = waiting("signal-many", "resume", "--all", "--prefix", "order-", "--json")

    assert (nobody.exit_code, "say --all" in nobody.stderr) == (2, True)
    assert [outcome["instance_id"] for outcome in json.loads(done.stdout)["outcomes"]] == ["order-1", "order-2"]

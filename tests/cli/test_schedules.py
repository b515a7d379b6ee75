"""`runtara schedule`."""

import json
from datetime import UTC, datetime

import pytest

from runtara.errors import Code
from tests.cli.terminal import Terminal

GREET = "/programs/greet.py"


def test_a_schedule_is_put_shown_listed_paused_resumed_and_deleted(terminal: Terminal) -> None:
    put = terminal.lines("schedule", "put", "nightly", GREET, "--cron", "0 3 * * *", "--timezone", "Europe/Berlin")
    shown = "\n".join(terminal.lines("schedule", "show", "nightly"))
    listed = terminal.lines("schedule", "list")
    paused = terminal.lines("schedule", "pause", "nightly")
    resumed = terminal.lines("schedule", "resume", "nightly")
    deleted = terminal.lines("schedule", "delete", "nightly")
    empty = terminal.lines("schedule", "list")

    assert put[0].startswith("next start: ")
    assert put[0].endswith("00:00.000Z")
    assert "0 3 * * *" in shown
    assert "Europe/Berlin" in shown
    assert GREET in shown
    (then,) = (line for line in shown.splitlines() if "then" in line.lower())
    assert then.count(":00:00.000Z") == 4
    assert (len(listed), listed[1].split()[0]) == (2, "nightly")
    assert (paused, resumed, deleted, len(empty)) == (["no start is planned"], put, [], 1)


def test_a_schedule_starts_its_program(terminal: Terminal) -> None:
    terminal.lines("schedule", "put", "beat", GREET, "--every", "1s", "--input", "1", "--catch-up", "all")
    created = json.loads(terminal("schedule", "show", "beat", "--json").stdout)["created_at"]

    name = f"beat.{datetime.fromtimestamp(created // 1000 + 1, UTC):%Y%m%dT%H%M%SZ}"
    while terminal("status", name).exit_code == Code.INSTANCE_NOT_FOUND.exit_code:
        pass  # it is due within a second, and nobody is told of what is not there
    terminal.lines("schedule", "delete", "beat")

    assert terminal.system.wait(name, 30).output == b"hello 1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cron", "61 * * * *"], "is not one (bad minute)"),
        (["--cron", "* * * * *", "--timezone", "Mars"], "time zone 'Mars' is unknown"),
        ([], "either a cron expression or an interval"),
        (["--every", "10ms"], "every_ms 10 is not allowed"),
    ],
    ids=["cron", "zone", "neither", "short"],
)
def test_a_plan_that_makes_no_sense_is_refused(options: list[str], said: str, terminal: Terminal) -> None:
    done = terminal("schedule", "put", "nightly", GREET, *options)

    assert done.exit_code == Code.INVALID_INPUT.exit_code
    assert said in done.stderr


def test_what_cannot_be_typed_so_is_a_mistake_of_the_command_line(terminal: Terminal) -> None:
    for options in (["--every", "often"], ["--until", "soon"], ["--id", "i", "--every", "1h"]):
        assert terminal("schedule", "put", "nightly", GREET, *options).exit_code == 2


def test_a_schedule_that_is_not_there_is_said_to_be_so(terminal: Terminal) -> None:
    for command in ("show", "pause", "resume", "delete"):
        done = terminal("schedule", command, "nobody")

        assert (done.exit_code, "there is no schedule" in done.stderr) == (Code.NOT_FOUND.exit_code, True)


def test_a_list_that_is_not_complete_says_so(terminal: Terminal) -> None:
    for name in ("a", "b"):
        terminal.lines("schedule", "put", name, GREET, "--every", "1h", "--until", "2999-01-01", "--paused")

    done = terminal("schedule", "list", "--limit", "1")
    every = json.loads(terminal("schedule", "list", "--limit", "1", "--all", "--json").stdout)

    assert "there are more" in done.stderr
    assert [row["name"] for row in every["schedules"]] == ["a", "b"]

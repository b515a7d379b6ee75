"""`runtara upkeep`."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtara.errors import Code
from tests.cli.terminal import Server, Terminal


@pytest.fixture(scope="module")
def tidy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that keeps nothing that is finished, and looks only at its start, or when it is told to."""
    kept = {"RUNTARA_KEEP_INSTANCES_MS": "1", "RUNTARA_KEEP_RUNS_MS": "1", "RUNTARA_KEEP_IMAGES_MS": "1"}
    server = Server(tmp_path_factory.mktemp("tidy"), **kept)
    yield server
    code, log = server.stop()
    assert code == 0, log


def finish(server: Server, name: str) -> None:
    """Have an instance that is finished, with a folder of its own, in which nothing runs any more either."""
    path = Path(server.write_program(f"{name}.sh", "#!/bin/sh\nexit 0\n"))
    path.chmod(0o755)
    assert server("start", str(path), "--id", name, "--wait").exit_code == 0
    while any((server.folder / ".data" / "runs" / "attempts").iterdir()):
        threading.Event().wait(0.01)  # its end is stored first, and then forgotten by who has launched it


def test_what_is_not_kept_is_named_and_then_removed(tidy: Server) -> None:
    finish(tidy, "one")
    would = tidy("upkeep", "instances", "--dry-run")
    assert "one" in tidy("ps").stdout

    done = tidy("upkeep", "instances")

    for shown in (would, done):
        assert [line.split() for line in shown.stdout.splitlines()] == [
            ["CHORE", "REMOVED", "OF", "THIS", "TENANT"],
            ["instances", "1", "one"],
        ]
    assert "one" not in tidy("ps").stdout


def test_all_chores_are_done_where_none_is_named(tidy: Server) -> None:
    tidy("upkeep")
    finish(tidy, "two")

    done = json.loads(tidy("upkeep", "--json").stdout)

    assert [(row["chore"], row["dry_run"]) for row in done] == [
        ("instances", False),
        ("runs", False),
        ("images", False),
    ]
    assert [row["names"] for row in done] == [["two"], ["two"], []]
    assert [path.name for path in (tidy.folder / ".data" / "runs").iterdir()] == ["attempts"]


def test_things_of_other_tenants_are_counted_and_not_named(tidy: Server) -> None:
    tidy("upkeep")
    finish(tidy, "three")

    [row] = json.loads(tidy("upkeep", "instances", "--dry-run", "--json", "--tenant", "other").stdout)

    assert (row["removed"], row["names"]) == (1, [])


def test_a_chore_that_there_is_not_is_a_mistake_of_the_command_line(tidy: Server) -> None:
    assert tidy("upkeep", "dishes").exit_code == 2


def test_a_system_without_upkeep_says_so(terminal: Terminal) -> None:
    done = terminal("upkeep", "images")

    assert (done.exit_code, "it has no upkeep of its own" in done.stderr) == (Code.NOT_FOUND.exit_code, True)

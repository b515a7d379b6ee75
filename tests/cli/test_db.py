"""`runtara db`."""

import contextlib
import io
import json
import stat
from pathlib import Path
from typing import Any

import psycopg
import pytest
import rich.console
from click.testing import Result

from runtara.cli import _db
from runtara.errors import Code
from runtara.lifecycle import Status
from runtara.store import _sqlite_upkeep as sqlite_upkeep
from runtara.store import open_store, open_upkeep
from runtara.store._statements import load_migrations
from tests.cli.terminal import Server, type_command
from tests.store.faults import IMPATIENT
from tests.store.moving import INSTANCES, fill
from tests.store.samples import put, save


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is in use is found so at once."""
    monkeypatch.setattr(sqlite_upkeep, "SqliteLimits", lambda: IMPATIENT)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store in turn, where nothing is yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("database"))


@pytest.fixture
def full(url: str) -> str:
    """The same, with instances that go on and instances that have finished."""
    fill(url)
    return url


def db(url: str, *arguments: str) -> Result:
    return type_command("db", *arguments, RUNTARA_DATABASE_URL=url)


def printed(done: Result) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_schema_is_brought_up_to_date_once(tmp_path: Path) -> None:
    names = [migration.name for migration in load_migrations("sqlite")]

    looked = type_command("db", "migrate", "--dry-run", "--json", "--data-dir", str(tmp_path / "data"))
    made_nothing = not (tmp_path / "data").exists()
    done = type_command("db", "migrate", "--data-dir", str(tmp_path / "data"))
    again = type_command("db", "migrate", "--data-dir", str(tmp_path / "data"))

    assert (printed(looked), made_nothing) == (names, True)
    assert done.stdout.splitlines() == names
    assert again.stdout == "up to date\n"
    assert (tmp_path / "data" / "runtara.db").is_file()


def test_a_sound_store_is_said_to_be_sound(full: str) -> None:
    done = db(full, "verify")

    assert (done.exit_code, done.stdout) == (0, "sound\n")
    assert printed(db(full, "verify", "--json")) == []


def test_what_is_wrong_is_told_with_exit_code_1(url: str) -> None:
    with contextlib.closing(open_store(url).open_writer()) as writer:
        put(writer, save(checkpoint_id="missing"))
    problem = "an instance names a last checkpoint that is not stored: acme/order-1 names missing"

    done, as_json = db(url, "verify"), db(url, "verify", "--json")

    assert (done.exit_code, done.stdout) == (1, f"{problem}\n")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (1, [problem])


def test_a_backup_is_restored_into_the_other_kind_of_store(
    full: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    other = (
        str(request.getfixturevalue("database")) if full.startswith("sqlite") else f"sqlite:///{tmp_path / 'other.db'}"
    )
    file = tmp_path / "backup"

    made = db(full, "backup", str(file))
    restored = db(other, "restore", str(file))

    assert (made.exit_code, made.stdout.partition(" in ")[0]) == (0, f"{2 * INSTANCES} instances, 87 rows")
    assert (restored.exit_code, restored.stdout) == (0, f"{2 * INSTANCES} instances, 87 rows\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert open_upkeep(other).verify() == []


def test_what_was_moved_is_printed_as_json(full: str, tmp_path: Path) -> None:
    moved = printed(db(full, "backup", str(tmp_path / "backup"), "--json"))

    assert moved["tables"]["instances"]["rows"] == 2 * INSTANCES
    assert len(moved["tables"]["instances"]["sha256"]) == 64


def test_a_store_is_replaced_only_if_that_is_said_twice(full: str, tmp_path: Path) -> None:
    file = str(tmp_path / "backup")
    db(full, "backup", file)

    done = [db(full, "restore", file, *options) for options in ([], ["--replace"], ["--replace", "--yes"])]

    assert [one.exit_code for one in done] == [Code.ALREADY_EXISTS.exit_code, Code.INVALID_INPUT.exit_code, 0]
    assert "say --yes as well" in done[1].stderr


def test_a_file_that_is_no_backup_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("hello")

    done = db(url, "restore", str(tmp_path / "backup"))

    assert done.exit_code == Code.INVALID_INPUT.exit_code
    assert "is not a backup" in done.stderr


def test_problems_that_come_along_are_told_with_exit_code_1(url: str, tmp_path: Path) -> None:
    with contextlib.closing(open_store(url).open_writer()) as writer:
        put(writer, save(status=Status.SUSPENDED, checkpoint_id="missing"))

    done = type_command("db", "copy", url, f"sqlite:///{tmp_path / 'other.db'}")

    assert (done.exit_code, done.stdout.splitlines()[0]) == (1, "1 instance, 1 row")
    assert "names missing" in done.stdout


def test_what_is_left_out_is_told(database: str, tmp_path: Path) -> None:
    open_upkeep(database).migrate()
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO runtara.documents VALUES ('key', '')")

    done = type_command("db", "copy", database, f"sqlite:///{tmp_path / 'other.db'}", "--json")

    assert printed(done)["left_out"] == {"documents": 1}
    assert done.stderr == "runtara: 1 row of documents left out: such a database has none\n"


def test_finished_instances_are_counted_then_deleted(full: str) -> None:
    options = ("prune", "--older-than", "30d", "--tenant", "acme", "--status", "completed")

    counted, deleted = db(full, *options, "--dry-run"), db(full, *options)

    assert counted.stdout == f"{INSTANCES} instances would be deleted\n"
    assert deleted.stdout == f"{INSTANCES} instances deleted\n"
    assert printed(db(full, *options, "--json")) == {"instances": 0, "dry_run": False}


@pytest.mark.parametrize(
    "options", [["--status", "failed"], ["--tenant", "globex"], ["--older-than", "36500d"]], ids=lambda found: found[0]
)
def test_others_stay(full: str, options: list[str]) -> None:
    done = db(full, "prune", "--older-than", "30d", *options)

    assert (done.exit_code, done.stdout) == (0, "0 instances deleted\n")


@pytest.mark.parametrize("options", [[], ["--older-than", "30"], ["--older-than", "1d", "--status", "running"]])
def test_a_prune_that_does_not_say_what_is_meant_is_refused(full: str, options: list[str]) -> None:
    assert db(full, "prune", *options).exit_code == 2


def test_the_size_is_told_before_and_after(full: str) -> None:
    done = db(full, "vacuum")

    assert done.exit_code == 0
    assert ", before " in done.stdout
    assert sorted(printed(db(full, "vacuum", "--json"))) == ["after", "before"]


def test_a_store_in_memory_is_refused() -> None:
    done = db("memory://", "verify")

    assert done.exit_code == Code.CONFIG_ERROR.exit_code


def test_beside_a_server_that_owns_the_file_one_looks_and_changes_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        looked = [server("db", *words) for words in (["verify"], ["migrate"], ["backup", str(tmp_path / "backup")])]
        refused = [server("db", *words) for words in (["vacuum"], ["prune", "--older-than", "1d"])]
    finally:
        code, log = server.stop()

    assert [done.exit_code for done in looked] == [0, 0, 0], [done.output for done in looked]
    assert [done.exit_code for done in refused] == [Code.STORE_IN_USE.exit_code] * 2
    assert f"in use by process {server.process.pid}: stop it" in refused[0].stderr
    assert code == 0, log


def test_a_terminal_shows_how_far_it_has_come(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = rich.console.Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(rich.console, "Console", lambda **_: console)

    with _db._picture("backup") as watch:
        watch("events", 2048)
        console.print("now")

    assert "backup: events, 2.0 KiB" in screen.getvalue()

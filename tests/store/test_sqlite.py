"""What is true of an SQLite store beyond the contract: its file, its owner, and what it does when the disk fails."""

import contextlib
import os
import signal as os_signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtara.errors import (
    ConfigError,
    Internal,
    RuntaraError,
    StoreCorrupt,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
)
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Snapshot
from runtara.store import LoadError, Reader, Writer
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import check_version
from runtara.store._statements import load_migrations
from tests.store.faults import IMPATIENT, ROOT
from tests.store.samples import (
    checkpoint,
    event,
    instance,
    loaded,
    opened,
    put,
    save,
    signal,
    torn_while_written,
    wait,
)

OTHER = InstanceKey("acme", "order-2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is; its folder does not exist yet."""
    return tmp_path / "data" / "runtara.db"


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, as somebody else sees it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


# The file -------------------------------------------------------------------------------------------------------------


def test_only_its_owner_may_read_the_file_and_what_lies_beside_it(path: Path) -> None:
    with opened(SqliteStore(str(path))):
        modes = {file.name: mode(file) for file in path.parent.iterdir()}

    assert mode(path.parent) == "0o700"
    assert modes == dict.fromkeys(["runtara.db", "runtara.db-wal", "runtara.db-shm", "runtara.db-owner"], "0o600")


def test_a_relative_path_stays_where_it_was_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("runtara.db")
    monkeypatch.chdir("/")

    store.open_writer().close()

    assert (tmp_path / "runtara.db").exists()


@pytest.mark.parametrize("name", ["with space.db", "100%.db", "what?.db", "a#b.db", "ü.db"])
def test_a_path_is_taken_literally(tmp_path: Path, name: str) -> None:
    SqliteStore(str(tmp_path / name)).open_writer().close()

    assert (tmp_path / name).exists()


def test_a_commit_is_synchronised_and_readers_never_write(path: Path) -> None:
    with opened(SqliteStore(str(path))) as (writer, reader):
        on_writer = {name: pragma(writer, name) for name in ("journal_mode", "synchronous", "foreign_keys")}
        on_both = {(pragma(each, "trusted_schema"), pragma(each, "mmap_size")) for each in (writer, reader)}
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection_of(reader).execute("DELETE FROM instances")

    assert on_writer == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert on_both == {(0, 0)}
    assert pragma_of_new_reader(path, "wal_autocheckpoint") == 0


def test_the_log_is_empty_after_closing(path: Path) -> None:
    writer = SqliteStore(str(path)).open_writer()
    put(writer, save())
    with raw(path) as other:
        other.execute("SELECT count(*) FROM instances").fetchone()  # keeps the log from being deleted
        before = log_of(path).stat().st_size

        writer.close()

        assert (before > 0, log_of(path).stat().st_size) == (True, 0)


def test_writer_and_reader_belong_to_their_threads(path: Path) -> None:
    store = SqliteStore(str(path))
    errors: list[RuntaraError] = []
    with opened(store) as (writer, reader):
        put(writer, save())

        def elsewhere() -> None:
            with contextlib.closing(store.open_reader()) as own:
                assert loaded(own) == Snapshot(instance=instance())
            try:
                reader.count_by_status()
            except RuntaraError as error:
                errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    assert [type(error) for error in errors] == [Internal]


def test_a_reader_in_another_thread_sees_whole_saves_only(path: Path) -> None:
    assert torn_while_written(SqliteStore(str(path)), 149) == []


def test_an_sqlite_that_is_too_old_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SQLite 3\.31\.1: use one with 3\.38"):
        check_version((3, 31, 1))


def test_sqlite_utils_can_work_with_the_file(path: Path) -> None:
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, save())

        command = [sys.executable, "-m", "sqlite_utils", "rows", str(path), "instances", "--csv", "--no-headers"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert answer.startswith("1,acme,order-1,running,1,1,")


# Its owner ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from runtara.store import open_store
writer = open_store("sqlite:///" + sys.argv[1]).open_writer()
print("open", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def owned_elsewhere(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the writer open."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def test_two_processes_cannot_own_one_file(path: Path) -> None:
    with owned_elsewhere(path) as process, pytest.raises(StoreInUse, match=f"process {process.pid}"):
        SqliteStore(str(path), IMPATIENT).open_writer()


def test_a_link_to_the_file_is_the_same_file(path: Path, tmp_path: Path) -> None:
    with opened(SqliteStore(str(path))):
        (tmp_path / "link.db").symlink_to(path)

        with pytest.raises(StoreInUse, match="this process"):
            SqliteStore(str(tmp_path / "link.db"), IMPATIENT).open_writer()


def test_a_killed_owner_leaves_nothing_that_has_to_be_cleaned_up(path: Path) -> None:
    with owned_elsewhere(path) as process:
        os.kill(process.pid, os_signal.SIGKILL)

        SqliteStore(str(path)).open_writer().close()


def test_a_store_that_could_not_be_opened_is_not_owned(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreCorrupt):
        SqliteStore(str(path)).open_writer()
    path.unlink()

    SqliteStore(str(path), IMPATIENT).open_writer().close()


# Files that are refused -----------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    SqliteStore(str(path)).open_writer().close()
    known = len(load_migrations("sqlite"))
    with raw(path) as file:
        file.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('runtara', '0099_later', '')"
        )
    before = path.read_bytes()

    with pytest.raises(StoreTooNew, match=rf"version 99, .* up to {known}"):
        SqliteStore(str(path)).open_writer()
    with pytest.raises(StoreTooNew):
        SqliteStore(str(path)).open_reader()

    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with raw(path) as file:
        file.execute("CREATE TABLE bookmarks (url)")
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="something else"):
        SqliteStore(str(path)).open_writer()

    assert path.read_bytes() == before


def test_a_reader_needs_a_writer_that_has_made_the_file(path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        SqliteStore(str(path)).open_reader()
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreUnavailable, match="open its writer first"):
        SqliteStore(str(path)).open_reader()


def test_a_path_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match="cannot be made"):
        SqliteStore(str(tmp_path / "file" / "runtara.db")).open_writer()


@pytest.mark.parametrize("damage", ["header", "schema", "truncated"])
def test_a_damaged_file_is_refused_and_left_as_it_was(path: Path, damage: str) -> None:
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, save())
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:100] = os.urandom(100)
    elif damage == "schema":
        content[100:4096] = os.urandom(3996)
    else:
        del content[5000:]
    path.write_bytes(content)

    with pytest.raises(StoreCorrupt, match=r"runtara\.db .*\.recover"):
        SqliteStore(str(path)).open_writer()

    assert path.read_bytes() == content


# Damage within --------------------------------------------------------------------------------------------------------


def test_damaged_pages_are_reported_and_never_believed(path: Path) -> None:
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, *(save(InstanceKey("acme", f"i{number}"), input=bytes(3000)) for number in range(200)))
    with path.open("r+b") as file:
        for page in range(40, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(4096))

    with opened(SqliteStore(str(path))) as (writer, reader):
        problems = reader.verify()
        with pytest.raises(StoreCorrupt):
            [reader.read_input(InstanceKey("acme", f"i{number}")) for number in range(200)]

    assert any("structure is damaged" in problem for problem in problems)


PLANTED = {
    "a row belongs to an instance": "DELETE FROM instances WHERE instance_id = 'order-1'",
    "unknown status": "UPDATE instances SET status = 'lost'",
    "a finished instance has no instant": "UPDATE instances SET status = 'failed'",
    "an instance that goes on has an instant": "UPDATE instances SET finished_at = 1",
    "last checkpoint that is not stored": "UPDATE instances SET checkpoint_id = 'never'",
    "ended by a signal that is not stored": "DELETE FROM signals",
    "not a list of names and values": "INSERT INTO environments VALUES (1, '[]')",
    "names and values: acme/order-1": "INSERT INTO environments VALUES (1, '{')",
    "index instances_due is missing": "DROP INDEX instances_due",
    "trigger checkpoints_stay is missing": "DROP TRIGGER checkpoints_stay",
    "table events was changed": "ALTER TABLE events ADD COLUMN more TEXT",
}


@pytest.mark.parametrize("problem", PLANTED)
def test_verify_reports_planted_damage(path: Path, problem: str) -> None:
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, save(signals=(signal("s"),), waits=(wait("p", ended_at=1, signal_id="s"),), events=(event(),)))
    with raw(path) as file:
        file.execute("PRAGMA ignore_check_constraints = ON")
        file.execute(PLANTED[problem])

    with opened(SqliteStore(str(path))) as (_, reader):
        found = reader.verify()

    assert [line for line in found if problem in line], found


EDITS = {
    "status": "UPDATE instances SET status = 'lost' WHERE instance_id = 'order-2'",
    "termination_reason": "UPDATE instances SET termination_reason = 'boredom' WHERE instance_id = 'order-2'",
    "not UTF-8": "UPDATE instances SET error = CAST(x'ff' AS TEXT) WHERE instance_id = 'order-2'",
    "signal": "UPDATE signals SET name = CAST(x'ff' AS TEXT) WHERE instance_number = 2",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_that_nobody_understands_does_not_affect_its_neighbours(path: Path, edit: str) -> None:
    keys = [InstanceKey("acme", f"order-{number}") for number in range(1, 5)]
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, *(save(key, signals=(signal("s"),)) for key in keys))
    with raw(path) as file:
        file.execute("PRAGMA ignore_check_constraints = ON")
        file.execute(EDITS[edit])

    with opened(SqliteStore(str(path))) as (_, reader):
        found = reader.load(keys)

    assert isinstance(found[OTHER], LoadError)
    neighbours = [found[key] for key in keys if key != OTHER]
    assert neighbours == [
        Snapshot(instance=instance(key), signals=(signal("s"),), signal_ids=("s",)) for key in keys if key != OTHER
    ]


def test_a_list_with_a_row_that_nobody_understands_says_so(path: Path) -> None:
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, save(), save(OTHER))
    with raw(path) as file:
        file.execute("PRAGMA ignore_check_constraints = ON")
        file.execute(EDITS["status"])

    with opened(SqliteStore(str(path))) as (_, reader):
        with pytest.raises(StoreCorrupt, match="cannot be understood"):
            reader.list_instances("acme", None, 10, None)
        with pytest.raises(StoreCorrupt, match="lost"):
            reader.count_by_status()


@pytest.mark.parametrize("env", ["", "{", "[]", '{"A": 1}', '{"A": null}'])
def test_an_environment_that_nobody_understands_is_never_believed(path: Path, env: str) -> None:
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, save(), save(OTHER, env={"A": "1"}))
    with raw(path) as file:
        file.execute("INSERT INTO environments VALUES (1, ?)", [env])

    with opened(SqliteStore(str(path))) as (_, reader):
        with pytest.raises(StoreCorrupt, match="nobody can have written"):
            reader.read_env(InstanceKey("acme", "order-1"))
        neighbour = reader.read_env(OTHER)

    assert neighbour == {"A": "1"}


# Guards in the database itself ----------------------------------------------------------------------------------------

FORBIDDEN = [
    "UPDATE checkpoints SET state = x''",
    "UPDATE events SET type = 'x'",
    "UPDATE inputs SET input = x''",
    "UPDATE environments SET env = '{}'",
    "UPDATE waits SET signal_id = 'x'",
    "UPDATE instances SET status = 'running'",
    "UPDATE instances SET status = 'lost', finished_at = NULL WHERE instance_id = 'order-2'",
    "INSERT INTO checkpoints (instance_number, checkpoint_id, state, epoch, created_at) VALUES (1, 'step', x'', 1, 1)",
    "INSERT INTO events (instance_number, type, epoch, created_at, request) VALUES (1, 'custom', 1, 1, 7)",
    "INSERT INTO environments VALUES (1, '{}')",
    "UPDATE instances SET version = 'one'",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_database_itself_refuses(path: Path, statement: str) -> None:
    history: dict[str, Any] = {
        "checkpoints": (checkpoint("step"),),
        "events": (event(request=7),),
        "waits": (wait("p", ended_at=1),),
    }
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, save(status=Status.FAILED, finished_at=1, input=b"i", env={"A": "1"}, **history), save(OTHER))

    with raw(path) as file, pytest.raises(sqlite3.IntegrityError):
        file.execute(statement)


def test_an_instance_that_is_deleted_takes_all_its_rows_with_it(path: Path) -> None:
    history: dict[str, Any] = {"checkpoints": (checkpoint("step"),), "events": (event(),), "signals": (signal("s"),)}
    with opened(SqliteStore(str(path))) as (writer, _):
        put(writer, save(input=b"i", env={"A": "1"}, waits=(wait("p"),), **history))
    with raw(path) as file:
        file.execute("PRAGMA foreign_keys = ON")
        file.execute("DELETE FROM instances")
        tables = ("checkpoints", "events", "signals", "waits", "inputs", "environments", "retries")
        left = [file.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]

    assert left == [(0,)] * 7


@pytest.mark.parametrize("status", Status)
def test_the_database_knows_every_status_and_which_are_final(path: Path, status: Status) -> None:
    end: dict[str, Any] = {"finished_at": 1} if status in FINAL else {}
    with opened(SqliteStore(str(path))) as (writer, reader):
        put(writer, save(status=status, **end))
        problems = reader.verify()
        try:
            writer.commit([save(version=2, status=status, error="late", **end)])
            changed = True
        except Internal:
            changed = False

    assert problems == []
    assert changed == (status not in FINAL)


def connection_of(opened: Writer | Reader) -> sqlite3.Connection:
    connection = opened._connection  # type: ignore[union-attr] # the tests look inside
    assert isinstance(connection, sqlite3.Connection)
    return connection


def pragma(opened: Writer | Reader, name: str) -> object:
    return connection_of(opened).execute(f"PRAGMA {name}").fetchone()[0]


def pragma_of_new_reader(path: Path, name: str) -> object:
    with opened(SqliteStore(str(path))) as (_, reader):
        return pragma(reader, name)

"""Migrations: all that is pending or nothing, once, and never on a file that somebody else has changed."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtara.errors import ConfigError, StoreCorrupt, StoreTooNew, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status, TerminationReason
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Snapshot, Wait
from runtara.store import Copies, Finished, RunningInstance
from runtara.store._migrate import check_schema, migrate, pending_migrations, schema_differences
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SqliteLimits, connect_memory
from runtara.store._sqlite_reader import SqliteReader
from runtara.store._statements import Migration, load_migrations
from tests.store.old_files import contents, old_file, schema_of
from tests.store.samples import NOW, event, image_version, loaded, put, save, schedule

PATH = Path("runtara.db")
FIRST = Migration(1, "0001_first", "CREATE TABLE instances (a); CREATE TABLE settings (key PRIMARY KEY, value);", "one")
SECOND = Migration(2, "0002_second", "ALTER TABLE instances ADD COLUMN b; INSERT INTO instances VALUES (1, 2);", "two")
BROKEN = Migration(3, "0003_broken", "CREATE TABLE third (a); CREATE TABLE third (a);", "three")


@pytest.fixture
def file() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect_memory()) as connection:
        yield connection


def tables(file: sqlite3.Connection) -> set[str]:
    return {name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def names(file: sqlite3.Connection) -> list[str]:
    return [name for (name,) in file.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]


def test_an_empty_file_gets_every_migration_in_order(file: sqlite3.Connection) -> None:
    migrate(file, PATH, [FIRST, SECOND])

    assert names(file) == ["0001_first", "0002_second"]
    assert file.execute("SELECT a, b FROM instances").fetchall() == [(1, 2)]
    assert not file.in_transaction


def test_an_older_file_gets_what_it_lacks(file: sqlite3.Connection) -> None:
    migrate(file, PATH, [FIRST])

    pending = pending_migrations(file, PATH, [FIRST, SECOND])
    migrate(file, PATH, [FIRST, SECOND])

    assert list(pending) == [SECOND]
    assert names(file) == ["0001_first", "0002_second"]


def test_a_migration_is_applied_once(file: sqlite3.Connection) -> None:
    migrate(file, PATH, [FIRST, SECOND])

    migrate(file, PATH, [FIRST, SECOND])

    assert file.execute("SELECT count(*) FROM instances").fetchone() == (1,)


def test_a_migration_that_fails_takes_all_that_were_pending_back_with_it(file: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="third"):
        migrate(file, PATH, [FIRST, SECOND, BROKEN])

    assert tables(file) == set()
    assert not file.in_transaction


def test_a_file_of_a_later_version_is_refused_with_both_versions(file: sqlite3.Connection) -> None:
    migrate(file, PATH, [FIRST, SECOND])

    with pytest.raises(StoreTooNew, match="schema version 2, this program knows up to 1"):
        check_schema(file, PATH, [FIRST])


@pytest.mark.parametrize("known", [[FIRST._replace(checksum="x"), SECOND], [FIRST, SECOND._replace(checksum="x")]])
def test_a_migration_that_was_applied_with_another_text_is_refused(
    file: sqlite3.Connection, known: list[Migration]
) -> None:
    migrate(file, PATH, [FIRST, SECOND])

    with pytest.raises(StoreCorrupt, match="another text of migration"):
        migrate(file, PATH, known)


def test_a_migration_without_its_bookkeeping_is_refused(file: sqlite3.Connection) -> None:
    migrate(file, PATH, [FIRST, SECOND])
    file.execute("DELETE FROM _sqlite_migrations WHERE name = '0001_first'")

    with pytest.raises(StoreCorrupt):
        check_schema(file, PATH, [FIRST, SECOND])


def test_a_database_of_something_else_is_refused(file: sqlite3.Connection) -> None:
    file.execute("CREATE TABLE settings (a)")

    with pytest.raises(ConfigError, match="something else"):
        migrate(file, PATH)

    assert tables(file) == {"settings"}


def test_looking_changes_nothing(file: sqlite3.Connection) -> None:
    check_schema(file, PATH)

    assert tables(file) == set()


def test_the_real_migrations_make_the_schema_that_is_expected(file: sqlite3.Connection) -> None:
    before = schema_differences(file)

    migrate(file, PATH)

    assert "table instances is missing" in before
    assert schema_differences(file) == []
    assert len(names(file)) == len(load_migrations("sqlite"))


# Files of older schemas -----------------------------------------------------------------------------------------------

RESTING = InstanceKey("acme", "order-1")
LAUNCHED = InstanceKey("acme", "order-2")
BY_ITSELF = InstanceKey("acme", "by-itself")
ENDED = InstanceKey("globex", "order-1")

RESTING_ROW = Instance(
    tenant_id="acme",
    instance_id="order-1",
    status=Status.SUSPENDED,
    version=7,
    epoch=3,
    created_at=1000,
    program="orders",
    attempt_id="attempt",
    checkpoint_id="nap",
    wake_at=1009,
    started_at=1001,
    heartbeat_at=1002,
    termination_reason=TerminationReason.SLEEPING,
    exit_code=-9,
    error="it broke: \N{SNOWMAN}",
)


@pytest.fixture(params=range(1, len(load_migrations("sqlite"))))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each older schema with something in every table of the first."""
    path = tmp_path / "runtara.db"
    path.write_bytes(old_file(request.param))
    return path


def test_a_file_of_an_older_schema_keeps_every_row_and_column(old: Path) -> None:
    before = contents(old)

    SqliteStore(str(old)).open_writer().close()

    assert all(before.values())
    assert contents(old) == before
    assert schema_of(old)[1] == [migration.name for migration in load_migrations("sqlite")]


def test_what_a_file_of_an_older_schema_held_is_read_as_records(old: Path) -> None:
    store = SqliteStore(str(old))
    paused = Signal(signal_id="p", kind="pause", sent_at=1000, seq=2)
    waited = Wait(place="here", name="go", started_at=1000, deadline_at=1002, ended_at=1001, signal_id="s")
    with contextlib.closing(store.open_writer()), contextlib.closing(store.open_reader()) as reader:
        assert reader.verify() == []
        assert loaded(reader, RESTING) == Snapshot(
            instance=RESTING_ROW,
            checkpoint_ids=("step é", "nap"),
            signals=(paused,),
            signal_ids=("s", "p"),
            waits=(waited,),
        )
        assert reader.read_checkpoint(RESTING, "nap") == Checkpoint(
            checkpoint_id="nap", state=b"", epoch=3, created_at=1002, wake_at=1009
        )
        assert reader.list_events(RESTING, None, None, 1, None).events == (
            Event(type="custom", epoch=1, created_at=1000, subtype="sub", checkpoint_id="nap", payload=b"\0", seq=1),
        )
        assert reader.read_retries(RESTING, "nap")[1] == Retry(checkpoint_id="nap", attempt=2, recorded_at=1001)
        assert (reader.read_input(RESTING), reader.read_output(RESTING)) == (b"\0in", b"\0")
        assert (reader.read_input(ENDED), reader.read_output(ENDED)) == (b"", b"\0out")
        assert reader.read_env(RESTING) == {}
        assert [tuple(due) for due in reader.list_due(2000, 10)] == [(1009, RESTING, 0, "orders", None)]


def test_a_program_that_ran_before_the_second_schema_was_launched_by_the_host(old: Path) -> None:
    store = SqliteStore(str(old))

    with contextlib.closing(store.open_writer()), contextlib.closing(store.open_reader()) as reader:
        running = reader.list_running(10)

    assert running == [RunningInstance(BY_ITSELF, 1, None), RunningInstance(LAUNCHED, 4, "orders", None, 4)]


def test_an_instance_of_an_older_schema_goes_on_in_the_newest(old: Path) -> None:
    store = SqliteStore(str(old))
    fields = {"program": "orders", "epoch": 4, "created_at": 1000, "claimed_at": 2000, "ran_ms": 5, "losses": 1}
    noted = event(epoch=4, request=1)
    with contextlib.closing(store.open_writer()) as writer, contextlib.closing(store.open_reader()) as reader:
        put(
            writer, save(LAUNCHED, 3, events=(noted, noted), **fields), save(InstanceKey("acme", "new"), env={"A": "1"})
        )

        row = loaded(reader, LAUNCHED).instance
        events = reader.list_events(LAUNCHED, None, None, 10, None).events
        env = reader.read_env(InstanceKey("acme", "new"))

    assert (row.version, row.claimed_at, row.ran_ms, row.losses) == (3, 2000, 5, 1)
    assert [(one.request, one.seq) for one in events] == [(1, 4)]
    assert env == {"A": "1"}


def test_a_file_of_an_older_schema_takes_images_schedules_and_copies(old: Path) -> None:
    store = SqliteStore(str(old))
    fork = InstanceKey("acme", "fork")
    with contextlib.closing(store.open_writer()) as writer, contextlib.closing(store.open_reader()) as reader:
        writer.push_image("acme", "orders", "a" * 32, image_version())
        writer.put_schedule(schedule())
        put(writer, save(fork, copies=Copies(RESTING, "nap"), priority=3, status=Status.PENDING))
        gone = writer.prune_finished(Finished(before_ms=NOW), 9, False)

        assert loaded(reader, fork).checkpoint_ids == ("step é", "nap")
        assert loaded(reader, fork).instance.priority == 3
        assert reader.read_signal(fork, "s") is not None
        assert (gone, reader.verify()) == ([ENDED], [])


def test_a_file_of_an_older_schema_is_not_read_before_a_writer_has_opened_it(old: Path) -> None:
    before = old.read_bytes()

    with pytest.raises(StoreUnavailable, match="open its writer first"):
        SqliteReader(old, SqliteLimits())

    assert old.read_bytes() == before

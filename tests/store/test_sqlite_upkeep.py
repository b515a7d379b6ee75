"""What is true of the upkeep of a file beyond what is true of every store's: its owner, its log, its disk."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from runtara.errors import OutcomeUnknown, StoreCorrupt, StoreFull, StoreInUse, StoreUnavailable
from runtara.store import Finished, back_up, open_store, restore
from runtara.store import _sqlite_upkeep as module
from runtara.store._sqlite_door import SqliteLimits, connect_reader, connect_writer, empty_log
from runtara.store._sqlite_upkeep import SqliteUpkeep
from runtara.store._statements import load_migrations
from tests.store.faults import IMPATIENT, Plan, faulty, sqlite_error
from tests.store.moving import INSTANCES, fill
from tests.store.samples import NOW, checkpoint, opened, put, save

FINISHED = Finished(before_ms=NOW + 1)


def ignore(*_: object) -> None:
    """Somebody who does not look on."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with something in every table."""
    fill(f"sqlite:///{tmp_path / 'store.db'}")
    return tmp_path / "store.db"


@pytest.fixture
def upkeep(path: Path) -> SqliteUpkeep:
    return SqliteUpkeep(str(path), IMPATIENT)


def test_whoever_changes_a_file_must_own_it(upkeep: SqliteUpkeep, path: Path, tmp_path: Path) -> None:
    changes: list[Callable[[], object]] = [
        upkeep.vacuum,
        lambda: upkeep.prune(FINISHED, ignore),
        lambda: upkeep.target(replace=True).__enter__(),
        lambda: upkeep.source(live=False).__enter__(),
    ]
    with opened(f"sqlite:///{path}"):
        for change in changes:
            with pytest.raises(StoreInUse, match=r"in use by this process: stop it"):
                change()

        assert upkeep.count(FINISHED) == INSTANCES
        back_up(upkeep, tmp_path / "backup", ignore)


def test_whoever_owns_a_file_says_so(upkeep: SqliteUpkeep, path: Path) -> None:
    with upkeep.source(live=False), pytest.raises(StoreInUse, match="by this process"):
        upkeep.vacuum()

    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT value FROM settings WHERE key = 'owner_pid'").fetchone() == (str(os.getpid()),)


def test_the_owner_can_empty_its_log_while_a_backup_is_written(upkeep: SqliteUpkeep, path: Path) -> None:
    with opened(f"sqlite:///{path}") as (writer, _), upkeep.source(live=True):
        put(writer, save(checkpoints=(checkpoint("large", bytes(1_000_000)),)))

        assert empty_log(writer._connection)  # type: ignore[attr-defined]  # an SQLite one


def test_the_copy_that_is_read_lies_where_it_is_told_and_is_gone_afterwards(
    upkeep: SqliteUpkeep, path: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    with upkeep.source(live=True, scratch=scratch):
        (folder,) = scratch.iterdir()
        mode = folder.stat().st_mode & 0o777
        names = {file.name for file in folder.iterdir()}

    assert (mode, "store.db" in names, list(scratch.iterdir())) == (0o700, True, [])


def test_a_backup_that_finds_no_room_says_so_and_leaves_nothing(
    upkeep: SqliteUpkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "backups"
    folder.mkdir()
    monkeypatch.setattr("runtara.store._archive.ArchiveWriter.write", full)

    with pytest.raises(StoreFull, match="No space left"):
        back_up(upkeep, folder / "backup", ignore)

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        ("begin_write", sqlite3.SQLITE_FULL, StoreFull),
        ("commit", sqlite3.SQLITE_FULL, StoreFull),
        ("commit", sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
        ("commit", sqlite3.SQLITE_CORRUPT, StoreCorrupt),
    ],
)
def test_a_disk_that_fails_during_a_restore_leaves_nothing(
    upkeep: SqliteUpkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple[str, int, type[Exception]]
) -> None:
    statement, code, expected = fault
    back_up(upkeep, tmp_path / "backup", ignore)
    plan = Plan()
    monkeypatch.setattr(
        module, "connect_writer", lambda path, limits: connect_writer(path, SqliteLimits(), faulty(plan))
    )
    plan.fail(statement, code)

    with pytest.raises(expected):
        restore(tmp_path / "backup", SqliteUpkeep(str(tmp_path / "new.db")), ignore)

    with contextlib.closing(open_store(f"sqlite:///{tmp_path / 'new.db'}").open_reader()) as reader:
        assert reader.count_by_status() == {}


def test_a_file_that_holds_no_utf_8_is_not_backed_up(upkeep: SqliteUpkeep, path: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE instances SET program = CAST(x'ff' AS TEXT) WHERE number = 1")

    with pytest.raises(StoreCorrupt, match="not UTF-8"):
        back_up(upkeep, tmp_path / "backup", ignore)

    assert not (tmp_path / "backup").exists()


def test_a_file_in_whose_making_somebody_was_killed_is_made_anew(
    upkeep: SqliteUpkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(upkeep, tmp_path / "backup", ignore)
    (tmp_path / "new.db").write_bytes(b"half")

    def read(path: Path, limits: SqliteLimits) -> sqlite3.Connection:
        """What a reader hears who finds a rollback journal; the first writer rolls it back."""
        if path.read_bytes() == b"half":
            path.write_bytes(b"")
            raise sqlite_error(sqlite3.SQLITE_READONLY_ROLLBACK)
        return connect_reader(path, limits)

    monkeypatch.setattr(module, "connect_reader", read)
    restored = restore(tmp_path / "backup", SqliteUpkeep(str(tmp_path / "new.db")), ignore)

    (tmp_path / "other.db").write_bytes(b"half")
    migrated = SqliteUpkeep(str(tmp_path / "other.db")).migrate()

    assert restored.tables["instances"].rows == 2 * INSTANCES
    assert len(migrated) == len(load_migrations("sqlite"))


@pytest.mark.parametrize("look", [SqliteUpkeep.migrate, lambda upkeep: upkeep.target(replace=False).__enter__()])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, look: Callable[[SqliteUpkeep], object]) -> None:
    (tmp_path / "new.db").write_bytes(b"hello" * 1000)

    with pytest.raises(StoreCorrupt):
        look(SqliteUpkeep(str(tmp_path / "new.db")))

    assert (tmp_path / "new.db").read_bytes() == b"hello" * 1000


def test_a_folder_that_takes_no_copy_is_named(upkeep: SqliteUpkeep, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no place for a copy"):
        upkeep.source(live=True, scratch=tmp_path / "missing").__enter__()

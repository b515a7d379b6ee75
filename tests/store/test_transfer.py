"""Moving all rows of a store: everything that a reader can see stays as it was, or nothing happens at all."""

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from runtara.errors import AlreadyExists, RuntaraError, StoreCorrupt, StoreInUse, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.records import Snapshot
from runtara.store import Upkeep, back_up, copy_store, open_store, open_upkeep, restore
from runtara.store._archive import ArchiveWriter
from runtara.store._postgres import PostgresStore
from runtara.store._postgres_door import PostgresLimits
from runtara.store._postgres_upkeep import PostgresUpkeep
from runtara.store._sqlite_upkeep import SqliteUpkeep
from tests.postgres import Cluster, fresh_database
from tests.store.faults import IMPATIENT, ROOT, run_module
from tests.store.moving import INSTANCES, fill
from tests.store.old_files import first_file
from tests.store.samples import KEY, checkpoint, loaded, numbered_save, opened, put, retry, save
from tests.store.test_model import EXAMPLES, LONG, do, empty_file, histories, view

DATABASES = ("sqlite", "postgres")
FEW = settings(EXAMPLES, max_examples=6)
MIB = 1024 * 1024
SEEN: list[tuple[str, int]] = []


def watch(table: str, size: int) -> None:
    """Somebody who looks on."""
    SEEN.append((table, size))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Where a new store of some kind may be; of each kind one."""

    def url(kind: str) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}" if kind == "sqlite" else str(request.getfixturevalue("database"))

    return url


@pytest.fixture(params=DATABASES)
def target(request: pytest.FixtureRequest, place: Callable[[str], str]) -> str:
    """Each kind of store in turn, where nothing is yet."""
    return place(request.param)


@pytest.fixture
def full(tmp_path: Path) -> str:
    """An SQLite store with something in every table."""
    url = f"sqlite:///{tmp_path / 'full.db'}"
    fill(url)
    return url


def impatient(url: str) -> Upkeep:
    """The upkeep of a store that is found in use at once."""
    if not url.startswith("sqlite"):
        return open_upkeep(url)
    return SqliteUpkeep(url.removeprefix("sqlite:///"), IMPATIENT)


def seen_of(url: str) -> list[Any]:
    """Everything that a reader sees who owns nothing."""
    with contextlib.closing(open_store(url).open_reader()) as reader:
        return impersonal(view(reader))


def impersonal(seen: list[Any]) -> list[Any]:
    """What was seen, whoever owns it: an owner is not part of a backup, and each node lists what it runs itself."""
    snapshots = {
        key: replace(found, holder=None) if isinstance(found, Snapshot) else str(found)
        for key, found in seen[0].items()
    }
    return [snapshots, seen[1], seen[2], *seen[4:]]


def count(url: str) -> int:
    with contextlib.closing(open_store(url).open_reader()) as reader:
        return sum(reader.count_by_status().values())


# Nothing is lost ------------------------------------------------------------------------------------------------------


def go_round(history: list[list[Any]], cluster: Cluster, first: str) -> None:
    """Move a store from one database to the other and back, in backups and without, and look at it everywhere."""
    with tempfile.TemporaryDirectory() as name, fresh_database(cluster) as one, fresh_database(cluster) as other:
        folder = Path(name)
        (folder / "made.db").write_bytes(empty_file())
        files = [f"sqlite:///{folder / file}" for file in ("made.db", "copied.db", "restored.db")]
        way = [files[0], one, files[1]] if first == "sqlite" else [one, files[1], other]
        with opened(way[0]) as (writer, reader):
            for step in history:
                do(writer, step)
            seen = impersonal(view(reader))
        restored = back_and_forth(way, folder / "backup", files[2])
        assert [seen_of(url) for url in (*way[1:], files[2])] == [seen] * 3
        assert len({str(tables) for tables in restored}) == 1


def back_and_forth(way: list[str], file: Path, end: str) -> list[Any]:
    """Restore a backup of the first store, copy it into the third, and restore a backup of that into `end`."""
    made = back_up(open_upkeep(way[0]), file, watch)
    moved = [made, restore(file, open_upkeep(way[1]), watch)]
    moved.append(copy_store(open_upkeep(way[1]), open_upkeep(way[2]), watch))
    file.unlink()
    back_up(open_upkeep(way[2]), file, watch)
    moved.append(restore(file, open_upkeep(end), watch))
    return [one.tables for one in moved]


@pytest.mark.parametrize("first", DATABASES)
@FEW
@given(history=histories)
def test_whatever_is_in_a_store_is_the_same_after_every_move(
    cluster: Cluster, first: str, history: list[list[Any]]
) -> None:
    go_round(history, cluster, first)


@pytest.mark.slow
@pytest.mark.parametrize("first", DATABASES)
@LONG
@given(history=histories)
def test_whatever_is_in_many_stores_is_the_same_after_every_move(
    cluster: Cluster, first: str, history: list[list[Any]]
) -> None:
    go_round(history, cluster, first)


def test_empty_is_not_absent_and_an_error_may_hold_nul(target: str, backup: Path, tmp_path: Path) -> None:
    source, keys = f"sqlite:///{tmp_path / 'source.db'}", [InstanceKey("acme", name) for name in ("empty", "absent")]
    with opened(source) as (writer, _):
        put(
            writer,
            save(keys[0], input=b"", output=b"", error="", checkpoints=(checkpoint("s", b""),)),
            save(keys[1], error="a\0b", retries=(retry("s", 1, error="\0"), retry("s", 2, error=""), retry("s", 3))),
        )

    back_up(open_upkeep(source), backup, watch)
    restore(backup, open_upkeep(target), watch)

    with contextlib.closing(open_store(target).open_reader()) as reader:
        assert [reader.read_input(key) for key in keys] == [b"", None]
        assert [reader.read_output(key) for key in keys] == [b"", None]
        assert [loaded(reader, key).instance.error for key in keys] == ["", "a\0b"]
        assert [one.error for one in reader.read_retries(keys[1], "s")] == ["\0", "", None]
        found = reader.read_checkpoint(keys[0], "s")
        assert found is not None
        assert found.state == b""


@pytest.mark.parametrize("mib", [4, pytest.param(64, marks=pytest.mark.slow)])
def test_a_large_state_goes_into_the_other_database_and_back(
    mib: int, tmp_path: Path, backup: Path, database: str
) -> None:
    files = [f"sqlite:///{tmp_path / name}" for name in ("one.db", "other.db")]
    state = os.urandom(MIB) * mib
    with opened(files[0]) as (writer, _):
        put(writer, save(checkpoints=(checkpoint("large", state),)))

    back_up(open_upkeep(files[0]), backup, watch)
    restore(backup, open_upkeep(database), watch)
    copy_store(open_upkeep(database), open_upkeep(files[1]), watch)

    with contextlib.closing(open_store(files[1]).open_reader()) as reader:
        found = reader.read_checkpoint(KEY, "large")
    assert found is not None
    assert found.state == state


def test_an_instance_goes_on_where_it_was_restored(target: str, full: str, backup: Path) -> None:
    back_up(open_upkeep(full), backup, watch)
    restore(backup, open_upkeep(target), watch)

    key = InstanceKey("acme", "running-0")
    with opened(target) as (writer, reader):
        put(writer, save(key, 2, checkpoints=(checkpoint("next"),)), save(InstanceKey("acme", "new")))

        assert loaded(reader, key).checkpoint_ids == ("step", "other", "next")
        assert reader.verify() == []


def test_documents_go_with_a_database_and_are_named_where_they_cannot(
    cluster: Cluster, database: str, backup: Path, tmp_path: Path
) -> None:
    open_upkeep(database).migrate()
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO runtara.documents VALUES ('key', '\\x00ff', 3)")
    back_up(open_upkeep(database), backup, watch)

    with fresh_database(cluster) as other:
        kept = restore(backup, open_upkeep(other), watch)
        with psycopg.connect(other) as connection:
            found = connection.execute("SELECT name, content, version FROM runtara.documents").fetchall()
    lost = restore(backup, open_upkeep(f"sqlite:///{tmp_path / 'store.db'}"), watch)

    assert found == [("key", b"\0\xff", 3)]
    assert (kept.left_out, lost.left_out) == ({}, {"documents": 1})


def test_who_looks_on_is_told_of_every_table(full: str, backup: Path) -> None:
    SEEN.clear()

    made = back_up(open_upkeep(full), backup, watch)

    assert {table for table, _ in SEEN} == set(made.tables)
    assert made.tables["instances"].rows == 2 * INSTANCES


# Under load ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def load(url: str) -> Iterator[list[int]]:
    """Somebody who saves one checkpoint after another while the block runs; what was acknowledged grows meanwhile."""
    acknowledged: list[int] = []
    begun, stop, failures = threading.Event(), threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            with contextlib.closing(open_store(url).open_writer()) as writer:
                while not stop.is_set():
                    number = len(acknowledged) + 1
                    put(writer, numbered_save(number))
                    acknowledged.append(number)
                    begun.set()
        except BaseException as error:
            failures.append(error)
            begun.set()
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.wait(100)
        yield acknowledged
    finally:
        stop.set()
        thread.join()
    assert not failures


@pytest.mark.parametrize("kind", DATABASES)
def test_a_backup_taken_under_load_is_a_prefix_of_the_history(
    kind: str, place: Callable[[str], str], tmp_path: Path
) -> None:
    before = []
    with load(place(kind)) as acknowledged:
        for number in range(5):
            before.append(len(acknowledged))
            back_up(open_upkeep(place(kind)), tmp_path / f"backup-{number}", watch)
        after = len(acknowledged) + 1

    for number, least in enumerate(before):
        url = f"sqlite:///{tmp_path / f'restored-{number}.db'}"
        assert restore(tmp_path / f"backup-{number}", open_upkeep(url), watch).problems == ()
        with contextlib.closing(open_store(url).open_reader()) as reader:
            snapshot = loaded(reader)
        version = snapshot.instance.version
        assert least <= version <= after
        assert snapshot.checkpoint_ids == tuple(f"step-{step}" for step in range(1, version + 1))


def test_nothing_is_left_beside_a_backup(full: str, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    back_up(open_upkeep(full), folder / "backup", watch)

    assert [path.name for path in folder.iterdir()] == ["backup"]


# All or nothing ------------------------------------------------------------------------------------------------------


def test_a_store_that_is_not_empty_is_left_alone(target: str, full: str, backup: Path, tmp_path: Path) -> None:
    back_up(open_upkeep(full), backup, watch)
    with opened(target) as (writer, _):
        put(writer, save())

    with pytest.raises(AlreadyExists, match="not empty"):
        restore(backup, open_upkeep(target), watch)
    with pytest.raises(AlreadyExists, match="not empty"):
        copy_store(open_upkeep(full), open_upkeep(target), watch)

    assert count(target) == 1


def test_a_store_is_replaced_where_that_is_wanted(target: str, full: str, backup: Path) -> None:
    back_up(open_upkeep(full), backup, watch)
    with opened(target) as (writer, _):
        put(writer, save(checkpoints=(checkpoint("old"),)))

    restore(backup, open_upkeep(target), watch, replace=True)

    assert seen_of(target) == seen_of(full)
    with contextlib.closing(open_store(target).open_reader()) as reader:
        assert reader.load([KEY]) == {}


def test_a_damaged_backup_changes_nothing(target: str, full: str, backup: Path) -> None:
    back_up(open_upkeep(full), backup, watch)
    backup.write_bytes(backup.read_bytes()[:-1])
    with opened(target) as (writer, _):
        put(writer, save())

    with pytest.raises(StoreCorrupt):
        restore(backup, open_upkeep(target), watch, replace=True)

    assert count(target) == 1


def test_what_a_database_cannot_hold_is_refused_and_nothing_is_kept(
    target: str, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"sqlite:///{tmp_path / 'source.db'}"
    fill(source)
    monkeypatch.setattr(ArchiveWriter, "write", functools.partialmethod(_twice, ArchiveWriter.write))
    back_up(open_upkeep(source), backup, watch)

    with pytest.raises(StoreCorrupt, match=r"a row of instances cannot be kept in .*; run `runtara db verify`"):
        restore(backup, open_upkeep(target), watch)

    assert count(target) == 0


def _twice(self: ArchiveWriter, write: Callable[..., None], batch: Any) -> None:
    write(self, batch)
    write(self, batch)


def test_a_row_that_belongs_to_nothing_is_refused_by_a_file(database: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    open_upkeep(database).migrate()
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO runtara.inputs VALUES (1, '')")

    with pytest.raises(StoreCorrupt, match="a row of inputs cannot be kept"):
        copy_store(open_upkeep(database), open_upkeep(url), watch)

    assert count(url) == 0


def test_text_that_postgres_cannot_hold_is_refused(database: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with opened(url) as (writer, _):
        put(writer, save(program="a\0b"))

    with pytest.raises(StoreCorrupt, match="a row of instances cannot be kept"):
        copy_store(open_upkeep(url), open_upkeep(database), watch)

    assert count(database) == 0


@pytest.mark.parametrize("kind", DATABASES)
def test_rows_that_arrive_changed_are_noticed_before_anything_is_kept(
    kind: str, place: Callable[[str], str], full: str, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(open_upkeep(full), backup, watch)
    upkeep = open_upkeep(place(kind))
    with upkeep.target(replace=False) as target:
        rows = type(target)
    write = rows.write

    def change(name: str, given: list[Any]) -> list[Any]:
        return given[1:] if name == "retries" else given

    monkeypatch.setattr(rows, "write", lambda self, table, given: write(self, table, change(table.name, given)))

    with pytest.raises(StoreCorrupt, match="what was stored of retries"):
        restore(backup, upkeep, watch)

    assert count(place(kind)) == 0


def test_problems_that_come_along_are_told(target: str, backup: Path, tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path / 'source.db'}"
    with opened(source) as (writer, _):
        put(writer, save(checkpoint_id="missing"))

    back_up(open_upkeep(source), backup, watch)
    moved = restore(backup, open_upkeep(target), watch)

    assert ["names missing" in problem for problem in moved.problems] == [True]


STEPS = [
    *[("sqlite", 11), ("postgres", 17)],
    *[pytest.param(kind, 1, marks=pytest.mark.slow) for kind in DATABASES],
]


@pytest.mark.parametrize(("kind", "step"), STEPS)
def test_a_restore_killed_anywhere_leaves_nothing_or_everything(
    kind: str, step: int, place: Callable[[str], str], full: str, backup: Path
) -> None:
    back_up(open_upkeep(full), backup, watch)
    if kind == "sqlite":
        open_upkeep(place(kind)).migrate()

    found = deaths("restore", place(kind), backup, step)

    assert found == sorted(found, key=["empty", "complete"].index)
    assert len(found) > 5
    assert seen_of(place(kind)) == seen_of(full)


@pytest.mark.parametrize(("kind", "step"), [("sqlite", 1), ("postgres", 9)])
def test_a_backup_killed_anywhere_is_not_there_or_complete(
    kind: str, step: int, place: Callable[[str], str], backup: Path
) -> None:
    fill(place(kind))

    found = deaths("backup", place(kind), backup, step)

    assert found == sorted(found, key=["empty", "complete"].index)
    assert len(found) > 5


def deaths(task: str, url: str, backup: Path, step: int) -> list[str]:
    """What was found after each death of a process that did something."""
    ended = run_module("tests.store.moving", task, url, backup, step)
    *lines, last = ended.stdout.splitlines()
    assert (ended.returncode, last) == (0, "survived"), ended.stderr
    return [line.partition(": ")[2] for line in lines]


# Who is at work ------------------------------------------------------------------------------------------------------


def test_a_store_that_works_is_neither_filled_nor_copied_unless_it_is_taken_as_it_is(
    target: str, full: str, backup: Path, tmp_path: Path
) -> None:
    back_up(open_upkeep(full), backup, watch)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with opened(target) as (writer, _):
        for replaced in False, True:
            with pytest.raises(StoreInUse):
                restore(backup, impatient(target), watch, replace=replaced)
        with pytest.raises(StoreInUse):
            copy_store(impatient(target), open_upkeep(other), watch)
        put(writer, save())

        copy_store(open_upkeep(target), open_upkeep(other), watch, live=True)

    assert count(other) == 1


def test_no_node_begins_while_a_database_is_filled(database: str) -> None:
    open_upkeep(database).migrate()
    with open_upkeep(database).target(replace=False), pytest.raises(RuntaraError):
        _open_impatiently(database)


def _open_impatiently(url: str) -> None:
    PostgresStore(url, limits=PostgresLimits(lock_timeout_ms=100)).open_writer()


def test_a_store_of_an_older_schema_is_sent_to_be_migrated_first(tmp_path: Path, backup: Path) -> None:
    path = tmp_path / "old.db"
    path.write_bytes(first_file())

    with pytest.raises(StoreUnavailable, match="run `runtara db migrate` first"):
        back_up(open_upkeep(f"sqlite:///{path}"), backup, watch)

    assert not backup.exists()
    assert path.read_bytes() == first_file()


def test_a_store_that_is_not_empty_keeps_its_older_schema(full: str, tmp_path: Path, backup: Path) -> None:
    path = tmp_path / "old.db"
    path.write_bytes(first_file())
    back_up(open_upkeep(full), backup, watch)

    with pytest.raises(AlreadyExists):
        restore(backup, open_upkeep(f"sqlite:///{path}"), watch)

    assert path.read_bytes() == first_file()


# Memory --------------------------------------------------------------------------------------------------------------

MEASURED = """
import resource, sys
from pathlib import Path
from runtara.store import back_up, open_upkeep, restore
source, file, target = sys.argv[1:]
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
nothing = lambda *_: None
open_upkeep(source).verify()
if not target.startswith("sqlite"): open_upkeep(target).migrate()
before = peak()
back_up(open_upkeep(source), Path(file), nothing)
restore(Path(file), open_upkeep(target), nothing)
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_store(target: str, tmp_path: Path, backup: Path) -> None:
    source = f"sqlite:///{tmp_path / 'source.db'}"
    with opened(source) as (writer, _):
        for version in range(1, 41):
            states = tuple(checkpoint(f"{version}-{number}", os.urandom(MIB)) for number in range(10))
            put(writer, save(version=version, checkpoints=states))

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, source, backup, target], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert backup.stat().st_size > 400 * MIB
    assert int(done.stdout) < 100  # of which SQLite's cache takes 32


def test_the_kinds_of_upkeep_are_those_of_the_stores(target: str) -> None:
    assert isinstance(open_upkeep(target), SqliteUpkeep if target.startswith("sqlite") else PostgresUpkeep)

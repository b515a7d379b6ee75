"""When the disk, a lock or the process fails: what was acknowledged is kept, what was refused has left no trace."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from runtara.errors import (
    Busy,
    Internal,
    OutcomeUnknown,
    RuntaraError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from runtara.store import Reader, Save, Writer
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SQL, SqliteLimits
from tests.store.crashing import compare
from tests.store.faults import IMPATIENT, Plan, faulty, run_module
from tests.store.samples import KEY, checkpoint, image_version, loaded, numbered_save, put, save, signal

Missing = Callable[[str, str], NoReturn]


class Bench:
    """A store with one save in it, whose writer fails by plan."""

    def __init__(self, path: Path, limits: SqliteLimits) -> None:
        self.plan = Plan()
        self.path = path
        self.store = SqliteStore(str(path), limits, faulty(self.plan))
        self.writer: Writer = self.store.open_writer()
        self.reader: Reader = self.store.open_reader()
        put(self.writer, numbered_save(1))

    @property
    def version(self) -> int:
        return loaded(self.reader).instance.version

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with contextlib.closing(Bench(tmp_path / "runtara.db", IMPATIENT)) as bench:
        yield bench


# One statement fails --------------------------------------------------------------------------------------------------

STATEMENTS = ["begin_write", "update_running", "insert_checkpoint", "insert_signal"]
CODES: list[tuple[int, type[RuntaraError]]] = [
    (sqlite3.SQLITE_FULL, StoreFull),
    (sqlite3.SQLITE_BUSY, StoreUnavailable),
    (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailable),
    (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable),
    (sqlite3.SQLITE_READONLY, StoreUnavailable),
    (sqlite3.SQLITE_CANTOPEN, StoreUnavailable),
    (sqlite3.SQLITE_CORRUPT, StoreCorrupt),
    (sqlite3.SQLITE_NOTADB, StoreCorrupt),
    (sqlite3.SQLITE_CONSTRAINT_UNIQUE, Internal),
    (sqlite3.SQLITE_ERROR, Internal),
]


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize(("code", "expected"), CODES)
def test_an_error_before_the_commit_leaves_nothing_and_the_next_commit_works(
    bench: Bench, statement: str, code: int, expected: type[RuntaraError]
) -> None:
    bench.plan.fail(statement, code)
    change = save(version=2, checkpoints=(checkpoint("step-2"),), signals=(signal("s"),))

    with pytest.raises(expected) as caught:
        bench.writer.commit([save(key=KEY._replace(instance_id="new")), change])

    assert type(caught.value) is expected
    assert str(bench.path) in str(caught.value)
    assert bench.version == 1
    put(bench.writer, save(key=KEY._replace(instance_id="new")), change)
    assert loaded(bench.reader).checkpoint_ids == ("step-1", "step-2")


@pytest.mark.parametrize("statement", ["begin_write", "insert_image", "insert_image_version", "update_image"])
@pytest.mark.parametrize(("code", "expected"), CODES[:3])
def test_an_error_within_a_push_leaves_no_image_and_the_next_push_works(
    bench: Bench, statement: str, code: int, expected: type[RuntaraError]
) -> None:
    bench.plan.fail(statement, code)

    with pytest.raises(expected):
        bench.writer.push_image("acme", "orders", "a" * 32, image_version())

    assert bench.reader.list_images("acme", 9, None).images == ()
    assert bench.reader.list_digests(9, "") == []
    assert bench.writer.push_image("acme", "orders", "a" * 32, image_version())[1].version == 1


COMMIT_CODES: list[tuple[int, type[RuntaraError]]] = [
    (sqlite3.SQLITE_FULL, StoreFull),
    (sqlite3.SQLITE_BUSY, StoreUnavailable),
    (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
    (sqlite3.SQLITE_IOERR_WRITE, OutcomeUnknown),
    (sqlite3.SQLITE_NOMEM, OutcomeUnknown),
]


@pytest.mark.parametrize(("code", "expected"), COMMIT_CODES)
def test_an_error_at_the_commit_is_told_for_what_it_is(bench: Bench, code: int, expected: type[RuntaraError]) -> None:
    bench.plan.fail("commit", code)

    with pytest.raises(expected):
        bench.writer.commit([numbered_save(2)])

    assert bench.writer.commit([numbered_save(2)]) == [True]
    assert loaded(bench.reader).checkpoint_ids == ("step-1", "step-2")


@pytest.mark.parametrize(("code", "expected"), COMMIT_CODES)
def test_an_error_at_the_end_of_a_push_is_told_for_what_it_is_and_the_push_may_be_repeated(
    bench: Bench, code: int, expected: type[RuntaraError]
) -> None:
    bench.plan.fail("commit", code)

    with pytest.raises(expected):
        bench.writer.push_image("acme", "orders", "a" * 32, image_version())

    assert bench.writer.push_image("acme", "orders", "b" * 32, image_version())[1].version == 1


def test_an_unknown_outcome_may_be_that_it_was_stored(bench: Bench) -> None:
    bench.plan.fail("commit", sqlite3.SQLITE_IOERR_FSYNC, after_effect=True)

    with pytest.raises(OutcomeUnknown):
        bench.writer.commit([numbered_save(2)])

    assert bench.writer.commit([numbered_save(2)]) == [False]
    assert loaded(bench.reader).checkpoint_ids == ("step-1", "step-2")


def test_heartbeats_report_the_same_errors(bench: Bench) -> None:
    bench.plan.fail("record_heartbeat", sqlite3.SQLITE_FULL)
    with pytest.raises(StoreFull):
        bench.writer.record_heartbeats([(KEY, 1)])

    bench.plan.fail("commit", sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(OutcomeUnknown):
        bench.writer.record_heartbeats([(KEY, 1)])


def test_an_exception_that_is_not_the_stores_leaves_nothing_either(bench: Bench) -> None:
    unwritable = save(version=2, error="\ud800")

    with pytest.raises(UnicodeEncodeError):
        bench.writer.commit([save(key=KEY._replace(instance_id="new")), unwritable])

    assert bench.reader.list_instances("acme", None, 10, None).instances[0].instance_id == KEY.instance_id
    put(bench.writer, numbered_save(2))


# Fail-stop ------------------------------------------------------------------------------------------------------------


def test_after_an_io_error_the_log_is_emptied_on_a_new_connection_before_anything_is_written(bench: Bench) -> None:
    bench.plan.fail("commit", sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(OutcomeUnknown):
        bench.writer.commit([numbered_save(2)])
    bench.plan.executed.clear()

    bench.writer.commit([numbered_save(2)])

    executed = bench.plan.executed
    assert executed[0] == "PRAGMA journal_mode = WAL;"
    assert executed.index(SQL["empty_log"]) < executed.index(SQL["begin_write"])


def test_the_writer_stays_unavailable_until_it_has_recovered(bench: Bench) -> None:
    bench.plan.fail("commit", sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(OutcomeUnknown):
        bench.writer.commit([numbered_save(2)])
    bench.plan.fail("empty_log", sqlite3.SQLITE_IOERR_FSYNC, lasting=True)
    bench.plan.executed.clear()

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            bench.writer.commit([numbered_save(2)])

    assert SQL["begin_write"] not in bench.plan.executed
    bench.plan.heal()
    assert bench.writer.commit([numbered_save(2)]) == [True]


def test_no_reader_is_opened_on_an_outcome_that_is_not_settled(bench: Bench) -> None:
    bench.plan.fail("commit", sqlite3.SQLITE_IOERR_FSYNC, after_effect=True)
    with pytest.raises(OutcomeUnknown):
        bench.writer.commit([numbered_save(2)])

    with pytest.raises(StoreUnavailable, match="not settled"):
        bench.store.open_reader()

    bench.writer.commit([])
    bench.store.open_reader().close()


def test_a_failed_rollback_ends_the_connection(bench: Bench) -> None:
    bench.plan.fail("insert_checkpoint", sqlite3.SQLITE_FULL)
    bench.plan.fail("rollback", sqlite3.SQLITE_IOERR_WRITE)

    with pytest.raises(StoreFull):
        bench.writer.commit([numbered_save(2)])

    assert bench.version == 1
    put(bench.writer, numbered_save(2))


def test_a_log_that_somebody_removed_stops_the_writer(bench: Bench) -> None:
    put(bench.writer, numbered_save(2))
    bench.path.with_name("runtara.db-wal").unlink()

    with pytest.raises(StoreUnavailable, match="cannot be found"):
        bench.writer.commit([numbered_save(3)])


@pytest.mark.parametrize("statement", ["empty_log", "begin_write", "write_setting"])
def test_a_writer_that_cannot_be_opened_lets_go_of_the_store(tmp_path: Path, statement: str) -> None:
    plan = Plan()
    store = SqliteStore(str(tmp_path / "runtara.db"), IMPATIENT, faulty(plan))
    plan.fail(statement, sqlite3.SQLITE_IOERR_WRITE)

    with pytest.raises(StoreUnavailable):
        store.open_writer()

    store.open_writer().close()


# Locks and slow readers -----------------------------------------------------------------------------------------------


def test_a_lock_of_another_program_is_reported_and_nothing_is_stored(bench: Bench) -> None:
    with contextlib.closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another program"):
            bench.writer.commit([numbered_save(2)])
        seen = bench.version

    assert seen == 1
    put(bench.writer, numbered_save(2))


def test_a_slow_reader_cannot_make_the_log_grow_without_bound(tmp_path: Path) -> None:
    limits = SqliteLimits(
        wal_checkpoint_pages=20, wal_kept_bytes=50_000, wal_high_bytes=200_000, wal_max_bytes=600_000, wal_patience_ms=0
    )
    with contextlib.closing(Bench(tmp_path / "runtara.db", limits)) as bench:
        log = tmp_path / "runtara.db-wal"
        with contextlib.closing(sqlite3.connect(bench.path, isolation_level=None)) as slow:
            slow.execute("BEGIN")
            slow.execute("SELECT count(*) FROM instances").fetchone()
            with pytest.raises(Busy, match="a reader holds the log"):
                put_many(bench.writer, range(2, 1_000))
            at_bound = log.stat().st_size
            stored = bench.version

        put(bench.writer, big_save(stored + 1))

        assert 600_000 <= at_bound < 700_000
        assert log.stat().st_size < 100_000


def test_quick_readers_do_not_let_the_log_grow(tmp_path: Path) -> None:
    limits = SqliteLimits(wal_checkpoint_pages=20, wal_kept_bytes=50_000)
    with contextlib.closing(Bench(tmp_path / "runtara.db", limits)) as bench:
        for number in range(2, 200):
            put(bench.writer, big_save(number))
            assert bench.version == number

        assert (tmp_path / "runtara.db-wal").stat().st_size < 500_000


def put_many(writer: Writer, numbers: range) -> None:
    for number in numbers:
        put(writer, big_save(number))


def big_save(number: int, size: int = 8_000) -> Save:
    return save(version=number, checkpoints=(checkpoint(f"step-{number}", bytes(size)),))


# A full disk ----------------------------------------------------------------------------------------------------------


def fill(bench: Bench) -> int:
    """Save until the disk is full; return the last version that was stored."""
    for number in range(bench.version + 1, 10_000):
        try:
            put(bench.writer, big_save(number, 50_000))
        except StoreFull:
            return number - 1
    raise AssertionError("the disk never became full")


def test_a_full_file_refuses_saves_answers_readers_and_heals(bench: Bench) -> None:
    connection = bench.writer._connection  # type: ignore[attr-defined] # the tests look inside
    connection.execute("PRAGMA max_page_count = 200")

    stored = fill(bench)

    assert bench.version == stored > 1
    assert bench.reader.read_checkpoint(KEY, f"step-{stored}") is not None
    connection.execute("PRAGMA max_page_count = 100000")
    put(bench.writer, big_save(stored + 1))
    assert bench.reader.verify() == []


@pytest.fixture
def small_disk(tmp_path: Path, missing: Missing) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        missing("tmpfs", "there is no mount command")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        missing("tmpfs", f"mounting is not permitted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_refuses_saves_answers_readers_and_heals(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    with contextlib.closing(Bench(small_disk / "runtara.db", IMPATIENT)) as bench:
        stored = fill(bench)
        seen = bench.version, bench.reader.count_by_status(), bench.reader.read_checkpoint(KEY, "step-2")

        ballast.unlink()
        put(bench.writer, big_save(stored + 1, 50_000))

        assert seen[0] == stored
        assert seen[2] is not None
        assert len(loaded(bench.reader).checkpoint_ids) == stored + 1
        assert bench.reader.verify() == []


def test_a_store_cannot_be_made_on_a_full_disk(small_disk: Path) -> None:
    with contextlib.suppress(OSError):
        (small_disk / "ballast").write_bytes(bytes(3_000_000))

    with pytest.raises((StoreFull, StoreUnavailable)):
        SqliteStore(str(small_disk / "runtara.db")).open_writer()


def test_a_file_at_its_size_limit_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 160; exec "$@"', "sh"]

    ended = run_module("tests.store.crashing", "once", tmp_path, "honest", prefix=limited)

    assert ended.returncode == 0, ended.stderr
    assert compare(tmp_path) == "sound"


# Death ----------------------------------------------------------------------------------------------------------------


def deaths(folder: Path, manner: str, step: int, task: str = "die") -> list[str]:
    ended = run_module("tests.store.crashing", task, folder, manner, step)
    *lines, last = ended.stdout.splitlines()
    assert (ended.returncode, last) == (0, "survived"), ended.stderr
    return [line.partition(": ")[2] for line in lines]


def changes(folder: Path, manner: str, step: int) -> list[str]:
    ended = run_module("tests.store.changing", folder, manner, step)
    *lines, last = ended.stdout.splitlines()
    assert (ended.returncode, last) == (0, "survived"), ended.stderr
    return [line.partition(": ")[2] for line in lines]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED without fork")
class TestDeath:
    def test_killed_at_some_statements_nothing_acknowledged_is_lost_and_the_schema_is_whole(
        self, tmp_path: Path
    ) -> None:
        assert set(deaths(tmp_path, "honest", 17)) == {"sound"}

    @pytest.mark.slow
    def test_killed_at_any_statement_nothing_acknowledged_is_lost_and_the_schema_is_whole(self, tmp_path: Path) -> None:
        found = deaths(tmp_path, "honest", 1)

        assert len(found) > 50
        assert set(found) == {"sound"}

    @pytest.mark.slow
    def test_an_acknowledgement_before_the_commit_would_be_noticed(self, tmp_path: Path) -> None:
        assert any("acknowledged but lost" in line for line in deaths(tmp_path, "hasty", 5))

    def test_killed_at_some_statements_an_older_file_has_the_old_schema_or_the_new_one(self, tmp_path: Path) -> None:
        found = deaths(tmp_path, "honest", 5, "upgrade")

        assert found == sorted(found, key=["old", "new"].index)
        assert set(found) == {"old", "new"}

    @pytest.mark.slow
    def test_killed_at_any_statement_an_older_file_has_the_old_schema_or_the_new_one(self, tmp_path: Path) -> None:
        found = deaths(tmp_path, "honest", 1, "upgrade")

        assert found == sorted(found, key=["old", "new"].index)
        assert set(found) == {"old", "new"}
        assert found.count("old") > 15

    def test_killed_at_some_statements_every_change_of_whatever_kind_is_there_or_not(self, tmp_path: Path) -> None:
        assert set(changes(tmp_path, "honest", 19)) == {"sound"}

    @pytest.mark.slow
    def test_killed_at_any_statement_every_change_of_whatever_kind_is_there_or_not(self, tmp_path: Path) -> None:
        found = changes(tmp_path, "honest", 1)

        assert len(found) > 100
        assert set(found) == {"sound"}

    @pytest.mark.slow
    @pytest.mark.parametrize("manner", ["hasty", "torn"])
    def test_a_change_that_is_there_in_part_or_told_too_early_would_be_noticed(
        self, tmp_path: Path, manner: str
    ) -> None:
        assert set(changes(tmp_path, manner, 5)) > {"sound"}

    def test_an_older_file_that_is_changed_without_a_transaction_would_be_noticed(self, tmp_path: Path) -> None:
        assert any("torn" in line for line in deaths(tmp_path, "torn", 7, "upgrade"))


# The disk lies --------------------------------------------------------------------------------------------------------


def under_strace(folder: Path, manner: str, injection: str, missing: Missing) -> "subprocess.CompletedProcess[str]":
    """Run the process with a fault in one of its synchronisations."""
    strace = shutil.which("strace")
    if strace is None:
        missing("strace", "it is not installed")
    probe = subprocess.run([strace, "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        missing("strace", f"tracing is not permitted: {probe.stderr.strip()}")
    log = folder / "strace"
    prefix = [strace, "-f", "-qq", "-o", str(log), "-e", "trace=fdatasync,fsync", "-e", f"inject={injection}"]
    return run_module("tests.store.crashing", "once", folder, manner, prefix=prefix)


def sweep(folder: Path, manner: str, fault: str, nths: range, missing: Missing) -> list[str]:
    """Break the n-th synchronisation, for each n; return how each store compares with what was told."""
    found: list[str] = []
    for nth in nths:
        own = folder / f"{nth}"
        own.mkdir()
        ended = under_strace(own, manner, f"fdatasync:{fault}:when={nth}", missing)
        if not ("INJECTED" in (own / "strace").read_text() or "SIGKILL" in (own / "strace").read_text()):
            return found
        assert ended.returncode in (0, -9, 137), ended.stderr
        found.append(compare(own))
    return found


def test_a_failed_synchronisation_loses_nothing_that_was_acknowledged(tmp_path: Path, missing: Missing) -> None:
    assert sweep(tmp_path, "honest", "error=EIO", range(11, 13), missing) == ["sound"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["error=EIO", "signal=KILL"])
def test_a_fault_in_any_synchronisation_loses_nothing_that_was_acknowledged(
    tmp_path: Path, missing: Missing, fault: str
) -> None:
    found = sweep(tmp_path, "honest", fault, range(1, 60, 2), missing)

    assert len(found) > 5
    assert set(found) == {"sound"}


@pytest.mark.slow
def test_a_disk_that_fails_for_good_loses_nothing_that_was_acknowledged(tmp_path: Path, missing: Missing) -> None:
    for nth in range(1, 16, 4):
        own = tmp_path / f"{nth}"
        own.mkdir()

        under_strace(own, "honest", f"fdatasync:error=EIO:when={nth}+", missing)

        assert compare(own) == "sound"


@pytest.mark.slow
def test_an_acknowledgement_of_an_unknown_outcome_would_be_noticed(tmp_path: Path, missing: Missing) -> None:
    assert any(
        "acknowledged but lost" in line for line in sweep(tmp_path, "reckless", "error=EIO", range(9, 15), missing)
    )

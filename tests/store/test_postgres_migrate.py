"""Migrations of a PostgreSQL database: all that is pending or nothing, once, never in a schema of somebody else's."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from runtara.errors import Busy, ConfigError, StoreCorrupt, StoreTooNew, StoreUnavailable
from runtara.lifecycle import Status
from runtara.store import Copies, Finished, _postgres_migrate
from runtara.store._postgres import PostgresStore
from runtara.store._postgres_door import SQL, Connection, PostgresLimits, connect
from runtara.store._postgres_migrate import migrate, pending_migrations, schema_differences
from runtara.store._statements import Migration, load_migrations
from tests.postgres import Cluster
from tests.store.postgres_checks import PATIENT
from tests.store.samples import KEY, image_version, loaded, put, save, schedule

WHERE = "here"
FIRST = Migration(1, "0001_first", "CREATE TABLE instances (a BIGINT); CREATE TABLE nodes (b BIGINT);", "one")
SECOND = Migration(2, "0002_second", "ALTER TABLE instances ADD b BIGINT; INSERT INTO instances VALUES (1, 2);", "two")
BROKEN = Migration(3, "0003_broken", "CREATE TABLE third (a BIGINT); CREATE TABLE third (a BIGINT);", "three")

_numbers = count(1)


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """A database that nobody has opened before."""
    name = f"migrated_{next(_numbers)}"
    cluster.execute(f"CREATE DATABASE {name}")
    yield cluster.url_of(name)
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with contextlib.closing(connect(url, PostgresLimits())) as connection:
        yield connection


def tables(connection: "psycopg.Connection[Any]") -> set[str]:
    rows = connection.execute("SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('runtara')").fetchall()
    return {name for (name,) in rows if not name.endswith("_pkey")}


def book(connection: "psycopg.Connection[Any]") -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM runtara.migrations ORDER BY number").fetchall()]


def state(url: str) -> str:
    """Which schema the database has, as somebody sees it who comes now: ``empty``, ``old``, ``new``, or else."""
    with psycopg.connect(url, autocommit=True) as admin:
        found = tables(admin)
        if not found:
            return "empty"
        has_rows = "b" in [
            name
            for (name,) in admin.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('runtara.instances')"
            ).fetchall()
        ]
        known = {("0001_first",): "old", ("0001_first", "0002_second"): "new"}
        name = known.get(tuple(book(admin)), "torn") if "migrations" in found else "torn"
    return name if found == {"migrations", "instances", "nodes"} and has_rows == (name == "new") else "torn"


def test_an_empty_database_gets_every_migration_in_order(connection: Connection) -> None:
    migrate(connection, WHERE, [FIRST, SECOND])

    assert book(connection) == ["0001_first", "0002_second"]
    assert connection.execute("SELECT a, b FROM instances").fetchall() == [(1, 2)]
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_an_older_database_gets_what_it_lacks_and_that_once(connection: Connection) -> None:
    migrate(connection, WHERE, [FIRST])

    pending = pending_migrations(connection, WHERE, [FIRST, SECOND])
    for _ in range(2):
        migrate(connection, WHERE, [FIRST, SECOND])

    assert list(pending) == [SECOND]
    assert connection.execute("SELECT count(*) FROM instances").fetchall() == [(1,)]


def test_a_migration_that_fails_takes_all_that_were_pending_back_with_it(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.DuplicateTable):
        migrate(connection, WHERE, [FIRST, SECOND, BROKEN])

    assert tables(connection) == set()
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    migrate(connection, WHERE, [FIRST, SECOND])


def test_a_database_of_a_later_version_is_refused_with_both_versions(connection: Connection) -> None:
    migrate(connection, WHERE, [FIRST, SECOND])

    with pytest.raises(StoreTooNew, match="schema version 2, this program knows up to 1"):
        migrate(connection, WHERE, [FIRST])


def test_a_store_of_a_later_version_is_refused_by_writer_and_reader(url: str) -> None:
    PostgresStore(url).open_writer().close()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("INSERT INTO runtara.migrations (number, name, checksum) VALUES (99, '0099_later', 'x')")

    for opening in (PostgresStore(url).open_writer, PostgresStore(url).open_reader):
        with pytest.raises(StoreTooNew, match="schema version 99"):
            opening()


@pytest.mark.parametrize("known", [[FIRST._replace(checksum="x"), SECOND], [FIRST, SECOND._replace(checksum="x")]])
def test_a_migration_that_was_applied_with_another_text_is_refused(
    connection: Connection, known: Sequence[Migration]
) -> None:
    migrate(connection, WHERE, [FIRST, SECOND])

    with pytest.raises(StoreCorrupt, match="another text of migration"):
        migrate(connection, WHERE, known)


def test_a_migration_without_its_bookkeeping_is_refused(connection: Connection) -> None:
    migrate(connection, WHERE, [FIRST, SECOND])
    connection.execute("DELETE FROM migrations WHERE number = 1")

    with pytest.raises(StoreCorrupt):
        migrate(connection, WHERE, [FIRST, SECOND])


@pytest.mark.parametrize(
    "table",
    [
        "instances (a BIGINT)",
        "customers (a BIGINT)",
        "migrations (id BIGINT, applied BOOLEAN)",
        "migrations (number BIGINT, name TEXT, checksum TEXT)",
    ],
)
def test_a_schema_that_is_somebody_elses_is_refused_and_left_as_it_is(url: str, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA runtara")
        admin.execute(f"CREATE TABLE runtara.{table}".encode())
        before = tables(admin)

        for opening in (PostgresStore(url).open_writer, PostgresStore(url).open_reader):
            with pytest.raises(ConfigError, match="somebody else's: choose another database"):
                opening()

        assert tables(admin) == before


def test_tables_of_others_in_other_schemas_do_not_matter(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE TABLE instances (a BIGINT)")
        admin.execute("CREATE TABLE migrations (a BIGINT)")
        store = PostgresStore(url)
        with contextlib.closing(store.open_writer()) as writer, contextlib.closing(store.open_reader()) as reader:
            put(writer, save(KEY))
            assert loaded(reader).instance.version == 1

        assert admin.execute("SELECT count(*) FROM public.instances").fetchall() == [(0,)]


def test_a_schema_that_is_there_and_empty_is_used(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA runtara")

    PostgresStore(url).open_writer().close()


def test_looking_changes_nothing(connection: Connection) -> None:
    pending_migrations(connection, WHERE)

    assert connection.execute("SELECT to_regnamespace('runtara')").fetchall() == [(None,)]


def test_the_real_migrations_make_the_schema_that_is_expected(connection: Connection) -> None:
    migrate(connection, WHERE)

    assert schema_differences(connection) == []
    assert len(book(connection)) == len(load_migrations("postgres"))
    connection.execute("DROP INDEX instances_due")
    assert schema_differences(connection) == ["index instances_due is missing"]


OLD = """
INSERT INTO runtara.nodes (name, version, opened_at, lease_until) VALUES ('old', '1', 1, 1);
INSERT INTO runtara.instances (
    tenant_id, instance_id, status, version, epoch, created_at, program, checkpoint_id, wake_at, finished_at, output,
    owner
) VALUES
    ('acme', 'order-1', 'suspended', 7, 3, 1000, 'orders', 'nap', 1009, NULL, NULL, NULL),
    ('acme', 'order-2', 'running', 2, 4, 1000, 'orders', NULL, NULL, NULL, NULL, 1),
    ('globex', 'order-1', 'completed', 3, 1, 1000, 'orders', NULL, NULL, 1005, 'out', NULL);
INSERT INTO runtara.checkpoints (instance_number, checkpoint_id, state, epoch, created_at)
VALUES (1, 'step', 'a', 1, 1000), (1, 'nap', 'b', 3, 1002), (3, 'nap', '', 1, 1000);
"""
"""What lies in a database of the first schema."""


def test_what_a_database_of_the_first_schema_holds_goes_on_in_the_newest(connection: Connection, url: str) -> None:
    migrate(connection, WHERE, load_migrations("postgres")[:1])
    connection.execute(OLD.encode())
    store, key, fork = PostgresStore(url), KEY._replace(instance_id="order-1"), KEY._replace(instance_id="fork")
    with contextlib.closing(store.open_writer()) as writer, contextlib.closing(store.open_reader()) as reader:
        writer.push_image("acme", "orders", "a" * 32, image_version())
        writer.put_schedule(schedule())
        put(writer, save(fork, copies=Copies(key, "step"), priority=3, status=Status.PENDING, program="p", wake_at=1))
        claimed = [due[:4] for due in writer.claim_due(9, 0).claimed]
        gone = writer.prune_finished(Finished(before_ms=2000), 9, False)

        assert loaded(reader, key).instance.checkpoint_id == "nap"
        assert loaded(reader, fork).checkpoint_ids == ("step",)
        assert sorted(claimed) == [(1, fork, 3, "p"), (1009, key, 0, "orders")]
        assert [row.key.instance_id for row in writer.take_over(9)] == ["order-2"]
        assert (gone, reader.verify()) == ([KEY._replace(tenant_id="globex")], [])


# Several at once ------------------------------------------------------------------------------------------------------


def test_nodes_that_open_a_new_database_at_once_migrate_it_once(url: str) -> None:
    everybody = threading.Barrier(6)

    def open_and_save(number: int) -> int | None:
        store = PostgresStore(url)
        everybody.wait(100)
        with contextlib.closing(store.open_writer()) as writer:
            put(writer, save(KEY._replace(instance_id=f"order-{number}")))
            return store.tenure.number

    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(open_and_save, range(6)))

    assert len(set(numbers)) == 6
    with contextlib.closing(PostgresStore(url).open_reader()) as reader:
        assert len(reader.list_instances("acme", None, 10, None).instances) == 6
        assert reader.verify() == []


def test_who_waits_too_long_for_somebody_who_migrates_is_told_so(url: str) -> None:
    with psycopg.connect(url) as other:
        other.execute(SQL["lock_schema"])

        with pytest.raises(Busy, match="somebody else has locked"):
            PostgresStore(url, limits=replace(PATIENT, lock_timeout_ms=100)).open_writer()

    PostgresStore(url).open_writer().close()


def test_a_node_that_begins_while_another_migrates_finds_nothing_left_to_do(url: str) -> None:
    with contextlib.closing(connect(url, PATIENT)) as first:
        first.execute("BEGIN")
        first.execute(SQL["lock_schema"])
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(lambda: PostgresStore(url, limits=PATIENT).open_writer().close())
            migrate_in_the_open(first)
            first.execute("COMMIT")
            second.result(100)

        assert len(book(first)) == len(load_migrations("postgres"))


def migrate_in_the_open(connection: Connection) -> None:
    """Do what `migrate` does between its BEGIN and its COMMIT."""
    connection.execute(SQL["make_schema"])
    for migration in load_migrations("postgres"):
        connection.execute(migration.script.encode())
        names = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
        connection.execute(SQL["note_migration"], names)


# Death ----------------------------------------------------------------------------------------------------------------


class Mortal(Connection):
    """A connection that ends before its n-th statement: by then the server has heard all that were before."""

    lives = 0

    def execute(self, *arguments: Any, **keywords: Any) -> Any:
        self.lives -= 1
        if self.lives == 0:
            self.pgconn.finish()
        return super().execute(*arguments, **keywords)


def mortal(url: str, lives: int) -> Mortal:
    connection = Mortal.connect(url, autocommit=True)
    connection.execute(SQL["configure"])
    connection.lives = lives
    return connection


def test_who_dies_at_any_statement_leaves_the_old_schema_or_the_new_one(url: str) -> None:
    seen = []
    for lives in count(1):
        with contextlib.closing(mortal(url, lives)) as connection:
            try:
                migrate(connection, WHERE, [FIRST])
            except psycopg.OperationalError:
                seen.append(state(url))
                continue
        break
    first = lives
    for lives in count(1):
        with contextlib.closing(mortal(url, lives)) as connection:
            try:
                migrate(connection, WHERE, [FIRST, SECOND])
            except psycopg.OperationalError:
                seen.append(state(url))
                continue
        break

    assert first > 6
    assert len(seen) > 14
    assert seen == sorted(seen, key=["empty", "old", "new"].index)
    assert state(url) == "new"


def test_a_server_that_throws_us_out_within_a_script_leaves_the_old_schema(url: str) -> None:
    suicide = "SELECT pg_terminate_backend(pg_backend_pid())"
    scripts = load_migrations("postgres")[0].script.partition("CREATE TABLE instances")
    dying = Migration(1, "0001_dying", f"{scripts[0]}; {suicide}; {scripts[1]}{scripts[2]}", "x")

    with (
        contextlib.closing(connect(url, PostgresLimits())) as connection,
        pytest.raises(psycopg.OperationalError),
    ):
        migrate(connection, WHERE, [dying])

    assert state(url) == "empty"
    PostgresStore(url).open_writer().close()


def test_a_schema_that_is_changed_without_a_transaction_would_be_noticed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SQL, "begin_write", "SELECT 1;")

    seen = set()
    for lives in range(1, 12):
        with contextlib.closing(mortal(url, lives)) as connection, contextlib.suppress(psycopg.Error, ConfigError):
            migrate(connection, WHERE, [FIRST, SECOND])
        seen.add(state(url))

    assert "torn" in seen


def test_a_store_whose_schema_is_old_is_not_read_before_a_writer_has_opened_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PostgresStore(url).open_writer().close()
    known = load_migrations("postgres")
    later = (*known, Migration(len(known) + 1, f"{len(known) + 1:04}_later", "SELECT 1;", "later"))
    monkeypatch.setattr(_postgres_migrate, "load_migrations", lambda database: later)

    with pytest.raises(StoreUnavailable, match="open its writer first"):
        PostgresStore(url).open_reader()

    PostgresStore(url).open_writer().close()
    PostgresStore(url).open_reader().close()

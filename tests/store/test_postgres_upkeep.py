"""What is true of the upkeep of a database beyond what is true of every store's: the nodes that work there."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtara.errors import ConfigError, OutcomeUnknown, StoreCorrupt, StoreInUse, StoreUnavailable
from runtara.lifecycle import Status
from runtara.store import Finished, back_up, restore
from runtara.store._postgres import PostgresStore
from runtara.store._postgres_door import Connection
from runtara.store._postgres_upkeep import PostgresUpkeep
from runtara.store._statements import load_migrations
from runtara.store._tenure import NodeSpec
from tests.postgres import Cluster, fresh_database
from tests.store.moving import GOES, INSTANCES, fill
from tests.store.samples import NOW, checkpoint, event, opened, put, save

FINISHED = Finished(before_ms=NOW + 1)
ENDED: dict[str, Any] = {"status": Status.COMPLETED, "finished_at": NOW}


def ignore(*_: object) -> None:
    """Somebody who does not look on."""


def test_nodes_at_work_are_named(database: str) -> None:
    with contextlib.closing(PostgresStore(database, NodeSpec(name="left")).open_writer()):
        for use in PostgresUpkeep(database).source(live=False), PostgresUpkeep(database).target(replace=True):
            with pytest.raises(StoreInUse, match=r"in use by left: stop the servers"), use:
                pass


def test_nodes_whose_lease_has_run_out_do_not_count(database: str) -> None:
    with contextlib.closing(PostgresStore(database, NodeSpec(name="left", lasting=True, lease_ms=1)).open_writer()):
        pass

    with PostgresUpkeep(database).source(live=False) as source:
        assert source.database == "postgres"


def test_instances_are_restored_without_their_owners(cluster: Cluster, database: str, tmp_path: Path) -> None:
    with opened(database) as (writer, _):
        put(writer, save())
        back_up(PostgresUpkeep(database), tmp_path / "backup", ignore)

    with fresh_database(cluster) as other:
        restore(tmp_path / "backup", PostgresUpkeep(other), ignore)
        with psycopg.connect(other) as connection:
            found = connection.execute("SELECT status, owner FROM runtara.instances").fetchall()

    assert found == [("running", None)]


def test_numbering_goes_on_behind_what_was_restored(cluster: Cluster, database: str, tmp_path: Path) -> None:
    fill(database)
    back_up(PostgresUpkeep(database), tmp_path / "backup", ignore)

    with fresh_database(cluster) as other:
        restore(tmp_path / "backup", PostgresUpkeep(other), ignore)
        with opened(other) as (writer, _):
            put(writer, save(checkpoints=(checkpoint("next"),)))
        with psycopg.connect(other) as connection:
            (seq,) = connection.execute("SELECT max(seq) FROM runtara.checkpoints").fetchall()
            (last,) = connection.execute("SELECT seq FROM runtara.checkpoints WHERE checkpoint_id = 'next'").fetchall()

    assert seq == last


def test_an_error_that_is_not_utf_8_is_not_backed_up(database: str, tmp_path: Path) -> None:
    fill(database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE runtara.retries SET error = '\\xff'")

    with pytest.raises(StoreCorrupt, match="not UTF-8"):
        back_up(PostgresUpkeep(database), tmp_path / "backup", ignore)


def test_somebody_who_sees_a_table_has_all_the_time_in_the_world(database: str) -> None:
    fill(database)
    with PostgresUpkeep(database).source(live=True) as source:
        connection = source._connection
        found = [
            connection.execute(f"SHOW {name}").fetchall()[0][0]
            for name in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_read_only")
        ]

    assert found == ["0", "0", "on"]


def test_what_somebody_holds_is_left_for_the_next_time(database: str) -> None:
    fill(database)
    with psycopg.connect(database) as other:
        other.execute("UPDATE runtara.instances SET version = 2 WHERE instance_id = 'finished-0'")
        other.execute(
            "INSERT INTO runtara.events (instance_number, type, epoch, created_at)"
            " SELECT number, 'late', 1, 1 FROM runtara.instances WHERE instance_id = 'finished-0'"
        )

        first = PostgresUpkeep(database).prune(FINISHED, ignore)
        other.commit()

    assert (first, PostgresUpkeep(database).verify()) == (INSTANCES - 1, [])
    assert PostgresUpkeep(database).prune(FINISHED, ignore) == 1
    assert PostgresUpkeep(database).verify() == []


def test_nothing_is_added_any_more_to_what_is_about_to_go(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server writes between the two statements: it waits, and is then told that there is no such version."""
    fill(database)
    threads, answers = list[threading.Thread](), list[list[bool]]()
    execute = Connection.execute

    def interrupted(self: Connection, statement: Any, *arguments: Any, **names: Any) -> Any:
        if "their_inputs" in str(statement):
            begun.wait(100)
            threads.append(threading.Thread(target=lambda: answers.append(commit())))
            threads[0].start()
            threads[0].join(0.2)
            assert not answers
        return execute(self, statement, *arguments, **names)

    begun = threading.Event()
    with opened(database) as (writer, _):

        def commit() -> list[bool]:
            return writer.commit([save(GOES[0], 2, events=(event(),), **ENDED)])

        begun.set()
        monkeypatch.setattr(Connection, "execute", interrupted)
        PostgresUpkeep(database).prune(FINISHED, ignore)
        threads[0].join()

    assert answers == [[False]]
    assert PostgresUpkeep(database).verify() == []


def test_a_commit_whose_answer_is_lost_is_said_to_be_unknown(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database)
    execute = Connection.execute

    def losing(self: Connection, statement: Any, *arguments: Any, **names: Any) -> Any:
        if str(statement).startswith("COMMIT"):
            self.pgconn.finish()
        return execute(self, statement, *arguments, **names)

    monkeypatch.setattr(Connection, "execute", losing)
    with pytest.raises(OutcomeUnknown):
        PostgresUpkeep(database).prune(FINISHED, ignore)


def test_a_server_that_is_not_there_is_said_so() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        PostgresUpkeep("postgresql://127.0.0.1:1/nothing").migrate()


def test_a_new_database_gets_every_migration(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE brand_new")
    upkeep = PostgresUpkeep(cluster.url_of("brand_new"))
    names = [migration.name for migration in load_migrations("postgres")]

    assert [upkeep.migrate(dry_run=True), upkeep.migrate(), upkeep.migrate()] == [names, names, []]
    assert upkeep.verify() == []


def test_an_older_schema_is_sent_to_be_migrated_first(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE never_used")

    with pytest.raises(StoreUnavailable, match="run `runtara db migrate` first"):
        PostgresUpkeep(cluster.url_of("never_used")).vacuum()


def test_a_database_of_somebody_else_is_refused(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE somebody_elses")
    cluster.execute("CREATE SCHEMA runtara CREATE TABLE instances (a INT)", "somebody_elses")

    with pytest.raises(ConfigError, match="somebody else's"):
        PostgresUpkeep(cluster.url_of("somebody_elses")).migrate()

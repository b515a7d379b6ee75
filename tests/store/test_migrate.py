"""Migrations: all that is pending or nothing, once, and never on a file that somebody else has changed."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtara.errors import ConfigError, StoreCorrupt, StoreTooNew
from runtara.store._migrate import check_schema, migrate, pending_migrations, schema_differences
from runtara.store._sqlite_door import connect_memory
from runtara.store._statements import Migration, load_migrations

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

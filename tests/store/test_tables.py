"""The description of the tables is that of the databases."""

import contextlib
from typing import Literal

import psycopg
import pytest

from runtara.store import open_upkeep
from runtara.store._migrate import migrate
from runtara.store._sqlite_door import connect_memory
from runtara.store._tables import TABLES, Table, table_named
from tests.store.test_migrate import PATH

BOOKKEEPING = {"settings", "_sqlite_migrations", "sqlite_sequence", "migrations", "nodes", "refusals"}
"""Tables that are true only of the database that they lie in."""
BESIDES = {("instances", "owner"), ("instances", "ran_on")}
"""Columns of the same kind."""
KINDS = {"INTEGER": int, "TEXT": str, "BLOB": bytes, "bigint": int, "text": str, "bytea": bytes}

Found = dict[str, dict[str, tuple[type, bool]]]


def described(database: Literal["sqlite", "postgres"]) -> Found:
    return {
        table.name: {column.name: (column.kind, column.optional) for column in table.columns}
        for table in TABLES
        if table.is_in(database)
    }


def test_sqlite_has_the_tables_and_columns_that_are_described() -> None:
    with contextlib.closing(connect_memory()) as memory:
        migrate(memory, PATH)
        names = [name for (name,) in memory.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        found: Found = {
            table: {
                name: (KINDS[kind], not required and not key)
                for _, name, kind, required, _, key in memory.execute(f"SELECT * FROM pragma_table_info('{table}')")
            }
            for table in names
            if table not in BOOKKEEPING
        }

    assert found == described("sqlite")


def test_postgres_has_the_tables_and_columns_that_are_described(database: str) -> None:
    open_upkeep(database).migrate()
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = 'runtara'"
        ).fetchall()

    found: Found = {}
    for table, column, kind, optional in rows:
        if table not in BOOKKEEPING and (table, column) not in BESIDES:
            # An error is bytes there, because a text cannot hold NUL.
            kept = str if column == "error" else KINDS[kind]
            found.setdefault(table, {})[column] = (kept, optional == "YES")
    assert found == described("postgres")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_found_by_its_name_and_ordered_by_columns_of_its_own(table: Table) -> None:
    found = table_named(table.name)

    assert found is table
    assert set(table.order) <= {column.name for column in table.columns}


def test_no_other_table_is_found() -> None:
    assert table_named("nodes") is None

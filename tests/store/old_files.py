"""Files of older schemas with something in every table, and what they hold, to be brought up to date."""

import contextlib
import functools
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, Final

from runtara.store._migrate import migrate
from runtara.store._sqlite_door import SQL, SqliteLimits, connect_memory, connect_writer, run_script
from runtara.store._sqlite_owner import make_file
from runtara.store._statements import load_migrations

__all__ = ["FIRST", "contents", "first_file", "old_file", "schema_of"]

FIRST: Final = """
INSERT INTO instances VALUES (1, 'acme', 'order-1', 'suspended', 7, 3, 1000, 'orders', 'attempt', 'nap', 1009, 1001,
    NULL, 1002, 'sleeping', -9, 'it broke: ☃', x'00');
INSERT INTO instances VALUES (2, 'acme', 'order-2', 'running', 2, 4, 1000, 'orders', 'attempt', NULL, NULL, 1001,
    NULL, 1002, NULL, NULL, NULL, NULL);
INSERT INTO instances VALUES (4, 'acme', 'by-itself', 'running', 1, 1, 1000, NULL, NULL, NULL, NULL, 1001,
    NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO instances VALUES (9, 'globex', 'order-1', 'completed', 3, 1, 1000, 'orders', NULL, 'nap', NULL, 1001,
    1005, NULL, 'completed', 0, NULL, x'006f7574');
INSERT INTO inputs VALUES (1, x'00696e'), (9, x'');
INSERT INTO checkpoints VALUES (1, 1, 'step é', x'00ff', 1, 1000, NULL), (2, 9, 'nap', zeroblob(9000), 1, 1001, NULL),
    (5, 1, 'nap', x'', 3, 1002, 1009);
INSERT INTO events VALUES (1, 1, 'custom', 1, 1000, 'sub', 'nap', x'00'),
    (2, 1, 'custom', 1, 1000, 'sub', 'nap', x'00'), (3, 9, 'completed', 1, 1005, NULL, NULL, NULL);
INSERT INTO signals VALUES (1, 1, 's', 'custom', 1000, 'go', x'0070', 1001, 1),
    (2, 1, 'p', 'pause', 1000, NULL, x'', NULL, 2);
INSERT INTO waits VALUES (1, 1, 'here', 'go', 1000, 1002, 1001, 's'), (2, 2, 'there', 'go', 1000, NULL, NULL, NULL);
INSERT INTO retries VALUES (1, 'nap', 1, 1000, 'e', 1001), (1, 'nap', 2, 1001, NULL, NULL);
"""
"""What lies in a file of schema 1."""


def first_file() -> bytes:
    """A file of schema 1, as the version that knew no later one left it behind."""
    return old_file(1)


@functools.cache
def old_file(schema: int) -> bytes:
    """The same file, after a later version has brought it to its own schema, which is older than the newest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runtara.db")
        make_file(path)
        with contextlib.closing(connect_writer(path, SqliteLimits())) as connection:
            migrate(connection, path, load_migrations("sqlite")[:1])
            connection.execute(SQL["begin_write"])
            run_script(connection, FIRST)
            connection.execute(SQL["commit"])
            migrate(connection, path, load_migrations("sqlite")[:schema])
            connection.execute(SQL["empty_log"])
        return path.read_bytes()


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What lies in the columns of schema 1, by table, whatever the schema of the file is."""
    with contextlib.closing(connect_memory()) as first:
        run_script(first, load_migrations("sqlite")[0].script)
        tables = {table: ", ".join(_columns(first, table)) for table in _tables(first)}
    with contextlib.closing(sqlite3.connect(path)) as file:
        return {
            table: file.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}").fetchall()
            for table, columns in tables.items()
        }


def schema_of(path: Path) -> tuple[dict[str, str], list[str]]:
    """The text of every table, index and trigger of a file, and the migrations that its book names."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        applied = [name for (name,) in file.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
        return dict(file.execute(SQL["read_schema"]).fetchall()), applied


def _tables(file: sqlite3.Connection) -> list[str]:
    """The tables that hold instances; the store's own settings do not count."""
    own = ("settings", "sqlite_sequence")
    return [name for (name,) in file.execute(SQL["list_tables"]) if name not in own]


def _columns(file: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in file.execute("SELECT name FROM pragma_table_info(?)", [table])]

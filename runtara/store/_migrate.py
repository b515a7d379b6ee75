"""Bringing a store file's schema up to date: numbered migrations, each known by its checksum.

`sqlite_utils.migrations.Migrations` keeps the book (``sqlite-utils migrate --list`` shows it), our own checksums lie in
``settings``. One transaction holds all that is pending together with its bookkeeping, because `Migrations.apply` would
otherwise make its own table in a transaction apart: wherever the process is killed, the file has the old schema or the
new one. The caller owns the store, so nobody else migrates at the same time.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtara.errors import ConfigError
from runtara.store._sqlite_door import SQL, Connection, connect_memory, run_script
from runtara.store._statements import Migration, load_migrations, still_pending

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["check_schema", "migrate", "pending_migrations", "schema_differences"]

_SET: Final = "runtara"
_CHECKSUM_KEY: Final = "checksum of {}"


def check_schema(connection: Connection, path: Path, known: Sequence[Migration] | None = None) -> None:
    """Look, and only look, whether this version can work with the file.

    Raises `StoreTooNew` for a schema from a later version, `StoreCorrupt` for a migration that was applied with
    another text, and `ConfigError` for a database of something else.
    """
    pending_migrations(connection, path, known)


def pending_migrations(
    connection: Connection, path: Path, known: Sequence[Migration] | None = None
) -> Sequence[Migration]:
    """Return the migrations that the file still needs, oldest first. Raises like `check_schema`."""
    known = load_migrations("sqlite") if known is None else known
    return still_pending(known, _read_applied(connection, path), path)


def migrate(connection: Connection, path: Path, known: Sequence[Migration] | None = None) -> None:
    """Apply all pending migrations, or none of them.

    Raises like `check_schema`, and `sqlite3.Error`.
    """
    pending = pending_migrations(connection, path, known)
    if not pending:
        return
    # A quarter of a second of imports, which only a new or an outdated file needs.
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations(_SET)
    for migration in pending:
        migrations(name=migration.name)(_step(migration))
    connection.execute(SQL["begin_write"])
    try:
        migrations.apply(Database(connection, recursive_triggers=False, execute_plugins=False))
        connection.execute(SQL["commit"])
    finally:
        if connection.in_transaction:
            connection.execute(SQL["rollback"])


def schema_differences(connection: Connection) -> list[str]:
    """Return what the file lacks, or has in another form, of the tables, indexes and triggers that it should have."""
    with contextlib.closing(connect_memory()) as memory:
        for migration in load_migrations("sqlite"):
            run_script(memory, migration.script)
        expected = dict(memory.execute(SQL["read_schema"]).fetchall())
    found = dict(connection.execute(SQL["read_schema"]).fetchall())
    missing = [f"{name} is missing" for name in expected if name not in found]
    return missing + [f"{name} was changed" for name in expected if name in found and found[name] != expected[name]]


def _step(migration: Migration) -> Callable[["Database"], None]:
    def apply(database: "Database") -> None:
        run_script(database.conn, migration.script)
        database.conn.execute(SQL["write_setting"], [_CHECKSUM_KEY.format(migration.name), migration.checksum])

    return apply


def _read_applied(connection: Connection, path: Path) -> Mapping[str, str | None]:
    """Return the checksums of the applied migrations by name."""
    tables = {name for (name,) in connection.execute(SQL["list_tables"])}
    if not tables:
        return {}
    if not {"_sqlite_migrations", "settings", "instances"} <= tables:
        raise ConfigError(f"{path} is an SQLite database of something else: choose another file")
    checksums = dict(connection.execute(SQL["list_settings"]).fetchall())
    names = connection.execute(SQL["list_migrations"], [_SET]).fetchall()
    return {name: checksums.get(_CHECKSUM_KEY.format(name)) for (name,) in names}

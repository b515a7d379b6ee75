"""Bringing a database's schema up to date: numbered migrations, each known by its checksum.

One transaction holds all that is pending, the book of migrations included, and a lock of the database's keeps other
nodes waiting meanwhile. Wherever the process or the server is killed, there is the old schema or the new one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from runtara.errors import ConfigError
from runtara.store._postgres_door import SQL, Connection
from runtara.store._statements import Migration, load_migrations, still_pending

__all__ = ["migrate", "pending_migrations", "schema_differences"]

_DATABASE: Final = "postgres"
_CREATED: Final = re.compile(r"^CREATE (?:UNIQUE )?(TABLE|INDEX|TRIGGER|FUNCTION) (\w+)", re.MULTILINE)


def pending_migrations(
    connection: Connection, where: str, known: Sequence[Migration] | None = None
) -> Sequence[Migration]:
    """Return the migrations that the database still needs, oldest first.

    Raises `StoreTooNew` for a schema from a later version, `StoreCorrupt` for a migration that was applied with
    another text, and `ConfigError` for a schema `runtara` that is somebody else's.
    """
    known = load_migrations(_DATABASE) if known is None else known
    return still_pending(known, _read_applied(connection, where), where)


def migrate(connection: Connection, where: str, known: Sequence[Migration] | None = None) -> None:
    """Apply all pending migrations, or none of them. Raises like `pending_migrations`, and `psycopg.Error`."""
    if not pending_migrations(connection, where, known):
        return
    connection.execute(SQL["begin_write"])
    try:
        connection.execute(SQL["lock_schema"])
        if pending := pending_migrations(connection, where, known):
            connection.execute(SQL["make_schema"])
        for migration in pending:
            connection.execute(migration.script.encode())
            names = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
            connection.execute(SQL["note_migration"], names)
        connection.execute(SQL["commit"])
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise


def schema_differences(connection: Connection) -> list[str]:
    """Return what the database lacks of the tables, indexes and triggers that it should have."""
    scripts = "".join(migration.script for migration in load_migrations(_DATABASE))
    expected = {f"{kind.lower()} {name}" for kind, name in _CREATED.findall(scripts)}
    found = {name for (name,) in connection.execute(SQL["list_objects"])}
    return [f"{name} is missing" for name in sorted(expected - found)]


def _read_applied(connection: Connection, where: str) -> Mapping[str, str]:
    """Return the checksums of the applied migrations by name."""
    has_book, has_anything = connection.execute(SQL["has_schema"]).fetchall()[0]
    if not has_book:
        if has_anything:
            raise ConfigError(f"the schema runtara of {where} is somebody else's: choose another database")
        return {}
    return dict(connection.execute(SQL["list_migrations"]).fetchall())

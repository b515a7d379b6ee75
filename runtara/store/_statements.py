"""The SQL of a store, read from its folder of ``.sql`` files; one folder per database, ``sql/<database>``.

Files whose names begin with a number are migrations, each one script. In all others, every statement (or script, where
several statements belong together) follows its name and a sentence that says what it is for::

    -- name: find_number
    -- The number of an instance.
    SELECT number FROM instances WHERE tenant_id = ? AND instance_id = ?;
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final, NamedTuple

from runtara.errors import StoreCorrupt, StoreTooNew

__all__ = ["Migration", "Statement", "load_migrations", "load_statements", "still_pending"]

_STATEMENT: Final = re.compile(r"-- name: (\w+)\n((?:-- [^\n]+\n)+)(.+?)(?=\n-- name: |\Z)", re.DOTALL)
_MIGRATION: Final = re.compile(r"(\d{4})_\w+\.sql")


class Statement(NamedTuple):
    """A statement or script, and the sentence above it."""

    sentence: str
    sql: str


class Migration(NamedTuple):
    """One step of the schema, known by its number for ever; `checksum` tells whether it is still the same."""

    number: int
    name: str
    script: str
    checksum: str


@functools.cache
def load_statements(database: str) -> Mapping[str, Statement]:
    """Return the statements of a database by name.

    Raises `ValueError` for a file that has other text outside its statements, or a name twice.
    """
    statements: dict[str, Statement] = {}
    for file in _sql_files(database):
        if _MIGRATION.fullmatch(file.name):
            continue
        for name, statement in _parse(file):
            if name in statements:
                raise ValueError(f"{file.name}: there are two statements called {name}")
            statements[name] = statement
    return MappingProxyType(statements)


@functools.cache
def load_migrations(database: str) -> tuple[Migration, ...]:
    """Return the migrations of a database, oldest first.

    Raises `ValueError` unless they are numbered from 1 without a gap.
    """
    migrations = []
    for file in _sql_files(database):
        if found := _MIGRATION.fullmatch(file.name):
            script = file.read_text(encoding="utf-8")
            checksum = hashlib.sha256(script.encode()).hexdigest()
            migrations.append(Migration(int(found[1]), file.name.removesuffix(".sql"), script, checksum))
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"the migrations of {database} are not numbered from 1 without a gap")
    return tuple(migrations)


def still_pending(known: Sequence[Migration], applied: Mapping[str, str | None], where: object) -> Sequence[Migration]:
    """Return the migrations that the store at `where` still needs; `applied` are the checksums of the others by name.

    Raises `StoreTooNew` for a schema from a later version, and `StoreCorrupt` for a migration that was applied with
    another text.
    """
    newest = max((int(name.partition("_")[0]) for name in applied), default=0)
    if newest > len(known):
        raise StoreTooNew(
            f"the store {where} has schema version {newest}, this program knows up to {len(known)}: "
            "use the version of Runtara that wrote it, or a later one"
        )
    for migration in known[:newest]:
        if applied.get(migration.name) != migration.checksum:
            raise StoreCorrupt(
                f"the store {where} was made with another text of migration {migration.name}: "
                "use the version of Runtara that made it, or restore a backup"
            )
    return known[newest:]


def _sql_files(database: str) -> list[Traversable]:
    folder = files("runtara.store") / "sql" / database
    return sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)


def _parse(file: Traversable) -> Iterator[tuple[str, Statement]]:
    text = file.read_text(encoding="utf-8")
    if _STATEMENT.sub("", text).strip():
        raise ValueError(f"{file.name}: there is text outside the named statements")
    for name, sentence, sql in _STATEMENT.findall(text):
        yield name, Statement(" ".join(line.removeprefix("-- ") for line in sentence.splitlines()), sql.strip())

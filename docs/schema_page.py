"""The page on the schema: every table and column, as the migrations make them, with what their comments say."""

import inspect
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Final, NamedTuple

from parts import code_span, docs_below, head, inline, sentence, table

from runtara import records

__all__ = ["schema_page"]

_DATABASES: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_RECORDS: Final = {
    "instances": records.Instance,
    "checkpoints": records.Checkpoint,
    "events": records.Event,
    "signals": records.Signal,
    "waits": records.Wait,
    "retries": records.Retry,
    "images": records.Image,
    "image_versions": records.ImageVersion,
    "schedules": records.Schedule,
}
"""Tables whose columns are the fields of a struct."""
_KEYS: Final = {
    "number": "Given by the database, upwards.",
    "seq": "Given by the database, upwards: the order in which rows were stored.",
    "instance_number": "The `number` of the instance that it belongs to.",
    "image_number": "The `number` of the image that it belongs to.",
    "deleted_at": "When it was deleted. Its versions stay until nobody can need them any more.",
}
"""What the columns mean by which tables are held together."""

_OWN: Final = {"settings": "What the store notes of itself: its owner, and the checksums of the migrations."}

_CREATED: Final = re.compile(r"(?m)^CREATE TABLE (?:IF NOT EXISTS )?(\w+) \(\n(.*?)^\)", re.DOTALL)
_ADDED: Final = re.compile(r"(?m)^ALTER TABLE (\w+) ADD COLUMN (\w+) ([^;]+);")
_COLUMN: Final = re.compile(r"(?m)^ {4}([a-z_]+) ([A-Z]+(?:\[\])?)([^\n]*)$")
_COMMENT: Final = re.compile(r"((?:^-- [^\n]*\n)+)\Z", re.MULTILINE)


class Migration(NamedTuple):
    """A step of the schema of one database."""

    number: int
    name: str
    script: str

    @property
    def meaning(self) -> str:
        """What it says of itself at its top."""
        return _text(re.split(r"\n(?:--)?\n", self.script, maxsplit=1)[0])


class Column(NamedTuple):
    """What a database knows of a column, and the migration that made it."""

    kind: str
    since: int


Tables = dict[str, dict[str, dict[str, Column]]]
"""By table, column and database."""


def schema_page() -> Iterator[str]:
    """Every table with its columns."""
    migrations = {database: list(_migrations(database)) for database in _DATABASES}
    yield from head("Schema", "the migrations in runtara/store/sql, and the records in runtara/records.py")
    yield "How instances lie in a database, for whoever looks into one. Look, and change nothing: a server keeps some"
    yield "of it in memory. `runtara db migrate` brings a database to the newest version, `runtara db verify` checks"
    yield "it.\n"
    yield "A column may be empty (NULL) unless it says *not null*. Instants are milliseconds since 1970 UTC, payloads"
    yield "are bytes as the program gave them, and an error is text, which PostgreSQL keeps as UTF-8 bytes, because it"
    yield "may hold any character. In PostgreSQL, all of it lies in the schema `runtara`.\n"
    yield from table(
        "Version | Name | What it brought",
        (
            f"{_DATABASES[database]} {one.number} | `{one.name}` | {inline(one.meaning)}"
            for database, several in migrations.items()
            for one in several
        ),
    )
    comments: dict[str, str] = {}
    tables: Tables = {}
    for database, several in migrations.items():
        for migration in several:
            _add(tables, comments, database, migration)
    for name, columns in tables.items():
        yield from _section(name, comments.get(name, ""), columns)


def _section(name: str, comment: str, columns: dict[str, dict[str, Column]]) -> Iterator[str]:
    yield f"\n## {name}\n"
    found = [database for database in _DATABASES if any(database in column for column in columns.values())]
    said = [text for text in (_about(name), comment) if text]
    if len(found) == 1:
        said.append(f"Only in {_DATABASES[found[0]]}.")
    if said:
        yield " ".join(said) + "\n"
    meanings = _KEYS | (docs_below(_RECORDS[name]) if name in _RECORDS else {})
    yield from table(
        " | ".join(["Column", *(_DATABASES[database] for database in found), "Meaning"]),
        (
            " | ".join([code_span(column), *(_kind(kinds.get(one)) for one in found), inline(meanings.get(column, ""))])
            for column, kinds in columns.items()
        ),
    )


def _about(name: str) -> str:
    """What the struct says whose fields the columns are; of tables without one, the migrations say it."""
    return inline(inspect.getdoc(_RECORDS[name]) or "") if name in _RECORDS else _OWN.get(name, "")


def _kind(column: Column | None) -> str:
    if column is None:
        return "none"
    return column.kind if column.since == 1 else f"{column.kind}, since {column.since}"


def _add(tables: Tables, comments: dict[str, str], database: str, migration: Migration) -> None:
    """Take in what a migration makes."""
    for made in _CREATED.finditer(migration.script):
        name = made[1]
        above = _COMMENT.search(migration.script[: made.start()])
        if above and above.start() > 0:  # the comment at the top is about the whole migration
            comments.setdefault(name, sentence(_text(above[1]).rstrip(".")))
        for column, kind, rest in _COLUMN.findall(made[2]):
            _note(tables, name, column, database, Column(_said(kind, rest), migration.number))
    for name, column, rest in _ADDED.findall(migration.script):
        kind, _, more = rest.partition(" ")
        _note(tables, name, column, database, Column(_said(kind, more), migration.number))


def _note(tables: Tables, name: str, column: str, database: str, found: Column) -> None:
    tables.setdefault(name, {}).setdefault(column, {})[database] = found


def _said(kind: str, rest: str) -> str:
    if "PRIMARY KEY" in rest:
        return f"{kind.lower()}, key"
    return f"{kind.lower()}, not null" if "NOT NULL" in rest else kind.lower()


def _migrations(database: str) -> Iterator[Migration]:
    folder = files("runtara.store") / "sql" / database
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if found := re.fullmatch(r"((\d{4})_\w+)\.sql", file.name):
            yield Migration(int(found[2]), found[1], file.read_text(encoding="utf-8"))


def _text(comment: str) -> str:
    return " ".join(line.removeprefix("--").strip() for line in comment.splitlines() if line.startswith("--"))

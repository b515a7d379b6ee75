"""The tables that every database keeps, column by column: what a backup holds, and in which order.

Derived from the records, because their fields are the columns. Rows go from one database into another as they are,
numbers included, so nothing has to be looked up or translated on the way; both number upwards, so the order of the
numbers is the order in which things happened. Owners, nodes and the store's own bookkeeping are not here: they are true
only of the database that they lie in.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from runtara.records import Checkpoint, Event, Image, ImageVersion, Instance, Retry, Schedule, Signal, Wait

__all__ = ["TABLES", "Column", "Database", "Row", "Table", "table_named"]

Database = Literal["sqlite", "postgres"]
"""The kinds of databases, by the folders of their SQL."""

Row = tuple[Any, ...]
"""The values of a table's columns, in order. Any: the kinds of the columns say what they are."""


_INTEGER: Final = typing.Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What all databases can hold."""


class Column(NamedTuple):
    """A column: ``int``, ``str`` or ``bytes``, and whether it may be empty (NULL)."""

    name: str
    kind: type
    optional: bool = False
    default: int | None = None
    """What a row has that was stored before there was the column."""

    @property
    def type(self) -> Any:
        """What a value of it is. Any: a type that is made here."""
        kind = _INTEGER if self.kind is int else self.kind
        return kind | None if self.optional else kind


class Table(NamedTuple):
    """A table, its columns, and those that its rows are ordered by, of which no two rows have the same."""

    name: str
    columns: tuple[Column, ...]
    order: tuple[str, ...]
    record: type[msgspec.Struct] | None = None
    """The struct whose fields are columns, if there is one."""
    only: Database | None = None
    """The one database that has it, where not all do."""

    @property
    def names(self) -> str:
        """The names of the columns, as SQL lists them."""
        return ", ".join(column.name for column in self.columns)

    @property
    def counter(self) -> str | None:
        """The column that the database numbers by itself, if there is one."""
        own = self.order[0]
        return own if len(self.order) == 1 and own in ("number", "seq") else None

    def is_in(self, database: Database) -> bool:
        """Whether a database has it."""
        return self.only in (None, database)


def _fields(record: type[msgspec.Struct], *, without: Sequence[str] = ()) -> tuple[Column, ...]:
    """Return the columns that hold the fields of a record."""
    kinds: Mapping[str, Any] = typing.get_type_hints(record)
    return tuple(
        _column(field, kinds[field.name]) for field in msgspec.structs.fields(record) if field.name not in without
    )


def _column(field: msgspec.structs.FieldInfo, hint: Any) -> Column:
    """Return the column of a field. Any: a type as it is written in the record."""
    optional = isinstance(hint, types.UnionType)
    kind = next(one for one in hint.__args__ if one is not types.NoneType) if optional else hint
    if typing.get_origin(kind) is Literal:
        kind = type(typing.get_args(kind)[0])
    stored = next(one for one in (int, str, bytes) if issubclass(kind, one))
    return Column(field.name, stored, optional, field.default if isinstance(field.default, int) else None)


_OF: Final = Column("instance_number", int)
"""Which instance a row belongs to."""

TABLES: Final = (
    Table(
        "instances",
        (Column("number", int), *_fields(Instance), Column("output", bytes, optional=True)),
        ("number",),
        Instance,
    ),
    Table("inputs", (_OF, Column("input", bytes)), ("instance_number",)),
    Table("environments", (_OF, Column("env", str)), ("instance_number",)),
    Table("checkpoints", (Column("seq", int), _OF, *_fields(Checkpoint)), ("seq",), Checkpoint),
    Table("events", (Column("seq", int), _OF, *_fields(Event, without=["seq"])), ("seq",), Event),
    Table("signals", (Column("number", int), _OF, *_fields(Signal)), ("number",), Signal),
    Table("waits", (Column("number", int), _OF, *_fields(Wait)), ("number",), Wait),
    Table("retries", (_OF, *_fields(Retry)), ("instance_number", "checkpoint_id", "attempt"), Retry),
    Table(
        "images",
        (Column("number", int), *_fields(Image), Column("deleted_at", int, optional=True)),
        ("number",),
        Image,
    ),
    Table(
        "image_versions",
        (Column("image_number", int), *_fields(ImageVersion)),
        ("image_number", "version"),
        ImageVersion,
    ),
    Table("schedules", _fields(Schedule), ("tenant_id", "name"), Schedule),
    Table(
        "documents",
        (Column("name", str), Column("content", bytes), Column("version", int)),
        ("name",),
        only="postgres",
    ),
)
"""In the order in which they are written: an instance stands before what belongs to it."""

_NAMED: Final = {table.name: table for table in TABLES}


def table_named(name: str) -> Table | None:
    """Return the table of that name, if there is one."""
    return _NAMED.get(name)

"""Structs for people and for programs: a table of columns for each, printed as text or as JSON.

JSON is the struct itself with all its fields (bytes in base64, instants in milliseconds since 1970 UTC), always one
document. Text shows the columns listed here.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import click
import msgspec

from runtara.cli._words import ABSENT, instant, payload, plain, size, span
from runtara.messages import CheckpointInfo, InstanceInfo, InstanceSummary

__all__ = [
    "CHECKPOINTS",
    "INSTANCE",
    "INSTANCES",
    "Column",
    "Table",
    "json_option",
    "print_fields",
    "print_json",
    "print_page",
    "print_rows",
]


class Column(NamedTuple):
    """A field of a struct, and how people read it. None reads as a dash, and is left out of a single struct."""

    field: str
    title: str
    text: Callable[[Any], str] = str


class Table(NamedTuple):
    """The columns of a struct."""

    of: type
    columns: tuple[Column, ...]


INSTANCES: Final = Table(
    InstanceSummary,
    (
        Column("instance_id", "instance"),
        Column("status", "status"),
        Column("termination_reason", "why"),
        Column("epoch", "attempt"),
        Column("created_at", "created", instant),
        Column("wake_at", "due", instant),
        Column("finished_at", "finished", instant),
        Column("program", "program"),
    ),
)

CHECKPOINTS: Final = Table(
    CheckpointInfo,
    (
        Column("checkpoint_id", "checkpoint"),
        Column("epoch", "attempt"),
        Column("created_at", "saved", instant),
        Column("size", "size", size),
        Column("wake_at", "sleeps until", instant),
    ),
)

INSTANCE: Final = Table(
    InstanceInfo,
    (
        Column("instance_id", "instance"),
        Column("tenant_id", "tenant"),
        Column("status", "status"),
        Column("termination_reason", "why"),
        Column("program", "program"),
        Column("epoch", "attempt"),
        Column("checkpoint_count", "checkpoints"),
        Column("checkpoint_id", "last one"),
        Column("created_at", "created", instant),
        Column("started_at", "started", instant),
        Column("heartbeat_at", "last heard of", instant),
        Column("wake_at", "due", instant),
        Column("finished_at", "finished", instant),
        Column("timeout_ms", "may run for", span),
        Column("losses", "lost in a row"),
        Column("exit_code", "exit code"),
        Column("error", "error"),
        Column("output", "output", payload),
    ),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(msgspec.json.encode(value))


def print_rows(table: Table, rows: Iterable[object]) -> None:
    """Print structs as lines below a head."""
    lines = [[_text(column, row) for column in table.columns] for row in rows]
    _print([column.title.upper() for column in table.columns], lines)


def print_page(table: Table, page: Any, rows: str, as_json: bool) -> None:
    """Print a page and, on stderr, whether there are more. `rows` names its field. Any: a reply with a cursor."""
    if as_json:
        print_json(page)
        return
    print_rows(table, getattr(page, rows))
    if page.cursor is not None:
        click.echo("runtara: there are more: use --all", err=True)


def print_fields(table: Table, struct: object, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Print one struct, a field on each line, and `more` lines below it."""
    present = [column for column in table.columns if getattr(struct, column.field) is not None]
    lines = [[column.title, _text(column, struct)] for column in present]
    _print(None, [*lines, *([title, plain(text)] for title, text in more.items())])


def _text(column: Column, row: object) -> str:
    value = getattr(row, column.field)
    return ABSENT if value is None else plain(column.text(value))


def _print(head: Sequence[str] | None, lines: Iterable[Sequence[str]]) -> None:
    """Lay text out in columns: folded to the width of a terminal, and a line for each row where it goes elsewhere."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=None, pad_edge=False, show_header=head is not None, header_style="bold")
    for title in head or ("", ""):
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))  # as it is: square brackets are not markup here
    if sys.stdout.isatty():
        Console(file=sys.stdout, highlight=False).print(table)
        return
    wide = Console(file=sys.stdout, highlight=False, width=_UNFOLDED, color_system=None)
    with wide.capture() as captured:
        wide.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


_UNFOLDED: Final = 100_000
"""A width that folds nothing."""

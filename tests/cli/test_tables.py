"""Structs as columns."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import fields

from runtara.cli import _findings, _keys, _tables
from runtara.cli._tables import Column, Table, print_fields, print_json, print_rows


class Row(msgspec.Struct, frozen=True):
    name: str
    weight: int | None = None


ROWS = Table(Row, (Column("name", "name"), Column("weight", "heavy", lambda grams: f"{grams} g")))


@pytest.mark.parametrize(
    "table", [_tables.INSTANCE, _tables.INSTANCES, _tables.CHECKPOINTS, _findings.FINDINGS, _keys.KEYS, ROWS]
)
def test_every_column_is_a_field_of_its_struct_and_has_a_title_of_its_own(table: Table) -> None:
    assert [column.field for column in table.columns if column.field not in {f.name for f in fields(table.of)}] == []
    assert len({column.title for column in table.columns}) == len(table.columns)


def test_rows_stand_below_a_head_and_a_dash_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, [Row("feather", 1), Row("thought")])

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["NAME", "HEAVY"],
        ["feather", "1", "g"],
        ["thought", "-"],
    ]


def test_where_no_terminal_folds_a_row_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, [Row("x" * 5000, 1)])

    assert capsys.readouterr().out.splitlines()[1].split() == ["x" * 5000, "1", "g"]


def test_square_brackets_are_no_markup_and_control_characters_are_spelled_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows(ROWS, [Row("[bold]loud[/bold]\x1b[1m")])

    assert "[bold]loud[/bold]\\x1b[1m" in capsys.readouterr().out


def test_a_single_struct_leaves_out_what_it_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields(ROWS, Row("thought"))

    assert capsys.readouterr().out.split() == ["name", "thought"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(Row("a", 1), '{"name":"a","weight":1}\n'), ([], "[]\n"), ((Row("b"),), '[{"name":"b","weight":null}]\n')],
)
def test_json_is_one_document_with_all_fields(
    value: Any, text: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    print_json(value)

    assert capsysbinary.readouterr().out == text.encode()

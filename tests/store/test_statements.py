"""The SQL files: every statement has a name and a sentence, says what the structs say, and is used."""

import re
from pathlib import Path

import msgspec
import pytest

from runtara.messages import CheckpointInfo, InstanceSummary
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Wait
from runtara.store import _statements
from runtara.store._sqlite_door import SQL, connect_memory, run_script, statements_of
from runtara.store._statements import Statement, load_migrations, load_statements

STORE = Path(_statements.__file__).parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of SQL files of its own, in the place of the real ones."""
    folder = tmp_path / "sql" / "test"
    folder.mkdir(parents=True)
    monkeypatch.setattr(_statements, "files", lambda package: tmp_path)
    return folder


def test_a_statement_is_what_follows_its_name_and_its_sentence(folder: Path) -> None:
    (folder / "a.sql").write_text(
        "-- name: one\n-- First.\nSELECT 1;\n\n-- name: two\n-- The\n-- second.\nSELECT\n2;\n"
    )

    found = load_statements.__wrapped__("test")

    assert found == {"one": Statement("First.", "SELECT 1;"), "two": Statement("The second.", "SELECT\n2;")}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1;",
        "-- name: one\nSELECT 1;",
        "SELECT 0;\n-- name: one\n-- First.\nSELECT 1;",
        "-- name: one\n-- First.\nSELECT 1;\n-- name: one\n-- Again.\nSELECT 2;",
    ],
    ids=["no name", "no sentence", "text before", "name twice"],
)
def test_a_file_that_is_not_in_order_is_refused(folder: Path, text: str) -> None:
    (folder / "a.sql").write_text(text)

    with pytest.raises(ValueError, match=r"a\.sql"):
        load_statements.__wrapped__("test")


@pytest.mark.parametrize("numbers", [[2], [1, 3], [1, 1]])
def test_migrations_are_numbered_without_a_gap(folder: Path, numbers: list[int]) -> None:
    for place, number in enumerate(numbers):
        (folder / f"{number:04}_step_{place}.sql").write_text("SELECT 1;")

    with pytest.raises(ValueError, match="without a gap"):
        load_migrations.__wrapped__("test")


def test_a_checksum_does_not_depend_on_the_line_ends(folder: Path) -> None:
    (folder / "0001_first.sql").write_bytes(b"SELECT 1;\nSELECT 2;\n")
    (unix,) = load_migrations.__wrapped__("test")
    (folder / "0001_first.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    (windows,) = load_migrations.__wrapped__("test")

    assert unix == windows


def test_every_statement_is_used() -> None:
    code = "\n".join(path.read_text() for path in STORE.glob("*.py"))
    unused = [name for name in SQL if not name.startswith("verify_") and f'"{name}"' not in code]

    assert not unused


def test_every_statement_that_is_used_exists() -> None:
    code = "\n".join(path.read_text() for path in STORE.glob("_sqlite*.py"))

    assert set(re.findall(r'SQL\["(\w+)"\]', code)) <= SQL.keys()


SCRIPTS = {
    *("configure_writer", "configure_reader", "take_ownership", "set_patience"),
    *("read_table", "write_row", "has_rows", "clear_table"),
}
"""More than one statement, or one that is filled in."""


@pytest.mark.parametrize("name", sorted(SQL.keys() - SCRIPTS))
def test_every_statement_fits_the_schema(name: str) -> None:
    memory = connect_memory()
    for migration in load_migrations("sqlite"):
        run_script(memory, migration.script)
    if name == "list_migrations":
        memory.execute("CREATE TABLE _sqlite_migrations (id, migration_set, name)")

    try:
        memory.execute(f"EXPLAIN {SQL[name]}", _parameters(SQL[name]))
    finally:
        memory.close()


def _parameters(sql: str) -> dict[str, None] | list[None]:
    """As many values as the statement asks for."""
    if names := re.findall(r"(?<!:):(\w+)", sql):
        return dict.fromkeys(names)
    numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    return [None] * (max(numbers) if numbers else len(re.findall(r"\?(?!')", sql)))


SELECTED: list[tuple[str, type[msgspec.Struct], int]] = [
    ("load_instances", Instance, 1),
    ("load_signals", Signal, 1),
    ("load_waits", Wait, 1),
    ("read_checkpoint", Checkpoint, 0),
    ("read_signal", Signal, 0),
    ("read_retries", Retry, 0),
    ("list_events", Event, 0),
    ("list_instances", InstanceSummary, 0),
    ("list_instances_by_status", InstanceSummary, 0),
    ("list_checkpoints", CheckpointInfo, 1),
]


@pytest.mark.parametrize(("name", "kind", "before"), SELECTED)
def test_columns_are_selected_in_the_order_of_the_fields(name: str, kind: type[msgspec.Struct], before: int) -> None:
    columns = re.split(r",\s+", re.match(r"SELECT (.+?)\s+FROM", SQL[name], re.DOTALL)[1])[before:]  # type: ignore[index]

    named = [{"length(state)": "size"}.get(column, column.rpartition(".")[2]) for column in columns]
    assert tuple(named) == kind.__struct_fields__


INSERTED: list[tuple[str, type[msgspec.Struct]]] = [
    ("insert_instance", Instance),
    ("insert_checkpoint", Checkpoint),
    ("insert_event", Event),
    ("insert_signal", Signal),
    ("insert_wait", Wait),
    ("insert_retry", Retry),
]


@pytest.mark.parametrize(("name", "kind"), INSERTED)
def test_columns_are_inserted_in_the_order_of_the_fields(name: str, kind: type[msgspec.Struct]) -> None:
    listed = re.search(r"\(([^)]+)\)", SQL[name])[1]  # type: ignore[index]
    columns = [column for column in re.split(r",\s+", listed.strip()) if column not in ("instance_number", "output")]

    assert columns == [field for field in kind.__struct_fields__ if (kind, field) != (Event, "seq")]


def test_an_update_sets_each_column_from_its_own_field() -> None:
    assignments = SQL["update_instance"].partition("WHERE")[0]
    places = {column: int(place) for column, place in re.findall(r"(\w+) = \?(\d+)", assignments)}
    kept = {"tenant_id", "instance_id", "created_at", "program", "timeout_ms"}

    assert places == {field: n for n, field in enumerate(Instance.__struct_fields__, 1) if field not in kept}


def test_a_semicolon_in_a_trigger_does_not_end_the_statement() -> None:
    trigger = "CREATE TRIGGER t BEFORE UPDATE ON a BEGIN\n    SELECT 1; SELECT 2;\nEND;"

    assert list(statements_of(f"CREATE TABLE a (b);\n{trigger}\n-- the end\n")) == ["CREATE TABLE a (b);", trigger]


def test_the_indexes_serve_the_hot_reads_without_a_sort() -> None:
    memory = connect_memory()
    for migration in load_migrations("sqlite"):
        run_script(memory, migration.script)
    plans = {
        name: " ".join(row[3] for row in memory.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", _parameters(SQL[name])))
        for name in ("list_due", "list_running", "list_instances", "list_instances_by_status", "list_events")
    }
    memory.close()

    assert "instances_due" in plans["list_due"]
    assert "instances_running" in plans["list_running"]
    assert "instances_by_status" in plans["list_instances_by_status"]
    assert not [name for name, plan in plans.items() if "TEMP B-TREE" in plan or "SCAN instances " in plan], plans

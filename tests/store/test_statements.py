"""The SQL files: every statement has a name and a sentence, says what the structs say, and is used."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from runtara.ids import InstanceKey
from runtara.messages import CheckpointInfo, InstanceSummary
from runtara.records import Checkpoint, Event, Image, ImageVersion, Instance, Retry, Schedule, Signal, Wait
from runtara.store import Copies, _postgres_batch, _statements
from runtara.store._finding import ORDERS, Order
from runtara.store._postgres_batch import rounds_of, statement_of
from runtara.store._postgres_door import PostgresLimits, connect
from runtara.store._postgres_migrate import migrate
from runtara.store._sql_lists import filling_of
from runtara.store._sqlite_door import SQL, connect_memory, run_script, statements_of
from runtara.store._statements import Statement, load_migrations, load_statements
from tests.postgres import Cluster
from tests.store.samples import KEY, save

STORE = Path(_statements.__file__).parent
DATABASES = ("sqlite", "postgres")


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


def code_of(database: str) -> str:
    """The modules that work with a database, those that work with all of them included."""
    modules = [*STORE.glob(f"_{database}*.py"), *STORE.glob("_sql_*.py"), STORE / "_migrate.py"]
    return "\n".join(path.read_text() for path in modules)


@pytest.mark.parametrize("database", DATABASES)
def test_every_statement_is_used(database: str) -> None:
    code = code_of(database)
    named = [name for name in load_statements(database) if not name.startswith("verify_")]

    assert [name for name in named if f'"{name}"' not in code] == []


@pytest.mark.parametrize("database", DATABASES)
def test_every_statement_that_is_used_exists(database: str) -> None:
    used = set(re.findall(r'SQL\["(\w+)"\]', "\n".join(path.read_text() for path in STORE.glob(f"_{database}*.py"))))
    looks = set(re.findall(r'self\._\w+\((?:\w+, )?"(\w+)"', (STORE / "_sql_reader.py").read_text()))
    changes = set(re.findall(r'execute\((?:execute, )?"(\w+)"', (STORE / "_sql_writer.py").read_text()))

    assert "list_due" in looks
    assert "insert_image" in changes
    assert used | looks | changes <= load_statements(database).keys()


SCRIPTS = {
    *("configure_writer", "configure_reader", "take_ownership", "set_patience"),
    *("read_table", "write_row", "has_rows", "clear_table"),
    *("find_instances", "find_place"),
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
    ("list_newest_events", Event, 0),
    ("list_instances", InstanceSummary, 0),
    ("list_instances_by_status", InstanceSummary, 0),
    ("list_checkpoints", CheckpointInfo, 1),
    ("find_image", Image, 1),
    ("find_image_named", Image, 1),
    ("find_image_version", ImageVersion, 0),
    ("read_image", Image, 0),
    ("read_image_version", ImageVersion, 0),
    ("list_images", Image, 0),
    ("list_image_versions", ImageVersion, 0),
    ("read_schedule", Schedule, 0),
    ("list_schedules", Schedule, 0),
    ("list_due_schedules", Schedule, 0),
]


HOLDER = {"sqlite": 0, "postgres": 6}
"""How many columns of `load_instances` say who owns the instance, and what else it has, behind its fields."""


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize(("name", "kind", "before"), SELECTED)
def test_columns_are_selected_in_the_order_of_the_fields(
    name: str, kind: type[msgspec.Struct], before: int, database: str
) -> None:
    sql = load_statements(database)[name].sql
    columns = re.split(r",\s+", re.match(r"SELECT (.+?)\s+FROM", sql, re.DOTALL)[1])  # type: ignore[index]
    behind = len(columns) - HOLDER[database] if name == "load_instances" else None

    named = [{"length(state)": "size"}.get(column, column.rpartition(".")[2]) for column in columns[before:behind]]
    assert tuple(named) == kind.__struct_fields__


BESIDES = ("instance_number", "image_number", "output")
"""Columns that no field fills."""

INSERTED: list[tuple[str, type[msgspec.Struct]]] = [
    ("insert_instance", Instance),
    ("insert_checkpoint", Checkpoint),
    ("insert_event", Event),
    ("insert_signal", Signal),
    ("insert_wait", Wait),
    ("insert_retry", Retry),
    ("insert_image_version", ImageVersion),
    ("insert_schedule", Schedule),
]


@pytest.mark.parametrize(("name", "kind"), INSERTED)
def test_columns_are_inserted_in_the_order_of_the_fields(name: str, kind: type[msgspec.Struct]) -> None:
    listed = re.search(r"\(([^)]+)\)", SQL[name])[1]  # type: ignore[index]
    columns = [column for column in re.split(r",\s+", listed.strip()) if column not in BESIDES]

    assert columns == [field for field in kind.__struct_fields__ if (kind, field) != (Event, "seq")]


def test_an_update_sets_each_column_from_its_own_field() -> None:
    assignments = SQL["update_instance"].partition("WHERE")[0]
    places = {column: int(place) for column, place in re.findall(r"(\w+) = \?(\d+)", assignments)}
    kept = {"tenant_id", "instance_id", "created_at", "program", "timeout_ms", "priority"}

    assert places == {field: n for n, field in enumerate(Instance.__struct_fields__, 1) if field not in kept}


# PostgreSQL -----------------------------------------------------------------------------------------------------------

POSTGRES = {name: statement.sql for name, statement in load_statements("postgres").items()}

DOCUMENTS: list[tuple[str, type[msgspec.Struct]]] = [
    ("saves", _postgres_batch._InstanceRow),
    ("checkpoints", _postgres_batch._CheckpointRow),
    ("events", _postgres_batch._EventRow),
    ("signals", _postgres_batch._SignalRow),
    ("acknowledged", _postgres_batch._AcknowledgedRow),
    ("waits", _postgres_batch._WaitRow),
    ("retries", _postgres_batch._RetryRow),
    ("copies", _postgres_batch._CopyRow),
]


@pytest.mark.parametrize(("document", "row"), DOCUMENTS)
def test_a_document_is_read_with_all_the_fields_that_are_written(document: str, row: type[msgspec.Struct]) -> None:
    pattern = rf"json_to_recordset\(%\({document}\)s\) AS \w+ \(([^)]+)\)"
    (listed,) = re.findall(pattern, POSTGRES["commit_round"])

    assert {column.split()[0] for column in listed.split(",")} == set(row.__struct_fields__)


FORK = InstanceKey("acme", "fork")


def test_a_round_is_stored_without_a_word_of_what_it_does_not_do() -> None:
    statements = {
        name: statement_of(next(rounds_of(saves)))
        for name, saves in {
            "": [save(KEY)],
            "c": [save(KEY, copies=Copies(KEY))],
            "r": [save(KEY, 2, replaces=True)],
            "cr": [save(KEY, 2, replaces=True), save(FORK, copies=Copies(FORK))],
        }.items()
    }

    assert statements["cr"] == POSTGRES["commit_round"]
    for name, statement in statements.items():
        assert bool(re.findall(r"cop(?:y|ie)|source", statement)) is ("c" in name)
        assert bool(re.findall(r"replaced|removed|DELETE", statement)) is ("r" in name)
        assert statement.count("(") == statement.count(")")


@pytest.mark.parametrize("copies", ["[]", "[1]"])
@pytest.mark.parametrize("replacing", ["[]", "[1]"])
def test_the_shorter_rounds_fit_the_schema(tables: "psycopg.Connection[Any]", copies: str, replacing: str) -> None:
    statement = statement_of({"copies": copies, "replacing": replacing})
    with tables.transaction(force_rollback=True):
        tables.execute(f"PREPARE one AS {prepared(statement)}".encode())
        tables.execute("DEALLOCATE one")


INSERTS = [
    found
    for found in re.findall(r"INSERT INTO (\w+) \(([^)]+)\)\s+SELECT (.+?)\s+FROM", POSTGRES["commit_round"], re.DOTALL)
    if found[0] != "refusals"
]


def test_every_table_of_an_instance_is_written() -> None:
    tables = {"instances", "inputs", "environments", "checkpoints", "events", "signals", "waits", "retries"}

    assert tables == {table for table, _, _ in INSERTS}


@pytest.mark.parametrize(("table", "columns", "values"), INSERTS, ids=map(str, range(len(INSERTS))))
def test_each_column_is_inserted_from_its_own_field(table: str, columns: str, values: str) -> None:
    fields = [re.sub(r"decode\((.+?), 'base64'\)", r"\1", value) for value in re.split(r",\s+(?!'base64')", values)]
    named = [{"stored.number": "instance_number"}.get(field, field.rpartition(".")[2]) for field in fields]
    decided = {"owner", "ran_on"}  # by the status, not by a field

    assert [None if "CASE status" in field else name for field, name in zip(fields, named, strict=True)] == [
        None if column in decided else column for column in re.split(r",\s+", columns.strip())
    ]


def test_each_column_is_updated_from_its_own_field() -> None:
    (assignments,) = re.findall(r"UPDATE instances\s+SET (.+?)\n    FROM given", POSTGRES["commit_round"], re.DOTALL)
    found = re.findall(r"(\w+) = (?:coalesce\()?(?:decode\()?given\.(\w+)", assignments)
    kept = {"tenant_id", "instance_id", "created_at", "program", "timeout_ms", "priority"}

    assert [(column, field) for column, field in found if column != field] == []
    assert {column for column, _ in found} == {*Instance.__struct_fields__, "output"} - kept


@pytest.fixture(scope="module")
def tables(cluster: Cluster) -> Iterator["psycopg.Connection[Any]"]:
    """The schema with thousands of instances in it, as a reader sees it."""
    cluster.execute("CREATE DATABASE statements")
    with contextlib.closing(connect(cluster.url_of("statements"), PostgresLimits())) as connection:
        migrate(connection, "here")
        connection.execute(MANY_ROWS.encode())
        connection.execute("ANALYZE")
        connection.execute(POSTGRES["configure"])
        yield connection
    cluster.execute("DROP DATABASE statements WITH (FORCE)")


MANY_ROWS = """
INSERT INTO nodes (name, version, opened_at, lease_until)
SELECT 'node-' || n, '1', 1, 1 FROM generate_series(1, 5) AS n;
INSERT INTO instances (tenant_id, instance_id, status, version, epoch, created_at, program, wake_at, owner)
SELECT 'tenant-' || n % 4, 'order-' || n, (ARRAY['pending', 'running', 'suspended', 'completed'])[1 + n % 7 % 4],
    1, 1, 1, 'orders', n, CASE WHEN n % 7 % 4 = 1 THEN 1 + n % 5 END
FROM generate_series(1, 20000) AS n;
INSERT INTO checkpoints (instance_number, checkpoint_id, state, epoch, created_at)
SELECT 1 + n % 20000, 'step-' || n, '', 1, 1 FROM generate_series(1, 40000) AS n;
INSERT INTO events (instance_number, type, epoch, created_at, request)
SELECT 1 + n % 20000, 'custom', 1, 1, n FROM generate_series(1, 40000) AS n;
INSERT INTO signals (instance_number, signal_id, kind, sent_at, payload, seq)
SELECT 1 + n % 20000, 'signal-' || n, 'custom', 1, '', n FROM generate_series(1, 20000) AS n;
INSERT INTO waits (instance_number, place, name, started_at)
SELECT 1 + n % 20000, 'place-' || n, 'go', 1 FROM generate_series(1, 20000) AS n;
INSERT INTO retries (instance_number, checkpoint_id, attempt, recorded_at)
SELECT 1 + n % 20000, 'step', n, 1 FROM generate_series(1, 20000) AS n;
INSERT INTO inputs SELECT n, '' FROM generate_series(1, 20000) AS n;
INSERT INTO environments SELECT n, '{}' FROM generate_series(1, 20000) AS n;
UPDATE instances SET program = 'image:' || number % 100 || '@1' WHERE number % 10 = 0;
INSERT INTO images (tenant_id, image_id, name, version, created_at, updated_at)
SELECT 'tenant-' || n % 4, n, 'image-' || n, 1, 1, 1 FROM generate_series(1, 2000) AS n;
INSERT INTO image_versions (image_number, version, digest, size, kind, created_at, description, metadata, options)
SELECT 1 + n % 2000, n, md5(CAST(n AS TEXT)), 1, 'python', 1, '', '', '' FROM generate_series(1, 20000) AS n;
INSERT INTO schedules (tenant_id, name, plan, next_at, version, created_at, updated_at)
SELECT 'tenant-' || n % 4, 'schedule-' || n, '', n, 1, 1, 1 FROM generate_series(1, 2000) AS n;
"""

SEVERAL = {"configure", "make_schema", "configure_reader", "listen", "be_patient", "lock_all"}
"""More than one statement, or one that cannot be prepared."""

FILLED_IN = {"read_table", "write_rows", "has_rows", "clear_tables", "number_on", "vacuum_table"}
"""Those that are filled in with the name of a table: tests/store/test_postgres_upkeep.py runs them for every one."""

ORDERED = {"find_instances", "find_place"}
"""Those that are filled in with the columns of an order."""

OF_ORDERS = {"id": "instances_by_status", "created": "instances_created", "finished": "instances_ended"}


@pytest.mark.parametrize("name", sorted(ORDERED))
@pytest.mark.parametrize("order", ORDERS.values(), ids=str)
def test_an_index_serves_the_lists_in_every_order(tables: "psycopg.Connection[Any]", name: str, order: Order) -> None:
    memory = connect_memory()
    for migration in load_migrations("sqlite"):
        run_script(memory, migration.script)
    sqlite = SQL[name].format(**filling_of(order, ":{}"))
    found = " ".join(row[3] for row in memory.execute(f"EXPLAIN QUERY PLAN {sqlite}", _parameters(sqlite)))
    memory.close()
    postgres = plan_of(tables, POSTGRES[name].format(**filling_of(order, "%({})s")))

    index = OF_ORDERS[order.name.lstrip("-")]
    assert index in found, found
    assert "TEMP B-TREE" not in found, found
    assert index in postgres, postgres
    assert not re.search(r"\bSort\b(?! Key)|Seq Scan", postgres), postgres


COMMANDS = {"begin_read", "begin_rest", "begin_write", "commit", "forget_plans", "rollback"}


def prepared(sql: str) -> str:
    """The statement with numbers in the place of names, as PREPARE wants it."""
    names: dict[str, int] = {}
    text = re.sub(r"%\((\w+)\)s", lambda found: f"${names.setdefault(found[1], len(names) + 1)}", sql)
    return text.replace("%%", "%").rstrip(";")


@pytest.mark.parametrize("name", sorted(POSTGRES.keys() - SEVERAL - FILLED_IN - ORDERED - COMMANDS))
def test_every_statement_of_postgres_fits_the_schema(tables: "psycopg.Connection[Any]", name: str) -> None:
    with tables.transaction(force_rollback=True):
        tables.execute(f"PREPARE one AS {prepared(POSTGRES[name])}".encode())
        tables.execute("DEALLOCATE one")


HOT: dict[str, tuple[str, ...]] = {
    "load_instances": (
        "instances_tenant_id_instance_id_key",
        "checkpoints_instance_number_checkpoint_id_key",
        "signals_instance_number_signal_id_key",
        "waits_instance_number_place_key",
    ),
    "load_signal_ids": ("signals_instance_number_signal_id_key",),
    "load_signals": ("signals_instance_number_signal_id_key",),
    "load_waits": ("waits_instance_number_place_key",),
    "read_checkpoint": ("checkpoints_instance_number_checkpoint_id_key", "instances_tenant_id_instance_id_key"),
    "read_signal": ("signals_instance_number_signal_id_key", "instances_tenant_id_instance_id_key"),
    "read_input": ("inputs_pkey", "instances_tenant_id_instance_id_key"),
    "read_all": (
        "instances_tenant_id_instance_id_key",
        "inputs_pkey",
        "checkpoints_instance_number_checkpoint_id_key",
    ),
    "read_env": ("environments_pkey", "instances_tenant_id_instance_id_key"),
    "read_output": ("instances_tenant_id_instance_id_key",),
    "read_retries": ("retries_pkey", "instances_tenant_id_instance_id_key"),
    "list_due": ("instances_due",),
    "list_running": ("instances_running",),
    "list_instances": ("instances_tenant_id_instance_id_key",),
    "list_instances_by_status": ("instances_by_status",),
    "list_checkpoints": ("checkpoints_instance_number_checkpoint_id_key",),
    "list_events": ("events_of_instance",),
    "list_newest_events": ("events_of_instance",),
    "read_image": ("images_tenant_id_image_id_key", "images_by_name"),
    "read_image_version": ("image_versions_pkey", "images_tenant_id_image_id_key"),
    "list_images": ("images_by_name",),
    "list_image_versions": ("image_versions_pkey",),
    "list_digests": ("image_versions_by_digest",),
    "read_schedule": ("schedules_pkey",),
    "list_schedules": ("schedules_pkey",),
    "list_due_schedules": ("schedules_due",),
    "next_schedule_at": ("schedules_due",),
    "list_image_users": ("instances_of_images",),
    "list_finished": ("instances_finished",),
    "count_finished": (),  # whichever, as long as it is one
}
"""The statements that are run all the time, and the indexes that serve them."""

PAGED = (
    *("list_due", "list_instances", "list_instances_by_status", "list_events", "list_running"),
    "list_newest_events",
    *("list_images", "list_image_versions", "list_digests", "list_schedules", "list_due_schedules"),
    *("list_image_users", "list_finished"),
)
"""Those that must not sort, because a page is short and what lies behind it is not."""


@pytest.mark.parametrize("name", HOT)
def test_the_indexes_serve_the_hot_reads_of_postgres(tables: "psycopg.Connection[Any]", name: str) -> None:
    plan = plan_of(tables, POSTGRES[name])

    assert [index for index in HOT[name] if index not in plan] == [], plan
    assert "Seq Scan" not in plan, plan
    assert name not in PAGED or not re.search(r"\bSort\b(?! Key)", plan), plan


def test_a_plan_that_was_made_while_all_was_empty_uses_the_indexes_too(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE empty")
    with contextlib.closing(connect(cluster.url_of("empty"), PostgresLimits())) as connection:
        migrate(connection, "here")
        plans = {name: plan_of(connection, POSTGRES[name]) for name in (*HOT, "claim_due", "find_next_due")}
    cluster.execute("DROP DATABASE empty WITH (FORCE)")

    assert {name: plan for name, plan in plans.items() if name in HOT and "Seq Scan" in plan} == {}
    for name in ("claim_due", "find_next_due"):
        assert [way for way in LOOKED_UP[name] if not re.search(way, plans[name])] == [], plans[name]


def test_a_plan_that_was_made_while_all_was_empty_is_forgotten_when_that_is_long_ago(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE growing")
    with contextlib.closing(connect(cluster.url_of("growing"), PostgresLimits())) as connection:
        migrate(connection, "here")
        connection.execute(f"PREPARE planned AS {prepared(POSTGRES['commit_round'])}".encode())
        plans = [planned(connection)]
        connection.execute(ROWS.format(3_000).encode())
        plans.append(planned(connection))
        for _ in range(32):
            connection.use()
        plans.append(planned(connection))
    cluster.execute("DROP DATABASE growing WITH (FORCE)")

    assert plans[0] == plans[1] != plans[2]
    (way,) = LOOKED_UP["commit_round"]
    assert re.search(way, plans[2]), plans[2]


def planned(connection: "psycopg.Connection[Any]") -> str:
    """How a statement is executed that was prepared before."""
    nulls = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", prepared(POSTGRES["commit_round"])))))
    return "\n".join(line for (line,) in connection.execute(f"EXPLAIN EXECUTE planned({nulls})".encode()).fetchall())


ROWS = """
INSERT INTO instances (tenant_id, instance_id, status, version, epoch, created_at, program, wake_at)
SELECT 'tenant', 'order-' || n, 'suspended', 1, 1, 1, 'orders', n FROM generate_series(1, {}) AS n;
"""

UPDATED = r"Update on instances .*\n(?: .*\n){1,4}? *-> *Index Scan using "
LOOKED_UP = {
    "claim_due": (
        r"Index Scan using instances_(?:claimable|due) .*\n *Index Cond: .*wake_at <= ",
        r"LockRows .*\n *-> *Index Scan using instances_pkey .*\n *Index Cond: \(number = \w+\.number\)",
        UPDATED + r"instances_pkey .*\n *Index Cond: \(number = chosen\.number\)",
    ),
    "find_next_due": (r"Index Scan using instances_due .*\n *Index Cond: \(wake_at > ",),
    "commit_round": (UPDATED + r"instances_tenant_id_instance_id_key .*\n *Index Cond: ",),
}
"""How it is found what is due, and what is changed: not among all that there is, be they ever so many that sleep."""


@pytest.mark.parametrize("name", LOOKED_UP)
def test_whoever_claims_or_changes_does_not_read_all_that_sleeps(tables: "psycopg.Connection[Any]", name: str) -> None:
    plan = plan_of(tables, POSTGRES[name])

    for way in LOOKED_UP[name]:
        assert re.search(way, plan), plan
    assert name != "find_next_due" or not re.search(r"\bSort\b", plan), plan


WRITES = (
    *("commit_round", "record_heartbeats", "settle_batch", "claim_due", "find_next_due", "take_over", "release_claim"),
    "find_log_node",
    *("begin_change", "find_image", "find_image_named", "number_image_version", "update_schedule", "delete_schedule"),
)


@pytest.mark.parametrize("name", WRITES)
def test_neither_a_write_nor_a_look_for_nodes_reads_a_table_from_end_to_end(
    tables: "psycopg.Connection[Any]", name: str
) -> None:
    plan = plan_of(tables, POSTGRES[name])

    scanned = re.findall(r"Seq Scan on (\w+)", plan)
    assert set(scanned) <= {"nodes"}, plan


def plan_of(tables: "psycopg.Connection[Any]", sql: str) -> str:
    """How the statement is executed, whatever is asked for: the plan that every call uses."""
    statement = prepared(sql)
    count = len(set(re.findall(r"\$\d+", statement)))
    tables.execute(f"PREPARE planned AS {statement}".encode())
    try:
        given = f"({', '.join(['NULL'] * count)})" if count else ""
        rows = tables.execute(f"EXPLAIN EXECUTE planned{given}".encode()).fetchall()
    finally:
        tables.execute("DEALLOCATE planned")
    return "\n".join(line for (line,) in rows)


def test_a_semicolon_in_a_trigger_does_not_end_the_statement() -> None:
    trigger = "CREATE TRIGGER t BEFORE UPDATE ON a BEGIN\n    SELECT 1; SELECT 2;\nEND;"

    assert list(statements_of(f"CREATE TABLE a (b);\n{trigger}\n-- the end\n")) == ["CREATE TABLE a (b);", trigger]


def test_the_indexes_serve_the_hot_reads_without_a_sort() -> None:
    memory = connect_memory()
    for migration in load_migrations("sqlite"):
        run_script(memory, migration.script)
    plans = {
        name: " ".join(row[3] for row in memory.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", _parameters(SQL[name])))
        for name in PAGED
    }
    memory.close()

    assert "instances_due" in plans["list_due"]
    assert "instances_running" in plans["list_running"]
    assert "instances_by_status" in plans["list_instances_by_status"]
    assert "instances_of_images (tenant_id=? AND program>? AND program<?)" in plans["list_image_users"]
    assert "instances_finished" in plans["list_finished"]
    assert "schedules_due" in plans["list_due_schedules"]
    assert not [name for name, plan in plans.items() if "TEMP B-TREE" in plan or "SCAN instances " in plan], plans


def test_instances_are_counted_from_an_index_without_a_look_at_their_rows() -> None:
    memory = connect_memory()
    for migration in load_migrations("sqlite"):
        run_script(memory, migration.script)
    plan = " ".join(row[3] for row in memory.execute(f"EXPLAIN QUERY PLAN {SQL['count_by_status']}"))
    memory.close()

    assert re.search("USING COVERING INDEX instances_(by_status|created)", plan)

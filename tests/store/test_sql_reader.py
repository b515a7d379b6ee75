"""What readers of all databases do with rows, without a database."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from runtara.errors import InvalidInput, StoreCorrupt, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.records import Checkpoint, Snapshot
from runtara.store import DueInstance, LoadError, RunningInstance
from runtara.store._sql_reader import Row, SqlReader, snapshots_of
from runtara.store._terms import LONGEST_BYTES
from tests.store.samples import KEY, NOW, instance, signal, wait

OTHER = InstanceKey("acme", "order-2")


class Recorded(SqlReader):
    """A reader that returns the rows it was given, and remembers what was asked."""

    def __init__(self, rows: Sequence[Row] | Exception = ()) -> None:
        self.rows = rows
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    def _rows(self, statement: str, parameters: Mapping[str, object], **_filling: str) -> Sequence[Row]:
        self.asked.append((statement, parameters))
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows

    def _corrupt(self, error: Exception) -> StoreCorrupt:
        return StoreCorrupt(f"corrupt: {error}")


def row_of(number: int, key: InstanceKey = KEY, **fields: Any) -> Row:
    one = instance(key, **fields)
    return (number, *(getattr(one, name) for name in one.__struct_fields__))


def test_one_row_is_one_record_and_none_is_none() -> None:
    reader = Recorded([("step", b"state", 1, NOW, None, None)])

    assert reader.read_checkpoint(KEY, "step") == Checkpoint(
        checkpoint_id="step", state=b"state", epoch=1, created_at=NOW
    )
    assert reader.asked == [("read_checkpoint", {**KEY._asdict(), "checkpoint_id": "step", "longest": LONGEST_BYTES})]
    assert Recorded().read_checkpoint(KEY, "step") is None
    assert (Recorded().read_input(KEY), Recorded().read_output(KEY), Recorded().read_env(KEY)) == (None, None, {})


@pytest.mark.parametrize("row", [("step", None, 1, NOW, None, None), ("step", b"", None, NOW, None, None)])
def test_a_row_that_nobody_understands_is_corrupt(row: Row) -> None:
    with pytest.raises(StoreCorrupt):
        Recorded([row]).read_checkpoint(KEY, "step")


@pytest.mark.parametrize("env", ["", "{", "[]", '{"A": 1}'])
def test_an_environment_that_nobody_understands_is_corrupt(env: str) -> None:
    with pytest.raises(StoreCorrupt, match="corrupt"):
        Recorded([(env,)]).read_env(KEY)


def test_a_status_that_nobody_knows_is_corrupt() -> None:
    assert Recorded([("running", 2)]).count_by_status() == {Status.RUNNING: 2}
    with pytest.raises(StoreCorrupt, match="lost"):
        Recorded([("lost", 2)]).count_by_status()


def test_a_page_asks_for_one_row_more_to_know_whether_another_follows() -> None:
    rows = [(number, f"step-{number}", 1, NOW, 5, None) for number in (3, 4, 7)]
    reader = Recorded(rows)

    page = reader.list_checkpoints(KEY, 2, None)
    reader.list_checkpoints(KEY, 2, page.cursor)

    assert [one.checkpoint_id for one in page.checkpoints] == ["step-3", "step-4"]
    assert [asked["limit"] for _, asked in reader.asked] == [3, 3]
    assert reader.asked[1][1]["after"] == 4
    assert Recorded(rows).list_checkpoints(KEY, 3, None).cursor is None


def test_a_page_of_no_rows_is_refused_before_anything_is_asked() -> None:
    reader = Recorded()
    calls = (
        lambda: reader.list_due(1, 0),
        lambda: reader.list_running(0),
        lambda: reader.list_instances("acme", None, 0, None),
        lambda: reader.list_checkpoints(KEY, 0, None),
        lambda: reader.list_events(KEY, None, None, 0, None),
    )

    for call in calls:
        with pytest.raises(InvalidInput):
            call()

    assert reader.asked == []


def test_due_and_running_instances_begin_before_all_and_go_on_behind_the_last() -> None:
    due, running = Recorded([(5, "acme", "order-1")]), Recorded([("acme", "order-1", 2, "orders", 9, 2)])

    assert due.list_due(10, 5) == [DueInstance(5, KEY)]
    due.list_due(10, 5, DueInstance(5, KEY))
    assert running.list_running(5) == [RunningInstance(KEY, 2, "orders", 9, 2)]
    running.list_running(5, KEY)

    assert [(asked["wake_at"], asked["instance_id"]) for _, asked in due.asked] == [(-1, ""), (5, "order-1")]
    assert [asked["instance_id"] for _, asked in running.asked] == ["", "order-1"]


@pytest.mark.parametrize(
    ("status", "statement"), [(None, "list_instances"), (Status.RUNNING, "list_instances_by_status")]
)
def test_instances_of_one_status_have_a_statement_of_their_own(status: Status | None, statement: str) -> None:
    reader = Recorded()

    reader.list_instances("acme", status, 5, None)

    assert reader.asked[0][0] == statement


def test_a_check_that_cannot_be_made_is_a_problem_and_the_others_are_made() -> None:
    away = Recorded(StoreUnavailable("away"))

    problems = away._check_all("sqlite")

    assert len(problems) == len(away.asked) > 5
    assert all(problem.startswith("not known whether ") and problem.endswith("away") for problem in problems)


def test_what_a_check_finds_is_told_up_to_a_bound() -> None:
    found = Recorded([(f"acme/order-{number}",) for number in range(1_000)])

    problems = found._check("verify_finished", "a sentence")

    assert problems[0] == "a sentence: acme/order-0"
    assert len(problems) == 100


def test_what_belongs_to_an_instance_finds_its_way_by_number() -> None:
    signals = [(2, *(getattr(signal("s"), name) for name in signal("s").__struct_fields__))]
    waits = [(1, *(getattr(wait("p"), name) for name in wait("p").__struct_fields__))]

    found = snapshots_of(
        [row_of(1), row_of(2, OTHER)], [(2, "step-1"), (1, "step-9"), (2, "step-2")], [(2, "s")], signals, waits
    )

    assert found == {
        KEY: Snapshot(instance=instance(KEY), checkpoint_ids=("step-9",), waits=(wait("p"),)),
        OTHER: Snapshot(
            instance=instance(OTHER), checkpoint_ids=("step-1", "step-2"), signals=(signal("s"),), signal_ids=("s",)
        ),
    }


def test_one_instance_that_nobody_understands_does_not_affect_the_others() -> None:
    broken = list(row_of(2, OTHER))
    broken[3] = "lost"

    found = snapshots_of([row_of(1), tuple(broken)], [], [], [], [])

    assert found[KEY] == Snapshot(instance=instance(KEY))
    assert isinstance(found[OTHER], LoadError)


def test_a_reader_without_a_database_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="cannot run read_input"):
        SqlReader().read_input(KEY)
    with pytest.raises(AssertionError, match="cannot name"):
        SqlReader()._corrupt(ValueError("x"))

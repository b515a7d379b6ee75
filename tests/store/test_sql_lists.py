from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from runtara.errors import InvalidInput, StoreCorrupt
from runtara.lifecycle import Status
from runtara.messages import InstanceFilter
from runtara.store._finding import ORDERS
from runtara.store._sql_lists import SqlLists, filling_of
from tests.store.samples import KEY


class Recorded(SqlLists):
    """Lists that are given rows, and keep what they were asked for."""

    PARAMETER = ":{}"

    def __init__(self, rows: Sequence[tuple[Any, ...]] = ()) -> None:
        self.rows = rows
        self.asked: list[str] = []

    def _rows(self, statement: str, parameters: Mapping[str, object], **_filling: str) -> Sequence[tuple[Any, ...]]:
        self.asked.append(statement)
        return self.rows

    def _corrupt(self, error: Exception) -> StoreCorrupt:
        return StoreCorrupt(f"corrupt: {error}")


def test_a_status_that_nobody_knows_is_corrupt() -> None:
    assert Recorded([("running", 2)]).count_instances("acme") == {Status.RUNNING: 2}
    for ask in (
        lambda: Recorded([("lost", 2)]).count_instances("acme"),
        lambda: Recorded([(0, "lost", 1, 1, 1)]).measure_tenant("acme", 0, 1, "daily"),
    ):
        with pytest.raises(StoreCorrupt):
            ask()


def test_what_an_index_alone_can_say_costs_no_look_at_the_bound_of_a_page() -> None:
    easy, hard = Recorded(), Recorded()

    easy.find_instances("acme", InstanceFilter(statuses=(Status.FAILED, Status.RUNNING)), "-created", 5, None)
    hard.find_instances("acme", InstanceFilter(status=Status.FAILED, search="x"), "-created", 5, None)

    assert easy.asked == ["find_instances", "find_instances"]
    assert hard.asked == ["find_place", "find_instances"]


def test_statuses_that_exclude_each_other_cost_no_look_at_all() -> None:
    reader = Recorded()

    page = reader.find_instances(
        "acme", InstanceFilter(status=Status.FAILED, statuses=(Status.RUNNING,)), "id", 5, None
    )

    assert (page.instances, page.cursor, reader.asked) == ((), None, [])


def test_nothing_that_a_caller_says_is_part_of_a_statement() -> None:
    words = {word for order in ORDERS.values() for word in filling_of(order, ":{}").values()}

    assert words <= {
        *("instance_id", "created_at, instance_id", "finished_at, instance_id", "instance_id DESC"),
        *("created_at DESC, instance_id DESC", "finished_at DESC, instance_id DESC"),
        *("finished_at IS NOT NULL", "true", "<", ">", "<=", ">="),
        *(":first_id", ":last_id", ":first_at, :first_id", ":last_at, :last_id"),
    }


def test_lists_of_parts_have_at_least_one_row() -> None:
    for ask in (lambda: Recorded().list_waits(KEY, 0, 0), lambda: Recorded().list_retries(KEY, 0, 0)):
        with pytest.raises(InvalidInput):
            ask()

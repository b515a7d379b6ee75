from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.lifecycle import Status
from runtara.messages import InstanceFilter, InstanceSummary
from runtara.store._finding import (
    ORDERS,
    first_place,
    id_bounds,
    is_in_index,
    last_place,
    matches,
    place_of,
    statuses_of,
)

NOW = 1_750_000_000_000
IMAGE = "a" * 32


def row(**fields: Any) -> InstanceSummary:
    return InstanceSummary(**{"instance_id": "i", "status": Status.RUNNING, "epoch": 1, "created_at": NOW, **fields})


@pytest.mark.parametrize(
    ("wanted", "yes", "no"),
    [
        (InstanceFilter(status=Status.FAILED), row(status=Status.FAILED), row()),
        (InstanceFilter(statuses=(Status.FAILED, Status.CANCELLED)), row(status=Status.CANCELLED), row()),
        (InstanceFilter(program="ship"), row(program="ship"), row(program="shi")),
        (InstanceFilter(image_id=IMAGE), row(program=f"image:{IMAGE}@7"), row(program=f"image:{'b' * 32}@7")),
        (InstanceFilter(image_id=IMAGE), row(program=f"image:{IMAGE}@1"), row()),
        (InstanceFilter(prefix="or"), row(instance_id="order"), row(instance_id="o")),
        (InstanceFilter(created_from=NOW), row(), row(created_at=NOW - 1)),
        (InstanceFilter(created_before=NOW), row(created_at=NOW - 1), row()),
        (InstanceFilter(finished_from=NOW), row(finished_at=NOW), row()),
        (InstanceFilter(finished_before=NOW), row(finished_at=NOW - 1), row(finished_at=NOW)),
        (InstanceFilter(search="de"), row(instance_id="order"), row(instance_id="DE")),
        (InstanceFilter(search="hi"), row(program="ship"), row(program="boat")),
    ],
    ids=lambda one: None if isinstance(one, InstanceSummary) else str(one)[15:60],
)
def test_a_filter_lets_through_what_all_of_it_is_true_of(
    wanted: InstanceFilter, yes: InstanceSummary, no: InstanceSummary
) -> None:
    assert (matches(wanted, yes), matches(wanted, no)) == (True, False)
    assert matches(InstanceFilter(), no)


def test_two_ways_to_name_statuses_are_both_true() -> None:
    assert statuses_of(InstanceFilter()) is None
    assert statuses_of(InstanceFilter(status=Status.FAILED)) == (Status.FAILED,)
    assert statuses_of(InstanceFilter(status=Status.FAILED, statuses=(Status.FAILED, Status.RUNNING))) == (
        Status.FAILED,
    )
    assert statuses_of(InstanceFilter(status=Status.FAILED, statuses=(Status.RUNNING,))) == ()


@pytest.mark.parametrize("order", ORDERS.values(), ids=str)
@pytest.mark.parametrize(
    "wanted",
    [
        InstanceFilter(),
        InstanceFilter(prefix="i"),
        InstanceFilter(created_from=NOW, created_before=NOW + 1),
        InstanceFilter(finished_from=NOW, finished_before=NOW + 1),
    ],
    ids=["all", "prefix", "created", "finished"],
)
def test_all_that_is_wanted_lies_between_the_first_place_and_the_last(wanted: InstanceFilter, order: Any) -> None:
    place = place_of(order, row(finished_at=NOW))
    ends = first_place(order, wanted, None), last_place(order, wanted)

    assert ends[0] > place > ends[1] if order.falling else ends[0] < place < ends[1]


@pytest.mark.parametrize(
    ("order", "wanted", "yes"),
    [
        ("id", InstanceFilter(prefix="a", statuses=(Status.FAILED,)), True),
        ("id", InstanceFilter(created_from=1), False),
        ("created", InstanceFilter(created_from=1, status=Status.FAILED), True),
        ("created", InstanceFilter(finished_from=1), False),
        ("-finished", InstanceFilter(finished_before=1), True),
        ("-finished", InstanceFilter(prefix="a"), False),
        ("created", InstanceFilter(search="a"), False),
    ],
    ids=range(7),
)
def test_an_index_alone_can_say_what_its_order_and_the_status_can(
    order: Any, wanted: InstanceFilter, yes: bool
) -> None:
    assert is_in_index(ORDERS[order], wanted) is yes


@pytest.mark.parametrize("prefix", ["b", "b.", "b-", "A", "z", "a+", "bb", "0", "a@", "a:"])
def test_the_bounds_of_a_prefix_hold_all_that_begin_so_and_nothing_else(prefix: str) -> None:
    low, high = id_bounds(prefix)
    tails = ["", "0", "9", "A", "Z", "a", "z", ".", "_", ":", "@", "+", "-", "zzz"]
    others = [one + tail for one in "0 9 A Z a b z a+ a- b. bb ab a@ a: b_ b+".split() for tail in tails]

    assert all(low < prefix + tail < high for tail in tails)
    assert [name for name in others if low < name < high and not name.startswith(prefix)] == []


IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,4}\Z")


@given(IDS, IDS)
def test_no_other_id_lies_between_the_bounds_of_a_prefix(prefix: str, other: str) -> None:
    low, high = id_bounds(prefix)

    assert low < prefix < high
    assert (low < other < high) == other.startswith(prefix)

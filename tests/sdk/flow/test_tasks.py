import functools
from typing import Any

import pytest
from pydantic import BaseModel

from runtara.errors import InvalidInput
from runtara.sdk.flow import Flow, InProcessRunner, RetryPolicy, TaskMetadata, task
from runtara.sdk.flow._tasks import TaskSpec, name_of


class Order(BaseModel):
    number: int
    total: float = 0


def test_a_task_stays_the_function_that_it_was() -> None:
    @task("charge", timeout="30s", retries=2, tags=["money"], priority=1, description="take the money")
    def charge(amount: int) -> int:
        return amount + 1

    assert charge(1) == 2
    assert name_of(charge) == "charge"
    assert TaskSpec.of(charge).metadata.retries == RetryPolicy(2)
    assert TaskSpec.of(charge).metadata.tags == ["money"]


def test_a_bare_decorator_takes_the_function_s_own_name() -> None:
    @task
    def ship(order: str) -> str:
        return order

    assert name_of(ship) == "ship"
    assert name_of(lambda x: x) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": "soon"},
        {"timeout": 0},
        {"priority": 0},
        {"priority": 6},
        {"tags": ["x"] * 21},
        {"tags": [""]},
        {"tags": ["x" * 65]},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        task("t", **wrong)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be called"):
        task(3)  # type: ignore[call-overload]  # the subject


def test_metadata_can_be_given_as_a_whole() -> None:
    metadata = TaskMetadata(version="7", tags=("a",))

    @task("t", metadata=metadata)
    def t(x: int) -> int:
        return x

    assert TaskSpec.of(t).metadata is metadata


def test_a_value_comes_as_the_type_that_the_task_declares() -> None:
    def price(order: Order) -> Order:
        return Order(number=order.number, total=9.5)

    async def label(order: Order) -> str:
        return f"{type(order).__name__} {order.number}: {order.total}"

    status = InProcessRunner().run(Flow("w").then(price).then(label).build(), {"number": 7})

    assert status.output == "Order 7: 9.5"


def test_a_value_of_another_type_fails_the_task_by_name() -> None:
    def price(order: Order) -> Order:
        return order

    status = InProcessRunner().run(Flow("w").then(price).build(), {"number": "many"})

    assert status.failure is not None
    assert "the input of price" in str(status.error)


def test_a_task_may_take_nothing_or_have_what_else_it_needs_bound() -> None:
    def add(x: int, *, to: int) -> int:
        return x + to

    flow = Flow("w").then(lambda: 1, name="one").then(functools.partial(add, to=5), name="six").build()

    assert InProcessRunner().run(flow, None).output == 6

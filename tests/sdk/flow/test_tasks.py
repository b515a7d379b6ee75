import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, cast

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


class Shop:
    rate = 3

    @task("price", retries=1)
    def price(self, number: int) -> int:
        return number * self.rate

    @classmethod
    @task
    def of_class(cls, number: int) -> int:
        return number + cls.rate

    @staticmethod
    @task("plain")
    def of_nobody(number: int) -> int:
        return -number

    @task
    def bare(self) -> int:
        return self.rate


def test_methods_are_tasks_where_they_are_written() -> None:
    shop: Any = Shop()
    flow = Flow("w").then(shop.price).then(Shop.of_class).then(Shop.of_nobody).build()

    assert [node.id for node in flow.iter_nodes()] == ["price", "of_class", "plain"]
    assert flow.iter_nodes()[0].retry_policy == RetryPolicy(1)
    assert (shop.price._input_type, Shop.price(shop, 2)) == (int, 6)
    assert InProcessRunner().run(flow, 2).output == -9
    assert InProcessRunner().run(Flow("w").then(shop.bare).build(), 2).output == 3


def test_a_method_of_a_class_that_belongs_to_no_object_is_no_task() -> None:
    with pytest.raises(ValueError, match="takes self, number"):
        Flow("w").then(cast(Any, Shop.price)).build()


@pytest.mark.parametrize(
    ("function", "value", "output"),
    [
        (max, [1, 9], 9),
        ("{}!".format, "x", "x!"),
        ([5, 6].__getitem__, 1, 6),
        (operator.itemgetter("k"), {"k": 4}, 4),
        (functools.partial(int, base=2), "101", 5),
    ],
)
def test_what_is_written_in_c_is_a_task_although_nothing_is_known_of_its_arguments(
    function: Any, value: Any, output: Any
) -> None:
    assert InProcessRunner().run(Flow("w").then(function, name="f").build(), value).output == output


def test_a_task_may_declare_what_can_be_done_with_its_input() -> None:
    def total(numbers: Iterable[int]) -> Iterable[int]:
        return [sum(numbers)]

    def call(function: Callable[[], int]) -> int:
        return function()

    assert InProcessRunner().run(Flow("w").then(total).build(), [1, 2]).output == [3]
    assert "the input of total is not what the task takes" in str(
        InProcessRunner().run(Flow("w").then(total).build(), 3).error
    )
    assert InProcessRunner().run(Flow("w").then(call).build(), [1, 2]).is_failed

"""Values as bytes and back."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from runtara.errors import InvalidInput
from runtara.sdk._results import Codec, declared_result, encode


class Model(BaseModel):
    number: int


@dataclass
class Order:
    items: tuple[str, ...]
    model: Model | None = None


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (Model, Model(number=1)),
        (list[Model], [Model(number=1), Model(number=2)]),
        (dict[str, Model] | None, {"a": Model(number=1)}),
        (Order, Order(("a", "b"), Model(number=3))),
        (Order, Order(())),
        (bytes, b"\x00\xff"),
        (object, {"a": [1]}),
    ],
)
def test_a_value_comes_back_as_its_type(declared: Any, value: Any) -> None:
    codec = Codec(declared, "it returns")

    state, kept = codec.keep(value, "the result")

    assert kept == codec.read(state, "result") == value
    assert kept is not value


def test_without_a_type_a_value_comes_back_as_json_makes_of_it() -> None:
    assert Codec(Any, "it returns").keep((1, Model(number=2)), "the result")[1] == [1, {"number": 2}]


def test_a_value_that_cannot_be_stored_is_refused_with_what_to_try() -> None:
    for value in (object(), float("nan"), {"number": "text"}):
        with pytest.raises(
            InvalidInput, match=r"(?s)the result of f cannot be stored .*: return what JSON can express"
        ):
            Codec(Model, "it returns").keep(value, "the result of f")


@pytest.mark.parametrize("state", [b"", None, b'{"number":"text"}', b"[1"])
def test_bytes_that_do_not_fit_the_type_any_more_say_so(state: bytes | None) -> None:
    with pytest.raises(
        InvalidInput, match=r"(?s)the stored result of f is not ours any more .*: keep reading the old form"
    ):
        Codec(Model, "it returns").read(state, "result of f is not ours")


def test_a_type_that_json_cannot_tell_apart_is_refused() -> None:
    class Other(msgspec.Struct):
        text: str

    with pytest.raises(InvalidInput, match=r"f returns .* cannot be read from JSON"):
        Codec(Order | Other, "f returns")


def test_the_declared_result_is_any_where_nothing_is_said_or_only_to_checkers() -> None:
    def silent():  # type: ignore[no-untyped-def]  # on purpose
        raise AssertionError

    def unknown() -> "DoesNotExist":  # type: ignore[name-defined]  # noqa: F821 - on purpose
        raise AssertionError

    def known() -> Order:
        raise AssertionError

    assert [declared_result(function) for function in (silent, unknown, known)] == [Any, Any, Order]


def test_what_a_model_says_of_itself_is_taken_as_it_is() -> None:
    assert encode({"a": [1, None, Model(number=2)]}) == b'{"a":[1,null,{"number":2}]}'

"""Errors of others are told of whatever they are."""

import pytest

from runtara.sdk._words import hint_of, shown, text_of, words_of
from tests.sdk.faces import Unspeakable


class Prompt(Exception):
    retry_after = 3


def test_an_error_says_what_it_says() -> None:
    error = ValueError("out of stock")

    assert [words_of(error), text_of(error), shown(error)] == [
        "out of stock",
        "ValueError: out of stock",
        "ValueError('out of stock')",
    ]


def test_an_error_whose_words_fail_is_told_of_by_its_class() -> None:
    error = Unspeakable("a", "b")

    assert "LookupError in its __str__" in words_of(error)
    assert text_of(error).startswith("Unspeakable: its words cannot be told")
    assert shown(error) == text_of(error)


@pytest.mark.parametrize("tell", [words_of, text_of, shown])
def test_what_is_no_character_is_spelled_out(tell: object) -> None:
    said = tell(ValueError("caf\xe9 \udc80"))  # type: ignore[operator]  # one of the three

    assert said.encode().decode().count("\\udc80") == 1
    assert "caf\xe9" in said


def test_when_to_try_again_is_what_an_error_says_or_nothing() -> None:
    assert hint_of(Prompt()) == 3
    assert hint_of(ValueError()) is None
    assert hint_of(Unspeakable()) is None

"""Spans as people type them."""

import click
import pytest

from runtara.cli._spans import typed_span
from runtara.cli._words import UNITS


@pytest.mark.parametrize(
    ("text", "ms"),
    [("30d", 2_592_000_000), ("1.5h", 5_400_000), ("90 min", 5_400_000), ("0s", 0), ("7ms", 7), ("0.001ms", 1)],
)
def test_a_span_is_a_number_and_a_unit(text: str, ms: int) -> None:
    assert typed_span(text) == ms


def test_every_unit_that_is_printed_can_be_typed() -> None:
    assert [typed_span(f"1{name}") for _, name in UNITS] == [ms for ms, _ in UNITS]


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1e3d", "30 days", "٣d", "1d\n", "99999999d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"\.$"):
        typed_span(text)

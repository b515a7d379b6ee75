"""Spans as people type them."""

import click
import pytest

from runtara.cli._spans import typed_instant, typed_span
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-01-02T00:00:00.5", 86_400_500),
        ("1970-01-01T01:00:00+01:00", 0),
        ("2026-01-31T06:30:00Z", 1_769_841_000_000),
    ],
)
def test_an_instant_is_typed_with_a_zone_or_means_utc(text: str, expected: int) -> None:
    assert typed_instant(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "1969-12-31", "2026-13-01", "12:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not an instant: say it as in"):
        typed_instant(text)

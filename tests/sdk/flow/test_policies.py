from datetime import timedelta
from typing import Any

import pytest

from runtara.errors import InvalidInput
from runtara.sdk.flow import InvalidOption, LoopResult, OnMax, RetryPolicy, parse_duration
from runtara.sdk.flow._policies import span_of, written_duration


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30s", 30),
        ("200ms", 0.2),
        ("1.5h", 5400),
        ("2M", 120),
        (" 1 S ", 1),
        (3, 3),
        (0.5, 0.5),
        (0, 0),
        (timedelta(minutes=1), 60),
    ],
)
def test_durations_are_understood(given: Any, seconds: float) -> None:
    assert parse_duration(given) == seconds
    assert span_of(given) == timedelta(seconds=seconds)


@pytest.mark.parametrize("given", ["", "s", "1", "1d", "-1s", "1 2s", -1, True, None, [], timedelta(-1), 1e12, "1e3s"])
def test_other_durations_are_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="duration"):
        parse_duration(given)


@pytest.mark.parametrize("text", ["0ms", "200ms", "30s", "2m", "1.5h", "48h", "1.001s"])
def test_a_duration_is_written_as_it_is_understood(text: str) -> None:
    assert written_duration(span_of(text)) == text


def test_a_number_of_retries_is_a_policy() -> None:
    assert RetryPolicy.of(3) == RetryPolicy(3, 1.0, 2.0)
    assert RetryPolicy.of(None) is None
    assert RetryPolicy.of(RetryPolicy(1)) == RetryPolicy(1)


def test_waits_grow_by_the_multiplier_up_to_the_cap() -> None:
    config = RetryPolicy(9, 1.0, 3.0, max_delay_secs=10).config

    assert [config.delay_for_attempt(n).total_seconds() for n in (1, 2, 3, 4)] == [1, 3, 9, 10]


def test_what_is_not_to_be_tried_again_is_not() -> None:
    config = RetryPolicy(5, non_retryable=(KeyError,)).config

    assert config.is_tried_again(ValueError())
    assert not config.is_tried_again(KeyError())


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"initial_delay_secs": -1},
        {"backoff_multiplier": 0.5},
        {"backoff_multiplier": "2"},
        {"jitter": 2},
        {"non_retryable": (3,)},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="not allowed"):
        RetryPolicy(**wrong)


def test_a_loop_result_says_whether_to_go_on() -> None:
    assert (LoopResult.again(1).is_again, LoopResult.done(1).is_again) == (True, False)
    assert (LoopResult.again(1).is_done, LoopResult.done(1).is_done) == (False, True)
    assert LoopResult.Again(1) == LoopResult.again(1) != LoopResult.done(1)
    assert {LoopResult.Done(1), LoopResult.done(1)} == {LoopResult.done(1)}
    assert OnMax("fail") is OnMax.FAIL

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.errors import InvalidInput
from runtara.lifecycle import FINAL, Status
from runtara.records import Signal as Record
from runtara.sdk import CheckpointResult, CustomSignal, RetryConfig, RetryStrategy, Signal, SignalType, StatusResponse

CONFIGS = st.builds(
    RetryConfig,
    max_retries=st.integers(0, 100),
    delay=st.floats(0, 1e6),
    max_delay=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    strategy=st.sampled_from(RetryStrategy),
)


def seconds(config: RetryConfig, attempts: int = 5) -> list[float]:
    return [config.delay_for_attempt(attempt).total_seconds() for attempt in range(1, attempts + 1)]


def test_delays_double_up_to_their_limit() -> None:
    assert seconds(RetryConfig(delay=1, max_delay=10)) == [1, 2, 4, 8, 10]


def test_fixed_delays_stay_the_same() -> None:
    assert seconds(RetryConfig(delay=2, strategy=RetryStrategy.FIXED)) == [2] * 5


@given(CONFIGS, st.integers(1, 10_000), st.integers())
def test_no_delay_exceeds_its_limit_or_its_spread(config: RetryConfig, attempt: int, seed: int) -> None:
    delay = config.delay_for_attempt(attempt, random.Random(seed).random).total_seconds()
    middle = config.delay_for_attempt(attempt).total_seconds()

    assert 0 <= delay <= config.max_delay + 1e-6
    assert middle * (1 - config.jitter) - 1e-5 <= delay <= middle * (1 + config.jitter) + 1e-5


def test_jitter_spreads_both_ways() -> None:
    config = RetryConfig(delay=10, jitter=0.5)

    assert config.delay_for_attempt(1, lambda: 0.0) == timedelta(seconds=5)
    assert config.delay_for_attempt(1, lambda: 1.0) == timedelta(seconds=15)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"delay": -1},
        {"delay": float("nan")},
        {"max_delay": float("inf")},
        {"max_delay": -0.1},
        {"jitter": 1.1},
        {"jitter": -0.1},
        {"jitter": float("nan")},
        {"max_retry_after": -1},
        {"max_retries": True},
        {"max_retries": 2.0},
        {"delay": "1"},
        {"strategy": "fixed"},
        {"retry_on": LookupError},
        {"retry_on": [LookupError]},
        {"retry_on": ("LookupError",)},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(wrong))} of .* is not allowed"):
        RetryConfig(**wrong)


class Hinting(Exception):
    def __init__(self, retry_after: object) -> None:
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("hint", "wait"),
    [
        (30, 30),
        (0.5, 0.5),
        (0, 0),
        (timedelta(minutes=1), 60),
        (10**9, 90),
        (float("inf"), 90),
        (float("nan"), 4),
        (-1, 4),
        (timedelta(seconds=-1), 4),
        ("30", 4),
        (True, 4),
        (None, 4),
        (lambda: 30, 4),
    ],
)
def test_an_error_may_say_how_long_to_wait_up_to_a_limit(hint: object, wait: float) -> None:
    config = RetryConfig(delay=2, max_retry_after=90)

    assert config.delay_after(Hinting(hint), 2).total_seconds() == wait
    assert config.delay_after(LookupError(), 2).total_seconds() == 4


@pytest.mark.parametrize("signal_type", SignalType)
def test_a_result_tells_what_its_signal_asks_for(signal_type: SignalType) -> None:
    result = CheckpointResult(found=False, pending_signal=Signal(signal_type, "s"))

    assert result.should_cancel is (signal_type is SignalType.CANCEL)
    assert result.should_pause is (signal_type is SignalType.PAUSE)
    assert result.should_exit is (signal_type is not SignalType.RESUME)


def test_only_a_state_that_was_found_exists() -> None:
    assert CheckpointResult(found=False, state=b"").existing_state is None
    assert CheckpointResult(found=True, state=b"").existing_state == b""


def test_signals_are_made_of_what_is_stored() -> None:
    record = Record(signal_id="s", kind="custom", sent_at=0, name="go", payload=b"p")

    assert CustomSignal.of(record) == CustomSignal("go", b"p", "s")
    assert Signal.of(Record(signal_id="s", kind="pause", sent_at=0)) == Signal(SignalType.PAUSE, "s")
    assert CustomSignal.of(None) is None
    assert Signal.of(None) is None


@pytest.mark.parametrize("status", [None, *Status])
def test_what_has_ended_is_finished(status: Status | None) -> None:
    assert StatusResponse(found=status is not None, status=status).is_finished is (status in FINAL)

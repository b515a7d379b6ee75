import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtara.clock import INSTANT_MAX_MS, SPAN_MAX_MS, ManualClock, SystemClock, check_instant_ms, span_ms
from runtara.errors import InvalidInput


def test_the_system_clock_tells_milliseconds_since_1970() -> None:
    before = time.time() * 1000 - 1

    now = SystemClock().now_ms()

    assert before <= now <= time.time() * 1000 + 1


def test_a_manual_clock_moves_only_when_it_is_told_to() -> None:
    clock = ManualClock(1_000)

    clock.jump_ms(500)
    clock.jump_ms(-200)

    assert clock.now_ms() == clock.now_ms() == 1_300


@given(st.floats(0, SPAN_MAX_MS / 1000))
@example(0.0)
@example(5e-324)
def test_a_span_is_never_shorter_than_asked_and_less_than_two_milliseconds_longer(seconds: float) -> None:
    span = span_ms(seconds)

    assert span >= seconds * 1000
    assert span - seconds * 1000 < 2


@given(st.integers(0, SPAN_MAX_MS // 1000))
def test_whole_seconds_are_exact(seconds: int) -> None:
    assert span_ms(seconds) == seconds * 1000


@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf"), SPAN_MAX_MS, True, "1", None])
def test_a_span_that_is_none_is_refused_by_name(seconds: float) -> None:
    with pytest.raises(InvalidInput, match=r"^nap "):
        span_ms(seconds, "nap")


@pytest.mark.parametrize("instant", [0, 1, INSTANT_MAX_MS])
def test_instants_from_1970_to_9999_are_accepted(instant: int) -> None:
    assert check_instant_ms(instant) == instant


@pytest.mark.parametrize("instant", [-1, INSTANT_MAX_MS + 1, True, 1.0, "1", None])
def test_other_instants_are_refused_by_name(instant: int) -> None:
    with pytest.raises(InvalidInput, match=r"^alarm "):
        check_instant_ms(instant, "alarm")

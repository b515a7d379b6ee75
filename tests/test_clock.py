import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtara.clock import (
    INSTANT_MAX_MS,
    SPAN_MAX_MS,
    ManualClock,
    SharedClock,
    SystemClock,
    check_instant_ms,
    monotonic,
    span_ms,
)
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


class Machine:
    """A machine whose clocks stand where the test puts them."""

    def __init__(self, patches: pytest.MonkeyPatch) -> None:
        self.wall_s = 1_000.0
        self.since_start_s = 50.0
        patches.setattr(time, "time_ns", lambda: int(self.wall_s * 1e9))
        patches.setattr(time, "monotonic", lambda: self.since_start_s)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_shared_clock_that_nobody_has_set_is_the_clock_of_the_system(machine: Machine) -> None:
    clock = SharedClock()

    before = clock.now_ms()
    machine.wall_s -= 500

    assert (before, clock.now_ms()) == (1_000_000, 500_000)


def test_a_shared_clock_goes_on_from_what_it_heard(machine: Machine) -> None:
    clock = SharedClock()
    clock.set(7_000_000, monotonic())

    heard = clock.now_ms()
    machine.since_start_s += 1.5

    assert (heard, clock.now_ms()) == (7_000_000, 7_001_500)


def test_a_shared_clock_counts_the_time_that_an_answer_took_to_be_looked_at(machine: Machine) -> None:
    clock = SharedClock()
    machine.since_start_s += 2

    clock.set(7_000_000, 50.0)

    assert clock.now_ms() == 7_002_000


@pytest.mark.parametrize("jump_s", [-3_600, 3_600, -10 * 365 * 86_400, 10 * 365 * 86_400])
def test_a_shared_clock_does_not_heed_a_machine_whose_clock_is_set(machine: Machine, jump_s: float) -> None:
    clock = SharedClock()
    clock.set(7_000_000, monotonic())

    machine.wall_s += jump_s
    machine.since_start_s += 1

    assert clock.now_ms() == 7_001_000


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 100)), max_size=20))
def test_a_shared_clock_that_was_heard_never_goes_back(heard: list[tuple[int, float]]) -> None:
    with pytest.MonkeyPatch.context() as patches:
        machine = Machine(patches)
        clock = SharedClock()
        clock.set(0, monotonic())
        told = [clock.now_ms()]
        for now_ms, after_s in heard:
            machine.since_start_s += after_s
            clock.set(now_ms, monotonic())
            told.append(clock.now_ms())

    assert told == sorted(told)


@given(st.integers(0, 1_000), st.integers(0, 1_000))
def test_a_shared_clock_is_behind_by_what_an_answer_took_and_never_ahead(delay_ms: int, later_ms: int) -> None:
    with pytest.MonkeyPatch.context() as patches:
        machine = Machine(patches)
        clock = SharedClock()
        said = 7_000_000
        machine.since_start_s += delay_ms / 1000  # the answer is on its way
        clock.set(said, monotonic())
        machine.since_start_s += later_ms / 1000
        true = said + delay_ms + later_ms

        assert true - delay_ms - 1 <= clock.now_ms() <= true


def test_the_monotonic_clock_does_not_heed_the_clock_of_the_machine(machine: Machine) -> None:
    machine.wall_s += 500

    assert monotonic() == 50.0


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

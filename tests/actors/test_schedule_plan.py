from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtara.actors._schedule_plan import (
    CAUGHT_UP_MAX,
    EVERY_MIN_MS,
    LATE_MS,
    UPCOMING,
    check_timing,
    due_between,
    next_after,
    upcoming_from,
)
from runtara.clock import INSTANT_MAX_MS
from runtara.errors import InvalidInput
from runtara.messages import CatchUp, SchedulePlan, StartInstance

DAY = 86_400_000


def plan(
    cron: str | None = None,
    every_ms: int | None = None,
    timezone: str = "UTC",
    catch_up: CatchUp = "all",
    until: int | None = None,
) -> SchedulePlan:
    start = StartInstance(program="ship")
    return SchedulePlan(start=start, cron=cron, every_ms=every_ms, timezone=timezone, catch_up=catch_up, until=until)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def days(of: SchedulePlan, first: str, count: int) -> list[str]:
    """The next instants of a plan, in UTC."""
    instant, found = at(first), []
    for _ in range(count):
        following = next_after(of, instant, 0)
        assert following is not None
        instant = following
        found.append(f"{datetime.fromtimestamp(instant / 1000, UTC):%m-%d %H:%M}")
    return found


# The next instant -----------------------------------------------------------------------------------------------------


def test_a_cron_expression_says_when_by_the_clock_of_its_zone() -> None:
    assert days(plan("30 6 * * MON-FRI"), "2026-01-02T06:30", 2) == ["01-05 06:30", "01-06 06:30"]
    assert days(plan("30 6 * * *", timezone="Asia/Kolkata"), "2026-01-02", 1) == ["01-02 01:00"]
    assert days(plan("*/20 * * * * *"), "2026-01-02", 4) == ["01-02 00:00"] * 2 + ["01-02 00:01"] * 2


def test_what_falls_into_the_hour_that_summer_time_leaves_out_happens_right_behind_it() -> None:
    nightly = plan("30 2 * * *", timezone="Europe/Berlin")

    assert days(nightly, "2026-03-28", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_what_falls_into_the_hour_that_comes_twice_happens_once_unless_it_is_for_every_hour() -> None:
    nightly, hourly = (plan(cron, timezone="Europe/Berlin") for cron in ("30 2 * * *", "30 * * * *"))

    assert days(nightly, "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]
    assert days(hourly, "2026-10-24T23:45", 3) == ["10-25 00:30", "10-25 01:30", "10-25 02:30"]


@given(st.integers(1_000, 10 * DAY), st.integers(0, 10**12), st.integers(-DAY, 10**9))
def test_an_interval_is_counted_from_the_creation_and_never_drifts(every_ms: int, created_at: int, after: int) -> None:
    found = next_after(plan(every_ms=every_ms), created_at + after, created_at)

    assert found is not None
    assert (found - created_at) % every_ms == 0
    assert found > created_at
    assert max(created_at, created_at + after) < found <= max(created_at, created_at + after) + every_ms


def test_a_plan_ends_with_its_last_instant_and_with_the_calendar() -> None:
    until = at("2026-01-03")
    daily = plan("0 0 * * *", until=until)

    assert next_after(daily, until - 1, 0) == until
    assert next_after(daily, until, 0) is None
    assert next_after(plan(every_ms=DAY), INSTANT_MAX_MS, 0) is None
    assert next_after(plan("0 0 1 1 *"), INSTANT_MAX_MS - DAY, 0) is None


def test_the_next_few_starts_are_named_as_far_as_there_are_any() -> None:
    daily, first = plan("0 0 * * *"), at("2026-01-03")
    ends = plan("0 0 * * *", until=first + DAY)

    assert upcoming_from(daily, first, 0) == tuple(first + DAY * number for number in range(UPCOMING))
    assert upcoming_from(ends, first, 0) == (first, first + DAY)
    assert upcoming_from(daily, None, 0) == ()


CRONS = st.sampled_from(
    [
        "*/3 * * * *",
        "*/7 * * * *",
        "30 2 * * *",
        "0 0 1 * *",
        "15 1,2,3 * * *",
        "0 */6 * * SUN",
        "5 4 L * *",
    ]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
AROUND = st.integers(at("2026-03-01"), at("2026-11-30"))


@given(CRONS, ZONES, AROUND)
def test_every_instant_lies_behind_the_one_before(cron: str, zone: str, first: int) -> None:
    instants = [first]
    for _ in range(5):
        found = next_after(plan(cron, timezone=zone), instants[-1], 0)
        assert found is not None
        instants.append(found)

    assert all(earlier < later for earlier, later in pairwise(instants))
    assert all(instant % 1000 == 0 for instant in instants[1:])


# What is due ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)  # each goes through a day, minute by minute
@given(CRONS, ZONES, AROUND, st.integers(0, DAY))
def test_what_is_due_is_what_comes_next_again_and_again(cron: str, zone: str, first: int, span: int) -> None:
    of, expected, instant = plan(cron, timezone=zone), list[int](), next_after(plan(cron, timezone=zone), first - 1, 0)
    while instant is not None and instant <= first + span:
        expected.append(instant)
        instant = next_after(of, instant, 0)

    assert due_between(of, first, first + span, 0) == tuple(expected[-CAUGHT_UP_MAX:])


@given(st.integers(1_000, 100_000), st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_due_of_an_interval_is_what_comes_next_again_and_again(every_ms: int, first: int, span: int) -> None:
    of, created_at = plan(every_ms=every_ms), 12_345
    expected, instant = list[int](), next_after(of, first - 1, created_at)
    while instant is not None and instant <= first + span:
        expected.append(instant)
        instant = next_after(of, instant, created_at)

    assert due_between(of, first, first + span, created_at) == tuple(expected[-CAUGHT_UP_MAX:])


@pytest.mark.parametrize(
    ("catch_up", "late", "expected"),
    [
        ("skip", 0, [3]),
        ("skip", LATE_MS, [3]),
        ("skip", LATE_MS + 1, []),
        ("one", 0, [3]),
        ("one", LATE_MS + 1, [3]),
        ("all", LATE_MS + 1, [1, 2, 3]),
    ],
)
def test_missed_starts_are_left_out_or_made_up_for_as_the_plan_says(
    catch_up: CatchUp, late: int, expected: list[int]
) -> None:
    found = due_between(plan(every_ms=DAY, catch_up=catch_up), DAY, 3 * DAY + late, 0)

    assert found == tuple(number * DAY for number in expected)


def test_no_more_are_made_up_for_than_the_bound_and_the_newest_of_them() -> None:
    found = due_between(plan("* * * * * *"), 0, 10**12, 0)

    assert (len(found), found[-1]) == (CAUGHT_UP_MAX, 10**12)


def test_nothing_is_made_up_for_behind_the_end_of_a_plan() -> None:
    found = due_between(plan(every_ms=DAY, catch_up="one", until=2 * DAY + 5), DAY, 9 * DAY, 0)

    assert found == (2 * DAY,)
    assert due_between(plan(every_ms=DAY, until=DAY), 2 * DAY, 9 * DAY, 0) == ()


# Checks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (plan(), "either a cron expression or an interval"),
        (plan("* * * * *", 1_000), "either a cron expression or an interval"),
        (plan("61 * * * *"), "'61 .*' is not one .bad minute.: give minute"),
        (plan("* * * *"), "wrong number of fields"),
        (plan("0 0 30 2 *"), "is not one .bad day-of-month."),
        (plan("* " * 200), "at most 256 characters"),
        (plan("* * * * *", timezone="Mars/Olympus"), "time zone 'Mars/Olympus' is unknown: use a name as in"),
        (plan("* * * * *", timezone="../../etc/passwd"), "time zone .* is unknown"),
        (plan("* * * * *", timezone="x" * 100), "time zone .* is unknown"),
        (plan(every_ms=999), "every_ms 999 is not allowed: use 1000"),
        (plan(every_ms=2**60), "every_ms .* is not allowed"),
        (plan(every_ms=5_000, timezone="Europe/Berlin"), "an interval is the same in every time zone"),
        (plan(every_ms=5_000, until=-1), "until -1 ms lies outside"),
        (plan(every_ms=5_000, catch_up="some"), "catch_up 'some' is unknown: use skip, one, all"),  # type: ignore[arg-type]
    ],
)
def test_a_plan_whose_instants_make_no_sense_is_refused_and_told_why(bad: SchedulePlan, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_timing(bad)


@given(st.text(max_size=40))
def test_any_text_is_a_cron_expression_or_refused(cron: str) -> None:
    try:
        check_timing(plan(cron))
    except InvalidInput:
        return
    assert next_after(plan(cron), 0, 0) is not None


def test_a_good_plan_is_accepted() -> None:
    for good in (plan("30 6 * * MON-FRI", timezone="Europe/Berlin"), plan(every_ms=1_000), plan("0 0 L * 5#2")):
        check_timing(good)


def test_no_two_instants_of_an_interval_lie_in_the_same_second() -> None:
    seconds = [instant // 1000 for instant in due_between(plan(every_ms=EVERY_MIN_MS + 1), 0, 900_000, 999)]

    assert len(set(seconds)) == len(seconds) > 800

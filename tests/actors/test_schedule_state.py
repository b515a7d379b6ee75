import msgspec
import pytest
from msgspec.structs import replace

from runtara.actors._schedule_state import advanced, changed, created, id_of_start, info_of, kept_of, summary_of
from runtara.errors import StoreCorrupt
from runtara.messages import SchedulePlan, StartInstance

NOW = 1_750_000_000_000
PLAN = SchedulePlan(start=StartInstance(program="ship", input=b"\xff", env={"A": "1"}), every_ms=60_000)


def test_a_new_schedule_counts_its_intervals_from_now() -> None:
    schedule = created("acme", "nightly", PLAN, NOW)

    assert (schedule.version, schedule.created_at, schedule.next_at) == (1, NOW, NOW + 60_000)
    assert kept_of(schedule).plan == PLAN


def test_a_paused_schedule_starts_nothing_and_goes_on_with_the_next_start_after_now() -> None:
    schedule = created("acme", "nightly", replace(PLAN, paused=True), NOW)

    resumed = changed(schedule, kept_of(schedule), PLAN, NOW + 150_000)
    again = changed(resumed, kept_of(resumed), replace(PLAN, paused=True), NOW + 150_001)

    assert (schedule.next_at, resumed.next_at, again.next_at) == (None, NOW + 180_000, None)
    assert (resumed.version, resumed.created_at, resumed.updated_at) == (2, NOW, NOW + 150_000)


def test_a_plan_that_says_the_same_of_when_does_not_forget_a_start_that_is_due() -> None:
    schedule = created("acme", "nightly", PLAN, NOW)
    other = replace(PLAN, start=StartInstance(program="fly"))

    same_time = changed(schedule, kept_of(schedule), other, NOW + 150_000)
    other_time = changed(schedule, kept_of(schedule), replace(PLAN, every_ms=100_000), NOW + 150_000)

    assert (same_time.next_at, other_time.next_at) == (NOW + 60_000, NOW + 200_000)


def test_a_schedule_moves_on_behind_its_starts_and_tells_of_the_last() -> None:
    schedule = created("acme", "nightly", PLAN, NOW)
    starts = (NOW + 60_000, NOW + 120_000)

    after = advanced(schedule, kept_of(schedule), starts, "no such program" * 1_000, NOW + 120_005)
    info = info_of(after)
    later = info_of(advanced(after, kept_of(after), (), None, NOW + 500_000))

    assert (after.version, after.next_at, after.updated_at) == (2, NOW + 180_000, NOW)
    assert (info.last_id, info.last_at) == ("nightly.20250615T150840Z", NOW + 120_000)
    assert info.last_error is not None
    assert len(info.last_error) == 1_000
    assert (later.last_id, later.last_error, later.next_at) == (info.last_id, info.last_error, NOW + 540_000)


def test_a_start_that_succeeds_takes_the_error_of_the_one_before_away() -> None:
    schedule = created("acme", "nightly", PLAN, NOW)
    failed = advanced(schedule, kept_of(schedule), (NOW + 60_000,), "no", NOW + 60_000)

    after = advanced(failed, kept_of(failed), (NOW + 120_000,), None, NOW + 120_000)

    assert info_of(after).last_error is None


def test_an_id_tells_the_instant_in_utc_to_the_second() -> None:
    assert id_of_start("nightly", 1_767_225_599_999) == "nightly.20251231T235959Z"


def test_a_line_of_a_list_holds_nothing_large() -> None:
    line = summary_of(created("acme", "nightly", PLAN, NOW))

    assert (line.name, line.program, line.every_ms, line.next_at) == ("nightly", "ship", 60_000, NOW + 60_000)
    assert b"/w==" not in msgspec.json.encode(line)


def test_what_this_version_cannot_read_is_said_to_be_so() -> None:
    schedule = replace(created("acme", "nightly", PLAN, NOW), plan=b'{"plan": {"catch_up": "some"}}')

    with pytest.raises(StoreCorrupt, match="the plan of schedule 'nightly' cannot be read"):
        kept_of(schedule)

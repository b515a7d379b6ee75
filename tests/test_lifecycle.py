import pytest

from runtara.lifecycle import FINAL, TRANSITIONS, Status, Trigger, next_status


def test_every_status_has_a_row() -> None:
    assert list(TRANSITIONS) == list(Status)


def test_nothing_leaves_the_three_ends() -> None:
    assert {Status.COMPLETED, Status.FAILED, Status.CANCELLED} == FINAL
    assert all(next_status(status, trigger) is None for status in FINAL for trigger in Trigger)


def test_what_is_not_in_the_table_is_refused() -> None:
    assert next_status(Status.RUNNING, Trigger.SLEPT) is Status.SUSPENDED
    assert next_status(Status.PENDING, Trigger.SLEPT) is None


def test_every_status_can_be_reached_from_pending() -> None:
    reached, waiting = {Status.PENDING}, [Status.PENDING]

    while waiting:
        new = set(TRANSITIONS[waiting.pop()].values()) - reached
        reached |= new
        waiting += new

    assert reached == set(Status)


def test_every_trigger_does_something_somewhere() -> None:
    assert {trigger for row in TRANSITIONS.values() for trigger in row} == set(Trigger)


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
def test_whatever_has_not_ended_can_be_cancelled(status: Status) -> None:
    assert next_status(status, Trigger.CANCELLED) is Status.CANCELLED


def test_only_a_running_instance_completes() -> None:
    assert [status for status in Status if Trigger.COMPLETED in TRANSITIONS[status]] == [Status.RUNNING]

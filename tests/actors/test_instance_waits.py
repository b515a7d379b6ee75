import pytest

from runtara.actors.instance import Arm, Stop, Untrack
from runtara.errors import AlreadyExists, InstanceCancelled, InstancePaused, InvalidState
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    Acknowledged,
    AwaitedSignal,
    CompleteInstance,
    RegisterInstance,
    SignalTaken,
    SuspendInstance,
    TakeSignal,
)
from tests.actors.world import NOW, World, managed, unmanaged

LOOK = TakeSignal(name="go", place="p")
PARK = TakeSignal(name="go", place="p", park=True)
WAIT = TakeSignal(name="go", place="p", timeout_ms=100)


def taken(world: World, signal_id: str, deadline_at: int | None = None) -> SignalTaken:
    return SignalTaken(signal=world.rows.signals[signal_id], deadline_at=deadline_at)


def test_a_look_that_finds_nothing_stores_nothing() -> None:
    world = unmanaged()

    assert world.tell(LOOK) == SignalTaken()
    assert world.saved is None


def test_a_place_takes_the_oldest_free_signal_of_the_name_in_one_save() -> None:
    world = unmanaged()
    for signal_id, name in (("other", "stop"), ("first", "go"), ("second", "go")):
        world.send("custom", signal_id, name)
    world.now += 5

    reply = world.tell(LOOK)

    wait = world.rows.waits["p"]
    assert reply == taken(world, "first")
    assert (wait.signal_id, wait.started_at, wait.ended_at) == ("first", NOW + 5, NOW + 5)
    assert world.rows.signals["first"].acknowledged_at == NOW + 5
    assert world.audit[-1] == "signal-acknowledged"


def test_places_take_signals_in_order_and_each_only_once() -> None:
    world = unmanaged()
    world.send("custom", "first", "go")
    world.send("custom", "second", "go")

    replies = [world.tell(TakeSignal(name="go", place=place)) for place in ("p", "q", "r")]

    assert replies == [taken(world, "first"), taken(world, "second"), SignalTaken()]


def test_a_place_sees_the_same_signal_for_ever() -> None:
    world = unmanaged()
    world.send("custom", "first", "go")
    first = world.tell(WAIT)
    world.send("custom", "second", "go")
    world.ask(RegisterInstance(attempt_id="second"))
    world.now += 5_000

    assert world.tell(LOOK) == first == taken(world, "first", NOW + 100)
    assert world.saved is None


def test_a_signal_with_the_name_of_an_instance_wide_kind_is_not_mixed_up_with_it() -> None:
    world = unmanaged()
    world.send("pause")

    assert world.tell(TakeSignal(name="pause", place="p")) == SignalTaken()


def test_a_deadline_is_stored_once_and_neither_extended_nor_shortened() -> None:
    world = unmanaged()
    first = world.tell(WAIT)
    world.now += 50

    longer = world.tell(TakeSignal(name="go", place="p", timeout_ms=9_000))
    shorter = world.tell(TakeSignal(name="go", place="p", timeout_ms=1))

    assert first == longer == shorter == SignalTaken(deadline_at=NOW + 100)
    assert world.saved is None
    assert world.rows.waits["p"].deadline_at == NOW + 100


def test_a_wait_without_a_deadline_never_gets_one() -> None:
    world = managed()
    world.tell(PARK)
    world.send("resume")
    world.wake()

    assert world.tell(WAIT) == SignalTaken()
    assert world.rows.waits["p"].deadline_at is None


def test_a_place_that_gave_up_has_given_up_for_ever() -> None:
    world = unmanaged()
    world.tell(WAIT)
    world.now += 100

    reply = world.tell(LOOK)
    world.send("custom", "late", "go")
    world.now -= 5_000

    assert reply == world.tell(WAIT) == SignalTaken(timed_out=True, deadline_at=NOW + 100)
    assert (world.rows.waits["p"].signal_id, world.rows.waits["p"].ended_at) == (None, NOW + 100)
    assert world.tell(TakeSignal(name="go", place="q")) == taken(world, "late")


def test_a_signal_that_came_before_anybody_looked_is_taken_even_after_the_deadline() -> None:
    world = unmanaged()
    world.tell(WAIT)
    world.now += 500
    world.send("custom", "s", "go")

    assert world.tell(WAIT) == taken(world, "s", NOW + 100)


def test_a_time_out_of_zero_looks_once() -> None:
    world = unmanaged()

    reply = world.tell(TakeSignal(name="go", place="p", timeout_ms=0))

    assert reply == SignalTaken(timed_out=True, deadline_at=NOW)
    assert world.rows.waits["p"].ended_at == NOW


def test_a_place_that_waits_for_one_signal_takes_no_other() -> None:
    world = unmanaged()
    world.tell(WAIT)

    with pytest.raises(AlreadyExists, match="waits for signal 'go'"):
        world.tell(TakeSignal(name="stop", place="p"))


def test_a_place_that_has_ended_says_so_to_a_program_that_waits_for_another_signal_there_now() -> None:
    world = unmanaged()
    world.tell(TakeSignal(name="go", place="p", timeout_ms=0))

    with pytest.raises(AlreadyExists, match="use another place"):
        world.tell(TakeSignal(name="stop", place="p"))


# Parked --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_ms", [None, 100])
def test_a_parked_wait_suspends_the_instance_until_its_deadline(timeout_ms: int | None) -> None:
    world = managed()
    deadline_at = None if timeout_ms is None else NOW + timeout_ms

    reply = world.tell(TakeSignal(name="go", place="p", timeout_ms=timeout_ms, park=True))

    assert reply == SignalTaken(deadline_at=deadline_at, parked=True)
    assert (world.row.status, world.row.wake_at) == (Status.SUSPENDED, deadline_at)
    assert world.row.termination_reason is TerminationReason.WAITING_SIGNAL
    assert world.rows.waits["p"].ended_at is None
    assert world.effects == (Untrack(), Stop(1, "leave"), *(() if deadline_at is None else (Arm(deadline_at),)))


def test_a_known_wait_is_parked_without_being_stored_again() -> None:
    world = managed()
    world.tell(WAIT)

    world.tell(PARK)

    assert world.saved is not None
    assert world.saved.waits == ()
    assert world.row.wake_at == NOW + 100


def test_a_parked_wait_that_is_sent_again_is_parked_still() -> None:
    world = managed()
    first = world.tell(PARK)

    assert world.tell(PARK) == first
    assert world.saved is None


def test_a_wait_is_not_parked_where_a_signal_is_there_already() -> None:
    world = managed()
    world.send("custom", "s", "go")

    assert world.tell(PARK) == taken(world, "s")
    assert world.row.status is Status.RUNNING


def test_a_woken_wait_finds_its_signal() -> None:
    world = managed()
    world.tell(PARK)
    world.send("custom", "s", "go")
    world.wake()
    world.tell(RegisterInstance(attempt_id="second"))

    assert world.tell(PARK) == taken(world, "s")


def test_a_wait_that_was_woken_by_its_deadline_gives_up() -> None:
    world = managed()
    world.tell(TakeSignal(name="go", place="p", timeout_ms=100, park=True))
    world.wake()
    world.tell(RegisterInstance(attempt_id="second"))

    assert world.tell(PARK) == SignalTaken(timed_out=True, deadline_at=NOW + 100)


def test_a_cancel_comes_before_a_parked_wait() -> None:
    world = managed()
    world.send("cancel")

    with pytest.raises(InstanceCancelled):
        world.tell(PARK)

    assert world.row.status is Status.CANCELLED
    assert world.rows.waits == {}


def test_a_place_is_not_looked_at_while_the_instance_does_not_run() -> None:
    world = managed()
    world.tell(WAIT)
    world.tell(SuspendInstance(wake_at=NOW))
    with pytest.raises(InvalidState):
        world.tell(PARK)

    world.send("pause")

    with pytest.raises(InstancePaused):
        world.tell(LOOK)


def test_a_finished_program_takes_no_signal() -> None:
    world = unmanaged()
    world.tell(CompleteInstance())

    with pytest.raises(InvalidState):
        world.tell(LOOK)


# A rest for several signals -------------------------------------------------------------------------------------------

REST = SuspendInstance(
    wake_at=NOW + 100, awaits=(AwaitedSignal(name="go", place="p"), AwaitedSignal(name="stop", place="q"))
)


def test_an_instance_that_rests_for_signals_is_woken_by_whatever_comes_first() -> None:
    for name in ("go", "stop"):
        world = managed()
        world.tell(REST)
        assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.WAITING_SIGNAL, NOW + 100)
        assert sorted(world.rows.waits) == ["p", "q"]

        world.send("custom", "s", name)

        assert world.row.wake_at == NOW
        assert world.effects == (Arm(NOW),)


def test_another_signal_does_not_wake_it() -> None:
    world = managed()
    world.tell(REST)

    world.send("custom", "s", "other")

    assert world.row.wake_at == NOW + 100


def test_a_rest_for_a_signal_that_is_there_already_is_over_at_once() -> None:
    world = managed()
    world.tell(LOOK)
    world.send("custom", "s", "go")

    world.tell(REST)

    assert (world.row.status, world.row.wake_at) == (Status.SUSPENDED, NOW)


def test_a_rest_for_signals_keeps_the_deadlines_that_their_places_have() -> None:
    world = managed()
    world.tell(WAIT)

    world.tell(REST)

    assert [world.rows.waits[place].deadline_at for place in ("p", "q")] == [NOW + 100, None]


def test_a_rest_for_signals_that_is_told_again_is_acknowledged_again() -> None:
    world = managed()
    world.tell(REST)
    world.send("custom", "s", "go")

    assert world.tell(REST) == Acknowledged(Status.SUSPENDED)
    assert world.saved is None


def test_a_cancel_comes_before_a_rest_for_signals() -> None:
    world = managed()
    world.send("cancel")

    assert world.tell(REST) == Acknowledged(Status.CANCELLED)
    assert world.rows.waits == {}

from collections.abc import Callable

import pytest

from runtara.actors.instance import Arm, Disarm, Effect, Enforce, Limits, Push, Stop, Track, Untrack
from runtara.errors import Busy, InstanceCancelled, InstancePaused, InvalidInput, InvalidState, NotFound
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.messages import (
    Acknowledged,
    AcknowledgeSignal,
    CompleteInstance,
    CrashInstance,
    EnforceSignals,
    FailInstance,
    InstanceWoken,
    PollSignals,
    RegisterInstance,
    SendSignal,
    SignalAccepted,
    SignalKind,
    SignalsPending,
    StartInstance,
    SuspendInstance,
    TakeSignal,
)
from tests.actors.world import NOW, World, claimed, managed, unmanaged

KINDS: list[SignalKind] = ["cancel", "pause", "resume", "shutdown", "custom"]


def started() -> World:
    world = World()
    world.ask(StartInstance(program="ship"))
    return world


def sleeping(world: World) -> World:
    world.tell(SuspendInstance(wake_at=NOW + 1_000))
    return world


def paused(world: World) -> World:
    world.send("pause", "s-pause")
    world.acknowledge("pause")
    return world


def pushed(world: World, signal_id: str) -> tuple[Effect, ...]:
    signal = next(signal for signal in world.state.signals if signal.signal_id == signal_id)
    return (Push(signal),)


# Any kind ------------------------------------------------------------------------------------------------------------


def test_a_signal_to_a_running_instance_is_stored_logged_and_pushed() -> None:
    world = unmanaged()
    world.now += 5

    reply = world.ask(SendSignal(kind="custom", signal_id="s", name="go", payload=b"now"))

    signal = world.rows.signals["s"]
    line = world.rows.events[-1]
    assert reply == SignalAccepted(signal_id="s", status=Status.RUNNING, created=True)
    assert (signal.kind, signal.name, signal.payload, signal.sent_at, signal.seq) == (
        "custom",
        "go",
        b"now",
        NOW + 5,
        1,
    )
    assert (line.type, line.subtype, line.payload, line.created_at) == ("signal-sent", "custom", b"s", NOW + 5)
    assert world.effects == (Push(signal),)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_id_sent_twice_is_one_signal_even_after_the_end(kind: SignalKind) -> None:
    world = unmanaged()
    name = "go" if kind == "custom" else None
    world.send(kind, "s", name)
    world.tell(CompleteInstance())

    reply = world.send(kind, "s", name)

    assert reply == SignalAccepted(signal_id="s", status=world.row.status, created=False)
    assert world.saved is None
    assert world.effects == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_signal_to_a_finished_instance_is_told_the_end(kind: SignalKind, status: Status) -> None:
    world = unmanaged()
    if status is Status.CANCELLED:
        world.send("cancel")
        world.acknowledge("cancel")
    else:
        world.tell(CompleteInstance() if status is Status.COMPLETED else FailInstance(error="no"))

    with pytest.raises(InvalidState, match=f"is {status} already"):
        world.send(kind, name="go" if kind == "custom" else None)


def test_only_custom_signals_have_a_name() -> None:
    world = unmanaged()

    with pytest.raises(InvalidInput, match="needs a name"):
        world.send("custom")
    with pytest.raises(InvalidInput, match="has no name"):
        world.send("pause", name="go")


def test_signals_are_numbered_in_order_of_arrival() -> None:
    world = unmanaged()

    for signal_id in ("z", "a", "m"):
        world.send("custom", signal_id, name=signal_id)
        world.tell(AcknowledgeSignal(signal_id=signal_id))

    assert [(signal.signal_id, signal.seq) for signal in world.rows.signals.values()] == [("z", 1), ("a", 2), ("m", 3)]


def test_too_many_custom_signals_are_refused_and_never_keep_anybody_from_pausing_resuming_or_cancelling() -> None:
    world = unmanaged(Limits(pending_signals_max=2))
    world.send("custom", name="a")
    world.send("custom", name="b")

    with pytest.raises(Busy, match="2 unacknowledged signals"):
        world.send("custom", name="c")

    paused(world)
    world.send("resume")
    assert world.send("cancel", "s") == SignalAccepted(signal_id="s", status=Status.RUNNING)


# Cancel --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "effects"),
    [
        (started, (Untrack(), Disarm())),
        (lambda: sleeping(managed()), (Untrack(), Disarm(), Stop(1))),
        (lambda: paused(managed()), (Untrack(), Stop(1))),
        (lambda: sleeping(unmanaged()), (Untrack(),)),
    ],
)
def test_a_cancel_ends_an_instance_that_does_not_run_at_once(
    make: Callable[[], World], effects: tuple[Effect, ...]
) -> None:
    world = make()

    reply = world.send("cancel", "s")

    assert reply == SignalAccepted(signal_id="s", status=Status.CANCELLED)
    assert (world.row.status, world.row.termination_reason) == (Status.CANCELLED, TerminationReason.CANCELLED)
    assert (world.row.wake_at, world.row.finished_at) == (None, NOW)
    assert world.rows.signals["s"].acknowledged_at == NOW
    assert world.audit[-3:] == ["signal-sent", "signal-acknowledged", "cancelled"]
    assert world.effects == effects


def test_a_running_instance_is_cancelled_when_it_acts_upon_it() -> None:
    world = managed()

    told = world.send("cancel", "s")
    effects = world.effects
    expected = pushed(world, "s")
    done = world.acknowledge("cancel")

    assert told == SignalAccepted(signal_id="s", status=Status.RUNNING)
    assert effects == (*expected, Enforce(1))
    assert done == Acknowledged(Status.CANCELLED)
    assert world.effects == (Untrack(), Stop(1, "leave"))
    assert world.audit[-2:] == ["signal-acknowledged", "cancelled"]


def test_a_second_cancel_is_the_first_one() -> None:
    world = unmanaged()
    world.send("cancel", "first")

    reply = world.send("cancel", "second")

    assert reply == SignalAccepted(signal_id="first", status=Status.RUNNING, created=False)
    assert world.saved is None


@pytest.mark.parametrize(("kind", "status"), [("cancel", Status.CANCELLED), ("shutdown", Status.SUSPENDED)])
def test_a_launched_program_that_does_not_heed_a_signal_is_stopped_after_its_grace(
    kind: SignalKind, status: Status
) -> None:
    world = managed()
    world.send(kind, "s", grace_ms=750)
    enforce = world.effects[-1]
    world.now += 750

    reply = world.ask(EnforceSignals(epoch=1))

    assert enforce == Enforce(1, 750)
    assert reply == Acknowledged(status)
    assert world.rows.signals["s"].acknowledged_at == NOW + 750
    assert Stop(1, "ask") in world.effects
    assert world.row.wake_at == (None if kind == "cancel" else NOW + 750)


def test_a_cancel_is_enforced_before_a_shutdown_and_a_shutdown_does_not_wake_what_is_paused() -> None:
    cancelled, paused = managed(), managed()
    cancelled.send("shutdown")
    cancelled.send("cancel")
    paused.send("shutdown")
    paused.send("pause")

    for world in (cancelled, paused):
        world.ask(EnforceSignals(epoch=1))

    assert cancelled.row.status is Status.CANCELLED
    assert (paused.row.termination_reason, paused.row.wake_at) == (TerminationReason.PAUSED, None)
    assert paused.effects == (Untrack(), Stop(1, "ask"))


def test_nothing_is_enforced_once_the_program_has_acted_or_where_only_a_pause_pends() -> None:
    acted, held = managed(), managed()
    acted.send("shutdown")
    acted.acknowledge("shutdown")
    held.send("pause")

    assert acted.ask(EnforceSignals(epoch=1)) == Acknowledged(Status.SUSPENDED)
    assert held.ask(EnforceSignals(epoch=1)) == Acknowledged(Status.RUNNING)
    assert (acted.saved, held.saved) == (None, None)


@pytest.mark.parametrize("kind", ["cancel", "shutdown"])
def test_a_signal_that_is_asked_for_again_may_be_enforced_sooner(kind: SignalKind) -> None:
    world = managed()
    world.send(kind, "first", grace_ms=60_000)

    world.send(kind, "second", grace_ms=0)

    assert (world.saved, world.effects) == (None, (Enforce(1, 0),))


@pytest.mark.parametrize("kind", ["cancel", "shutdown"])
def test_nobody_here_can_stop_a_program_that_this_host_has_not_launched(kind: SignalKind) -> None:
    by_hand = managed()
    by_hand.ask(RegisterInstance(attempt_id="mine"))

    for world in (unmanaged(), by_hand):
        world.send(kind, "s", grace_ms=5)
        assert world.effects == pushed(world, "s")
        assert world.ask(EnforceSignals(epoch=1)) == Acknowledged(Status.RUNNING)


@pytest.mark.parametrize(
    ("kind", "status", "reason", "wake_at"),
    [
        ("cancel", Status.CANCELLED, TerminationReason.CANCELLED, None),
        ("pause", Status.SUSPENDED, TerminationReason.PAUSED, None),
        ("shutdown", Status.SUSPENDED, TerminationReason.SHUTDOWN_REQUESTED, NOW),
    ],
)
def test_a_signal_takes_hold_at_once_of_a_launched_program_that_has_not_registered(
    kind: SignalKind, status: Status, reason: TerminationReason, wake_at: int | None
) -> None:
    world = claimed()

    reply = world.send(kind, "s")

    assert reply == SignalAccepted(signal_id="s", status=status)
    assert (world.row.status, world.row.termination_reason, world.row.wake_at) == (status, reason, wake_at)
    assert world.rows.signals["s"].acknowledged_at == NOW
    assert world.effects == (Untrack(), Stop(1, "ask"), *(() if wake_at is None else (Arm(wake_at),)))
    assert world.audit[-3:-1] == ["signal-sent", "signal-acknowledged"]


# Pause and shutdown --------------------------------------------------------------------------------------------------


def test_a_running_instance_is_paused_when_it_acts_upon_it() -> None:
    world = managed()

    told = world.send("pause", "s")
    effects = world.effects
    expected = pushed(world, "s")
    done = world.acknowledge("pause")

    assert told == SignalAccepted(signal_id="s", status=Status.RUNNING)
    assert effects == expected
    assert done == Acknowledged(Status.SUSPENDED)
    assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.PAUSED, None)
    assert world.effects == (Untrack(), Stop(1, "leave"))
    assert world.audit[-2:] == ["signal-acknowledged", "paused"]


@pytest.mark.parametrize("kind", ["pause", "shutdown"])
def test_a_second_pause_or_shutdown_is_the_first_one(kind: SignalKind) -> None:
    world = unmanaged()
    world.send(kind, "first")

    assert world.send(kind, "second") == SignalAccepted(signal_id="first", status=Status.RUNNING, created=False)


def test_a_resting_instance_is_paused_at_once_and_not_woken_any_more() -> None:
    world = sleeping(managed())

    reply = world.send("pause", "s")

    assert reply == SignalAccepted(signal_id="s", status=Status.SUSPENDED)
    assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.PAUSED, None)
    assert world.rows.signals["s"].acknowledged_at == NOW
    assert world.effects == (Disarm(),)
    assert world.audit[-1] == "paused"


def test_a_resting_program_that_registers_by_itself_has_nothing_to_disarm() -> None:
    world = sleeping(unmanaged())

    world.send("pause")

    assert world.effects == ()


def test_a_paused_instance_is_paused_already() -> None:
    world = paused(managed())

    reply = world.send("pause", "s")

    assert reply == SignalAccepted(signal_id="s", status=Status.SUSPENDED, created=False)
    assert world.saved is None


@pytest.mark.parametrize("kind", ["resume", "shutdown"])
def test_a_pending_instance_cannot_be_resumed_or_shut_down(kind: SignalKind) -> None:
    with pytest.raises(InvalidState, match="is pending"):
        started().send(kind)


def test_an_instance_that_is_paused_before_it_has_begun_begins_when_it_is_resumed() -> None:
    world = started()

    reply = world.send("pause", "s")

    assert reply == SignalAccepted(signal_id="s", status=Status.SUSPENDED)
    assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.PAUSED, None)
    effects = [world.effects]
    world.send("resume")
    assert (world.row.status, world.row.wake_at) == (Status.SUSPENDED, NOW)
    effects.append(world.effects)
    assert effects == [(Disarm(),), (Arm(NOW),)]


def test_a_shut_down_instance_is_launched_again_at_once() -> None:
    world = managed()
    world.send("shutdown")

    reply = world.acknowledge("shutdown")

    assert reply == Acknowledged(Status.SUSPENDED)
    assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.SHUTDOWN_REQUESTED, NOW)
    assert world.effects == (Untrack(), Stop(1, "leave"), Arm(NOW))
    assert world.audit[-2:] == ["signal-acknowledged", "shut-down"]


def test_a_shut_down_program_that_registers_by_itself_comes_back_by_itself() -> None:
    world = unmanaged()
    world.send("shutdown")
    world.acknowledge("shutdown")

    assert world.row.wake_at is None
    assert world.effects == (Untrack(),)


def test_an_instance_without_an_attempt_cannot_be_shut_down() -> None:
    with pytest.raises(InvalidState, match="no attempt to shut down"):
        sleeping(managed()).send("shutdown")


# Resume --------------------------------------------------------------------------------------------------------------


def lost(world: World) -> World:
    world.ask(CrashInstance(epoch=1, error="exit 1"))
    return world


@pytest.mark.parametrize("make", [paused, sleeping, lost])
def test_a_resumed_managed_instance_is_due_now_and_waits_for_its_turn(make: Callable[[World], World]) -> None:
    world = make(managed())
    epoch = world.row.epoch
    world.now += 5

    reply = world.send("resume", "s")

    assert reply == SignalAccepted(signal_id="s", status=Status.SUSPENDED)
    assert (world.row.epoch, world.row.wake_at, world.row.termination_reason) == (epoch, NOW + 5, None)
    assert world.rows.signals["s"].acknowledged_at == NOW + 5
    assert world.effects == (Arm(NOW + 5),)
    assert world.audit[-2:] == ["signal-sent", "signal-acknowledged"]
    assert world.wake() == InstanceWoken(Status.RUNNING, True)


def test_an_instance_that_is_due_already_keeps_its_turn_when_it_is_resumed() -> None:
    world = paused(managed())
    world.send("resume")
    world.now += 5

    reply = world.send("resume", "again")

    assert reply == SignalAccepted(signal_id="again", status=Status.SUSPENDED)
    assert (world.row.wake_at, world.effects) == (NOW, ())
    assert world.state.signals == ()


def test_a_resumed_instance_may_be_run_by_hand_or_paused_once_more_before_it_is_woken() -> None:
    by_hand, again = paused(managed()), paused(managed())
    by_hand.send("resume")
    again.send("resume")

    by_hand.ask(RegisterInstance(attempt_id="mine"))
    again.send("pause", "s-second")

    assert (by_hand.row.status, by_hand.effects) == (Status.RUNNING, (Disarm(), Track(2)))
    assert (again.row.termination_reason, again.effects) == (TerminationReason.PAUSED, (Disarm(),))


def test_a_resumed_program_that_registers_by_itself_goes_on_under_its_epoch_and_sees_the_signal() -> None:
    world = paused(unmanaged())

    reply = world.send("resume", "s")
    effects = world.effects

    assert reply == SignalAccepted(signal_id="s", status=Status.RUNNING)
    assert (world.row.epoch, world.row.attempt_id) == (1, "first")
    assert effects == (Track(1), *pushed(world, "s"))
    assert world.acknowledge("resume") == Acknowledged(Status.RUNNING)


def test_a_pause_and_a_resume_cancel_out_if_nobody_has_acted_yet() -> None:
    world = unmanaged()
    world.send("pause", "s-pause")

    reply = world.send("resume", "s")

    assert reply == SignalAccepted(signal_id="s", status=Status.RUNNING)
    assert world.state.signals == ()
    assert isinstance(world.effects[0], Push)
    assert world.effects[0].signal.signal_id == "s"
    assert world.rows.signals["s-pause"].acknowledged_at == world.rows.signals["s"].acknowledged_at == NOW


def test_a_resume_of_a_running_instance_changes_nothing() -> None:
    world = unmanaged()

    reply = world.send("resume", "s")

    assert reply == SignalAccepted(signal_id="s", status=Status.RUNNING)
    assert world.state.signals == ()
    assert world.effects == ()


def test_a_resume_that_was_not_seen_is_out_of_date_once_the_instance_rests_again() -> None:
    world = paused(unmanaged())
    world.send("resume")
    world.send("pause", "again")

    world.acknowledge("pause")

    assert world.state.signals == ()


# Custom --------------------------------------------------------------------------------------------------------------


def test_a_custom_signal_waits_for_an_instance_that_does_not_run() -> None:
    world = started()

    reply = world.send("custom", "s", name="go")

    assert reply == SignalAccepted(signal_id="s", status=Status.PENDING)
    assert world.effects == ()
    world.wake()
    world.tell(RegisterInstance(attempt_id="first"))
    world.tell(TakeSignal(name="go", place="p"))
    assert world.rows.waits["p"].signal_id == "s"


@pytest.mark.parametrize("timeout_ms", [None, 5_000])
def test_a_parked_instance_is_woken_by_the_signal_it_waits_for(timeout_ms: int | None) -> None:
    world = managed()
    world.tell(TakeSignal(name="go", place="p", timeout_ms=timeout_ms, park=True))
    world.now += 5

    reply = world.send("custom", "s", name="go")

    assert reply == SignalAccepted(signal_id="s", status=Status.SUSPENDED)
    assert world.row.wake_at == NOW + 5
    assert world.effects == (Arm(NOW + 5),)
    assert world.wake() == InstanceWoken(Status.RUNNING, True)


def test_a_wake_up_is_not_put_off_by_the_next_signal() -> None:
    world = managed()
    world.tell(TakeSignal(name="go", place="p", park=True))
    world.send("custom", name="go")
    world.now += 5

    world.send("custom", name="go")

    assert world.row.wake_at == NOW
    assert world.effects == ()


def test_a_parked_instance_sleeps_on_when_another_signal_comes() -> None:
    world = managed()
    world.tell(TakeSignal(name="go", place="p", park=True))

    world.send("custom", name="other")

    assert world.row.wake_at is None
    assert world.effects == ()


def test_a_parked_instance_that_is_paused_sleeps_on_until_it_is_resumed() -> None:
    world = managed()
    world.tell(TakeSignal(name="go", place="p", park=True))
    world.send("pause")

    world.send("custom", name="go")

    assert (world.row.wake_at, world.effects) == (None, ())


# Poll and acknowledge ------------------------------------------------------------------------------------------------


def test_reading_signals_does_not_consume_them() -> None:
    world = unmanaged()
    world.send("custom", name="go")
    for kind in KINDS[1::2]:
        world.send(kind, f"s-{kind}")
    world.send("cancel", "s-cancel")

    first, again = world.tell(PollSignals()), world.tell(PollSignals())

    assert isinstance(first, SignalsPending)
    assert [signal.signal_id for signal in first.signals] == ["s-cancel", "s-pause", "s-shutdown"]
    assert again == first
    assert world.saved is None


def test_a_paused_program_that_is_still_connected_may_look_for_its_resume() -> None:
    assert paused(unmanaged()).tell(PollSignals()) == SignalsPending(())


def test_a_signal_that_was_never_sent_cannot_be_acknowledged() -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        unmanaged().tell(AcknowledgeSignal(signal_id="nothing"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_acknowledgement_that_is_told_again_is_acknowledged_again(kind: SignalKind) -> None:
    world = unmanaged()
    world.send(kind, "s", "go" if kind == "custom" else None)

    first = world.tell(AcknowledgeSignal(signal_id="s"))
    again = world.tell(AcknowledgeSignal(signal_id="s"))

    assert again == first == Acknowledged(world.row.status)
    assert world.saved is None


def test_a_signal_left_over_at_the_end_stays_as_history() -> None:
    world = unmanaged()
    world.send("custom", "s", name="go")
    world.tell(CompleteInstance())

    with pytest.raises(InvalidState):
        world.tell(AcknowledgeSignal(signal_id="s"))

    assert world.rows.signals["s"].acknowledged_at is None


def test_a_resting_program_acknowledges_nothing_more() -> None:
    world = paused(unmanaged())
    world.send("custom", "s", name="go")

    with pytest.raises(InstancePaused):
        world.tell(AcknowledgeSignal(signal_id="s"))


def test_a_cancelled_program_acknowledges_nothing_more() -> None:
    world = unmanaged()
    world.send("custom", "s", name="go")
    world.send("cancel")
    world.acknowledge("cancel")

    with pytest.raises(InstanceCancelled):
        world.tell(AcknowledgeSignal(signal_id="s"))

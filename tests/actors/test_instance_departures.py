import pytest

from runtara.actors.instance import Arm, Stop, Untrack
from runtara.errors import InstanceCancelled
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    Acknowledged,
    AcknowledgeSignal,
    Command,
    CompleteInstance,
    CrashInstance,
    DeclareSilent,
    ExitInstance,
    FailInstance,
    RegisterInstance,
    SaveCheckpoint,
    SignalKind,
    Sleep,
    SuspendInstance,
    TakeSignal,
)
from tests.actors.world import NOW, managed, unmanaged

ENDS: list[Command] = [
    CompleteInstance(output=b"done"),
    FailInstance(error="no"),
    ExitInstance(epoch=1, exit_code=0, output=b"done"),
]
RESTS: list[Command] = [
    SuspendInstance(),
    SuspendInstance(wake_at=NOW + 5),
    CrashInstance(epoch=1, error="exit 1"),
    ExitInstance(epoch=1, exit_code=1),
    DeclareSilent(epoch=1),
]
PARKS: list[Command] = [
    Sleep(checkpoint_id="nap", duration_ms=5, park=True),
    TakeSignal(name="go", place="p", timeout_ms=5, park=True),
]


@pytest.mark.parametrize("way", [*ENDS, *RESTS])
def test_a_pending_cancel_turns_every_way_out_into_cancelled(way: Command) -> None:
    world = managed()
    world.send("cancel", "s")

    reply = world.tell(way)

    assert reply == Acknowledged(Status.CANCELLED)
    assert (world.row.status, world.row.termination_reason) == (Status.CANCELLED, TerminationReason.CANCELLED)
    assert (world.row.epoch, world.rows.output, world.row.error) == (1, None, None)
    assert world.rows.signals["s"].acknowledged_at == NOW
    assert world.effects == (Untrack(), Stop(1, "kill" if isinstance(way, DeclareSilent) else "leave"))
    assert world.audit[-2:] == ["signal-acknowledged", "cancelled"]


@pytest.mark.parametrize("way", PARKS)
def test_a_program_that_would_park_is_told_that_it_was_cancelled_and_what_it_began_is_dropped(way: Command) -> None:
    world = managed()
    world.send("cancel")

    with pytest.raises(InstanceCancelled):
        world.tell(way)

    assert world.row.status is Status.CANCELLED
    assert (world.rows.checkpoints, world.rows.waits) == ({}, {})


@pytest.mark.parametrize("kind", ["pause", "shutdown"])
def test_a_cancel_comes_before_a_pause_or_shutdown_that_is_acted_upon(kind: SignalKind) -> None:
    world = unmanaged()
    world.send(kind, "s")
    world.send("cancel", "s-cancel")

    reply = world.tell(AcknowledgeSignal(signal_id="s"))

    assert reply == world.tell(AcknowledgeSignal(signal_id="s")) == Acknowledged(Status.CANCELLED)
    assert world.rows.signals["s"].acknowledged_at == world.rows.signals["s-cancel"].acknowledged_at == NOW


def test_a_pending_cancel_lets_a_running_program_save_what_it_has() -> None:
    world = unmanaged()
    world.send("cancel")

    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))

    assert world.row.status is Status.RUNNING
    assert "a" in world.rows.checkpoints


@pytest.mark.parametrize("way", [*RESTS, *PARKS])
def test_a_pending_pause_holds_an_instance_that_comes_to_rest_by_itself(way: Command) -> None:
    world = managed()
    world.send("pause", "s")

    world.tell(way)

    assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.PAUSED, None)
    assert world.rows.signals["s"].acknowledged_at == NOW
    assert world.audit[-1] == "paused"
    assert world.rows.events[-1].epoch == world.row.epoch
    assert not any(isinstance(effect, Arm) for effect in world.effects)


def test_a_shutdown_of_an_instance_with_a_pending_pause_leaves_it_paused() -> None:
    world = managed()
    world.send("pause")
    world.send("shutdown")

    world.acknowledge("shutdown")

    assert world.row.termination_reason is TerminationReason.PAUSED
    assert world.audit[-4:] == ["signal-acknowledged", "signal-acknowledged", "shut-down", "paused"]


@pytest.mark.parametrize("way", [*RESTS, *PARKS])
def test_a_pending_shutdown_is_settled_by_any_rest(way: Command) -> None:
    world = managed()
    world.send("shutdown", "s")

    world.tell(way)

    assert world.row.status is Status.SUSPENDED
    assert world.row.termination_reason is not TerminationReason.SHUTDOWN_REQUESTED
    assert world.rows.signals["s"].acknowledged_at == NOW


@pytest.mark.parametrize("end", ENDS)
def test_other_signals_stay_as_they_are_when_the_instance_ends(end: Command) -> None:
    world = unmanaged()
    world.send("pause")
    world.send("shutdown")
    world.send("custom", name="go")

    world.tell(end)

    assert [signal.acknowledged_at for signal in world.rows.signals.values()] == [None, None, None]


def test_custom_signals_outlive_a_rest() -> None:
    world = unmanaged()
    world.send("custom", "s", name="go")
    world.tell(SuspendInstance())
    world.ask(RegisterInstance(attempt_id="second"))

    world.tell(TakeSignal(name="go", place="p"))

    assert world.rows.waits["p"].signal_id == "s"

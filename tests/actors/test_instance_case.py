import pytest
from msgspec.structs import replace

from runtara.actors._instance_case import Case, Limits, Need, instance_wide, refusal
from runtara.actors.instance import decide
from runtara.errors import (
    Fenced,
    InstanceCancelled,
    InstancePaused,
    InstanceShutdown,
    InvalidState,
    RuntaraError,
    StoreCorrupt,
)
from runtara.lifecycle import Status, TerminationReason, Trigger
from runtara.messages import Call, GetCheckpoint, SaveCheckpoint, TakeSignal
from tests.actors.world import KEY, NOW, World, managed, unmanaged


def case(world: World, epoch: int | None = None) -> Case:
    return Case(world.state, world.row, epoch, NOW, {}, Limits())


@pytest.mark.parametrize(
    ("status", "reason", "error", "text"),
    [
        (Status.CANCELLED, TerminationReason.CANCELLED, InstanceCancelled, "was cancelled: clean up and end"),
        (Status.COMPLETED, TerminationReason.COMPLETED, InvalidState, "is completed and never changes again"),
        (Status.FAILED, TerminationReason.APPLICATION_ERROR, InvalidState, "is failed and never changes again"),
        (Status.SUSPENDED, TerminationReason.PAUSED, InstancePaused, "is paused: end the program"),
        (Status.SUSPENDED, TerminationReason.SHUTDOWN_REQUESTED, InstanceShutdown, "was asked to shut down"),
        (Status.SUSPENDED, TerminationReason.SLEEPING, InvalidState, "is suspended (sleeping), so it cannot be slept"),
        (Status.PENDING, None, InvalidState, "is pending, so it cannot be slept"),
    ],
)
def test_a_refusal_says_what_stands_in_the_way(
    status: Status, reason: TerminationReason | None, error: type[RuntaraError], text: str
) -> None:
    row = replace(unmanaged().row, status=status, termination_reason=reason)

    refused = refusal(row, Trigger.SLEPT)

    assert type(refused) is error
    assert str(refused).startswith(f"instance 'order-7' {text}")


@pytest.mark.parametrize(("epoch", "speaker"), [(None, "a caller without an attempt"), (7, "attempt 7")])
def test_a_fenced_speaker_is_told_who_holds_the_instance(epoch: int | None, speaker: str) -> None:
    with pytest.raises(Fenced, match=f"^{speaker} does not hold instance 'order-7', attempt 1 does"):
        case(unmanaged(), epoch).require_owner()


def test_only_a_managed_instance_is_armed() -> None:
    assert not case(managed()).armed
    world = managed()
    world.state = replace(world.state, instance=replace(world.row, wake_at=NOW))
    assert Case(world.state, world.state.instance or world.row, None, NOW, {}, Limits()).armed


def test_a_cancel_is_told_before_older_signals() -> None:
    world = unmanaged()
    world.send("shutdown")
    world.send("custom", name="go")
    world.send("pause")
    world.send("cancel")

    assert [signal.kind for signal in instance_wide(world.state)] == ["cancel", "shutdown", "pause"]


def test_a_listed_checkpoint_whose_row_is_gone_is_a_damage_of_the_store() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b""))
    call = Call(KEY, GetCheckpoint(checkpoint_id="a"))

    with pytest.raises(StoreCorrupt, match="checkpoint 'a' of instance 'order-7'"):
        decide(world.state, call, NOW, {Need("checkpoint", "a"): None})


def test_a_taken_signal_whose_row_is_gone_is_a_damage_of_the_store() -> None:
    world = unmanaged()
    world.send("custom", "s", name="go")
    world.tell(TakeSignal(name="go", place="p"))
    call = Call(KEY, TakeSignal(name="go", place="p"), 1)

    with pytest.raises(StoreCorrupt, match="signal 's' of instance 'order-7'"):
        decide(world.state, call, NOW, {Need("signal", "s"): None})


def test_a_need_that_nobody_has_read_is_a_bug() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b""))

    with pytest.raises(KeyError):
        decide(world.state, Call(KEY, GetCheckpoint(checkpoint_id="a")), NOW)

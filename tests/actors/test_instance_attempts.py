from collections.abc import Callable

import pytest
from msgspec.structs import replace

from runtara.actors.instance import Arm, Disarm, Stop, Track, Untrack
from runtara.errors import (
    AlreadyExists,
    Fenced,
    InstanceCancelled,
    InstanceNotFound,
    InstancePaused,
    InstanceShutdown,
    InvalidState,
    NotFound,
)
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    Acknowledged,
    Command,
    CompleteInstance,
    CrashInstance,
    FailInstance,
    GetInput,
    GetStatus,
    Heartbeat,
    InputFound,
    InstanceInfo,
    InstanceRegistered,
    InstanceStarted,
    RegisterInstance,
    SaveCheckpoint,
    Sleep,
    StartInstance,
    SuspendInstance,
    WakeInstance,
)
from tests.actors.world import NOW, World, claimed, managed, unmanaged

START = StartInstance(program="ship", input=b"input", env={"REGION": "north"}, timeout_ms=5_000)


def started() -> World:
    world = World()
    world.ask(START)
    return world


def paused(world: World) -> World:
    world.send("pause")
    world.acknowledge("pause")
    return world


# Start ---------------------------------------------------------------------------------------------------------------


def test_a_start_creates_a_pending_instance_that_is_due_at_once() -> None:
    world = World()

    reply = world.ask(START)

    assert reply == InstanceStarted(instance_id="order-7", status=Status.PENDING, created=True)
    assert (world.row.version, world.row.epoch, world.row.wake_at, world.row.created_at) == (1, 0, NOW, NOW)
    assert (world.row.program, world.rows.input, world.rows.env) == ("ship", b"input", {"REGION": "north"})
    assert world.row.timeout_ms == 5_000
    assert world.effects == (Arm(NOW),)
    assert world.audit == ["created"]


@pytest.mark.parametrize("finish", [False, True])
def test_the_same_start_twice_is_one_instance_whatever_became_of_it(finish: bool) -> None:
    world = started()
    world.wake()
    if finish:
        world.tell(RegisterInstance(attempt_id="first"))
        world.tell(CompleteInstance())

    reply = world.ask(START)

    assert reply == InstanceStarted(instance_id="order-7", status=world.row.status, created=False)
    assert world.saved is None
    assert world.effects == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(START, program="fly"),
        replace(START, input=b""),
        replace(START, input=None),
        replace(START, env={}),
        replace(START, env={"REGION": "south"}),
        replace(START, timeout_ms=None),
        replace(START, timeout_ms=5_001),
        replace(START, priority=1),
    ],
)
def test_a_different_start_under_the_same_id_is_refused(other: StartInstance) -> None:
    with pytest.raises(AlreadyExists, match="another program, input, environment, timeout, priority or"):
        started().ask(other)


def test_an_absent_input_and_an_empty_one_are_different_starts() -> None:
    world = World()
    world.ask(StartInstance(program="ship"))

    with pytest.raises(AlreadyExists):
        world.ask(StartInstance(program="ship", input=b""))


def test_a_start_cannot_take_over_a_program_that_registered_by_itself() -> None:
    with pytest.raises(AlreadyExists):
        unmanaged().ask(START)


# Register ------------------------------------------------------------------------------------------------------------


def test_a_registration_creates_an_unknown_instance_and_runs_it_as_attempt_one() -> None:
    world = World()

    reply = world.ask(RegisterInstance(attempt_id="first"))

    assert reply == InstanceRegistered(epoch=1, resumed=False)
    assert (world.row.status, world.row.version, world.row.epoch) == (Status.RUNNING, 1, 1)
    assert (world.row.started_at, world.row.heartbeat_at, world.row.program) == (NOW, NOW, None)
    assert world.audit == ["created", "registered"]
    assert world.effects == (Track(1),)


def test_an_unknown_instance_cannot_go_on_from_a_checkpoint() -> None:
    with pytest.raises(NotFound, match="'gone'"):
        World().ask(RegisterInstance(attempt_id="first", checkpoint_id="gone"))


def test_an_attempt_of_an_instance_that_is_gone_does_not_create_it_again() -> None:
    with pytest.raises(InstanceNotFound):
        World().ask(RegisterInstance(attempt_id="first"), epoch=3)


def test_the_same_registration_twice_is_one_attempt() -> None:
    world = unmanaged()
    again = world.ask(RegisterInstance(attempt_id="first"))

    assert again == InstanceRegistered(epoch=1, resumed=False)
    assert world.saved is None
    assert world.effects == ()


def test_another_attempt_takes_the_instance_over_under_the_next_epoch() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))
    world.now += 5

    reply = world.ask(RegisterInstance(attempt_id="second", checkpoint_id="a"))

    assert reply == InstanceRegistered(epoch=2, resumed=True, checkpoint_id="a")
    assert (world.row.started_at, world.row.heartbeat_at, world.row.attempt_id) == (NOW, NOW + 5, "second")
    assert world.effects == (Track(2),)
    with pytest.raises(Fenced):
        world.ask(Heartbeat(), epoch=1)


def test_a_checkpoint_that_does_not_exist_is_named() -> None:
    with pytest.raises(NotFound, match="'gone'"):
        unmanaged().ask(RegisterInstance(attempt_id="second", checkpoint_id="gone"))


def test_a_finished_instance_takes_no_attempt() -> None:
    world = unmanaged()
    world.tell(CompleteInstance())

    with pytest.raises(InvalidState, match="use another instance id"):
        world.ask(RegisterInstance(attempt_id="second"))


def test_a_cancelled_instance_says_so_to_a_new_attempt() -> None:
    world = unmanaged()
    world.send("cancel")
    world.acknowledge("cancel")

    with pytest.raises(InstanceCancelled):
        world.ask(RegisterInstance(attempt_id="second"))


def test_a_resting_instance_is_taken_over_and_its_wake_up_forgotten() -> None:
    world = managed()
    world.tell(Sleep(checkpoint_id="nap", duration_ms=60_000, park=True))

    reply = world.ask(RegisterInstance(attempt_id="second"))

    assert reply == InstanceRegistered(epoch=2, resumed=True, checkpoint_id="nap")
    assert (world.row.status, world.row.wake_at, world.row.termination_reason) == (Status.RUNNING, None, None)
    assert world.effects == (Disarm(), Track(2))


def test_a_pending_instance_may_be_run_by_hand() -> None:
    world = started()

    world.ask(RegisterInstance(attempt_id="mine"))

    assert (world.row.status, world.row.epoch) == (Status.RUNNING, 1)
    assert world.effects == (Disarm(), Track(1))


def test_a_paused_instance_takes_no_attempt_until_it_is_resumed() -> None:
    world = paused(unmanaged())

    with pytest.raises(InstancePaused):
        world.ask(RegisterInstance(attempt_id="second"))
    world.send("resume")

    assert world.ask(RegisterInstance(attempt_id="second")) == InstanceRegistered(
        epoch=2, resumed=False, signals=world.state.signals
    )


@pytest.mark.parametrize("epoch", [None, 1])
def test_the_launched_attempt_registers_under_the_epoch_that_was_claimed_for_it(epoch: int | None) -> None:
    world = claimed()

    reply = world.ask(RegisterInstance(attempt_id="first"), epoch)

    assert reply == InstanceRegistered(epoch=1, resumed=False)
    assert (world.row.epoch, world.row.attempt_id) == (1, "first")
    assert world.effects == (Track(1),)
    assert world.ask(RegisterInstance(attempt_id="first"), epoch) == reply
    assert world.saved is None


def test_a_launch_that_comes_too_late_is_fenced() -> None:
    world = claimed()
    world.ask(CrashInstance(epoch=1, error="slow"))
    world.wake()

    with pytest.raises(Fenced):
        world.ask(RegisterInstance(attempt_id="late"), epoch=1)


def test_an_outsider_who_takes_over_a_launched_instance_stops_its_process() -> None:
    world = managed()

    world.ask(RegisterInstance(attempt_id="by hand"))

    assert world.effects == (Track(2), Stop(1, "ask"))
    assert world.row.claimed_epoch is None


def test_a_process_that_registers_anew_is_not_stopped_for_it() -> None:
    world = managed()

    world.ask(RegisterInstance(attempt_id="reconnected"), epoch=1)

    assert world.effects == (Track(2),)
    assert (world.row.epoch, world.row.claimed_epoch) == (2, 1)


def test_a_process_that_was_to_leave_and_registers_anew_is_still_the_hosts() -> None:
    world = managed()
    world.tell(Sleep(checkpoint_id="nap", duration_ms=60_000, park=True))
    world.now += 5

    world.ask(RegisterInstance(attempt_id="anew"), epoch=1)

    assert (world.row.epoch, world.row.claimed_epoch, world.row.claimed_at) == (2, 1, NOW + 5)


@pytest.mark.parametrize("registered", [True, False])
def test_a_launched_process_that_was_shut_down_is_not_let_in_again_but_the_next_launch_is(registered: bool) -> None:
    world = managed() if registered else claimed()
    world.send("shutdown")
    if registered:
        world.acknowledge("shutdown")
    before = world.row

    with pytest.raises(InstanceShutdown, match="resumed later"):
        world.ask(RegisterInstance(attempt_id="late"), epoch=1)

    assert world.row == before
    world.ask(WakeInstance(due_at=NOW))
    world.ask(RegisterInstance(attempt_id="next"), epoch=2)
    assert (world.row.status, world.row.epoch, world.row.claimed_epoch) == (Status.RUNNING, 2, 2)


def test_a_launch_that_was_taken_back_by_a_pause_does_not_begin_after_the_resume_but_the_next_one_does() -> None:
    world = claimed()
    world.send("pause")
    world.send("resume")
    before = world.row

    with pytest.raises(Fenced, match=r"attempt 1 .* was told to end before it had begun: end the program"):
        world.ask(RegisterInstance(attempt_id="late"), epoch=1)

    assert world.row == before
    world.ask(WakeInstance(due_at=NOW))
    world.ask(RegisterInstance(attempt_id="next"), epoch=2)
    assert (world.row.status, world.row.epoch, world.row.claimed_epoch) == (Status.RUNNING, 2, 2)


def test_a_registration_tells_pending_signals_to_the_instance_with_the_cancel_first() -> None:
    world = unmanaged()
    for kind in ("pause", "shutdown", "cancel"):
        world.send(kind)
    world.send("custom", name="go")

    reply = world.ask(RegisterInstance(attempt_id="first"))

    assert isinstance(reply, InstanceRegistered)
    assert [signal.kind for signal in reply.signals] == ["cancel", "pause", "shutdown"]


def test_a_takeover_that_is_sent_again_under_the_epoch_before_is_still_one_attempt() -> None:
    world = managed()
    first = world.ask(RegisterInstance(attempt_id="reconnected"), epoch=1)

    assert world.ask(RegisterInstance(attempt_id="reconnected"), epoch=1) == first
    assert (world.row.epoch, world.saved) == (2, None)


def test_a_cancel_that_the_dead_owner_left_behind_ends_the_instance_at_the_next_registration() -> None:
    world = managed()
    world.send("cancel", "stop it")

    with pytest.raises(InstanceCancelled):
        world.ask(RegisterInstance(attempt_id="second"))

    assert (world.row.status, world.row.epoch) == (Status.CANCELLED, 1)
    assert world.rows.signals["stop it"].acknowledged_at == NOW
    assert world.effects == (Untrack(), Stop(1))


# Live ----------------------------------------------------------------------------------------------------------------


def test_a_heartbeat_stores_nothing() -> None:
    world = unmanaged()

    assert world.tell(Heartbeat()) == Acknowledged(Status.RUNNING)
    assert world.saved is None


def test_a_status_tells_everything_about_the_row() -> None:
    world = managed()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))
    running = world.ask(GetStatus())
    world.tell(CompleteInstance(output=b""))

    done = world.ask(GetStatus())

    assert isinstance(running, InstanceInfo)
    assert isinstance(done, InstanceInfo)
    assert (running.status, running.output, running.checkpoint_count) == (Status.RUNNING, None, 1)
    assert (done.status, done.output, done.checkpoint_id) == (Status.COMPLETED, b"", "a")
    assert (running.timeout_ms, running.losses) == (None, 0)
    assert (done.program, done.epoch, done.started_at, done.finished_at) == ("ship", 1, NOW, NOW)
    assert done.termination_reason is TerminationReason.COMPLETED


def test_the_input_is_what_the_start_gave() -> None:
    assert managed().ask(GetInput(), epoch=1) == InputFound(b"input")
    assert unmanaged().ask(GetInput()) == InputFound(None)


# End -----------------------------------------------------------------------------------------------------------------


def test_a_completed_instance_has_its_output_and_its_process_is_stopped() -> None:
    world = managed()
    world.now += 9

    reply = world.tell(CompleteInstance(output=b"done"))

    assert reply == Acknowledged(Status.COMPLETED)
    assert (world.rows.output, world.row.finished_at, world.row.epoch) == (b"done", NOW + 9, 1)
    assert world.effects == (Untrack(), Stop(1))
    assert world.audit[-1] == "completed"


def test_a_failed_instance_has_its_error_and_no_output() -> None:
    world = unmanaged()

    reply = world.tell(FailInstance(error="out of paper"))

    assert reply == Acknowledged(Status.FAILED)
    assert (world.row.error, world.rows.output) == ("out of paper", None)
    assert world.row.termination_reason is TerminationReason.APPLICATION_ERROR
    assert world.effects == (Untrack(),)


def test_an_end_never_comes_before_the_beginning() -> None:
    world = unmanaged()
    world.now -= 1_000

    world.tell(CompleteInstance())

    assert world.row.finished_at == world.row.started_at


@pytest.mark.parametrize("end", [CompleteInstance(output=b"done"), FailInstance(error="no")])
def test_an_end_that_is_told_again_is_acknowledged_again(end: Command) -> None:
    world = unmanaged()
    reply = world.tell(end)

    assert world.tell(end) == reply
    assert world.saved is None


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (CompleteInstance(), FailInstance(error="no"), "completed"),
        (FailInstance(error="no"), CompleteInstance(), "failed"),
    ],
)
def test_a_second_end_is_told_which_one_came_first(first: Command, second: Command, status: str) -> None:
    world = unmanaged()
    world.tell(first)

    with pytest.raises(InvalidState, match=f"is {status} and never changes"):
        world.tell(second)


@pytest.mark.parametrize("end", [CompleteInstance(), FailInstance(error="no"), SuspendInstance(), Heartbeat()])
def test_a_cancelled_program_is_told_that_it_was_cancelled(end: Command) -> None:
    world = unmanaged()
    world.send("cancel")
    world.acknowledge("cancel")

    with pytest.raises(InstanceCancelled):
        world.tell(end)


def test_a_pending_instance_cannot_be_failed_by_a_program() -> None:
    with pytest.raises(InvalidState):
        started().tell(FailInstance(error="no"))


# Suspend ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [managed, unmanaged])
@pytest.mark.parametrize("wake_at", [None, NOW + 5])
def test_a_suspended_instance_rests_until_its_time_or_a_signal(make: Callable[[], World], wake_at: int | None) -> None:
    world = make()

    reply = world.tell(SuspendInstance(wake_at=wake_at))

    sleeping = wake_at is not None
    reason = TerminationReason.SLEEPING if sleeping else TerminationReason.WAITING_SIGNAL
    assert reply == Acknowledged(Status.SUSPENDED)
    assert (world.row.termination_reason, world.row.wake_at, world.row.epoch) == (reason, wake_at, 1)
    stop = (Stop(1, "leave"),) if world.row.program else ()
    arm = (Arm(NOW + 5),) if sleeping and world.row.program else ()
    assert world.effects == (Untrack(), *stop, *arm)


def test_a_suspension_that_is_told_again_is_acknowledged_again() -> None:
    world = unmanaged()
    world.tell(SuspendInstance(wake_at=NOW + 5))

    assert world.tell(SuspendInstance(wake_at=NOW + 5)) == Acknowledged(Status.SUSPENDED)
    assert world.saved is None
    with pytest.raises(InvalidState, match="is suspended \\(sleeping\\)"):
        world.tell(SuspendInstance(wake_at=NOW + 6))


# Fresh ---------------------------------------------------------------------------------------------------------------


def test_a_fresh_registration_takes_what_is_new_or_in_which_nothing_was_saved() -> None:
    world = World()

    for attempt_id, epoch in (("first", 1), ("first", 1), ("second", 2)):
        reply = world.ask(RegisterInstance(attempt_id=attempt_id, fresh=True))

        assert reply == InstanceRegistered(epoch=epoch, resumed=False)


@pytest.mark.parametrize(
    "command",
    [SaveCheckpoint(checkpoint_id="one", state=b""), CompleteInstance(output=b"done"), FailInstance(error="")],
)
def test_a_fresh_registration_is_refused_where_something_was_done_and_fences_nobody(command: Command) -> None:
    world = unmanaged()
    world.tell(command)
    before = world.row

    with pytest.raises(AlreadyExists, match="already: use another id, or go on with it"):
        world.ask(RegisterInstance(attempt_id="fresh", fresh=True))

    assert world.row == before


def test_a_fresh_registration_is_refused_for_what_is_launched() -> None:
    world = started()

    with pytest.raises(AlreadyExists):
        world.ask(RegisterInstance(attempt_id="fresh", fresh=True))

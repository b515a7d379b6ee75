import pytest
from msgspec.structs import replace

from runtara.actors.instance import Arm, Stop, Untrack
from runtara.errors import (
    InstanceCancelled,
    InstancePaused,
    InstanceShutdown,
    InvalidInput,
    InvalidState,
)
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    Acknowledged,
    CheckpointFound,
    CheckpointSaved,
    Command,
    CompleteInstance,
    CrashInstance,
    GetCheckpoint,
    RecordEvent,
    RecordRetry,
    RegisterInstance,
    SaveCheckpoint,
    SaveCheckpoints,
    SignalKind,
    Sleep,
    SleepStarted,
    StartInstance,
    SuspendInstance,
    TakeSignal,
)
from tests.actors.world import NOW, World, managed, unmanaged

SAVE = SaveCheckpoint(checkpoint_id="a", state=b"1")
NAP = Sleep(checkpoint_id="nap", state=b"tired", duration_ms=1_000, park=True)


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_a_new_checkpoint_is_stored_with_its_attempt_and_time() -> None:
    world = unmanaged()
    world.now += 5

    reply = world.tell(SAVE)

    stored = world.rows.checkpoints["a"]
    assert reply == CheckpointSaved(found=False)
    assert (stored.state, stored.epoch, stored.created_at, stored.wake_at) == (b"1", 1, NOW + 5, None)
    assert (world.row.checkpoint_id, world.row.heartbeat_at) == ("a", NOW + 5)
    assert world.effects == ()


def test_a_save_that_is_sent_again_gets_the_answer_that_was_lost() -> None:
    world = unmanaged()
    save = replace(SAVE, request=7)
    first = world.tell(save)

    again = world.tell(save)

    assert again == first == CheckpointSaved(found=False)
    assert (world.saved, world.rows.checkpoints["a"].request) == (None, 7)


@pytest.mark.parametrize("request_number", [None, 8])
def test_another_save_under_the_same_id_finds_the_checkpoint(request_number: int | None) -> None:
    world = unmanaged()
    world.tell(replace(SAVE, request=7))

    assert world.tell(replace(SAVE, request=request_number)) == CheckpointSaved(found=True, state=b"1")


def test_the_next_attempt_finds_the_checkpoint_whatever_number_it_gives_to_its_save() -> None:
    world = unmanaged()
    world.tell(replace(SAVE, request=7))
    world.ask(RegisterInstance(attempt_id="second"))

    assert world.tell(replace(SAVE, request=7)) == CheckpointSaved(found=True, state=b"1")


def test_a_new_checkpoint_is_progress_and_a_known_one_is_not() -> None:
    world = managed()
    world.tell(SAVE)
    world.ask(CrashInstance(epoch=1, error="exit 1"))
    world.wake()
    world.tell(RegisterInstance(attempt_id="second"))

    world.tell(SAVE)
    before = world.row.losses
    world.tell(replace(SAVE, checkpoint_id="b"))

    assert (before, world.row.losses) == (1, 0)


def test_the_first_write_wins() -> None:
    world = unmanaged()
    world.tell(SAVE)

    reply = world.tell(SaveCheckpoint(checkpoint_id="a", state=b"2"))

    assert reply == CheckpointSaved(found=True, state=b"1")
    assert world.saved is None


def test_several_that_are_handed_in_are_saved_in_their_order_with_one_commit() -> None:
    world = unmanaged()
    commits = world.row.version

    reply = world.tell(SaveCheckpoints(checkpoints=(("b", b"2"), ("a", b"1"))))

    assert reply == Acknowledged(Status.RUNNING)
    assert [(one.checkpoint_id, one.state, one.epoch) for one in world.rows.checkpoints.values()] == [
        ("b", b"2", 1),
        ("a", b"1", 1),
    ]
    assert (world.row.version, world.row.checkpoint_id) == (commits + 1, "a")


def test_what_was_handed_in_and_is_sent_again_is_saved_once() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoints(checkpoints=(("a", b"1"),)))

    world.tell(SaveCheckpoints(checkpoints=(("a", b"1"), ("b", b""))))

    assert [(one.checkpoint_id, one.state) for one in world.rows.checkpoints.values()] == [("a", b"1"), ("b", b"")]


def test_nothing_is_saved_of_what_is_handed_in_where_an_id_has_another_state() -> None:
    world = unmanaged()
    world.tell(SAVE)

    with pytest.raises(InvalidState, match="checkpoint 'a' exists with another state"):
        world.tell(SaveCheckpoints(checkpoints=(("b", b"2"), ("a", b"2"))))

    assert list(world.rows.checkpoints) == ["a"]


def test_an_empty_state_is_not_an_absent_one() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b""))

    assert world.tell(SAVE) == CheckpointSaved(found=True, state=b"")
    assert world.ask(GetCheckpoint(checkpoint_id="a")) == CheckpointFound(found=True, state=b"")
    assert world.ask(GetCheckpoint(checkpoint_id="b")) == CheckpointFound(found=False)


def test_a_later_attempt_finds_what_an_earlier_one_has_saved() -> None:
    world = unmanaged()
    world.tell(SAVE)
    world.ask(RegisterInstance(attempt_id="second"))

    assert world.tell(SaveCheckpoint(checkpoint_id="a", state=b"2")) == CheckpointSaved(found=True, state=b"1")


def test_a_pending_instance_takes_no_checkpoint() -> None:
    world = World()
    world.ask(StartInstance(program="ship"))

    with pytest.raises(InvalidState, match="is pending"):
        world.tell(SAVE)


def test_a_checkpoint_tells_the_oldest_signal_to_the_instance_and_a_cancel_before_all() -> None:
    world = unmanaged()
    world.send("custom", name="other")
    world.send("pause", "s-pause")
    world.send("shutdown", "s-shutdown")

    first = world.tell(SAVE)
    world.send("cancel", "s-cancel")
    again = world.tell(SAVE)

    assert isinstance(first, CheckpointSaved)
    assert isinstance(again, CheckpointSaved)
    assert first.signal == world.rows.signals["s-pause"]
    assert again.signal == world.rows.signals["s-cancel"]


@pytest.mark.parametrize(
    ("kind", "error"), [("pause", InstancePaused), ("shutdown", InstanceShutdown), ("cancel", InstanceCancelled)]
)
@pytest.mark.parametrize("found", [False, True])
def test_no_checkpoint_is_accepted_after_an_acknowledged_signal(
    kind: SignalKind, error: type[Exception], found: bool
) -> None:
    world = unmanaged()
    if found:
        world.tell(SAVE)
    world.send(kind)
    world.acknowledge(kind)

    with pytest.raises(error):
        world.tell(SAVE)


def test_no_checkpoint_is_accepted_from_a_program_that_suspended_itself() -> None:
    world = unmanaged()
    world.tell(SuspendInstance())

    with pytest.raises(InvalidState, match="register or resume it first"):
        world.tell(SAVE)


# Checkpoints that take a signal --------------------------------------------------------------------------------------


def test_a_checkpoint_takes_a_custom_signal_of_its_name_in_the_same_save() -> None:
    world = unmanaged()
    world.send("custom", "s", name="a")

    reply = world.tell(SAVE)

    assert reply == CheckpointSaved(found=False, custom_signal=world.rows.signals["s"])
    assert world.rows.signals["s"].acknowledged_at == NOW
    wait = world.rows.waits["a"]
    assert (wait.name, wait.signal_id, wait.started_at, wait.ended_at) == ("a", "s", NOW, NOW)
    assert world.row.version == 3


def test_a_replayed_checkpoint_sees_the_same_signal_again() -> None:
    world = unmanaged()
    world.send("custom", "s", name="a")
    first = world.tell(SAVE)
    world.send("custom", "later", name="a")
    world.ask(RegisterInstance(attempt_id="second"))
    world.now += 5

    again = world.tell(SAVE)

    assert isinstance(first, CheckpointSaved)
    assert again == CheckpointSaved(found=True, state=b"1", custom_signal=first.custom_signal)
    assert world.saved is None


def test_a_signal_that_comes_after_the_checkpoint_is_bound_by_its_next_replay() -> None:
    world = unmanaged()
    world.tell(SAVE)
    world.send("custom", "s", name="a")

    reply = world.tell(SAVE)

    assert reply == CheckpointSaved(found=True, state=b"1", custom_signal=world.rows.signals["s"])


def test_a_checkpoint_ends_an_open_wait_of_its_own_name() -> None:
    world = unmanaged()
    world.tell(TakeSignal(name="a", place="a", timeout_ms=100))
    world.send("custom", "s", name="a")

    world.tell(SAVE)

    wait = world.rows.waits["a"]
    assert (wait.signal_id, wait.deadline_at) == ("s", NOW + 100)


def test_a_checkpoint_leaves_a_place_alone_that_waits_for_another_signal() -> None:
    world = unmanaged()
    world.tell(TakeSignal(name="other", place="a", timeout_ms=100))
    world.send("custom", "s", name="a")

    assert world.tell(SAVE) == CheckpointSaved(found=False)


def test_a_checkpoint_does_not_see_what_another_wait_at_its_place_took() -> None:
    world = unmanaged()
    world.send("custom", "s", name="other")
    world.tell(TakeSignal(name="other", place="a"))

    assert world.tell(SAVE) == CheckpointSaved(found=False)


def test_a_checkpoint_whose_place_timed_out_takes_no_signal_any_more() -> None:
    world = unmanaged()
    world.tell(TakeSignal(name="a", place="a", timeout_ms=0))
    world.send("custom", "s", name="a")

    assert world.tell(SAVE) == CheckpointSaved(found=False)


# Sleeps --------------------------------------------------------------------------------------------------------------


def test_a_sleep_stores_its_absolute_deadline_once() -> None:
    world = unmanaged()
    first = world.tell(Sleep(checkpoint_id="nap", state=b"tired", duration_ms=1_000))
    world.now += 400

    again = world.tell(Sleep(checkpoint_id="nap", state=b"awake", duration_ms=9_000))

    assert first == SleepStarted(wake_at=NOW + 1_000, remaining_ms=1_000, found=False)
    assert again == SleepStarted(wake_at=NOW + 1_000, remaining_ms=600, found=True, state=b"tired")
    assert world.saved is None
    assert world.row.status is Status.RUNNING


def test_a_sleep_until_an_instant_keeps_that_instant() -> None:
    reply = unmanaged().tell(Sleep(checkpoint_id="nap", until=NOW + 70))

    assert reply == SleepStarted(wake_at=NOW + 70, remaining_ms=70, found=False)


def test_a_clock_that_was_set_back_moves_no_deadline() -> None:
    world = unmanaged()
    world.tell(Sleep(checkpoint_id="nap", duration_ms=1_000))
    world.now -= 500

    reply = world.tell(Sleep(checkpoint_id="nap", duration_ms=1_000))

    assert reply == SleepStarted(wake_at=NOW + 1_000, remaining_ms=1_500, found=True, state=b"")


def test_a_sleep_that_is_over_has_nothing_left() -> None:
    world = unmanaged()
    world.tell(Sleep(checkpoint_id="nap", duration_ms=1_000))
    world.now += 5_000

    reply = world.tell(NAP)

    assert reply == SleepStarted(wake_at=NOW + 1_000, remaining_ms=0, found=True, state=b"")
    assert world.row.status is Status.RUNNING


def test_a_sleep_on_a_plain_checkpoint_is_over_at_once() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="nap", state=b"1"))

    assert world.tell(NAP) == SleepStarted(wake_at=NOW, remaining_ms=0, found=True, state=b"1")


@pytest.mark.parametrize(
    "sleep", [Sleep(checkpoint_id="nap"), Sleep(checkpoint_id="nap", duration_ms=1, until=NOW + 1)]
)
def test_a_sleep_has_exactly_one_end(sleep: Sleep) -> None:
    with pytest.raises(InvalidInput, match="exactly one"):
        unmanaged().tell(sleep)


def test_a_sleep_tells_a_pending_signal() -> None:
    world = unmanaged()
    world.send("pause", "s")

    reply = world.tell(Sleep(checkpoint_id="nap", duration_ms=1))

    assert isinstance(reply, SleepStarted)
    assert reply.signal == world.rows.signals["s"]


def test_a_parked_sleep_suspends_the_instance_until_its_deadline() -> None:
    world = managed()

    reply = world.tell(NAP)

    assert reply == SleepStarted(wake_at=NOW + 1_000, remaining_ms=1_000, found=False, parked=True)
    assert (world.row.status, world.row.wake_at) == (Status.SUSPENDED, NOW + 1_000)
    assert world.row.termination_reason is TerminationReason.SLEEPING
    assert world.effects == (Untrack(), Stop(1, "leave"), Arm(NOW + 1_000))
    assert (world.rows.events[-1].type, world.rows.events[-1].checkpoint_id) == ("slept", "nap")


@pytest.mark.parametrize("park", [False, True])
def test_a_sleep_that_is_sent_again_gets_the_answer_that_was_lost(park: bool) -> None:
    world = managed()
    nap = replace(NAP, park=park, request=7)
    first = world.tell(nap)

    again = world.tell(nap)

    assert again == first == SleepStarted(wake_at=NOW + 1_000, remaining_ms=1_000, found=False, parked=park)
    assert world.saved is None


def test_another_sleep_under_the_same_id_finds_it() -> None:
    world = unmanaged()
    world.tell(replace(NAP, park=False, request=7))

    reply = world.tell(replace(NAP, park=False, request=8))

    assert reply == SleepStarted(wake_at=NOW + 1_000, remaining_ms=1_000, found=True, state=b"tired")


def test_a_parked_program_that_registers_by_itself_is_not_armed() -> None:
    world = unmanaged()

    world.tell(NAP)

    assert world.row.wake_at == NOW + 1_000
    assert world.effects == (Untrack(),)


def test_a_parked_sleep_that_is_sent_again_is_parked_still() -> None:
    world = managed()
    world.tell(NAP)

    reply = world.tell(NAP)

    assert reply == SleepStarted(wake_at=NOW + 1_000, remaining_ms=1_000, found=True, state=b"tired", parked=True)
    assert world.saved is None


def test_a_suspended_instance_begins_no_other_sleep() -> None:
    world = managed()
    world.tell(Sleep(checkpoint_id="other", duration_ms=500))
    world.tell(NAP)

    for other in ("other", "new"):
        with pytest.raises(InvalidState):
            world.tell(Sleep(checkpoint_id=other, duration_ms=1, park=True))


def test_a_sleep_goes_on_where_it_was_after_the_wake_up_of_a_resume() -> None:
    world = managed()
    world.tell(NAP)
    world.now += 300
    world.send("resume")
    world.tell(RegisterInstance(attempt_id="second"))

    reply = world.tell(NAP)

    assert reply == SleepStarted(wake_at=NOW + 1_000, remaining_ms=700, found=True, state=b"tired", parked=True)


def test_a_cancel_comes_before_a_parked_sleep() -> None:
    world = managed()
    world.send("cancel")

    with pytest.raises(InstanceCancelled):
        world.tell(NAP)

    assert world.row.status is Status.CANCELLED
    assert "nap" not in world.rows.checkpoints


# Retries and events --------------------------------------------------------------------------------------------------


def test_a_failed_try_is_counted_with_the_time_of_the_next() -> None:
    world = unmanaged()

    reply = world.tell(RecordRetry(checkpoint_id="a", attempt=1, error="busy", retry_after_ms=250))
    world.tell(RecordRetry(checkpoint_id="a", attempt=2))

    assert reply == Acknowledged(Status.RUNNING)
    first, second = world.rows.retries.values()
    assert (first.attempt, first.error, first.recorded_at, first.retry_at) == (1, "busy", NOW, NOW + 250)
    assert (second.attempt, second.error, second.retry_at) == (2, None, None)


def test_a_custom_event_is_one_line_of_the_audit_log() -> None:
    world = unmanaged()

    reply = world.tell(RecordEvent(subtype="note", payload=b"text"))

    line = world.rows.events[-1]
    assert reply == Acknowledged(Status.RUNNING)
    assert (line.type, line.subtype, line.payload, line.epoch, line.created_at) == ("custom", "note", b"text", 1, NOW)


def test_a_resting_program_may_still_write_into_the_audit_log() -> None:
    world = unmanaged()
    world.tell(SuspendInstance())

    assert world.tell(RecordEvent(subtype="bye")) == Acknowledged(Status.SUSPENDED)


@pytest.mark.parametrize("command", [RecordEvent(subtype="note"), RecordRetry(checkpoint_id="a", attempt=1)])
def test_a_finished_program_records_nothing_more(command: Command) -> None:
    world = unmanaged()
    world.tell(CompleteInstance())

    with pytest.raises(InvalidState):
        world.tell(command)


def test_a_note_that_is_sent_again_under_its_number_is_kept_once() -> None:
    world = unmanaged()
    note = RecordEvent(subtype="note", payload=b"1", request=3)

    first, again = world.tell(note), world.tell(note)
    world.tell(replace(note, request=4))
    world.tell(RecordEvent(subtype="note"))

    assert first == again == Acknowledged(Status.RUNNING)
    assert [(event.request, event.payload) for event in world.rows.events if event.type == "custom"] == [
        (3, b"1"),
        (4, b"1"),
        (None, b""),
    ]

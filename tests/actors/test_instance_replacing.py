"""An instance that comes into the place of another one with its id: nothing of that is left but the count of epochs."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runtara.actors._instance_case import ORIGIN
from runtara.actors.instance import Arm, Disarm, Stop, Track, Untrack, derive, needs_of
from runtara.errors import AlreadyExists, Fenced, InvalidInput, NotFound, RuntaraError
from runtara.lifecycle import Status
from runtara.messages import (
    Call,
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
    RecordEvent,
    RecordRetry,
    RecordUsage,
    RegisterInstance,
    SaveCheckpoint,
    Sleep,
    StartInstance,
    TakeSignal,
)
from tests.actors.world import KEY, World, managed, unmanaged


def lived(world: World) -> World:
    """One with something of everything."""
    world.tell(SaveCheckpoint(checkpoint_id="step", state=b"old", request=1))
    world.tell(RecordRetry(checkpoint_id="step", attempt=1, error="old"))
    world.tell(RecordEvent(subtype="old", payload=b"old", request=2))
    world.tell(TakeSignal(name="go", place="here", timeout_ms=0))
    world.send("custom", name="late")
    return world


def ended(command: Any) -> Callable[[], World]:
    def make() -> World:
        world = lived(unmanaged())
        world.tell(command)
        return world

    return make


def cancelled() -> World:
    world = lived(unmanaged())
    world.send("cancel")
    world.acknowledge("cancel")
    return world


def sleeping() -> World:
    world = lived(managed())
    world.tell(Sleep(checkpoint_id="nap", duration_ms=60_000, park=True))
    return world


def pending() -> World:
    world = World()
    world.ask(StartInstance(program="ship", input=b"old"))
    return world


OLD: dict[str, Callable[[], World]] = {
    "pending": pending,
    "running": lambda: lived(unmanaged()),
    "launched": lambda: lived(managed()),
    "sleeping": sleeping,
    "completed": ended(CompleteInstance(output=b"old")),
    "failed": ended(FailInstance(error="old")),
    "cancelled": cancelled,
}
every_status = pytest.mark.parametrize("make", OLD.values(), ids=OLD)

START = StartInstance(program="fly", input=b"new", env={"NEW": "1"}, priority=3, replace=True, request_id="r")
REGISTER = RegisterInstance(attempt_id="new", replace=True)


def says_what_it_replaced(world: World) -> dict[str, Any]:
    line = world.rows.events[0]
    assert (line.type, line.subtype, line.epoch) == ("created", "replaced", world.row.epoch)
    said: dict[str, Any] = msgspec.json.decode(line.payload or b"")
    return said


@every_status
def test_a_start_replaces_an_instance_of_any_status(make: Callable[[], World]) -> None:
    world = make()
    old = world.row

    reply = world.ask(START)

    assert reply == InstanceStarted(instance_id=KEY.instance_id, status=Status.PENDING, created=True)
    assert (world.row.epoch, world.row.version) == (old.epoch + 1, old.version + 1)
    assert (world.row.program, world.row.priority, world.row.wake_at) == ("fly", 3, world.now)
    assert (world.rows.input, world.rows.env, world.rows.output) == (b"new", {"NEW": "1"}, None)
    assert (world.rows.checkpoints, world.rows.signals, world.rows.waits, world.rows.retries) == ({}, {}, {}, {})
    assert says_what_it_replaced(world) == {"request_id": "r", "status": old.status, "epoch": old.epoch}


@every_status
def test_a_program_that_registers_replaces_an_instance_of_any_status(make: Callable[[], World]) -> None:
    world = make()
    old = world.row

    reply = world.ask(REGISTER)

    assert reply == InstanceRegistered(epoch=old.epoch + 1, resumed=False)
    assert (world.row.status, world.row.program, world.row.claimed_epoch) == (Status.RUNNING, None, None)
    assert world.row.version == old.version + 1
    assert (world.rows.input, world.rows.checkpoints, world.rows.signals) == (None, {}, {})
    assert world.audit == ["created", "registered"]
    assert says_what_it_replaced(world) == {"request_id": "new", "status": old.status, "epoch": old.epoch}


@every_status
@pytest.mark.parametrize("command", [START, REGISTER], ids=["start", "register"])
def test_no_attempt_of_the_old_one_is_taken_for_one_of_the_new_one(make: Callable[[], World], command: Any) -> None:
    world = make()
    old = world.row.epoch
    world.ask(command)

    for late in (
        SaveCheckpoint(checkpoint_id="late", state=b"late"),
        RecordEvent(subtype="late"),
        CompleteInstance(output=b"late"),
        Heartbeat(),
        RegisterInstance(attempt_id="first"),
    ):
        with pytest.raises(Fenced):
            world.ask(late, old)
    world.ask(CrashInstance(epoch=old, error="late"))

    assert world.row.epoch == old + 1
    assert (world.rows.checkpoints, "crashed" in world.audit) == ({}, False)


def test_the_process_of_the_old_one_is_stopped_before_the_new_one_is_due() -> None:
    world = managed()

    world.ask(START)

    assert world.effects == (Untrack(), Stop(1, "ask"), Arm(world.now))
    assert derive(world.state) == (Untrack(), Stop(1, "leave"), Arm(world.now))


def test_the_process_of_the_old_one_is_stopped_before_a_program_that_registers_goes_on() -> None:
    world = managed()

    world.ask(REGISTER)

    assert world.effects == (Untrack(), Stop(1, "ask"), Track(2))


@pytest.mark.parametrize("epoch", [None, 2])
def test_a_program_that_is_faster_than_the_launch_of_the_new_one_has_nothing_of_the_old_process(
    epoch: int | None,
) -> None:
    world = managed()
    world.ask(START)

    world.ask(RegisterInstance(attempt_id="fast"), epoch)

    assert (world.row.status, world.row.epoch, world.row.claimed_epoch) == (Status.RUNNING, 3, None)
    assert world.effects == (Disarm(), Track(3))


def test_one_that_sleeps_is_not_woken_any_more() -> None:
    world = sleeping()

    world.ask(REGISTER)

    assert world.effects == (Untrack(), Disarm(), Stop(1, "ask"), Track(2))
    assert world.row.wake_at is None


def test_the_new_one_is_launched_under_an_epoch_of_its_own_and_lives_like_any_other() -> None:
    world = sleeping()
    world.ask(START)

    world.wake()
    reply = world.tell(RegisterInstance(attempt_id="next"))
    world.tell(SaveCheckpoint(checkpoint_id="step", state=b"new"))
    world.tell(CompleteInstance(output=b"done"))

    assert reply == InstanceRegistered(epoch=3, resumed=False)
    assert world.rows.checkpoints["step"].state == b"new"
    assert world.audit == ["created", "woken", "registered", "completed"]
    info = world.ask(GetStatus())
    assert isinstance(info, InstanceInfo)
    assert (info.status, info.output, info.checkpoint_count, info.epoch) == (Status.COMPLETED, b"done", 1, 3)
    assert world.ask(GetInput()) == InputFound(b"new")


def test_what_an_attempt_of_the_old_one_has_used_is_not_written_into_the_log_of_the_new_one() -> None:
    world = managed()
    world.ask(START)
    world.wake()

    for epoch in (1, 3):
        world.ask(RecordUsage(epoch=epoch, exit_code=0, memory_peak=1, cpu_seconds=1.0))

    assert [(line.type, line.epoch) for line in world.rows.events[1:]] == [("woken", 3), ("usage", 3)]


def test_a_signal_that_the_old_one_was_sent_is_a_new_one_to_the_new_one() -> None:
    world = unmanaged()
    world.send("pause", "s")
    world.send("cancel", "c")

    world.ask(REGISTER)
    world.send("pause", "s")

    assert [(signal.signal_id, signal.seq) for signal in world.state.signals] == [("s", 1)]


def test_no_two_of_one_id_begin_in_the_same_moment() -> None:
    world = unmanaged()
    begun = [world.row.created_at]
    for number in range(3):
        world.ask(RegisterInstance(attempt_id=f"a{number}", replace=True))
        begun.append(world.row.created_at)

    assert begun == sorted(set(begun))


# Sent again -----------------------------------------------------------------------------------------------------------


@every_status
def test_a_start_that_is_sent_again_replaces_once(make: Callable[[], World]) -> None:
    world = make()
    world.ask(START)
    world.wake()
    world.tell(RegisterInstance(attempt_id="next"))
    world.tell(SaveCheckpoint(checkpoint_id="step", state=b"new"))

    reply = world.ask(START)

    assert reply == InstanceStarted(instance_id=KEY.instance_id, status=Status.RUNNING, created=False)
    assert list(world.rows.checkpoints) == ["step"]


def test_a_start_of_which_nothing_was_told_again_is_another_one() -> None:
    world = pending()
    commands = [StartInstance(program="ship", replace=True) for _ in range(2)]

    replies = [world.ask(command) for command in commands]

    assert [reply.created for reply in replies if isinstance(reply, InstanceStarted)] == [True, True]
    assert commands[0].request_id != commands[1].request_id


def test_a_start_that_says_something_else_under_the_same_request_is_refused() -> None:
    world = pending()
    world.ask(START)

    with pytest.raises(AlreadyExists):
        world.ask(StartInstance(program="swim", replace=True, request_id="r"))


@every_status
def test_a_registration_that_is_sent_again_replaces_once(make: Callable[[], World]) -> None:
    world = make()
    first = world.ask(REGISTER)
    world.tell(SaveCheckpoint(checkpoint_id="step", state=b"new"))

    again = world.ask(REGISTER)

    assert isinstance(first, InstanceRegistered)
    assert isinstance(again, InstanceRegistered)
    assert (again.epoch, again.checkpoint_id) == (first.epoch, "step")


@pytest.mark.parametrize("make", [World, unmanaged], ids=["new", "replaced"])
def test_a_registration_that_comes_late_takes_nothing_from_who_came_after_it(make: Callable[[], World]) -> None:
    world = make()
    world.ask(REGISTER)
    world.ask(RegisterInstance(attempt_id="newer"))
    world.tell(SaveCheckpoint(checkpoint_id="step", state=b"newer"))

    reply = world.ask(REGISTER)

    assert isinstance(reply, InstanceRegistered)
    assert (reply.resumed, list(world.rows.checkpoints)) == (True, ["step"])


@pytest.mark.parametrize("command", [START, REGISTER], ids=["start", "register"])
def test_where_there_is_nothing_a_new_instance_begins(command: Any) -> None:
    world = World()

    world.ask(command)
    world.ask(command)

    assert world.row.epoch in (0, 1)
    assert (world.rows.events[0].type, world.rows.events[0].subtype) == ("created", None)
    assert world.audit.count("created") == 1


# In one commit --------------------------------------------------------------------------------------------------------


def test_what_happened_to_the_old_one_in_the_same_burst_is_not_stored() -> None:
    world = unmanaged()
    assert needs_of(world.state, Call(KEY, REGISTER)) == (ORIGIN,)
    burst = [Call(KEY, SaveCheckpoint(checkpoint_id=f"c{number}", state=b""), 1) for number in range(2)]

    world.ask_burst([*burst, Call(KEY, REGISTER), Call(KEY, SaveCheckpoint(checkpoint_id="new", state=b""), 2)])

    assert list(world.rows.checkpoints) == ["new"]
    assert world.audit == ["created", "registered"]


def test_an_instance_that_begins_and_is_replaced_in_one_burst_is_new() -> None:
    world = World()

    world.ask_burst([Call(KEY, RegisterInstance(attempt_id="first")), Call(KEY, REGISTER)])

    assert (world.row.epoch, world.audit) == (2, ["created", "registered"])


# Refusals -------------------------------------------------------------------------------------------------------------


def test_an_attempt_does_not_replace_its_own_instance() -> None:
    world = lived(managed())
    before = world.row

    with pytest.raises(InvalidInput, match="goes on with it"):
        world.tell(REGISTER)
    with pytest.raises(Fenced):
        world.ask(REGISTER, 0)

    assert world.row == before


def test_whoever_replaces_has_no_checkpoint_to_go_on_from() -> None:
    world = lived(unmanaged())

    with pytest.raises(NotFound, match="step"):
        world.ask(RegisterInstance(attempt_id="new", checkpoint_id="step", replace=True))

    assert list(world.rows.checkpoints) == ["step"]


def test_without_a_word_of_replacing_nothing_is_replaced() -> None:
    world = ended(CompleteInstance(output=b"old"))()

    for command in (StartInstance(program="fly"), RegisterInstance(attempt_id="new")):
        with pytest.raises(RuntaraError):
            world.ask(command)

    assert world.row.status is Status.COMPLETED

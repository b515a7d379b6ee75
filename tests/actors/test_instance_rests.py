import pytest

from runtara.actors.instance import Arm, Stop, Untrack
from runtara.errors import InstancePaused, InvalidState
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    Acknowledged,
    AwaitedSignal,
    CompleteInstance,
    FinishInstance,
    RecordEvent,
    RestInstance,
    SaveCheckpoint,
    Sleep,
    StepResult,
    SuspendInstance,
)
from tests.actors.world import NOW, World, managed, unmanaged

RESULTS = (StepResult(checkpoint_id="a", state=b"1"),)

DELAY = RestInstance(results=RESULTS, subtype="why", payload=b"p", checkpoint_id="nap", duration_ms=50)
UNTIL = RestInstance(results=RESULTS, subtype="why", payload=b"p", wake_at=NOW + 50)
FINISH = FinishInstance(results=RESULTS, output=b"done")


def told(world: World, subtype: str = "why") -> int:
    """Return how often an event of the program's was written."""
    return sum(event.subtype == subtype for event in world.rows.events)


# To rest -------------------------------------------------------------------------------------------------------------


def test_a_delay_is_one_change_with_what_was_done_and_why_it_rests() -> None:
    world = managed()
    version = world.row.version

    reply = world.tell(DELAY)

    assert reply == Acknowledged(Status.SUSPENDED)
    assert world.row.version == version + 1
    assert (world.row.wake_at, world.row.termination_reason) == (NOW + 50, TerminationReason.SLEEPING)
    assert {name: row.state for name, row in world.rows.checkpoints.items()} == {"a": b"1", "nap": b""}
    assert world.rows.checkpoints["nap"].wake_at == NOW + 50
    assert told(world) == 1
    assert world.effects == (Untrack(), Stop(1), Arm(NOW + 50))


@pytest.mark.parametrize("commands", [(DELAY,), (UNTIL,)], ids=["delay", "until"])
def test_it_stores_what_its_parts_would_have_stored_one_by_one(commands: tuple[RestInstance]) -> None:
    command = commands[0]
    one, at_once = managed(), managed()
    one.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))
    one.tell(RecordEvent(subtype="why", payload=b"p"))
    parked = Sleep(checkpoint_id="nap", duration_ms=50, park=True)
    one.tell(SuspendInstance(wake_at=NOW + 50) if command.checkpoint_id is None else parked)

    at_once.tell(command)

    assert at_once.rows.checkpoints == one.rows.checkpoints
    assert at_once.rows.events == one.rows.events
    assert (at_once.row.status, at_once.row.wake_at) == (one.row.status, one.row.wake_at)
    assert at_once.row.termination_reason is one.row.termination_reason
    assert at_once.effects == one.effects


@pytest.mark.parametrize("command", [DELAY, UNTIL], ids=["delay", "until"])
def test_sent_again_while_it_rests_it_changes_nothing_and_is_answered_alike(command: RestInstance) -> None:
    world = managed()
    first = world.tell(command)
    world.now += 10

    again = world.tell(command)

    assert again == first
    assert world.saved is None


def test_a_delay_ends_when_it_was_to_end_the_first_time() -> None:
    world = managed()
    world.tell(Sleep(checkpoint_id="nap", duration_ms=30))
    world.now += 10

    world.tell(DELAY)

    assert world.row.wake_at == NOW + 30


@pytest.mark.parametrize("passed", [50, 51])
def test_where_the_delay_is_over_it_goes_on_and_what_was_done_is_saved(passed: int) -> None:
    world = managed()
    world.tell(Sleep(checkpoint_id="nap", duration_ms=50))
    world.now += passed

    reply = world.tell(DELAY)

    assert reply == Acknowledged(Status.RUNNING)
    assert world.rows.checkpoints["a"].state == b"1"
    assert told(world) == 0


def test_a_delay_under_the_id_of_a_plain_checkpoint_is_none() -> None:
    world = managed()
    world.tell(SaveCheckpoint(checkpoint_id="nap", state=b"s"))

    assert world.tell(DELAY) == Acknowledged(Status.RUNNING)


def test_it_rests_until_a_signal_that_it_names_and_not_at_all_where_that_has_come() -> None:
    world, awaits = managed(), (AwaitedSignal(name="go", place="p"),)
    world.tell(RestInstance(subtype="why", awaits=awaits))
    late = managed()
    late.send("custom", "s", name="go")

    late.tell(RestInstance(results=RESULTS, subtype="why", awaits=awaits))

    assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.WAITING_SIGNAL, None)
    assert (late.row.status, late.row.wake_at) == (Status.SUSPENDED, NOW)
    assert late.rows.checkpoints["a"].state == b"1"


@pytest.mark.parametrize("command", [DELAY, UNTIL], ids=["delay", "until"])
def test_a_cancel_that_pends_ends_it_and_what_was_done_is_saved(command: RestInstance) -> None:
    world = managed()
    world.send("cancel")

    reply = world.tell(command)

    assert reply == Acknowledged(Status.CANCELLED)
    assert world.rows.checkpoints["a"].state == b"1"


@pytest.mark.parametrize("command", [DELAY, UNTIL], ids=["delay", "until"])
def test_a_pause_that_pends_takes_hold(command: RestInstance) -> None:
    world = managed()
    world.send("pause")

    assert world.tell(command) == Acknowledged(Status.SUSPENDED)
    assert (world.row.termination_reason, world.row.wake_at) == (TerminationReason.PAUSED, None)
    assert world.rows.checkpoints["a"].state == b"1"
    with pytest.raises(InstancePaused):
        world.tell(DELAY)


@pytest.mark.parametrize("command", [DELAY, UNTIL, FINISH], ids=["delay", "until", "finish"])
def test_a_result_that_is_there_with_another_state_refuses_the_whole(command: RestInstance | FinishInstance) -> None:
    world = managed()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"2"))

    with pytest.raises(InvalidState, match="an id is written once"):
        world.tell(command)

    assert world.row.status is Status.RUNNING
    assert (list(world.rows.checkpoints), told(world)) == (["a"], 0)


@pytest.mark.parametrize("command", [DELAY, UNTIL, FINISH], ids=["delay", "until", "finish"])
def test_a_result_that_was_saved_before_stays_as_it_is(command: RestInstance | FinishInstance) -> None:
    world = managed()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1", request=7))

    world.tell(command)

    assert world.rows.checkpoints["a"].request == 7


# To finish -----------------------------------------------------------------------------------------------------------


def test_an_end_is_one_change_with_what_was_done() -> None:
    world = unmanaged()

    reply = world.tell(FINISH)

    assert reply == Acknowledged(Status.COMPLETED)
    assert world.row.version == 2
    assert (world.rows.output, world.rows.checkpoints["a"].state) == (b"done", b"1")


def test_an_end_stores_what_its_parts_would_have_stored_one_by_one() -> None:
    one, at_once = unmanaged(), unmanaged()
    one.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))
    one.tell(CompleteInstance(output=b"done"))

    at_once.tell(FINISH)

    assert at_once.rows.checkpoints == one.rows.checkpoints
    assert at_once.rows.events == one.rows.events
    assert at_once.effects == one.effects


def test_an_end_that_is_sent_again_is_one_end() -> None:
    world = unmanaged()
    world.tell(FINISH)

    assert world.tell(FINISH) == Acknowledged(Status.COMPLETED)
    assert world.saved is None


def test_a_cancel_that_pends_comes_before_the_end_and_what_was_done_is_saved() -> None:
    world = unmanaged()
    world.send("cancel")

    assert world.tell(FINISH) == Acknowledged(Status.CANCELLED)
    assert world.rows.output is None
    assert world.rows.checkpoints["a"].state == b"1"


def test_who_rests_has_not_finished() -> None:
    world = unmanaged()
    world.tell(SuspendInstance())

    with pytest.raises(InvalidState):
        world.tell(FINISH)

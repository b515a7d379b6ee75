import pytest

from runtara.actors._instance_replay import REPLAYED_MAX
from runtara.actors.instance import Need, needs_of
from runtara.messages import (
    Call,
    InstanceRegistered,
    KeptStep,
    RegisterInstance,
    Replay,
    SaveCheckpoint,
    Sleep,
    StartInstance,
    WakeInstance,
)
from runtara.store import SHORT_MAX_BYTES
from tests.actors.world import KEY, World, unmanaged

AGAIN = RegisterInstance(attempt_id="again", replay=True)


def started(data: bytes) -> World:
    """Return an instance with an input, which has registered as attempt 1."""
    world = World()
    world.ask(StartInstance(program="ship", input=data))
    world.ask(WakeInstance(due_at=world.now))
    world.ask(RegisterInstance(attempt_id="first"), epoch=1)
    return world


def told(world: World) -> Replay:
    """Register anew; return what that has told."""
    reply = world.ask(AGAIN)
    assert isinstance(reply, InstanceRegistered)
    assert reply.replay is not None
    return reply.replay


def test_an_attempt_that_does_not_ask_is_told_nothing() -> None:
    reply = unmanaged().ask(RegisterInstance(attempt_id="again"))

    assert isinstance(reply, InstanceRegistered)
    assert reply.replay is None


def test_a_new_instance_has_nothing_to_replay() -> None:
    assert told(World()) == Replay(steps=(), is_all=True)


def test_a_replay_is_told_the_input_the_steps_and_what_is_left_of_a_sleep() -> None:
    world = started(b"in")
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))
    world.tell(Sleep(checkpoint_id="over", duration_ms=10))
    world.tell(Sleep(checkpoint_id="nap", state=b"s", duration_ms=50))
    world.now += 20

    replay = told(world)

    assert replay == Replay(
        steps=(
            KeptStep(checkpoint_id="a", state=b"1"),
            KeptStep(checkpoint_id="over", state=b"", remaining_ms=0),
            KeptStep(checkpoint_id="nap", state=b"s", remaining_ms=30),
        ),
        is_all=True,
        input=b"in",
    )


def test_a_registration_that_is_sent_again_is_told_the_same() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))

    assert told(world) == told(world)


@pytest.mark.parametrize("length", [SHORT_MAX_BYTES, SHORT_MAX_BYTES + 1])
def test_what_is_not_short_is_left_to_be_asked_for(length: int) -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=bytes(length)))
    world.tell(SaveCheckpoint(checkpoint_id="b", state=b""))

    replay = told(world)

    assert replay.is_all == (length == SHORT_MAX_BYTES)
    assert [step.checkpoint_id for step in replay.steps] == (["a", "b"] if replay.is_all else ["b"])


def test_so_many_steps_are_told_and_no_more_are_read() -> None:
    world = unmanaged()
    for number in range(REPLAYED_MAX + 1):
        world.tell(SaveCheckpoint(checkpoint_id=f"s{number}", state=b""))

    needs = needs_of(world.state, Call(KEY, AGAIN))
    replay = told(world)

    assert [need.id for need in needs if need.kind == "short"] == [f"s{number}" for number in range(REPLAYED_MAX)]
    assert (len(replay.steps), replay.is_all) == (REPLAYED_MAX, False)


def test_of_an_instance_that_has_just_begun_nothing_is_read_but_an_input_that_is_not_known() -> None:
    begun, ours = started(b"in"), started(bytes(SHORT_MAX_BYTES + 1))

    assert needs_of(begun.state, Call(KEY, AGAIN)) == ()
    assert needs_of(ours.state, Call(KEY, AGAIN)) == (Need("input"),)

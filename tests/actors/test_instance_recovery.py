import pytest

from runtara.actors._instance_recovery import derive
from runtara.actors.instance import Arm, Disarm, Effect, Enforce, InstanceState, Launch, Stop, Track, Untrack
from runtara.messages import CompleteInstance, RegisterInstance, StartInstance, SuspendInstance
from tests.actors.world import KEY, NOW, World, claimed, managed, unmanaged


def started() -> World:
    world = World()
    world.ask(StartInstance(program="ship"))
    return world


def resting(world: World, wake_at: int | None) -> World:
    world.tell(SuspendInstance(wake_at=wake_at))
    return world


def done(world: World) -> World:
    world.tell(CompleteInstance())
    return world


def told(world: World, kind: str) -> World:
    world.send(kind)  # type: ignore[arg-type]  # the kinds below are kinds
    return world


def taken_over(world: World) -> World:
    world.ask(RegisterInstance(attempt_id="by hand"))
    return world


@pytest.mark.parametrize(
    ("world", "effects"),
    [
        (started(), (Untrack(), Arm(NOW))),
        (claimed(), (Disarm(), Track(1), Launch("ship", 1))),
        (claimed(timeout_ms=50), (Disarm(), Track(1), Launch("ship", 1, NOW + 50))),
        (managed(), (Disarm(), Track(1))),
        (told(managed(), "cancel"), (Disarm(), Track(1), Enforce(1))),
        (told(managed(), "shutdown"), (Disarm(), Track(1), Enforce(1))),
        (told(managed(), "pause"), (Disarm(), Track(1))),
        (taken_over(managed()), (Disarm(), Track(2))),
        (resting(managed(), NOW + 5), (Untrack(), Stop(1), Arm(NOW + 5))),
        (resting(managed(), None), (Untrack(), Stop(1), Disarm())),
        (done(managed()), (Untrack(), Stop(1), Disarm())),
        (unmanaged(), (Track(1),)),
        (resting(unmanaged(), NOW + 5), (Untrack(),)),
        (done(unmanaged()), (Untrack(),)),
    ],
)
def test_everything_that_an_instance_needs_follows_from_what_is_stored(
    world: World, effects: tuple[Effect, ...]
) -> None:
    assert derive(InstanceState.from_snapshot(KEY, world.rows.snapshot())) == effects


def test_what_does_not_exist_needs_nothing() -> None:
    assert derive(InstanceState.from_snapshot(KEY, None)) == ()


def test_a_claim_that_is_told_again_is_the_launch_that_was_decided() -> None:
    world = managed(timeout_ms=5_000)
    world.now += 1_000
    world.tell(SuspendInstance(wake_at=NOW + 60_000))
    world.wake()

    launch = next(effect for effect in world.effects if isinstance(effect, Launch))
    world.now += 9

    assert launch in derive(world.state)

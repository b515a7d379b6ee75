"""Forks: what a new instance takes over, and that the source is never changed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from runtara.actors.instance import Arm, Source
from runtara.errors import AlreadyExists, InstanceNotFound, NotFound, RuntaraError, StoreCorrupt
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    Call,
    CompleteInstance,
    FailInstance,
    ForkInstance,
    GetCheckpoint,
    GetInput,
    GetStatus,
    InstanceStarted,
    ListCheckpoints,
    ListEvents,
    RegisterInstance,
    SaveCheckpoint,
    SendSignal,
    StartInstance,
    TakeSignal,
)
from runtara.store import Copies, LoadError
from tests.actors.stage import Stage, WatchedStore, open_stage
from tests.actors.world import KEY, NOW, World, managed, unmanaged

SOURCE = "order-6"


def fork_of(source: World) -> World:
    """A world in which the source is another instance."""
    world = World()
    world.others[SOURCE] = source
    return world


def with_checkpoints(source: World, *names: str) -> World:
    for name in names:
        source.tell(SaveCheckpoint(checkpoint_id=name, state=name.encode()))
    return source


# What is decided ------------------------------------------------------------------------------------------------------


def test_a_fork_takes_over_what_the_source_was_started_with_and_is_due_at_once() -> None:
    source = World()
    source.ask(
        StartInstance(program="ship", input=b"in", env={"A": "1"}, timeout_ms=9, priority=3, resources={"cpu": 2})
    )
    world = fork_of(source)

    reply = world.ask(ForkInstance(source=SOURCE))

    assert reply == InstanceStarted(instance_id=KEY.instance_id, status=Status.PENDING, created=True)
    assert (world.row.program, world.row.timeout_ms, world.row.priority, world.row.wake_at) == ("ship", 9, 3, NOW)
    assert (world.rows.input, world.rows.env) == (b"in", source.rows.env)
    assert (world.row.epoch, world.row.started_at, world.row.ran_ms) == (0, None, 0), "nobody has begun yet"
    assert world.effects == (Arm(NOW),)


def test_a_fork_has_all_checkpoints_of_its_source_or_those_up_to_one() -> None:
    source = with_checkpoints(managed(), "a", "b", "c")
    whole, cut = fork_of(source), fork_of(source)

    whole.ask(ForkInstance(source=SOURCE))
    cut.ask(ForkInstance(source=SOURCE, checkpoint_id="b"))

    assert whole.saved is not None
    assert cut.saved is not None
    assert whole.saved.copies == Copies(InstanceKey(KEY.tenant_id, SOURCE), None, source.row.created_at)
    assert cut.saved.copies == Copies(InstanceKey(KEY.tenant_id, SOURCE), "b", source.row.created_at)
    assert (whole.row.checkpoint_id, cut.row.checkpoint_id) == ("c", "b")
    assert (list(whole.rows.checkpoints), list(cut.rows.checkpoints)) == (["a", "b", "c"], ["a", "b"])


def test_the_attempts_of_a_fork_go_on_counting_since_the_first_one_means_to_a_program_that_nothing_is_there() -> None:
    world = fork_of(with_checkpoints(managed(), "a"))

    world.ask(ForkInstance(source=SOURCE))
    before = world.row.epoch
    world.wake()

    assert (before, world.row.epoch) == (1, 2)


def test_the_first_event_of_a_fork_says_where_it_comes_from() -> None:
    world = fork_of(with_checkpoints(managed(), "a", "b"))

    world.ask(ForkInstance(source=SOURCE, checkpoint_id="a", input=b"new"))

    event = world.rows.events[0]
    assert (event.type, event.subtype, event.checkpoint_id) == ("created", "forked", "a")
    assert msgspec.json.decode(event.payload or b"") == {"source": SOURCE, "checkpoint_id": "a", "new_input": True}


@pytest.mark.parametrize("input_", [b"", b"other"])
def test_a_fork_may_have_another_input(input_: bytes) -> None:
    world = fork_of(managed())

    world.ask(ForkInstance(source=SOURCE, input=input_))

    assert world.rows.input == input_


def test_a_fork_of_a_program_that_registers_by_itself_waits_for_that() -> None:
    world = fork_of(with_checkpoints(unmanaged(), "a"))

    world.ask(ForkInstance(source=SOURCE))
    effects = world.effects
    registered: Any = world.ask(RegisterInstance(attempt_id="me"))

    assert (effects, world.row.wake_at) == ((), None)
    assert (registered.resumed, registered.checkpoint_id, world.row.status) == (True, "a", Status.RUNNING)


@pytest.mark.parametrize(
    "same",
    [
        ForkInstance(source=SOURCE),
        ForkInstance(source=SOURCE, checkpoint_id="a"),
        ForkInstance(source=SOURCE, input=b"x"),
    ],
    ids=str,
)
def test_the_same_fork_twice_is_one_instance_whatever_became_of_it_and_its_source(same: ForkInstance) -> None:
    source = with_checkpoints(managed(), "a")
    world = fork_of(source)
    world.ask(same)
    with_checkpoints(source, "b")
    world.wake()

    again = world.ask(same)
    world.others.clear()
    without_source = world.ask(same)

    assert again == without_source == InstanceStarted(instance_id=KEY.instance_id, status=Status.RUNNING, created=False)
    assert world.saved is None


@pytest.mark.parametrize(
    "other",
    [
        ForkInstance(source="order-5", checkpoint_id="a", input=b"x"),
        ForkInstance(source=SOURCE, checkpoint_id="b", input=b"x"),
        ForkInstance(source=SOURCE, input=b"x"),
        ForkInstance(source=SOURCE, checkpoint_id="a", input=b"y"),
        ForkInstance(source=SOURCE, checkpoint_id="a"),
    ],
    ids=str,
)
def test_another_fork_under_the_same_id_is_a_conflict(other: ForkInstance) -> None:
    source = with_checkpoints(managed(), "a", "b")
    world = fork_of(source)
    world.others["order-5"] = source
    world.ask(ForkInstance(source=SOURCE, checkpoint_id="a", input=b"x"))

    with pytest.raises(AlreadyExists, match="use another id"):
        world.ask(other)


def test_an_instance_that_was_started_is_no_fork() -> None:
    world = managed()

    with pytest.raises(AlreadyExists, match="another one than this fork"):
        world.ask(ForkInstance(source=SOURCE))


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (ForkInstance(source="nobody"), InstanceNotFound("there is no instance 'nobody'")),
        (ForkInstance(source=KEY.instance_id), InstanceNotFound(f"there is no instance {KEY.instance_id!r}")),
        (ForkInstance(source=SOURCE, checkpoint_id="c"), NotFound(f"instance {SOURCE!r} has no checkpoint 'c'")),
    ],
    ids=["source", "itself", "checkpoint"],
)
def test_a_fork_of_what_is_not_there_is_refused(command: ForkInstance, refusal: RuntaraError) -> None:
    world = fork_of(with_checkpoints(managed(), "a"))

    with pytest.raises(type(refusal), match=str(refusal)):
        world.ask(command)


def test_a_fork_of_what_cannot_be_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fork_of(managed())
    monkeypatch.setattr(world, "_read", lambda need: Source(LoadError("garbled"), None, {}))

    with pytest.raises(StoreCorrupt, match="verify the store"):
        world.ask(ForkInstance(source=SOURCE))


def test_whatever_comes_with_a_fork_in_one_burst_sees_what_was_copied() -> None:
    world = fork_of(with_checkpoints(unmanaged(), "a"))

    world.ask_burst(
        [
            Call(KEY, ForkInstance(source=SOURCE), None),
            Call(KEY, RegisterInstance(attempt_id="me"), None),
            Call(KEY, SaveCheckpoint(checkpoint_id="a", state=b"again"), 2),
        ]
    )

    _, registered, saved = world.replies
    assert registered.resumed  # type: ignore[attr-defined]  # the reply to a registration
    assert (saved.found, saved.state) == (True, b"a")  # type: ignore[attr-defined]  # the reply to a checkpoint


# In a whole system ----------------------------------------------------------------------------------------------------


async def run_to(stage: Stage, end: Callable[[Stage, int], Any], name: str = SOURCE) -> None:
    """Have the source register, find a signal, save two checkpoints, and come to an end."""
    await stage.ask(name, RegisterInstance(attempt_id="first"))
    await stage.ask(name, SendSignal(kind="custom", signal_id="s", name="go", payload=b"now"))
    await stage.ask(name, TakeSignal(name="go", place="p"), epoch=1)
    for checkpoint in ("a", "b"):
        await stage.ask(name, SaveCheckpoint(checkpoint_id=checkpoint, state=checkpoint.encode()), epoch=1)
    await end(stage, 1)


ENDS: dict[str, Callable[[Stage, int], Any]] = {
    "running": lambda stage, epoch: stage.ask(SOURCE, GetStatus()),
    "completed": lambda stage, epoch: stage.ask(SOURCE, CompleteInstance(output=b"done"), epoch),
    "failed": lambda stage, epoch: stage.ask(SOURCE, FailInstance(error="no"), epoch),
    "cancelled": lambda stage, epoch: _cancel(stage),
}


async def _cancel(stage: Stage) -> None:
    await stage.ask(SOURCE, SendSignal(kind="cancel", signal_id="c"))


@pytest.mark.parametrize("end", ENDS)
async def test_a_fork_sees_the_checkpoints_and_signals_that_its_source_has_found(
    end: str, autojump_clock: MockClock
) -> None:
    store = WatchedStore()
    async with open_stage(store) as stage:
        await run_to(stage, ENDS[end])
        before = await stage.ask(SOURCE, GetStatus())
        await stage.ask("fork", ForkInstance(source=SOURCE))
        await stage.ask("fork", RegisterInstance(attempt_id="fork"))
        found = await stage.ask("fork", GetCheckpoint(checkpoint_id="b"), epoch=2)
        taken = await stage.ask("fork", TakeSignal(name="go", place="p"), epoch=2)
        await stage.ask("fork", SaveCheckpoint(checkpoint_id="c", state=b"c"), epoch=2)
        listed = await stage.ask("fork", ListCheckpoints())
        after, kept = await stage.ask(SOURCE, GetStatus()), await stage.ask(SOURCE, ListCheckpoints())

    assert (found.state, taken.signal.payload) == (b"b", b"now")
    assert [checkpoint.checkpoint_id for checkpoint in listed.checkpoints] == ["a", "b", "c"]
    assert after == replace(before, heartbeat_at=after.heartbeat_at)
    assert [checkpoint.checkpoint_id for checkpoint in kept.checkpoints] == ["a", "b"]


async def test_a_fork_is_launched_and_goes_on_behind_its_checkpoint(autojump_clock: MockClock) -> None:
    launched: list[tuple[str, int, object, object]] = []

    async def work(key: InstanceKey, epoch: int) -> None:
        await stage.ask(key.instance_id, RegisterInstance(attempt_id=f"{key.instance_id}{epoch}"), epoch)
        given = await stage.ask(key.instance_id, GetInput(), epoch)
        saved = await stage.ask(key.instance_id, SaveCheckpoint(checkpoint_id="step", state=given.input or b""), epoch)
        launched.append((key.instance_id, epoch, given.input, saved.state))
        command = FailInstance(error="no") if key.instance_id == "one" else CompleteInstance()
        await stage.ask(key.instance_id, command, epoch)

    async with open_stage(programs={"work": work}) as stage:
        await stage.ask("one", StartInstance(program="work", input=b"old"))
        await trio.sleep(1)
        await stage.ask("two", ForkInstance(source="one", input=b"new"))
        await trio.sleep(1)
        statuses = [(await stage.ask(name, GetStatus())).status for name in ("one", "two")]
        events = await stage.ask("two", ListEvents())

    assert launched == [("one", 1, b"old", None), ("two", 2, b"new", b"old")]
    assert statuses == [Status.FAILED, Status.COMPLETED]
    assert [event.type for event in events.events] == ["created", "woken", "registered", "completed"]


async def test_the_instances_of_another_tenant_cannot_be_forked(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await run_to(stage, ENDS["failed"])

        with pytest.raises(InstanceNotFound, match="there is no instance 'order-6'"):
            await stage.dispatch.call(InstanceKey("rival", "fork"), ForkInstance(source=SOURCE))


async def test_a_source_that_vanishes_in_between_is_unknown(autojump_clock: MockClock) -> None:
    store = WatchedStore()

    def vanish(_: object) -> None:
        writer: Any = store.writer
        writer._tables.histories.pop(InstanceKey("acme", SOURCE), None)

    async with open_stage(store) as stage:
        await run_to(stage, ENDS["failed"])
        store.before_commit = vanish

        with pytest.raises(InstanceNotFound, match="there is no instance 'order-6'"):
            await stage.ask("fork", ForkInstance(source=SOURCE))

"""What is handed in: when it is saved, what is said behind it, and who hears why it was not.

Who hands in several on the loop has 30 ms for it: where that is not the subject, the clock stands still.
"""

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara import messages
from runtara.actors._cell import CellRef
from runtara.actors._hand_in import HANDED_IN_MAX, HANDED_IN_MAX_BYTES
from runtara.actors.dispatch import Dispatch, Line
from runtara.errors import ActorStopped, Fenced, InvalidState, MailboxFull, StoreUnavailable
from runtara.ids import new_id
from runtara.lifecycle import Status
from runtara.messages import Call
from runtara.store._sqlite import SqliteStore
from runtara.system import INSTANCES, READER
from tests.actors.stage import Stage, WatchedStore, key_of, open_stage


class Program:
    """One attempt at an instance, and the ways of others to it."""

    def __init__(self, stage: Stage, dispatch: Dispatch | None = None) -> None:
        self.stage = stage
        self.dispatch = dispatch or Dispatch(
            stage.system, instances=INSTANCES, reader=READER, payload_max_bytes=10**6, ends_with_process=True
        )
        self.key = key_of("one")
        self.line: Line = self.dispatch.line(self.key, hands_in=True)
        self.beside: Line = self.dispatch.line(self.key)
        self.epoch = 0

    async def register(self) -> "Program":
        self.epoch = (await self.line.call(messages.RegisterInstance(attempt_id=new_id()))).epoch
        return self

    def hand_in(self, *names: str) -> list[bool]:
        return [self.line.hand_in(name, name.encode(), self.epoch) for name in names]

    async def call(self, command: Any) -> Any:
        return await self.line.call(command, self.epoch)

    async def tell_instance(self, command: Any) -> None:
        """Say something to the instance as its own host does, which nothing that is handed in stands before."""
        await CellRef(self.stage.system.ref(INSTANCES), self.key).ask(Call(self.key, command))

    async def saved(self) -> list[str]:
        """What is stored, as somebody finds it who does not ask for what was handed in."""
        page = await self.stage.ask(self.key.instance_id, messages.ListCheckpoints(limit=1_000))
        return [one.checkpoint_id for one in page.checkpoints]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with open_stage() as stage:
        yield stage


@pytest.fixture
async def program(stage: Stage) -> Program:
    return await Program(stage).register()


class Turns(trio.abc.Instrument):
    """How often this task has had its turn again, after others had theirs."""

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self.taken = 0
        trio.lowlevel.add_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken += task is self._task


# When it is saved -----------------------------------------------------------------------------------------------------


async def test_what_is_handed_in_is_saved_with_one_commit_before_the_next_call_is_heard(
    program: Program, mock_clock: MockClock
) -> None:
    before = len(program.stage.store.commits)

    assert program.hand_in("a", "b", "c") == [True, True, True]
    handed_in = await program.saved()
    status = await program.call(messages.CompleteInstance())

    assert (handed_in, status.status) == ([], Status.COMPLETED)
    assert await program.saved() == ["a", "b", "c"]
    assert len(program.stage.store.commits) == before + 2


async def test_what_is_handed_in_is_saved_soon_if_nobody_says_anything(
    program: Program, autojump_clock: MockClock
) -> None:
    program.hand_in("a")

    await trio.sleep(0.03)

    assert await program.saved() == ["a"]


async def test_who_hands_in_after_a_long_time_is_looked_at_at_once(program: Program, autojump_clock: MockClock) -> None:
    await trio.sleep(1)

    program.hand_in("a")
    program.hand_in("b")
    await trio.testing.wait_all_tasks_blocked()

    assert await program.saved() == ["a", "b"]


async def test_somebody_beside_is_not_quicker_than_the_look_at_who_was_silent(
    program: Program, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    program.hand_in("a")

    info = await program.beside.call(messages.GetStatus())

    assert info.checkpoint_count == 1


async def test_somebody_beside_who_looks_sees_what_was_handed_in_before(
    program: Program, mock_clock: MockClock
) -> None:
    program.hand_in("a")
    info = await program.beside.call(messages.GetStatus())
    program.hand_in("b")
    page = await program.beside.call(messages.ListCheckpoints())

    assert info.checkpoint_count == 1
    assert [one.checkpoint_id for one in page.checkpoints] == ["a", "b"]


async def test_a_fork_takes_over_what_was_handed_in_before(program: Program, mock_clock: MockClock) -> None:
    program.hand_in("a", "b")
    fork = program.dispatch.line(key_of("two"))

    await fork.call(messages.ForkInstance(source="one", checkpoint_id="b"))
    found = await fork.call(messages.ListCheckpoints())

    assert [one.checkpoint_id for one in found.checkpoints] == ["a", "b"]


async def test_a_newer_attempt_finds_what_the_older_one_has_handed_in(program: Program, mock_clock: MockClock) -> None:
    program.hand_in("a")
    newer = await Program(program.stage, program.dispatch).register()

    found = await newer.call(messages.GetCheckpoint(checkpoint_id="a"))

    assert found.state == b"a"


async def test_two_attempts_of_one_tray_do_not_lose_what_either_has_handed_in(
    program: Program, mock_clock: MockClock
) -> None:
    line = program.dispatch.line(program.key, hands_in=True)
    program.hand_in("a")

    await line.call(messages.GetStatus())
    line.hand_in("b", b"b", program.epoch)
    program.hand_in("c")
    await program.beside.call(messages.GetStatus())
    await line.call(messages.GetStatus())
    await program.call(messages.GetStatus())

    assert sorted(await program.saved()) == ["a", "b", "c"]


async def test_threads_may_hand_in_at_once(program: Program) -> None:
    def hand_in(number: int) -> None:
        for i in range(20):
            program.hand_in(f"{number}-{i}")

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(trio.to_thread.run_sync, hand_in, number)
    await program.call(messages.GetStatus())

    assert len(await program.saved()) == 120


async def test_a_thread_that_calls_is_answered_behind_what_it_has_handed_in(program: Program) -> None:
    def run() -> Any:
        assert threading.get_ident() != program.stage.system.thread_id
        program.hand_in("a")
        return program.line.call_from_thread(messages.GetStatus(), program.epoch)

    info = await trio.to_thread.run_sync(run)

    assert info.checkpoint_count == 1


# What has to be saved by a call ---------------------------------------------------------------------------------------


async def test_nothing_is_taken_before_the_attempt_is_registered(stage: Stage) -> None:
    program = Program(stage)

    assert not program.line.hand_in("a", b"", None)
    assert program.hand_in("a") == [False]


async def test_only_so_much_is_taken(program: Program, mock_clock: MockClock) -> None:
    too_large = program.line.hand_in("large", b" " * (HANDED_IN_MAX_BYTES + 1), program.epoch)
    taken = program.hand_in(*(str(number) for number in range(HANDED_IN_MAX + 1)))

    assert (too_large, taken) == (False, [True] * HANDED_IN_MAX + [False])


async def test_a_program_that_leaves_the_loop_to_nobody_has_to_with_its_next_call(
    program: Program, mock_clock: MockClock
) -> None:
    taken = program.hand_in("a")
    mock_clock.jump(0.1)
    taken += program.hand_in("b")
    turns = Turns()

    await program.call(messages.SaveCheckpoint(checkpoint_id="b", state=b""))

    assert taken == [True, False]
    assert turns.taken == 1


async def test_nothing_is_taken_under_an_id_that_is_known(program: Program) -> None:
    await program.call(messages.SaveCheckpoint(checkpoint_id="a", state=b"first"))

    assert program.hand_in("a") == [False]


@pytest.mark.parametrize("kind", ["cancel", "pause", "shutdown"])
async def test_nothing_is_taken_of_an_attempt_that_was_told_something(program: Program, kind: Any) -> None:
    alone = program.line.is_left_alone(program.epoch)
    await program.beside.call(messages.SendSignal(kind=kind, signal_id="s"))

    assert (alone, program.line.is_left_alone(program.epoch)) == (True, False)
    assert program.hand_in("a") == [False]


async def test_a_signal_with_a_name_is_nothing_that_an_attempt_is_told(program: Program, mock_clock: MockClock) -> None:
    await program.beside.call(messages.SendSignal(kind="custom", signal_id="s", name="go"))

    assert program.hand_in("a", "go") == [True, False]


async def test_nothing_is_taken_of_an_older_attempt(program: Program) -> None:
    await Program(program.stage, program.dispatch).register()

    assert program.hand_in("a") == [False]
    with pytest.raises(Fenced):
        await program.call(messages.SaveCheckpoint(checkpoint_id="a", state=b""))


async def test_nothing_is_taken_where_the_store_outlives_the_process(program: Program) -> None:
    line = program.stage.dispatch.line(program.key, hands_in=True)

    assert not line.hand_in("a", b"", program.epoch)
    assert not line.is_left_alone(program.epoch)


# Why it was not saved -------------------------------------------------------------------------------------------------


async def test_a_refusal_is_told_once_by_what_the_program_does_next(program: Program, mock_clock: MockClock) -> None:
    program.hand_in("a")
    await program.tell_instance(messages.DeclareSilent(epoch=program.epoch))

    with pytest.raises(Fenced):
        await program.call(messages.GetStatus())
    assert (await program.call(messages.GetStatus())).checkpoint_count == 0


async def test_a_refusal_is_told_to_who_hands_in_as_well(program: Program, autojump_clock: MockClock) -> None:
    program.hand_in("a")
    await program.tell_instance(messages.DeclareSilent(epoch=program.epoch))
    await trio.sleep(0.03)

    with pytest.raises(Fenced):
        program.hand_in("b")
    assert program.hand_in("c") == [False]


async def test_another_state_under_a_known_id_is_refused(program: Program, mock_clock: MockClock) -> None:
    program.hand_in("a")
    await program.stage.ask("one", messages.SaveCheckpoint(checkpoint_id="a", state=b"other"), program.epoch)

    with pytest.raises(InvalidState, match="another state"):
        await program.call(messages.CompleteInstance())


async def test_what_was_handed_in_outlives_a_crash_of_the_actor_that_saves_it(
    program: Program, autojump_clock: MockClock
) -> None:
    program.hand_in("a", "b")

    await program.stage.crash(INSTANCES)
    info = await program.call(messages.GetStatus())

    assert (info.status, info.checkpoint_count) == (Status.RUNNING, 2)


async def test_a_call_hears_that_what_was_handed_in_cannot_be_saved_now_and_the_next_one_has_it_saved(
    program: Program, mock_clock: MockClock
) -> None:
    slot = program.stage.system.ref(INSTANCES).slot
    actor = slot.actor
    program.hand_in("a")
    slot.actor = None
    with pytest.raises(ActorStopped):
        await program.call(messages.CompleteInstance())
    taken = program.hand_in("b")
    slot.actor = actor

    info = await program.call(messages.GetStatus())

    assert (taken, info.status, info.checkpoint_count) == ([False], Status.RUNNING, 1)


# Where saving takes its time ------------------------------------------------------------------------------------------


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Program]:
    """A program whose store takes its time over each commit, although it ends with the process."""
    store = WatchedStore(SqliteStore(str(tmp_path / "runtara.db")))
    async with open_stage(store, cell_mailbox=4) as stage:
        yield await Program(stage).register()


class HeldCommit:
    """The next commit of a store, which does not end before it may."""

    def __init__(self, store: WatchedStore) -> None:
        self._store = store
        self._begun = threading.Event()
        self.may_end = threading.Event()
        store.before_commit = self._hold

    async def wait_begun(self) -> None:
        await trio.to_thread.run_sync(self._begun.wait)

    def _hold(self, _: object) -> None:
        self._store.before_commit = lambda _: None
        self._begun.set()
        self.may_end.wait()


async def test_what_is_handed_in_while_some_is_under_way_goes_together_and_the_call_waits(
    slow: Program, mock_clock: MockClock
) -> None:
    commit, before = HeldCommit(slow.stage.store), len(slow.stage.store.commits)
    replies: list[Any] = []

    async def complete() -> None:
        replies.append(await slow.call(messages.CompleteInstance()))

    async with trio.open_nursery() as nursery:
        slow.hand_in("a")
        nursery.start_soon(complete)
        await commit.wait_begun()
        assert slow.hand_in("b", "c") == [True, True]
        assert replies == []
        commit.may_end.set()

    assert replies == [messages.Acknowledged(Status.COMPLETED)]
    assert await slow.saved() == ["a", "b", "c"]
    assert len(slow.stage.store.commits) == before + 3


async def test_what_an_instance_has_no_room_for_is_sent_again(slow: Program, mock_clock: MockClock) -> None:
    commit = HeldCommit(slow.stage.store)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.tell_instance, messages.SendSignal(kind="custom", signal_id="s", name="go"))
        await commit.wait_begun()
        for _ in range(4):
            nursery.start_soon(slow.tell_instance, messages.GetStatus())
        await trio.testing.wait_all_tasks_blocked()
        slow.hand_in("a")
        with pytest.raises(MailboxFull):
            await slow.call(messages.CompleteInstance())
        commit.may_end.set()
    info = await slow.call(messages.GetStatus())

    assert (info.status, info.checkpoint_count) == (Status.RUNNING, 1)


async def test_a_call_hears_why_what_stands_before_it_is_not_saved(slow: Program, mock_clock: MockClock) -> None:
    store = slow.stage.store

    def fail(_: object) -> None:
        store.before_commit = lambda _: None
        raise StoreUnavailable("not now")

    store.before_commit = fail
    slow.hand_in("a")

    with pytest.raises(StoreUnavailable):
        await slow.call(messages.CompleteInstance())
    info = await slow.call(messages.GetStatus())

    assert (info.status, info.checkpoint_count) == (Status.RUNNING, 1)

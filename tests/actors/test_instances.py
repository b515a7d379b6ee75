import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from runtara.actors.instance import Untrack
from runtara.actors.instances import Adopt, Effected, TakeHeard
from runtara.errors import (
    Busy,
    Fenced,
    Internal,
    OutcomeUnknown,
    Quarantined,
    RuntaraError,
    StoreFull,
    StoreUnavailable,
)
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    CompleteInstance,
    GetCheckpoint,
    GetStatus,
    Heartbeat,
    ListCheckpoints,
    ListEvents,
    RegisterInstance,
    SaveCheckpoint,
    SendSignal,
    Sleep,
    StartInstance,
)
from runtara.records import Snapshot
from runtara.store import Save, open_store
from runtara.system import HEARTBEAT, INSTANCES
from tests.actors.stage import NOW, TrioClock, WatchedStore, key_of, nothing, once, open_stage, sleeper

REGISTER = RegisterInstance(attempt_id="a")
PATIENCE_S = 60.0


def checkpoint(number: int = 0, state: bytes = b"state") -> SaveCheckpoint:
    return SaveCheckpoint(checkpoint_id=f"step-{number}", state=state)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


# The way of a message -------------------------------------------------------------------------------------------------


async def test_no_reply_leaves_before_its_commit_and_neither_does_what_was_read_after_it(tmp_path: Path) -> None:
    store = WatchedStore(open_store(f"sqlite:///{tmp_path / 's.db'}"))
    gate, replies = threading.Event(), []

    async def ask(command: Any) -> None:
        replies.append(await stage.ask("one", command, epoch=1))

    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        store.before_commit = lambda saves: gate.wait(PATIENCE_S)
        async with trio.open_nursery() as nursery:
            for command in (checkpoint(1), GetCheckpoint(checkpoint_id="step-1"), GetStatus()):
                nursery.start_soon(ask, command)
                await trio.testing.wait_all_tasks_blocked(0.01)
            before = list(replies)
            gate.set()

    assert before == []
    assert len(replies) == 3


async def test_messages_to_many_instances_share_transactions(tmp_path: Path) -> None:
    store = WatchedStore(open_store(f"sqlite:///{tmp_path / 's.db'}"))
    async with open_stage(store) as stage, trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(stage.ask, f"i{number}", REGISTER)

    assert sum(store.commits) == 500
    assert len(store.commits) <= 125


async def test_messages_to_one_instance_share_a_save(tmp_path: Path) -> None:
    store = WatchedStore(open_store(f"sqlite:///{tmp_path / 's.db'}"))
    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        before = len(store.commits)
        async with trio.open_nursery() as nursery:
            for number in range(250):
                nursery.start_soon(stage.ask, "one", checkpoint(number), 1)
        page = await stage.ask("one", ListCheckpoints(limit=1000))

    assert len(page.checkpoints) == 250
    assert len(store.commits) - before <= 12


async def test_effects_that_nobody_can_take_are_counted_and_harm_nobody(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        mailbox = stage.system.ref(HEARTBEAT).slot.mailbox
        mailbox.bound = mailbox.room = 0
        reply = await stage.ask("one", REGISTER)

        assert reply.epoch == 1
        assert stage.system.dead_letters.counts["effect"] >= 1


async def test_it_is_known_which_attempts_were_heard_of_since_last_time(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        for name in ("one", "two"):
            await stage.ask(name, REGISTER)
        region = stage.system.ref(INSTANCES)
        await region.ask(TakeHeard())
        await stage.ask("one", Heartbeat(), epoch=1)
        await stage.ask("two", GetStatus())
        with pytest.raises(Fenced):
            await stage.ask("two", Heartbeat(), epoch=7)
        heard = await region.ask(TakeHeard())
        again = await region.ask(TakeHeard())

    assert heard.keys() == {key_of("one")}
    assert again == {}


# Memory ---------------------------------------------------------------------------------------------------------------


async def test_instances_that_nobody_speaks_to_leave_memory_and_come_back_as_they_were(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store, cell_idle_ms=1_000) as stage:
        await stage.ask("one", REGISTER)
        await stage.ask("one", checkpoint(), epoch=1)
        before = await stage.ask("one", GetStatus())
        await trio.sleep(10)
        cells = stage.facts(INSTANCES)["cells"]
        after = await stage.ask("one", GetStatus())
        again = await stage.ask("one", checkpoint(state=b"other"), epoch=1)

    assert cells == 0
    assert after == before
    assert (again.found, again.state) == (True, b"state")


async def test_no_more_instances_stay_in_memory_than_allowed(store: WatchedStore, autojump_clock: MockClock) -> None:
    async with open_stage(store, resident_cells=10) as stage:
        for number in range(100):
            await stage.ask(f"i{number}", REGISTER)

        assert stage.facts(INSTANCES)["cells"] <= 10


async def test_more_messages_than_an_instance_may_have_waiting_are_refused_and_not_run(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    refused: list[RuntaraError] = []

    async def send(number: int) -> None:
        command = SendSignal(kind="custom", name="go", signal_id=f"s{number}")
        try:
            await stage.ask("one", command)
        except RuntaraError as error:
            refused.append(error)

    async with open_stage(store, cell_mailbox=16, cell_idle_ms=1) as stage:
        await stage.ask("one", REGISTER)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(send, number)
        events = await stage.ask("one", ListEvents(event_type="signal-sent", limit=1000))

    assert {error.retry.value for error in refused} <= {"safe"}
    assert len(events.events) + len(refused) == 100


# Faults of the store --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreFull("no room"), StoreUnavailable("away"), Busy("later")], ids=repr)
async def test_a_store_that_refuses_is_told_to_the_asker_and_nothing_has_changed(
    error: RuntaraError, store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        once(store, "before_commit", error)
        with pytest.raises(type(error)):
            await stage.ask("one", checkpoint(), epoch=1)
        during = await stage.ask("one", GetCheckpoint(checkpoint_id="step-0"), epoch=1)
        saved = await stage.ask("one", checkpoint(state=b"second"), epoch=1)

    assert not during.found
    assert not saved.found


async def test_what_was_stored_without_anybody_knowing_is_found_when_asked_again(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        once(store, "after_commit", OutcomeUnknown("the disk did not say"))
        with pytest.raises(OutcomeUnknown):
            await stage.ask("one", checkpoint(), epoch=1)
        again = await stage.ask("one", checkpoint(), epoch=1)

    assert (again.found, again.state) == (True, b"state")


@pytest.mark.parametrize("hook", ["before_commit", "after_commit"])
async def test_a_completion_whose_outcome_is_unknown_may_be_sent_again(
    hook: str, store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        once(store, hook, OutcomeUnknown("the disk did not say"))
        with pytest.raises(OutcomeUnknown):
            await stage.ask("one", CompleteInstance(output=b"done"), epoch=1)
        await stage.ask("one", CompleteInstance(output=b"done"), epoch=1)
        info = await stage.ask("one", GetStatus())
        events = await stage.ask("one", ListEvents(event_type="completed"))

    assert (info.status, info.output) == (Status.COMPLETED, b"done")
    assert len(events.events) == 1


@pytest.mark.parametrize("hook", ["before_commit", "after_commit"])
async def test_a_claim_whose_outcome_is_unknown_leads_to_exactly_one_launch(
    hook: str, store: WatchedStore, autojump_clock: MockClock
) -> None:
    launched: list[int] = []

    async def program(key: InstanceKey, epoch: int) -> None:
        launched.append(epoch)
        await trio.sleep_forever()

    store.put(sleeper("one", NOW + 5_000, program="p"))
    async with open_stage(store, programs={"p": program}) as stage:
        once(store, hook, OutcomeUnknown("the disk did not say"))
        await trio.sleep(60)
        info = await stage.ask("one", GetStatus())

    assert launched == [2]
    assert (info.status, info.epoch) == (Status.RUNNING, 2)


@pytest.mark.parametrize("hook", ["before_commit", "after_commit"])
async def test_a_rest_whose_outcome_is_unknown_ends_at_its_time(
    hook: str, store: WatchedStore, autojump_clock: MockClock
) -> None:
    launched: list[tuple[int, float]] = []

    async def program(key: InstanceKey, epoch: int) -> None:
        launched.append((epoch, trio.current_time()))
        if epoch == 1:
            await stage.ask("one", REGISTER, epoch)
            once(store, hook, OutcomeUnknown("the disk did not say"))
            sleep = Sleep(checkpoint_id="nap", duration_ms=30_000, park=True)
            with pytest.raises(OutcomeUnknown):
                await stage.ask("one", sleep, epoch)
            await stage.ask("one", sleep, epoch)

    async with open_stage(store, programs={"p": program}) as stage:
        await stage.ask("one", StartInstance(program="p"))
        await trio.sleep(60)

    assert launched == [(1, 0.0), (2, pytest.approx(30.0, abs=0.1))]


async def test_a_doubt_that_nobody_asks_about_is_resolved_when_the_store_can_be_read_again(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    def unreadable(method: str) -> None:
        if trio.current_time() < 10:
            raise StoreUnavailable("the disk is away")

    async with open_stage(store, clock=TrioClock()) as stage:
        await stage.ask("one", StartInstance(program="p"))
        await stage.ask("one", SendSignal(kind="cancel", signal_id="c"))
        await stage.ask("two", REGISTER)
        once(store, "after_commit", OutcomeUnknown("the disk did not say"))
        store.before_read = unreadable
        with pytest.raises(OutcomeUnknown):
            await stage.ask("two", CompleteInstance(), epoch=1)
        await trio.testing.wait_all_tasks_blocked()  # until the monitor has heard of both
        watched = stage.facts(HEARTBEAT)["watched"]
        await trio.sleep(12)
        watched_later = stage.facts(HEARTBEAT)["watched"]

    assert (watched, watched_later) == (1, 0)


async def test_somebody_else_who_changes_an_instance_is_noticed_and_it_is_decided_again(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    def interfere(saves: Sequence[Save]) -> None:
        store.before_commit = nothing
        assert store.writer is not None
        snapshot = store.open_reader().load([key_of("one")])[key_of("one")]
        assert isinstance(snapshot, Snapshot)
        row = snapshot.instance
        changed = replace(row, epoch=row.epoch + 1, version=row.version + 1, attempt_id="elsewhere")
        assert store.writer.commit([Save(instance=changed, expected_version=row.version)]) == [True]

    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        store.before_commit = interfere
        with pytest.raises(Fenced):
            await stage.ask("one", checkpoint(), epoch=1)
        found = await stage.ask("one", GetCheckpoint(checkpoint_id="step-0"))

    assert not found.found


async def test_an_instance_that_cannot_be_loaded_rests_and_its_neighbours_go_on(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    errors: list[type[Exception]] = []
    store.poison = {key_of("bad")}
    async with open_stage(store) as stage:
        for _ in range(5):
            with pytest.raises(RuntaraError) as caught:
                await stage.ask("bad", GetStatus())
            errors.append(caught.type)
        loads = store.loads.count(key_of("bad"))
        await stage.ask("good", REGISTER)
        store.poison.clear()
        await trio.sleep(600)
        reply = await stage.ask("bad", REGISTER)

    assert errors == [Internal] * 3 + [Quarantined] * 2
    assert loads == 3
    assert reply.epoch == 1


async def test_a_region_that_crashes_loses_nothing_that_was_acknowledged(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        await stage.ask("one", checkpoint(), epoch=1)
        await stage.crash(INSTANCES)
        found = await stage.ask("one", GetCheckpoint(checkpoint_id="step-0"), epoch=1)
        saved = await stage.ask("one", checkpoint(2), epoch=1)

    assert found.state == b"state"
    assert not saved.found


@pytest.mark.parametrize("warm", [True, False])
async def test_what_is_adopted_is_watched_whether_it_is_in_memory_or_not(
    store: WatchedStore, warm: bool, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        await stage.ask("one", REGISTER)
        stage.system.ref(HEARTBEAT).tell_nowait(Effected(key_of("one"), Untrack()))
        if not warm:
            region: Any = stage.system.ref(INSTANCES).slot.actor
            region._cells.clear()
        await trio.sleep(1)
        before = stage.facts(HEARTBEAT)["watched"]
        stage.system.ref(INSTANCES).tell_nowait(Adopt((key_of("one"), key_of("unknown"))))
        await trio.sleep(1)
        after = stage.facts(HEARTBEAT)["watched"]
        loads = len(store.loads)
        await trio.sleep(60)

    assert (before, after) == (0, 1)
    assert len(store.loads) == loads, "nothing is looked at for ever"

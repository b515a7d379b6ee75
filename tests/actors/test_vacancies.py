"""Starts that take an idle slot of a worker at once."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from runtara.actors._idle_slots import IdleSlots
from runtara.actors._pool_board import Group
from runtara.actors.vacancies import Vacancies
from runtara.errors import AlreadyExists, OutcomeUnknown, StoreFull
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import ClaimWork, CompleteInstance, GetInput, GetStatus, RegisterInstance, StartInstance
from runtara.sdk import embedded
from runtara.sdk.flow import Flow, PooledWorker, SystemBackend, WorkflowClient, get_task_context
from runtara.sdk.flow._kept import write_begin
from runtara.sdk.flow._programs import program_of
from runtara.sdk.flow._runs import begun
from runtara.store import Save
from runtara.system import POOL, SCHEDULER
from tests.actors.stage import NOW, Stage, WatchedStore, key_of, nothing, once, open_stage
from tests.store.samples import instance

A = "pool:a@1"
START = StartInstance(program=A, input=b"in")
FIRST, SECOND = InstanceKey("acme", "1"), InstanceKey("acme", "2")


def offering(count: int = 1, nobody_waits: Callable[[], bool] = lambda: True) -> tuple[Vacancies, IdleSlots]:
    vacancies, idle = Vacancies(), IdleSlots()
    idle.believe(Group("acme", frozenset((A,))), count)
    vacancies.offer(idle, nobody_waits)
    return vacancies, idle


def test_as_many_are_taken_as_there_are_and_given_back_they_are_there_again() -> None:
    vacancies, idle = offering()

    assert vacancies.take(FIRST, A)
    assert not vacancies.take(SECOND, A)
    vacancies.give_back(FIRST)
    assert vacancies.take(SECOND, A)
    assert idle.total == 0


def test_whoever_takes_one_twice_has_one() -> None:
    vacancies, idle = offering(2)

    assert vacancies.take(FIRST, A)
    assert vacancies.take(FIRST, A)
    assert idle.total == 1


def test_nothing_is_taken_while_somebody_waits_or_nobody_offers_or_of_another_kind() -> None:
    vacancies, _ = offering(nobody_waits=lambda: False)
    assert not vacancies.take(FIRST, A)

    vacancies, _ = offering()
    assert not vacancies.take(FIRST, "pool:b@1")
    assert not vacancies.take(FIRST, "noop")
    assert not vacancies.take(InstanceKey("rival", "1"), A)
    vacancies.withdraw()
    assert not vacancies.take(FIRST, A)
    vacancies.give_back(FIRST)


# In a system ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
async def stage(store: WatchedStore, autojump_clock: MockClock) -> AsyncIterator[Stage]:
    async with open_stage(store) as stage, trio.open_nursery() as slots:
        slots.start_soon(work, stage, slots)
        await trio.testing.wait_all_tasks_blocked()
        yield stage
        slots.cancel_scope.cancel()


async def work(stage: Stage, slots: trio.Nursery, name: str = "w") -> None:
    """One slot of a worker: claims, and does nothing with it; told, it lets go."""
    found = await stage.ask("any", ClaimWork(worker_id=name, slot=0, programs=(A,), lease_ms=10**7, wait_ms=60_000))
    if found.lead is not None:
        await stage.ask(found.lead.instance_id, RegisterInstance(attempt_id=name), found.lead.epoch)


def idle(stage: Stage) -> int:
    actor: Any = stage.system.ref(SCHEDULER).slot.actor
    return int(actor._places.idle.total)


async def settled(stage: Stage, name: str = "one") -> Any:
    await trio.testing.wait_all_tasks_blocked()
    return await stage.ask(name, GetStatus())


async def test_a_start_has_its_first_launch_in_the_same_commit(
    stage: Stage, store: WatchedStore, autojump_clock: MockClock
) -> None:
    started = await stage.ask("one", START)
    commits = list(store.commits)
    info = await settled(stage)

    assert (started.created, started.status) == (True, Status.RUNNING)
    assert commits == [1]
    assert (info.status, info.epoch) == (Status.RUNNING, 1)
    assert info.started_at is not None
    assert (await stage.ask("one", GetInput(), epoch=1)).input == b"in"
    assert store.loads == []


async def test_the_next_one_waits_until_a_slot_is_idle_again(stage: Stage, autojump_clock: MockClock) -> None:
    await stage.ask("one", START)
    waits = await stage.ask("two", START)
    pending = await settled(stage, "two")
    await stage.ask("one", CompleteInstance(), epoch=1)
    async with trio.open_nursery() as slots:
        slots.start_soon(work, stage, slots)
    led = await settled(stage, "two")

    assert (waits.status, pending.status, led.status) == (Status.PENDING, Status.PENDING, Status.RUNNING)


async def test_whoever_waits_is_not_overtaken(stage: Stage, store: WatchedStore, autojump_clock: MockClock) -> None:
    await stage.ask("one", START)
    await stage.ask("first", START)
    await settled(stage)
    await stage.ask("one", CompleteInstance(), epoch=1)
    order: list[str] = []

    async with trio.open_nursery() as slots:
        for name in ("v", "w"):  # with the first slot, the one who waits has it
            slots.start_soon(work, stage, slots, name)
            await trio.testing.wait_all_tasks_blocked()
            if not order:
                order.append(str((await stage.ask("first", GetStatus())).status))
                await stage.ask("second", START)

    assert order == ["running"]
    assert (await settled(stage, "second")).status is Status.RUNNING


async def test_a_start_for_later_takes_nothing(stage: Stage, autojump_clock: MockClock) -> None:
    later = StartInstance(program=A, start_at=NOW + 10**9)

    started = await stage.ask("one", later)

    assert (started.status, idle(stage)) == (Status.PENDING, 1)


async def test_a_start_that_cannot_be_stored_leaves_the_slot_to_the_next(
    stage: Stage, store: WatchedStore, autojump_clock: MockClock
) -> None:
    once(store, "before_commit", StoreFull("no room"))
    with pytest.raises(StoreFull):
        await stage.ask("one", START)
    left = idle(stage)

    again = await stage.ask("two", START)

    assert (left, again.status) == (1, Status.RUNNING)


async def test_a_start_that_loses_the_race_for_its_id_is_refused_and_leaves_the_slot(
    stage: Stage, store: WatchedStore, autojump_clock: MockClock
) -> None:
    def forestall(_: Sequence[Save]) -> None:
        store.before_commit = nothing
        assert store.writer is not None
        row = Save(instance=other_start("one"), expected_version=0)
        assert store.writer.commit([row]) == [True]

    store.before_commit = forestall
    with pytest.raises(AlreadyExists):
        await stage.ask("one", START)

    assert (await settled(stage)).program == "other"
    assert idle(stage) == 1


@pytest.mark.parametrize("hook", ["before_commit", "after_commit"])
async def test_a_start_whose_outcome_is_unknown_is_led_once_when_it_was_stored(
    hook: str, stage: Stage, store: WatchedStore, autojump_clock: MockClock
) -> None:
    once(store, hook, OutcomeUnknown("the disk did not say"))
    with pytest.raises(OutcomeUnknown):
        await stage.ask("one", START)
    again = await stage.ask("one", START)
    await trio.sleep(5)
    info = await settled(stage)

    assert again.created == (hook == "before_commit")
    assert (info.status, info.epoch) == (Status.RUNNING, 1)
    assert stage.facts(POOL)["leads"] == 1
    assert idle(stage) == 0


async def test_a_pool_that_crashes_before_it_hears_of_the_launch_leads_it_all_the_same(
    stage: Stage, store: WatchedStore, autojump_clock: MockClock
) -> None:
    await stage.ask("one", START)
    await stage.crash(POOL)
    async with trio.open_nursery() as slots:
        slots.start_soon(work, stage, slots, "v")
        await trio.sleep(5)
        slots.cancel_scope.cancel()
    info = await settled(stage)

    assert (info.status, info.losses) == (Status.RUNNING, 0)


async def test_a_scheduler_that_has_crashed_offers_what_is_idle_again(stage: Stage, autojump_clock: MockClock) -> None:
    await stage.crash(SCHEDULER)

    started = await stage.ask("one", START)

    assert started.status is Status.RUNNING


def other_start(name: str) -> Any:
    return instance(key_of(name), Status.PENDING, program="other", wake_at=NOW + 10**9)


# Among nodes ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_of_two_nodes_that_start_the_same_at_once_one_begins_it(database: str) -> None:
    created: list[bool] = []
    began: list[str] = []

    async def begin(number: int) -> int:
        context = get_task_context()
        assert context is not None
        began.append(context.instance_id)
        return number

    workflow = Flow("once").then(begin).build()
    start = StartInstance(program=program_of(workflow), input=write_begin(begun(workflow, 1)))

    async def bring(backend: SystemBackend, name: str) -> None:
        created.append((await backend.beside(name).call(start)).created)
        assert (await WorkflowClient(backend).wait_async(name, 60)).is_completed

    async with (
        embedded.open(url=database, node_lease_ms=60_000) as one,
        embedded.open(url=database, node_lease_ms=60_000) as two,
    ):
        backends = [SystemBackend(one), SystemBackend(two)]
        first, second = (
            PooledWorker(name, backend, [workflow], max_concurrent_tasks=3)
            for name, backend in zip("ab", backends, strict=True)
        )
        async with first.open(), second.open(), trio.open_nursery() as nursery:
            for number in range(20):
                for backend in backends:
                    nursery.start_soon(bring, backend, f"same-{number}")

    assert sorted(created) == [False] * 20 + [True] * 20
    assert sorted(began) == sorted(f"same-{number}" for number in range(20))

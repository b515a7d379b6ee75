"""The pool as workers see it, over a store in memory and under a clock that jumps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from runtara.actors import _pool_hands as hands
from runtara.actors import pool as the_pool
from runtara.errors import Busy, Fenced, InstanceCancelled
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    ClaimsKept,
    ClaimWork,
    CompleteInstance,
    FinishTask,
    GetStatus,
    KeepClaims,
    LeadClaim,
    OfferTask,
    RegisterInstance,
    SaveCheckpoint,
    SendSignal,
    StartInstance,
    SuspendInstance,
    TaskFinished,
    TaskOffered,
    TaskWithdrawn,
    WithdrawTask,
    WorkClaimed,
)
from runtara.system import POOL, SCHEDULER
from tests.actors.stage import NOW, Stage, WatchedStore, key_of, open_stage

A, B = "pool:a@1", "pool:b@1"
LEASE_MS = 60_000
NOTHING = WorkClaimed()


@pytest.fixture
async def stage(autojump_clock: MockClock) -> AsyncIterator[Stage]:
    async with open_stage(max_auto_restarts=1) as stage:
        yield stage


def claim(name: str = "w", slot: int = 0, *, programs: tuple[str, ...] = (A,), **more: Any) -> ClaimWork:
    fields = {"lease_ms": LEASE_MS, "wait_ms": 10_000} | more
    return ClaimWork(worker_id=name, slot=slot, programs=programs, **fields)


def keep(*held: str, name: str = "w", **more: Any) -> KeepClaims:
    return KeepClaims(worker_id=name, held=held, **{"lease_ms": LEASE_MS, **more})


def lead_of(claimed: WorkClaimed) -> LeadClaim:
    assert claimed.lead is not None
    return claimed.lead


async def lead(stage: Stage, name: str = "one", **more: Any) -> LeadClaim:
    """Start an instance, and have a worker claim it and register."""
    await stage.ask(name, StartInstance(program=A))
    found = lead_of(await stage.ask("any", claim(**more)))
    await stage.ask(name, RegisterInstance(attempt_id="w"), found.epoch)
    return found


async def status(stage: Stage, name: str = "one") -> Any:
    return await stage.ask(name, GetStatus())


# Instances ------------------------------------------------------------------------------------------------------------


async def test_an_instance_waits_until_a_worker_is_idle_and_is_claimed_by_it(
    stage: Stage, autojump_clock: MockClock
) -> None:
    await stage.ask("one", StartInstance(program=A, input=b"in"))
    await trio.sleep(1)
    assert (await status(stage)).status is Status.PENDING

    claimed = await stage.ask("any", claim())

    assert claimed.lead == LeadClaim(claim_id="one@1", instance_id="one", epoch=1, program=A)
    assert (await status(stage)).status is Status.RUNNING


async def test_a_worker_that_waits_is_given_what_is_started(stage: Stage, autojump_clock: MockClock) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, stage, claim(), found)
        await trio.sleep(1)
        await stage.ask("one", StartInstance(program=A))

    assert lead_of(found[0]).instance_id == "one"


async def _note(stage: Stage, command: Any, found: list[Any], name: str = "any", epoch: int | None = None) -> None:
    found.append(await stage.ask(name, command, epoch))


async def test_a_worker_gets_nothing_that_it_cannot_run_and_is_told_so_in_time(
    stage: Stage, autojump_clock: MockClock
) -> None:
    await stage.ask("one", StartInstance(program=B))
    began = trio.current_time()

    claimed = await stage.ask("any", claim())

    assert claimed == NOTHING
    assert trio.current_time() - began == pytest.approx(10, abs=0.1)
    assert (await status(stage)).status is Status.PENDING
    assert stage.facts(POOL)["idle"] == 0


async def test_only_as_many_instances_are_claimed_as_slots_are_idle(stage: Stage, autojump_clock: MockClock) -> None:
    for name in ("one", "two", "three"):
        await stage.ask(name, StartInstance(program=A))
        await trio.sleep(0.001)  # who comes in the same millisecond goes by its id
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        for slot in (0, 1):
            nursery.start_soon(_note, stage, claim(slot=slot), found)

    (left,) = {"one", "two", "three"} - {lead_of(one).instance_id for one in found}
    assert (await status(stage, left)).status is Status.PENDING


async def test_what_is_more_important_goes_first_until_the_other_has_waited_long_enough(
    stage: Stage, autojump_clock: MockClock
) -> None:
    await stage.ask("old", StartInstance(program=A))
    await trio.sleep(400)
    await stage.ask("young", StartInstance(program=A, priority=1))
    await stage.ask("urgent", StartInstance(program=A, priority=2))

    order = [lead_of(await stage.ask("any", claim(slot=slot))).instance_id for slot in range(3)]

    assert order == ["urgent", "old", "young"]


async def test_a_lead_that_rests_is_claimed_again_when_it_is_due(stage: Stage, autojump_clock: MockClock) -> None:
    found = await lead(stage)
    await stage.ask("one", SaveCheckpoint(checkpoint_id="a", state=b""), found.epoch)
    await stage.ask("one", SuspendInstance(wake_at=NOW + int(trio.current_time() * 1000) + 5_000), found.epoch)
    began = trio.current_time()

    again = lead_of(await stage.ask("any", claim()))

    assert trio.current_time() - began == pytest.approx(5, abs=0.1)
    assert again.epoch == found.epoch + 1


async def test_a_slot_that_asks_again_without_a_word_has_lost_its_lead(stage: Stage, autojump_clock: MockClock) -> None:
    found = await lead(stage)

    again = lead_of(await stage.ask("any", claim()))

    assert again.epoch > found.epoch
    with pytest.raises(Fenced):
        await stage.ask("one", SaveCheckpoint(checkpoint_id="a", state=b""), found.epoch)


async def test_a_lead_that_has_ended_was_not_lost(stage: Stage, autojump_clock: MockClock) -> None:
    found = await lead(stage)
    await stage.ask("one", CompleteInstance(output=b"out"), found.epoch)

    assert await stage.ask("any", claim(wait_ms=0)) == NOTHING
    assert (await status(stage)).losses == 0


async def test_what_a_worker_holds_is_given_to_another_when_its_lease_is_over(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage, lease_ms=20_000)
    began = trio.current_time()

    again = lead_of(await stage.ask("any", claim("v", wait_ms=60_000)))

    assert again.instance_id == "one"
    assert trio.current_time() - began == pytest.approx(20, abs=1)
    with pytest.raises(Fenced):
        await stage.ask("one", CompleteInstance(output=b""), found.epoch)


async def test_a_worker_that_says_that_it_lives_loses_nothing(stage: Stage, autojump_clock: MockClock) -> None:
    found = await lead(stage)

    for _ in range(5):
        assert await stage.ask("any", keep(found.claim_id, wait_ms=30_000)) == ClaimsKept()

    assert (await status(stage)).epoch == found.epoch


async def test_an_instance_whose_workers_die_one_after_another_is_given_up(
    stage: Stage, autojump_clock: MockClock
) -> None:
    await lead(stage)
    await stage.ask("any", claim())  # after the first loss

    assert await stage.ask("any", claim()) == NOTHING

    info = await status(stage)
    assert (info.status, info.termination_reason) == (Status.FAILED, TerminationReason.RECOVERY_BUDGET_SPENT)
    assert "without a word" in info.error


async def test_a_cancel_that_a_worker_does_not_heed_is_enforced_and_the_worker_is_told(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage)
    kept: list[ClaimsKept] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, stage, keep(found.claim_id, wait_ms=30_000), kept)
        await trio.lowlevel.checkpoint()
        await stage.ask("one", SendSignal(kind="cancel", signal_id="c"))

    assert (await status(stage)).status is Status.CANCELLED
    with pytest.raises(InstanceCancelled):
        await stage.ask("one", SaveCheckpoint(checkpoint_id="a", state=b""), found.epoch)


async def test_an_instance_that_takes_too_long_is_ended_and_its_worker_is_told(
    stage: Stage, autojump_clock: MockClock
) -> None:
    await stage.ask("one", StartInstance(program=A, timeout_ms=5_000))
    found = lead_of(await stage.ask("any", claim()))
    await stage.ask("one", RegisterInstance(attempt_id="w"), found.epoch)
    began = trio.current_time()

    kept = await stage.ask("any", keep(found.claim_id, wait_ms=30_000))

    assert kept.lost == (found.claim_id,)
    assert trio.current_time() - began == pytest.approx(5, abs=0.1)
    assert (await status(stage)).termination_reason is TerminationReason.TIMEOUT


# Tasks ----------------------------------------------------------------------------------------------------------------


def offer(place: str = "t", **more: Any) -> OfferTask:
    return OfferTask(**{"place": place, "program": A, "payload": b"value", "wait_ms": 10_000, **more})


async def test_a_task_that_is_offered_goes_to_an_idle_slot_and_its_outcome_comes_back(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage)
    outcomes: list[TaskOffered] = [await stage.ask("one", offer(wait_ms=0), found.epoch)]
    async with trio.open_nursery() as nursery:
        claimed = await stage.ask("any", claim("v"))
        assert claimed.task is not None
        assert claimed.task.payload == b"value"
        nursery.start_soon(_note, stage, offer(), outcomes, "one", found.epoch)
        await trio.sleep(1)
        nursery.start_soon(_note, stage, offer(), outcomes, "one", found.epoch)
        await trio.sleep(1)
        done = await stage.ask("any", FinishTask(claim_id=claimed.task.claim_id, outcome=b"result"))

    assert done == TaskFinished(accepted=True)
    assert [one.status for one in outcomes] == ["waiting", "claimed", "done"]
    assert outcomes[-1].outcome == b"result"


async def test_only_who_leads_an_instance_offers_its_tasks(stage: Stage, autojump_clock: MockClock) -> None:
    await lead(stage)

    for epoch in (None, 7):
        with pytest.raises(Fenced):
            await stage.ask("one", offer(), epoch)
        with pytest.raises(Fenced):
            await stage.ask("one", WithdrawTask(place="t"), epoch)


async def test_a_task_is_withdrawn_only_as_long_as_nobody_works_on_it(stage: Stage, autojump_clock: MockClock) -> None:
    found = await lead(stage)
    for place in "ab":
        assert await stage.ask("one", offer(place, wait_ms=0), found.epoch) == TaskOffered(status="waiting")

    claimed = await stage.ask("any", claim("v"))
    answers = [await stage.ask("one", WithdrawTask(place=place), found.epoch) for place in "abc"]

    assert claimed.task is not None
    assert claimed.task.place == "a"
    assert answers == [TaskWithdrawn(withdrawn=yes) for yes in (False, True, True)]
    assert await stage.ask("any", claim("v", slot=1, wait_ms=0)) == NOTHING


async def test_a_question_that_comes_behind_the_withdrawal_offers_nothing_anew(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage)
    await stage.ask("one", offer(wait_ms=0), found.epoch)
    await stage.ask("one", WithdrawTask(place="t"), found.epoch)

    late = await stage.ask("one", offer(), found.epoch)
    nothing = await stage.ask("any", claim("v", wait_ms=0))
    anew = await stage.ask("one", offer(wait_ms=0), found.epoch)

    assert late == anew == TaskOffered(status="waiting")
    assert nothing == NOTHING
    assert (await stage.ask("any", claim("v"))).task is not None


async def test_a_withdrawal_that_comes_behind_the_outcome_is_not_granted(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage)
    await stage.ask("one", offer(wait_ms=0), found.epoch)
    claimed = await stage.ask("any", claim("v"))
    assert claimed.task is not None
    await stage.ask("any", FinishTask(claim_id=claimed.task.claim_id, outcome=b"result"))
    done = await stage.ask("one", offer(), found.epoch)

    late = await stage.ask("one", WithdrawTask(place="t"), found.epoch)

    assert (done.status, late) == ("done", TaskWithdrawn(withdrawn=False))


async def test_only_so_many_ends_of_offers_are_remembered(
    stage: Stage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the_pool, "OFFERS_MAX", 1)
    found = await lead(stage)
    for place in "ab":
        await stage.ask("one", offer(place, wait_ms=0), found.epoch)
        await stage.ask("one", WithdrawTask(place=place), found.epoch)

    for place in "ba":
        await stage.ask("one", offer(place, wait_ms=1), found.epoch)

    assert stage.facts(POOL)["offers"] == 1


async def test_a_task_of_a_worker_that_dies_is_offered_again(stage: Stage, autojump_clock: MockClock) -> None:
    found = await lead(stage)
    await stage.ask("one", offer(wait_ms=0), found.epoch)
    first = await stage.ask("any", claim("v", lease_ms=5_000))
    assert first.task is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.ask, "any", keep(found.claim_id, wait_ms=30_000))
        second = await stage.ask("any", claim("u"))

    assert second.task is not None
    assert second.task.place == "t"
    late = await stage.ask("any", FinishTask(claim_id=first.task.claim_id, outcome=b"late"))
    assert late == TaskFinished(accepted=False)
    done = FinishTask(claim_id=second.task.claim_id, outcome=b"result")
    assert [await stage.ask("any", done), await stage.ask("any", done)] == [TaskFinished(accepted=True)] * 2
    assert (await stage.ask("one", offer(), found.epoch)).outcome == b"result"


async def test_a_worker_that_says_that_it_lives_right_after_the_runtime_stood_still_keeps_what_it_holds(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage, lease_ms=2_000)
    async with stand_still(stage, autojump_clock, 20):
        kept = await stage.ask("any", keep(found.claim_id, lease_ms=2_000))

    assert kept == ClaimsKept()
    assert (await status(stage)).epoch == found.epoch


async def test_who_says_nothing_then_either_has_lost_it(stage: Stage, autojump_clock: MockClock) -> None:
    found = await lead(stage, lease_ms=2_000)
    async with stand_still(stage, autojump_clock, 20):
        pass
    await trio.sleep(2.1)

    assert stage.facts(POOL)["workers"] == 0
    assert (await status(stage)).status is Status.SUSPENDED
    assert lead_of(await stage.ask("any", claim("v"))).epoch > found.epoch


@asynccontextmanager
async def stand_still(stage: Stage, clock: MockClock, seconds: float) -> AsyncIterator[None]:
    """Let time pass in which nothing runs, and then all timers ring before anybody says anything."""
    clock.autojump_threshold = inf
    clock.jump(seconds)
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    yield
    clock.autojump_threshold = 0


async def test_whoever_works_on_a_task_of_an_instance_that_has_ended_is_told(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage)
    await stage.ask("one", offer(wait_ms=0), found.epoch)
    claimed = await stage.ask("any", claim("v"))
    assert claimed.task is not None
    kept: list[ClaimsKept] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, stage, keep(claimed.task.claim_id, name="v", wait_ms=30_000), kept)
        await trio.sleep(1)
        await stage.ask("one", CompleteInstance(output=b""), found.epoch)

    assert kept[0].lost == (claimed.task.claim_id,)
    late = await stage.ask("any", FinishTask(claim_id=claimed.task.claim_id, outcome=b""))
    assert late == TaskFinished(accepted=False)
    assert stage.facts(POOL)["offers"] == 0


async def test_an_instance_that_is_handed_over_waits_for_a_worker_with_the_tags(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage, tags=("small",))
    await stage.ask("one", offer(tags=("large",), wait_ms=0), found.epoch)
    await stage.ask("one", WithdrawTask(place="t", hand_over=True), found.epoch)
    await stage.ask("one", SuspendInstance(wake_at=NOW), found.epoch)

    assert await stage.ask("any", claim(tags=("small",))) == NOTHING
    again = lead_of(await stage.ask("any", claim("v", tags=("large", "small"))))

    assert again.instance_id == "one"


# Restarts and limits --------------------------------------------------------------------------------------------------


async def test_a_pool_that_has_crashed_launches_what_nobody_can_hold_any_more(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage)
    await stage.crash(POOL)

    again = lead_of(await stage.ask("any", claim()))

    assert again.epoch > found.epoch
    assert (await status(stage)).losses == 0


async def test_a_scheduler_that_has_crashed_knows_the_idle_slots_again(stage: Stage, autojump_clock: MockClock) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, stage, claim(), found)
        await trio.sleep(1)
        await stage.crash(SCHEDULER)
        await stage.ask("one", StartInstance(program=A))

    assert lead_of(found[0]).instance_id == "one"


async def test_an_instance_that_was_in_the_hands_of_a_worker_is_taken_up_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    store = WatchedStore()
    async with open_stage(store) as stage:
        found = await lead(stage)

    async with open_stage(store) as stage:
        again = lead_of(await stage.ask("any", claim()))

    assert again.epoch > found.epoch


async def test_whoever_cannot_wait_any_more_is_refused(
    stage: Stage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "PARKED_MAX", 0)
    with pytest.raises(Busy, match="slots"):
        await stage.ask("any", claim())

    monkeypatch.setattr(hands, "WORKERS_MAX", 1)
    with pytest.raises(Busy, match="workers"):
        await stage.ask("any", claim("another"))

    monkeypatch.setattr(hands, "PARKED_MAX", 9)
    found = await lead(stage)
    monkeypatch.setattr(the_pool, "OFFERS_MAX", 1)
    await stage.ask("one", offer("a", wait_ms=0), found.epoch)
    with pytest.raises(Busy, match="tasks"):
        await stage.ask("one", offer("b", wait_ms=0), found.epoch)


async def done_elsewhere(stage: Stage, found: LeadClaim, place: str) -> None:
    """Have a task of an instance done by another worker, and whoever leads told what came of it."""
    told: list[TaskOffered] = []
    await stage.ask("one", offer(place, wait_ms=0), found.epoch)
    claimed = await stage.ask("any", claim("helper"))
    assert claimed.task is not None
    await stage.ask("one", offer(place, wait_ms=0), found.epoch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, stage, offer(place), told, "one", found.epoch)
        await trio.sleep(1)
        await stage.ask("any", FinishTask(claim_id=claimed.task.claim_id, outcome=b"result"))
    assert [one.status for one in told] == ["done"]


async def test_whoever_has_not_heard_what_came_of_a_task_is_told_at_once_when_asking_again(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found = await lead(stage)
    await done_elsewhere(stage, found, "t")
    began = trio.current_time()

    again = await stage.ask("one", offer("t", wait_ms=30_000), found.epoch)

    assert again == TaskOffered(status="done", outcome=b"result")
    assert trio.current_time() - began < 1


async def test_tasks_that_are_done_leave_room_for_others(
    stage: Stage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the_pool, "OFFERS_MAX", 2)
    found = await lead(stage)

    for place in "abcde":
        await done_elsewhere(stage, found, place)

    assert stage.facts(POOL)["offers"] <= 2


async def test_a_slot_that_asks_twice_is_answered_twice_and_given_work_once(
    stage: Stage, autojump_clock: MockClock
) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, stage, claim(), found)
        await trio.sleep(1)
        nursery.start_soon(_note, stage, claim(), found)
        await trio.sleep(1)
        await stage.ask("one", StartInstance(program=A))

    assert found[0] == NOTHING
    assert lead_of(found[1]).instance_id == "one"
    assert key_of("one").tenant_id == "acme"

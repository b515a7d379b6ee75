"""Tasks of one node that workers of another one run: lent and borrowed, and what becomes of them when anything fails.

Everything is real but the way between the nodes, which a test may cut. Leases are short where they are to run out.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

from runtara.actors import _pool_borrowing as borrowing
from runtara.actors import _pool_lending as lending
from runtara.actors._pool_borrowing import TasksWait
from runtara.errors import StoreUnavailable, Unreachable
from runtara.messages import (
    ClaimsKept,
    ClaimWork,
    FinishTask,
    KeepClaims,
    OfferTask,
    RegisterInstance,
    SendSignal,
    StartInstance,
    TaskClaim,
    TaskFinished,
    TaskOffered,
    TaskWithdrawn,
    WithdrawTask,
    WorkClaimed,
)
from runtara.system import POOL
from tests.actors.village import Node, Village, until

A = "pool:a@1"
LEASE_MS = 60_000
SHORT_MS = 1_000
WAIT_MS = 15_000
NOTHING = WorkClaimed()
ACCEPTED, REFUSED = TaskFinished(accepted=True), TaskFinished(accepted=False)


@pytest.fixture
def village(database: str) -> Village:
    return Village(database)


def claim(name: str = "w", slot: int = 0, **more: Any) -> ClaimWork:
    fields: dict[str, Any] = {"programs": (A,), "lease_ms": LEASE_MS, "wait_ms": WAIT_MS} | more
    return ClaimWork(worker_id=name, slot=slot, **fields)


def offer(place: str = "t", **more: Any) -> OfferTask:
    return OfferTask(**{"place": place, "program": A, "payload": b"value", "wait_ms": 0, **more})


def keep(task: TaskClaim, name: str = "w", wait_ms: int | None = None) -> KeepClaims:
    return KeepClaims(
        worker_id=name, held=(task.claim_id,), lease_ms=LEASE_MS, wait_ms=WAIT_MS if wait_ms is None else wait_ms
    )


def finish(task: TaskClaim, outcome: bytes = b"result") -> FinishTask:
    return FinishTask(claim_id=task.claim_id, outcome=outcome)


def task_of(claimed: WorkClaimed) -> TaskClaim:
    assert claimed.task is not None
    return claimed.task


class Pair:
    """Two nodes: at `a` somebody leads an instance; whoever is idle is at `b`, unless a test says otherwise."""

    def __init__(self, a: Node, b: Node, epoch: int) -> None:
        self.a, self.b, self.epoch = a, b, epoch

    async def offer(self, place: str = "t", **more: Any) -> TaskOffered:
        """Offer a task, as who leads the instance."""
        told: TaskOffered = await self.a.ask("one", offer(place, **more), self.epoch)
        return told

    async def withdraw(self, place: str = "t") -> TaskWithdrawn:
        told: TaskWithdrawn = await self.a.ask("one", WithdrawTask(place=place), self.epoch)
        return told

    async def borrow(self, **more: Any) -> TaskClaim:
        """Offer a task at the one node, and have it claimed at the other one."""
        await self.offer(**more)
        return task_of(await self.b.ask("any", claim()))

    async def facts(self) -> tuple[int, int]:
        """How many tasks the one has lent, and the other one borrowed."""
        return self.a.facts(POOL)["lent"], self.b.facts(POOL)["borrowed"]

    async def settled(self) -> None:
        """Return when nothing is lent or borrowed any more."""
        await until(self.facts, lambda facts: facts == (0, 0))


async def lead(node: Node) -> int:
    """Have a worker of a node lead an instance."""
    await node.ask("one", StartInstance(program=A))
    claimed = await node.ask("any", claim("leader"))
    assert claimed.lead is not None
    await node.ask("one", RegisterInstance(attempt_id="leader"), claimed.lead.epoch)
    return int(claimed.lead.epoch)


@asynccontextmanager
async def pair_of(village: Village, lease_ms: int = LEASE_MS) -> AsyncIterator[Pair]:
    async with village.open("a", node_lease_ms=lease_ms) as a, village.open("b", node_lease_ms=lease_ms) as b:
        epoch = await lead(a)
        assert not a.store.tenure.alone
        yield Pair(a, b, epoch)


@pytest.fixture
async def pair(village: Village) -> AsyncIterator[Pair]:
    async with pair_of(village) as pair:
        yield pair


@pytest.fixture
async def hasty(village: Village) -> AsyncIterator[Pair]:
    """Two nodes that believe each other to be gone soon."""
    async with pair_of(village, SHORT_MS) as pair:
        yield pair


async def test_a_task_goes_to_a_slot_that_waits_at_another_node_and_its_outcome_comes_back(pair: Pair) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, pair.b, claim(), found)
        await until(is_idle(pair.b))
        await pair.offer()
    task = task_of(found[0])
    during = await pair.offer(), await pair.facts()
    done = [await pair.b.ask("any", finish(task)) for _ in range(2)]

    assert (task.instance_id, task.place, task.payload) == ("one", "t", b"value")
    assert during == (TaskOffered(status="claimed"), (1, 1))
    assert done == [ACCEPTED] * 2
    assert await pair.offer(wait_ms=5_000) == TaskOffered(status="done", outcome=b"result")
    await pair.settled()


async def note(node: Node, command: Any, found: list[Any], **more: Any) -> None:
    found.append(await node.ask("any", command, **more))


def is_idle(node: Node, slots: int = 1) -> Any:
    async def idle() -> bool:
        return bool(node.facts(POOL)["idle"] == slots)

    return idle


async def run(check: Any, village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one of these tests from elsewhere; Any: each takes what it needs."""
    needs = check.__code__.co_varnames[: check.__code__.co_argcount]
    given: dict[str, Any] = {"village": village, "monkeypatch": monkeypatch}
    async with AsyncExitStack() as held:
        for name, lease_ms in (("pair", LEASE_MS), ("hasty", SHORT_MS)):
            if name in needs:
                given[name] = await held.enter_async_context(pair_of(village, lease_ms))
        await check(**{name: given[name] for name in needs})


async def test_who_has_found_nothing_is_told_of_the_next_task_at_once(pair: Pair) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, pair.b, claim(), found)
        await until(is_idle(pair.b))
        await pair.offer("first")
        nursery.start_soon(note, pair.b, claim(slot=1), found)
        await until(asked_in_vain(pair))
        began = trio.current_time()
        await pair.offer("second")

    assert {task_of(one).place for one in found} == {"first", "second"}
    assert trio.current_time() - began < lending.SAY_AGAIN / 2


async def test_news_that_overtake_the_answer_that_there_was_nothing_are_believed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "SAY_AFTER", 3_600.0)  # the news come from here
    pool, news = pair.b.runtime.system.ref(POOL), TasksWait(pair.a.store.tenure.number or 0, "acme", A)
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, pair.b, claim(), found)
        await until(is_idle(pair.b))
        pair.a.answers = trio.Event()
        await pool.ask(news)
        await until(has_answered(pair.a))
        await pair.offer()
        await pool.ask(news)
        pair.a.answers.set()

    assert task_of(found[0]).place == "t"


async def test_a_slot_for_which_one_node_has_nothing_is_filled_by_another_that_has_spoken_meanwhile(
    pair: Pair, village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "SAY_AFTER", 3_600.0)
    found: list[WorkClaimed] = []
    async with village.open("c") as c, trio.open_nursery() as nursery:
        pool, nodes = pair.b.runtime.system.ref(POOL), [node.store.tenure.number or 0 for node in (c, pair.a)]
        nursery.start_soon(note, pair.b, claim(), found)
        await until(is_idle(pair.b))
        c.answers = trio.Event()
        await pool.ask(TasksWait(nodes[0], "acme", A))
        await until(has_answered(c))
        await pair.offer()
        await pool.ask(TasksWait(nodes[1], "acme", A))
        c.answers.set()

    assert task_of(found[0]).place == "t"


def has_answered(node: Node) -> Any:
    async def answered() -> bool:
        return bool(node.answered)

    return answered


def asked_in_vain(pair: Pair) -> Any:
    async def asked() -> bool:
        return sum(isinstance(command, ClaimWork) for command in pair.a.passed) >= 2

    return asked


async def test_a_task_that_waits_goes_to_the_first_slot_that_becomes_idle_anywhere(pair: Pair) -> None:
    task = await pair.borrow()

    assert task.place == "t"


async def test_a_fork_goes_to_as_many_slots_as_there_are_and_nobody_asks_for_more(pair: Pair) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        for slot in range(3):
            nursery.start_soon(note, pair.b, claim(slot=slot), found)
        await until(is_idle(pair.b, 3))
        for place in "xyz":
            await pair.offer(place)
    asked = [command for command in pair.a.passed if isinstance(command, ClaimWork)]

    assert {task_of(one).place for one in found} == set("xyz")
    assert len({task_of(one).claim_id for one in found}) == 3
    assert len(asked) <= 4


async def test_a_slot_that_is_idle_at_home_goes_first_and_nobody_is_told(pair: Pair) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, pair.a, claim(), found)
        await until(is_idle(pair.a))
        await pair.offer()

    assert task_of(found[0]).place == "t"
    assert await pair.facts() == (0, 0)
    assert pair.a.passed == []


async def test_a_task_goes_to_no_worker_that_has_not_its_tags(pair: Pair) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, pair.b, claim("small", tags=("small",)), found)
        await until(is_idle(pair.b))
        await pair.offer(tags=("large",))
        await until(has_passed(pair.a))
        large = task_of(await pair.b.ask("any", claim("large", tags=("large", "small"))))
        nursery.cancel_scope.cancel()

    assert found == []
    assert large.place == "t"


def has_passed(node: Node) -> Any:
    async def passed() -> bool:
        return bool(node.passed)

    return passed


async def test_another_tenants_worker_gets_nothing_whatever_it_runs(pair: Pair) -> None:
    found: list[WorkClaimed] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: note(pair.b, claim(), found, tenant="rival"))
        await until(is_idle(pair.b))
        await pair.offer()
        task = task_of(await pair.b.ask("any", claim()))
        nursery.cancel_scope.cancel()
    rivals = [
        await pair.b.ask("any", finish(task), tenant="rival"),
        await pair.b.ask("any", keep(task), tenant="rival"),
    ]

    assert found == []
    assert rivals == [REFUSED, ClaimsKept(lost=(task.claim_id,))]
    assert await pair.b.ask("any", finish(task)) == ACCEPTED


async def test_a_worker_that_has_the_name_of_a_node_takes_nothing_from_it(pair: Pair) -> None:
    task = await pair.borrow()
    (name,) = {command.worker_id for command in pair.a.passed if isinstance(command, ClaimWork)}

    for slot in range(3):
        assert await pair.a.ask("any", claim(name, slot=slot, wait_ms=0)) == NOTHING

    assert await pair.b.ask("any", finish(task)) == ACCEPTED


async def test_a_whole_instance_is_not_lent(pair: Pair) -> None:
    with trio.move_on_after(0.1):
        await pair.a.ask("any", claim("gone", slot=5))
    await pair.a.ask("two", StartInstance(program=A))
    await until(lead_waits(pair.a))
    await pair.offer()

    found = [await pair.b.ask("any", claim(slot=slot, wait_ms=1_000)) for slot in range(2)]
    at_home = await pair.a.ask("any", claim())

    assert task_of(found[0]).place == "t"
    assert found[1] == NOTHING
    assert at_home.lead is not None
    assert at_home.lead.instance_id == "two"


def lead_waits(node: Node) -> Any:
    async def waits() -> bool:
        return bool(node.facts(POOL)["waiting"] == 1)

    return waits


async def test_what_another_node_works_on_is_not_withdrawn(pair: Pair) -> None:
    await pair.borrow()

    assert await pair.withdraw() == TaskWithdrawn(withdrawn=False)


async def test_a_task_of_an_instance_that_is_cancelled_is_stopped_wherever_it_runs(pair: Pair) -> None:
    task = await pair.borrow()
    kept: list[ClaimsKept] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, pair.b, keep(task), kept)
        await pair.a.ask("one", SendSignal(kind="cancel", signal_id="c", grace_ms=0))

    assert kept == [ClaimsKept(lost=(task.claim_id,))]
    assert await pair.b.ask("any", finish(task)) == REFUSED
    await pair.settled()


# What fails -----------------------------------------------------------------------------------------------------------


async def test_a_task_of_a_worker_that_dies_is_run_by_another_one_at_home_or_elsewhere(pair: Pair) -> None:
    await pair.offer()
    first = task_of(await pair.b.ask("any", claim(lease_ms=200)))

    again = task_of(await pair.a.ask("any", claim("v")))

    assert again.place == "t"
    assert await pair.b.ask("any", finish(first, b"late")) == REFUSED
    assert await pair.a.ask("any", finish(again)) == ACCEPTED
    assert (await pair.offer()).outcome == b"result"
    await pair.settled()


async def test_what_two_nodes_that_are_cut_off_have_lent_is_run_at_home_and_left_elsewhere(hasty: Pair) -> None:
    task = await hasty.borrow()
    hasty.a.reachable = False

    kept = await hasty.b.ask("any", keep(task))
    again = task_of(await hasty.a.ask("any", claim("v")))
    late = await hasty.b.ask("any", finish(task))

    assert kept == ClaimsKept(lost=(task.claim_id,))
    assert again.place == "t"
    assert late == REFUSED
    assert (await hasty.facts())[1] == 0


async def test_a_task_that_takes_longer_than_the_lease_between_two_nodes_stays_where_it_is(hasty: Pair) -> None:
    task = await hasty.borrow()
    kept = await hasty.b.ask("any", keep(task, wait_ms=3 * SHORT_MS))

    assert kept == ClaimsKept()
    assert await hasty.b.ask("any", finish(task)) == ACCEPTED


async def test_a_lender_that_was_lost_has_its_tasks_left_elsewhere(pair: Pair, village: Village) -> None:
    task = await pair.borrow()
    await village.lose("a")
    with pytest.raises(StoreUnavailable):
        await pair.a.ask("two", StartInstance(program=A))  # so it hears of it

    kept = await pair.b.ask("any", keep(task))

    assert kept == ClaimsKept(lost=(task.claim_id,))
    assert await pair.b.ask("any", finish(task)) == REFUSED


async def test_what_a_node_has_borrowed_that_goes_down_is_run_by_others_at_once(
    village: Village,
) -> None:
    async with village.open("a") as a:
        async with village.open("b") as b:
            pair = Pair(a, b, await lead(a))
            await pair.borrow()

        again = task_of(await a.ask("any", claim("v")))

    assert again.place == "t"


async def test_a_slot_that_is_gone_when_the_task_comes_has_it_given_back(pair: Pair) -> None:
    await pair.offer()
    pair.a.gate = trio.Event()
    found = [await pair.b.ask("any", claim(wait_ms=300))]
    pair.a.gate.set()
    lent = await pair.offer(wait_ms=5_000)

    again = task_of(await pair.a.ask("any", claim("v")))

    assert found == [NOTHING]
    assert lent == TaskOffered(status="claimed")
    assert again.place == "t"
    await pair.settled()


async def test_a_task_whose_lending_was_not_heard_of_is_given_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "SAY_AGAIN", 0.2)
    pair.a.loses_answers = True
    await pair.offer()
    assert await pair.b.ask("any", claim(wait_ms=500)) == NOTHING
    pair.a.loses_answers = False

    assert task_of(await pair.b.ask("any", claim())).place == "t"
    assert await pair.facts() == (1, 1)


async def test_an_outcome_whose_answer_was_lost_is_told_again_and_counts(pair: Pair) -> None:
    task = await pair.borrow()
    pair.a.loses_answers = True
    with pytest.raises(Unreachable):
        await pair.b.ask("any", finish(task))
    pair.a.loses_answers = False

    done = await pair.b.ask("any", finish(task))

    assert done == ACCEPTED
    assert (await pair.offer()).outcome == b"result"
    await pair.settled()


async def test_a_newcomer_is_told_what_has_waited_before_it_came(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "SAY_AGAIN", 0.2)
    async with village.open("a") as a:
        epoch = await lead(a)
        await a.ask("one", offer(), epoch)
        async with village.open("b") as b:
            await a.ask("two", RegisterInstance(attempt_id="x"))  # so it hears that it is alone no more
            task = task_of(await b.ask("any", claim()))

    assert task.place == "t"


# Limits ---------------------------------------------------------------------------------------------------------------


async def test_what_more_nodes_have_than_can_be_remembered_is_fetched_when_it_is_said_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "SAY_AGAIN", 0.2)
    with monkeypatch.context() as full:
        full.setattr(borrowing, "LENDERS_MAX", 0)
        await pair.offer()
        assert await pair.b.ask("any", claim(wait_ms=500)) == NOTHING

    assert task_of(await pair.b.ask("any", claim())).place == "t"


async def test_a_lender_that_lends_nothing_any_more_makes_room_for_another_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borrowing, "LENDERS_MAX", 1)
    monkeypatch.setattr(borrowing, "_NEWS_LAST", 0.0)
    await pair.b.runtime.system.ref(POOL).ask(TasksWait(99, "rival", A))
    monkeypatch.setattr(borrowing, "_NEWS_LAST", 15.0)

    task = await pair.borrow()

    assert task.place == "t"


async def test_only_so_many_outcomes_are_remembered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borrowing, "FINISHED_MAX", 1)
    tasks = []
    for place in "xy":
        tasks.append(await pair.borrow(place=place))
        assert await pair.b.ask("any", finish(tasks[-1])) == ACCEPTED

    again = [await pair.b.ask("any", finish(task)) for task in tasks]

    assert again == [REFUSED, ACCEPTED]

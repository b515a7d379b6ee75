from typing import Any

import pytest
import trio
import trio.testing

from runtara.actors import Down, MailboxSpec, Policy, System, child, open_system, supervisor
from runtara.errors import (
    ActorStopped,
    AskCycle,
    DeadlineExceeded,
    InvalidInput,
    MailboxFull,
)
from tests.actors.tally import Shelf, Tally
from tests.actors.troupe import (
    AskLater,
    Blocker,
    Boom,
    Fail,
    Forward,
    Gate,
    Hold,
    Later,
    Players,
    Recorder,
    Run,
    Worker,
    caught,
    died,
    failures,
    idle,
    one,
)


def company(*, shelf: Shelf | None = None, log: list[Any] | None = None, threads: bool = False) -> Any:
    """A system with actors of each kind; those with threads would not notice that a clock jumps."""
    blocking = [child("blocker", Blocker), child("players", Players, [])]
    return open_system(
        supervisor(
            "root",
            child("a", Worker, log),
            child("b", Worker),
            child("c", Worker),
            child("cells", Tally, shelf or Shelf()),
            *(blocking if threads else []),
        )
    )


def ref(system: System, kind: str) -> Any:
    return system.cell("root/cells", "x") if kind == "cell" else system.ref(f"root/{kind}")


KINDS = pytest.mark.parametrize("kind", ["a", "blocker", "players", "cell"])


@KINDS
async def test_every_kind_of_actor_is_asked_and_told_in_the_same_way(kind: str) -> None:
    async with company(threads=True) as system:
        actor = ref(system, kind)

        await actor.tell(1)
        actor.tell_nowait(2)
        total = await actor.ask(3)
        refusal = await caught(actor, "no")

        assert total == 6
        assert isinstance(refusal, InvalidInput)


@KINDS
async def test_every_kind_of_actor_is_asked_and_told_from_threads_in_the_same_way(kind: str) -> None:
    async with company(threads=True) as system:
        actor = ref(system, kind)

        def talk() -> tuple[int, str]:
            actor.tell_from_thread(1)
            actor.tell_nowait(2)
            total = actor.ask_from_thread(3)
            with pytest.raises(InvalidInput) as refusal:
                actor.ask_from_thread("no")
            return total, str(refusal.value)

        assert await trio.to_thread.run_sync(talk) == (6, "no")


async def test_references_to_the_same_place_are_equal() -> None:
    async with company() as system:
        first, second, other = system.ref("root/a"), system.ref("root/a"), system.ref("root/b")

        assert first == second
        assert hash(first) == hash(second)
        assert first != other
        assert repr(first) == "<Ref root/a>"
        assert repr(system.cell("root/cells", "x")) == "<CellRef root/cells/x>"


async def test_an_actor_knows_its_own_reference() -> None:
    async with one(Worker) as system:
        assert await system.ref("root/it").ask(Run(lambda actor: actor.ref)) == system.ref("root/it")


async def test_an_ask_without_time_left_is_not_sent(autojump_clock: object) -> None:
    async with one(Worker) as system:
        error = await caught(system.ref("root/it"), 1, timeout=0)

        assert isinstance(error, DeadlineExceeded)
        assert await system.ref("root/it").ask(0) == 0


async def test_an_ask_that_says_nothing_has_the_timeout_of_the_system(autojump_clock: object) -> None:
    tree = supervisor("root", child("it", Worker))
    async with open_system(tree, ask_timeout=7) as system:
        gate, began = Gate(), trio.current_time()

        error = await caught(system.ref("root/it"), Hold(gate))

        gate.open.set()
        assert isinstance(error, DeadlineExceeded)
        assert 7 <= trio.current_time() - began < 7.1


@pytest.mark.parametrize("target", ["b", "cell"])
async def test_a_nested_ask_has_no_more_time_than_the_ask_it_serves(target: str, autojump_clock: object) -> None:
    shelf = Shelf()
    shelf.hold_loads = True
    async with company(shelf=shelf) as system:
        gate, began, nested = Gate(), trio.current_time(), []
        if target == "b":
            await system.ref("root/b").tell(Hold(gate))

        async def ask(_: Worker) -> None:
            nested.append(await caught(ref(system, target), 1, timeout=50))

        outer = await caught(system.ref("root/a"), Later(ask), timeout=3)
        await trio.sleep(0.1)

        gate.open.set()
        shelf.release()
        assert isinstance(outer, DeadlineExceeded)
        assert isinstance(nested[0], DeadlineExceeded)
        assert trio.current_time() - began < 3.3


async def test_a_blocking_actor_passes_the_deadline_on() -> None:
    async with company(threads=True) as system:
        seen: list[float] = []

        def look(actor: Worker) -> None:
            life = actor.ref.slot.life
            assert life is not None
            seen.append(life._frame.deadline - trio.current_time())

        await system.ref("root/blocker").ask(Forward(system.ref("root/a"), Run(look), timeout=500), timeout=40)

        assert 10 < seen[0] <= 40


async def test_asking_oneself_is_a_cycle() -> None:
    async with one(Worker) as system:
        actor = system.ref("root/it")

        error = await caught(actor, Forward(actor, 1))

        assert isinstance(error, AskCycle)
        assert "root/it asks root/it, which waits for root/it" in str(error)


@pytest.mark.parametrize(
    "way", [["a", "b", "a"], ["a", "b", "c", "a"], ["a", "blocker", "a"], ["blocker", "a", "blocker"]]
)
async def test_a_cycle_of_asks_is_an_error_at_once(way: list[str]) -> None:
    async with company(threads=True) as system:
        message: Any = 1
        for name in reversed(way[1:]):
            message = Forward(system.ref(f"root/{name}"), message)

        error = await caught(system.ref(f"root/{way[0]}"), message)

        assert isinstance(error, AskCycle)
        assert [system.ref(f"root/{name}").slot.waits_for for name in way] == [[]] * len(way)
        assert [await system.ref(f"root/{name}").ask(1) for name in set(way)] == [1] * len(set(way))


async def test_a_cycle_is_found_among_asks_that_a_handler_makes_at_the_same_time() -> None:
    async with company() as system:
        a, b, c = (system.ref(f"root/{name}") for name in "abc")
        gate, errors = Gate(), []

        async def ask_all(_: Worker) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(c.ask, Hold(gate))
                await gate.entered.wait()
                errors.append(await caught(b, Forward(a, 1)))
                gate.open.set()

        await a.ask(Later(ask_all))

        assert [type(error) for error in errors] == [AskCycle]


async def test_two_who_ask_a_third_are_no_cycle() -> None:
    async with company() as system:
        a, b, c = (system.ref(f"root/{name}") for name in "abc")

        async def ask_both(_: Worker) -> Any:
            return await b.ask(Forward(c, 1)), await c.ask(1)

        assert await a.ask(Later(ask_both)) == (1, 2)


async def test_an_ask_with_a_callback_is_no_wait_and_hence_no_cycle() -> None:
    replies: list[Any] = []

    def ask_back(actor: Worker) -> None:
        actor.ref.ask_then(5, lambda reply: replies.append(reply.value))

    async with one(Worker) as system:
        await system.ref("root/it").ask(Run(ask_back))
        await idle()

        assert replies == [5]


async def test_a_callback_is_called_with_refusals_and_crashes_too(autojump_clock: object) -> None:
    replies: list[Any] = []
    async with company() as system:
        a, b = system.ref("root/a"), system.ref("root/b")

        for message in (1, "no", Fail()):
            await a.ask(AskLater(b, message, lambda reply: replies.append(reply.value or type(reply.error).__name__)))
            await idle()

        assert replies == [1, "InvalidInput", "ActorFailed"]


async def test_a_callback_does_not_run_on_behalf_of_the_actor_that_answers(autojump_clock: object) -> None:
    async with company() as system:
        b, first, second, answers = system.ref("root/b"), Gate(), Gate(), []

        def then(_: Any) -> None:  # b is answering, and the time of what it answers is nearly over
            b.tell_nowait(Hold(second))
            b.ask_then(1, lambda reply: answers.append(reply.value), timeout=60)

        b.ask_then(Hold(first), then, timeout=2)
        await trio.sleep(1.9)
        first.open.set()
        await trio.sleep(5)
        second.open.set()
        await idle()

        assert answers == [1]


@pytest.mark.parametrize("policy", [Policy.WAIT, Policy.REJECT, Policy.COALESCE])
async def test_who_cannot_wait_is_refused_by_a_full_mailbox(policy: Policy) -> None:
    spec = MailboxSpec(bound=2, policy=policy, key=id)
    async with one(Worker, mailbox=spec) as system:
        actor, gate = system.ref("root/it"), Gate()
        actor.tell_nowait(Hold(gate))
        await gate.entered.wait()
        actor.tell_nowait(1)
        actor.tell_nowait(2)

        with pytest.raises(MailboxFull, match="root/it holds 2 messages, its bound"):
            actor.tell_nowait(3)

        gate.open.set()
        await idle()
        assert await actor.ask(0) == 3


@pytest.mark.parametrize("policy", [Policy.REJECT, Policy.COALESCE])
async def test_who_could_wait_is_refused_too_where_the_policy_says_so(policy: Policy) -> None:
    async with one(Worker, mailbox=MailboxSpec(bound=1, policy=policy, key=id)) as system:
        actor, gate = system.ref("root/it"), Gate()
        actor.tell_nowait(Hold(gate))
        await gate.entered.wait()
        actor.tell_nowait(1)

        with pytest.raises(MailboxFull):
            await actor.tell(2)
        error = await caught(actor, 3)

        gate.open.set()
        assert isinstance(error, MailboxFull)
        assert system.deadlines._buckets == {}


@pytest.mark.parametrize("kind", [Worker, Recorder])
async def test_an_actor_that_ended_refuses_everything(kind: type[Worker]) -> None:
    async with one(kind) as system:
        actor = system.ref("root/it")
        await system.stop_child("root/it")

        assert isinstance(await caught(actor, 1), ActorStopped)
        with pytest.raises(ActorStopped):
            await actor.tell(1)
        with pytest.raises(ActorStopped, match="root/it has stopped and did not read the message"):
            actor.tell_nowait(1)


async def test_those_who_watch_hear_of_a_crash_and_that_it_is_started_again(autojump_clock: object) -> None:
    log: list[Any] = []
    async with company(log=log) as system:
        a, b = system.ref("root/a"), system.ref("root/b")
        b.watch(a)

        await caught(b, Fail())
        await died(b)
        await idle()

        assert failures(log[1:]) == ["boom"]
        assert (log[1].path, log[1].restarts) == ("root/b", True)


async def test_those_who_watch_hear_of_a_final_stop_once() -> None:
    log: list[Any] = []
    async with company(log=log) as system:
        a, b = system.ref("root/a"), system.ref("root/b")
        b.watch(a)
        b.watch(a)

        await system.stop_child("root/b")
        await idle()

        assert log[1:] == [Down("root/b", None, restarts=False)]


async def test_watching_an_actor_that_has_ended_tells_so_at_once() -> None:
    log: list[Any] = []
    async with company(log=log) as system:
        a, b = system.ref("root/a"), system.ref("root/b")
        await system.stop_child("root/b")

        b.watch(a)
        await idle()

        assert log[1:] == [Down("root/b", None, restarts=False)]


async def test_who_does_not_watch_any_more_hears_nothing() -> None:
    log: list[Any] = []
    async with company(log=log) as system:
        a, b = system.ref("root/a"), system.ref("root/b")
        b.watch(a)

        b.unwatch(a)
        b.unwatch(a)
        await system.stop_child("root/b")
        await idle()

        assert log[1:] == []


async def test_who_ends_watches_nobody_any_more() -> None:
    async with company() as system:
        a, b = system.ref("root/a"), system.ref("root/b")
        b.watch(a)

        await system.stop_child("root/a")

        assert b.slot.watchers == set()


async def test_a_watch_outlives_restarts_of_both(autojump_clock: object) -> None:
    log: list[Any] = []
    async with company(log=log) as system:
        a, b = system.ref("root/a"), system.ref("root/b")
        b.watch(a)

        for number, who in enumerate((a, b, b)):
            await caught(who, Fail(Boom(f"boom {number}")))
            await died(who, restarts=max(1, number))
        await idle()

        heard = [entry for entry in log if isinstance(entry, Down)]
        assert failures(heard) == ["boom 1", "boom 2"]

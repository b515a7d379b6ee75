import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
import trio.testing

from runtara import actors
from runtara.actors import Actor, Intensity, MailboxSpec, System, SystemFailed, child, hears, open_system, supervisor
from runtara.actors._deferred import Deferred
from runtara.errors import ActorStopped, NotFound, OutcomeUnknown
from tests.actors.tally import Shelf, Tally
from tests.actors.troupe import Blocker, Boom, Fail, Gate, Hold, Worker, caught, idle


async def test_a_system_gives_its_actors_by_their_paths() -> None:
    tree = supervisor("root", supervisor("group", child("it", Worker)))
    async with open_system(tree, name="shop") as system:
        assert system.ref("root/group/it").path == "root/group/it"
        with pytest.raises(NotFound, match="shop has no actor at 'root/group/if': there is root/group/it"):
            system.ref("root/group/if")


async def test_the_block_may_raise_what_it_likes() -> None:
    log: list[Any] = []

    with pytest.raises(Boom, match="mine"):
        async with open_system(supervisor("root", child("it", Worker, log))):
            raise Boom("mine")

    assert log == ["worker starts", "worker stops"]


async def test_the_tree_is_stopped_in_order_also_where_the_block_is_cancelled() -> None:
    log: list[Any] = []

    with trio.CancelScope() as scope:
        async with open_system(supervisor("root", child("a", Worker, log, "a"), child("b", Worker, log, "b"))):
            scope.cancel()
            await trio.sleep_forever()

    assert log == ["a starts", "b starts", "b stops", "a stops"]


async def test_the_tree_is_stopped_in_order_also_where_its_start_is_cancelled(autojump_clock: object) -> None:
    log: list[Any] = []

    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    with trio.move_on_after(1):
        tree = supervisor("root", child("a", Worker, log, "a"), child("b", Slow, log, "b", stop_grace=1))
        async with open_system(tree):
            pytest.fail("it does not start")

    assert log[0] == "a starts"
    assert log[-1] == "a stops"


async def test_when_the_root_gives_up_the_block_is_cancelled_and_hears_why(autojump_clock: object) -> None:
    cancelled: list[bool] = []

    with pytest.raises(SystemFailed, match="shop has failed: root gave up") as failed:  # noqa: PT012 - at its end
        async with open_system(
            supervisor("root", child("it", Worker), intensity=Intensity(restarts=0)), name="shop"
        ) as s:
            s.ref("root/it").tell_nowait(Fail())
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append(True)
                raise

    assert cancelled == [True]
    assert isinstance(failed.value.__cause__, BaseException)


async def test_after_the_end_nothing_is_left(autojump_clock: object) -> None:
    async with open_system(supervisor("root", child("it", Worker))) as system:
        ref = system.ref("root/it")

    assert isinstance(await caught(ref, 1), ActorStopped)
    with pytest.raises(ActorStopped):
        system.inspect()
    with pytest.raises(NotFound):
        system.ref("root/it")


async def test_no_thread_is_left_running() -> None:
    before = set(threading.enumerate())
    children = [child(f"b{number}", Blocker) for number in range(5)]

    async with open_system(supervisor("root", *children)) as system:
        threads = set(threading.enumerate()) - before
        for spec in children:
            await system.ref(f"root/{spec.name}").ask(1)

    for thread in threads:
        thread.join(60)
    assert len(threads) == 5
    assert not [thread for thread in threads if thread.is_alive()]


async def test_an_asker_outside_the_block_is_answered_when_the_system_ends(autojump_clock: object) -> None:
    errors: list[BaseException] = []

    async def ask(system: System, message: Any) -> None:
        errors.append(await caught(system.ref("root/it"), message, timeout=1e6))

    async with trio.open_nursery() as nursery, open_system(supervisor("root", child("it", Worker))) as system:
        gate = Gate()
        nursery.start_soon(ask, system, Hold(gate))
        await gate.entered.wait()
        nursery.start_soon(ask, system, 1)
        await idle()

    assert {type(error) for error in errors} == {OutcomeUnknown, ActorStopped}


async def test_what_nobody_answers_any_more_is_unknown_when_the_system_ends(autojump_clock: object) -> None:
    errors: list[BaseException] = []
    shelf = Shelf()
    shelf.hold_writes = True  # for ever

    async def ask(system: System) -> None:
        errors.append(await caught(system.cell("root/it", "x"), 1, timeout=float("inf")))

    tree = supervisor("root", child("it", Tally, shelf, stop_grace=1))
    async with trio.open_nursery() as nursery, open_system(tree) as system:
        nursery.start_soon(ask, system)
        await idle()

    assert [type(error) for error in errors] == [OutcomeUnknown]


def test_systems_live_side_by_side_in_several_threads() -> None:
    totals: list[int] = []

    async def main() -> None:
        async with open_system(supervisor("root", child("it", Worker), child("b", Blocker))) as system:
            for name in ("it", "b"):
                total = 0
                for _ in range(50):
                    total = await system.ref(f"root/{name}").ask(1)
                totals.append(total)

    threads = [threading.Thread(target=trio.run, args=(main,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert totals == [50] * 8


def test_a_system_may_run_in_a_system() -> None:
    class Host(Actor):
        async def on_start(self) -> None:
            self.start_soon(self.serve)

        async def serve(self) -> None:
            async with open_system(supervisor("root", child("it", Worker)), name="inner") as inner:
                answers.append(await inner.ref("root/it").ask(4))
                await trio.sleep_forever()

    async def main() -> None:
        async with open_system(supervisor("root", child("host", Host))):
            await idle()

    answers: list[int] = []
    trio.run(main)

    assert answers == [4]


def test_what_is_published_is_sorted_and_exists() -> None:
    assert actors.__all__ == sorted(actors.__all__)
    assert all(hasattr(actors, name) for name in actors.__all__)


# A whole system, crashing at random, replayed from a seed ------------------------------------------------------------


@contextmanager
def seeded(seed: int) -> Iterator[random.Random]:
    """Have trio choose the next task by a seeded generator, as Hypothesis does; there is no public switch."""
    from trio._core import _run

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        patches.setattr(_run, "_r", random.Random(seed))
        yield random.Random(seed)


class Flaky(Actor):
    """Adds and forwards, waits a little, and crashes now and then."""

    def __init__(self, trace: list[str], rng: random.Random, onward: str | None) -> None:
        self.trace = trace
        self.rng = rng
        self.onward = onward

    async def on_start(self) -> None:
        if self.rng.random() < 0.1:
            raise Boom("start")

    @hears(int)
    def sync(self, number: int) -> int:
        self._perhaps(f"{self.ref.path} {number}")
        return number

    @hears(float)
    async def wait(self, number: float) -> float:
        self._perhaps(f"{self.ref.path} waits {number}")
        await trio.sleep(self.rng.random())
        if self.onward is not None and self.rng.random() < 0.5:
            await self.system.ref(self.onward).ask(number)
        return number

    def _perhaps(self, what: str) -> None:
        self.trace.append(what)
        if self.rng.random() < 0.1:
            raise Boom(what)


async def play(rng: random.Random) -> tuple[list[str], list[str], System]:
    """Have many askers and tellers talk to a tree that crashes; return the trace and every outcome."""
    trace: list[str] = []
    outcomes: list[str] = []
    rarely = Intensity(restarts=1_000_000)
    small = MailboxSpec(bound=3)
    tree = supervisor(
        "root",
        child("cells", Tally, Shelf()),
        supervisor(
            "group",
            child("a", Flaky, trace, rng, "root/group/b", mailbox=small),
            child("b", Flaky, trace, rng, None, mailbox=small),
            strategy=rng.choice(list(actors.Strategy)),
            intensity=Intensity(restarts=5, within=1),
        ),
        intensity=rarely,
    )

    async def ask(target: Any, message: Any) -> None:
        try:
            outcomes.append(f"{target} {message} -> {await target.ask(message, timeout=3)}")
        except Exception as error:  # noqa: BLE001 - an outcome too
            outcomes.append(f"{target} {message} -> {type(error).__name__}")

    async def talk(system: System, talker: int) -> None:
        for number in range(6):
            name = rng.choice("ab")
            await ask(system.ref(f"root/group/{name}"), talker * 10 + number + rng.choice([0, 0.5]))
            await ask(system.cell("root/cells", name), 1)
            await trio.sleep(rng.random())

    while True:
        try:
            async with open_system(tree, rng=rng) as system, trio.open_nursery() as nursery:
                for talker in range(5):
                    nursery.start_soon(talk, system, talker)
            return trace, outcomes, system
        except SystemFailed:  # a first start may fail, too
            trace.append("again")


def run_play(seed: int) -> tuple[list[str], list[str], System]:
    with seeded(seed) as rng:
        return trio.run(play, rng, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("seed", range(30))
def test_every_ask_has_an_outcome_whatever_crashes_when(seed: int) -> None:
    trace, outcomes, system = run_play(seed)

    assert len(outcomes) == 60
    known = {"ActorFailed", "OutcomeUnknown", "ActorStopped", "DeadlineExceeded"}
    assert {outcome.split(" -> ")[1] for outcome in outcomes if "Error" in outcome} == set()
    assert {last for outcome in outcomes if (last := outcome.split(" -> ")[1])[0].isupper()} <= known
    assert not system.deadlines._buckets
    crashed = sum("-> ActorFailed" in outcome for outcome in outcomes)
    assert crashed <= len(trace)


def test_the_same_seed_gives_the_same_trace() -> None:
    first, second, other = run_play(5), run_play(5), run_play(6)

    assert first[:2] == second[:2]
    assert first[:2] != other[:2]


@pytest.mark.parametrize("seed", range(30))
def test_no_tell_is_lost_without_a_dead_letter(seed: int) -> None:
    handled: list[str] = []
    told = 60

    async def main(rng: random.Random) -> System:
        tree = supervisor(
            "root",
            child("a", Flaky, handled, rng, None, mailbox=MailboxSpec(bound=4)),
            intensity=Intensity(restarts=1_000_000),
        )
        while True:
            try:
                async with open_system(tree, rng=rng) as system, trio.open_nursery() as nursery:
                    for number in range(told):
                        nursery.start_soon(system.ref("root/a").tell, number)
                        if rng.random() < 0.3:
                            await trio.sleep(rng.random())
                    await trio.sleep(rng.choice([0, 500]))
                return system
            except SystemFailed:
                handled.clear()

    with seeded(seed) as rng:
        system = trio.run(main, rng, clock=trio.testing.MockClock(autojump_threshold=0))

    counts = system.dead_letters.counts
    assert len(handled) + counts.get("stopped", 0) == told
    assert counts.get("failed", 0) <= len(handled)


class Silent(Actor):
    """Takes questions over, and never answers."""

    AT_ONCE = False

    @hears(str)
    def hear(self, _: str) -> Deferred:
        return Deferred()


async def test_a_callback_that_fails_while_the_system_ends_does_not_keep_it_from_ending() -> None:
    def fail(_: object) -> None:
        raise Boom("too late")

    async def run() -> None:
        async with open_system(supervisor("root", child("it", Silent))) as system:
            system.ref("root/it").ask_then("question", fail, timeout=60)
            await trio.testing.wait_all_tasks_blocked()

    with trio.fail_after(60), pytest.RaisesGroup(pytest.RaisesExc(Boom, match="too late")):
        await run()

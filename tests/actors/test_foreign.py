import asyncio
import threading
from collections.abc import Callable
from typing import Any, Self

import pytest
import trio
import trio.testing

from runtara import threads
from runtara.actors import MailboxSpec, Policy, Ref, System, child, open_system, supervisor
from runtara.errors import ActorStopped, AskCycle, DeadlineExceeded, InvalidInput, MailboxFull, OutcomeUnknown
from tests.actors.tally import Shelf, Tally
from tests.actors.troupe import Blocker, Forward, Gate, Hold, Later, Run, Worker, caught, one


async def in_thread(code: Callable[..., Any], *args: Any) -> Any:
    return await trio.to_thread.run_sync(code, *args)


def run_asyncio(main: Callable[..., Any], *args: Any) -> Any:
    return asyncio.run(main(*args))


def outcome(code: Callable[..., Any], *args: Any) -> Any:
    try:
        return code(*args)
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return type(error)


class OwnLoop:
    """A system in a thread and an event loop of its own, until it is stopped."""

    def __init__(self, factory: Any = Worker, **options: Any) -> None:
        self._started = threading.Event()
        self._options = options
        self._factory = factory
        self._thread = threading.Thread(target=trio.run, args=(self._main,))

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _main(self) -> None:
        async with one(self._factory, **self._options) as system:
            self.system: System = system
            self._token, self._stop = trio.lowlevel.current_trio_token(), trio.Event()
            self._started.set()
            await self._stop.wait()

    def stop(self) -> None:
        try:
            self._token.run_sync_soon(self._stop.set)
        except trio.RunFinishedError:
            return
        finally:
            self._thread.join()


async def test_a_blocking_call_on_the_thread_of_the_loop_is_refused() -> None:
    async with one(Worker) as system:
        ref = system.ref("root/it")

        with pytest.raises(RuntimeError, match="a blocking call to root/it would stop the loop"):
            ref.ask_from_thread(1)
        with pytest.raises(RuntimeError, match="use await"):
            ref.tell_from_thread(1)


async def test_messages_from_a_thread_keep_their_order() -> None:
    log: list[Any] = []
    async with one(Worker, log, mailbox=MailboxSpec(bound=5000)) as system:
        ref = system.ref("root/it")

        def flood() -> None:
            for number in range(2000):
                ref.tell_nowait(number)
            ref.ask_from_thread(0)

        await in_thread(flood)

        assert log[1:-1] == list(range(2000))


async def test_a_tell_that_is_refused_on_the_loop_becomes_a_dead_letter() -> None:
    spec = MailboxSpec(bound=1, policy=Policy.REJECT)
    async with one(Worker, mailbox=spec) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        ref.tell_nowait(1)

        await in_thread(ref.tell_nowait, 2)
        with pytest.raises(MailboxFull):
            await in_thread(ref.tell_from_thread, 3)

        gate.open.set()
        assert [(letter.reason, letter.message) for letter in system.dead_letters.recent] == [("mailbox-full", 2)]


async def test_a_tell_waits_its_turn_where_senders_wait() -> None:
    log: list[Any] = []
    async with one(Worker, log, mailbox=MailboxSpec(bound=1)) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        ref.tell_nowait(1)

        await in_thread(ref.tell_nowait, 2)
        await in_thread(ref.tell_nowait, 3)
        gate.open.set()
        await trio.testing.wait_all_tasks_blocked()

        assert log[1:] == [1, 2, 3]
        assert system.dead_letters.counts == {}


async def test_a_thread_that_tells_a_full_mailbox_is_blocked_until_there_is_room() -> None:
    async with one(Worker, mailbox=MailboxSpec(bound=1)) as system, trio.open_nursery() as nursery:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        ref.tell_nowait(1)
        accepted = trio.Event()

        async def tell() -> None:
            await in_thread(ref.tell_from_thread, 2)
            accepted.set()

        nursery.start_soon(tell)
        while not ref.slot.mailbox.senders:  # noqa: ASYNC110 - nobody says so
            await trio.sleep(0.001)
        before = accepted.is_set()
        gate.open.set()
        await accepted.wait()

        assert not before


async def test_a_deadline_holds_for_threads_too() -> None:
    async with one(Worker) as system:
        ref, gate = system.ref("root/it"), Gate()

        got = await in_thread(outcome, lambda: ref.ask_from_thread(Hold(gate), timeout=0.02))

        gate.open.set()
        assert got is DeadlineExceeded


async def test_too_much_mail_on_its_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "INGRESS_BOUND", 3)
    async with one(Worker) as system:
        ref = system.ref("root/it")
        outcomes: list[Any] = []

        def flood() -> None:
            outcomes.extend(outcome(ref.tell_nowait, number) for number in range(4))

        thread = threading.Thread(target=flood)
        thread.start()
        thread.join()  # the loop stands still meanwhile

        assert outcomes == [None, None, None, MailboxFull]


async def test_answers_of_our_own_threads_are_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "INGRESS_BOUND", 0)
    async with one(Blocker) as system:
        assert await system.ref("root/it").ask(1) == 1


async def test_an_actor_is_asked_and_told_from_asyncio() -> None:
    async with one(Worker) as system:
        ref = system.ref("root/it")

        async def main() -> list[Any]:
            await ref.tell(1)
            answers = await asyncio.gather(ref.ask(1), ref.ask(1))
            try:
                await ref.ask("no")
            except InvalidInput as refusal:
                return [sorted(answers), str(refusal)]
            raise AssertionError

        assert await in_thread(run_asyncio, main) == [[2, 3], "no"]


async def test_an_asker_in_asyncio_that_is_cancelled_waits_no_more() -> None:
    async with one(Worker) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()

        async def main() -> None:
            task = asyncio.ensure_future(ref.ask(5))
            while not ref.slot.mailbox.user:  # noqa: ASYNC110 - nobody says so
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        await in_thread(run_asyncio, main)
        await trio.testing.wait_all_tasks_blocked()
        gate.open.set()

        assert await ref.ask(0) == 0
        assert system.dead_letters.counts == {"expired": 1}


async def test_a_cell_is_asked_and_told_from_asyncio() -> None:
    async with one(Tally, Shelf()) as system:
        cell = system.cell("root/it", "x")

        async def main() -> list[Any]:
            await cell.tell(1)
            cell.tell_nowait(1)
            try:
                return [await cell.ask(1), await cell.ask("no")]
            except InvalidInput as refusal:
                return [str(refusal)]

        assert await in_thread(run_asyncio, main) == ["no"]
        assert await cell.ask(0) == 3


def test_an_actor_is_asked_from_another_trio_loop() -> None:
    with OwnLoop() as own:

        async def main() -> list[Any]:
            ref = own.system.ref("root/it")
            await ref.tell(1)
            return [await ref.ask(1), type(await caught(ref, "no"))]

        assert trio.run(main) == [2, InvalidInput]


class Pause:
    """A handler of another loop that is known to have begun, and ends when it is told to."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._end = trio.Event()

    async def hold(self, _: Worker) -> None:
        self._begun.set()
        await self._end.wait()

    def end(self, own: OwnLoop) -> None:
        own.system.ingress.post(self._end.set)

    async def give_up(self, ref: Ref) -> None:
        """Ask, and go away once the handler is at work."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Later(self.hold))
            await in_thread(self._begun.wait)
            nursery.cancel_scope.cancel()


def test_an_asker_in_another_trio_loop_that_is_cancelled_waits_no_more() -> None:
    with OwnLoop() as own:
        pause, ref = Pause(), own.system.ref("root/it")

        trio.run(pause.give_up, ref)
        pause.end(own)

        assert ref.ask_from_thread(3) == 3


def test_actors_of_two_systems_in_two_threads_ask_each_other_with_their_deadlines() -> None:
    with OwnLoop() as left, OwnLoop() as right:
        a, b = left.system.ref("root/it"), right.system.ref("root/it")
        seen: list[float] = []

        def look(actor: Worker) -> None:
            life = actor.ref.slot.life
            assert life is not None
            seen.append(life._frame.deadline - trio.current_time())

        a.ask_from_thread(Forward(b, Run(look), timeout=1_000), timeout=200)
        b.ask_from_thread(Forward(a, Run(look), timeout=100), timeout=200)

        assert 100 < seen[0] <= 200
        assert 0 < seen[1] <= 100


def test_a_cycle_through_two_systems_is_found() -> None:
    with OwnLoop() as left, OwnLoop() as right:
        a, b = left.system.ref("root/it"), right.system.ref("root/it")

        got = outcome(lambda: a.ask_from_thread(Forward(b, Forward(a, 1)), timeout=60))

        assert got is AskCycle


def test_an_ask_across_systems_that_is_given_up_leaves_no_trace() -> None:
    with OwnLoop() as left, OwnLoop() as right:
        a, b, pause = left.system.ref("root/it"), right.system.ref("root/it"), Pause()

        a.ask_from_thread(Later(lambda _: pause.give_up(b)))
        pause.end(right)

        assert b.ask_from_thread(Forward(a, 1)) == 1


def test_after_the_end_everybody_hears_that_the_actor_has_stopped() -> None:
    with OwnLoop() as own:
        ref = own.system.ref("root/it")
        own.stop()

        async def from_loop() -> Any:
            return type(await caught(ref, 1))

        outcomes = [
            outcome(ref.ask_from_thread, 1),
            outcome(ref.tell_from_thread, 1),
            outcome(ref.tell_nowait, 1),
            outcome(own.system.inspect_from_thread),
            trio.run(from_loop),
            asyncio.run(from_loop()),
        ]

        assert outcomes == [ActorStopped] * 6


@pytest.mark.parametrize("factory", [Worker, Blocker])
@pytest.mark.parametrize("attempt", range(5))
def test_askers_that_race_with_the_end_are_all_answered(factory: Any, attempt: int) -> None:
    counts: list[int] = []
    under_way = threading.Semaphore(0)
    with OwnLoop(factory) as own:
        ref = own.system.ref("root/it")

        def hammer() -> None:
            answered = 0
            while outcome(lambda: ref.ask_from_thread(1, timeout=60)) is not ActorStopped:
                answered += 1
                under_way.release()
            counts.append(answered)

        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(37 * attempt):  # any moment will do
            under_way.acquire()

        own.stop()
        for thread in threads:
            thread.join(60)

        assert len(counts) == 8


def test_askers_of_a_thread_that_is_stuck_are_answered_when_the_system_ends() -> None:
    released, entered = threading.Event(), threading.Event()

    def block(_: Blocker) -> None:
        entered.set()
        released.wait()

    with OwnLoop(Blocker, stop_grace=0.01) as own:
        ref, got = own.system.ref("root/it"), []
        asker = threading.Thread(
            target=lambda: got.append(outcome(lambda: ref.ask_from_thread(Run(block), timeout=1e6)))
        )
        asker.start()
        entered.wait()

        own.stop()
        asker.join(60)
        released.set()

        assert got == [OutcomeUnknown]


async def test_systems_in_one_loop_do_not_know_each_other() -> None:
    tree = supervisor("root", child("it", Worker))
    async with open_system(tree, name="left") as left, open_system(tree, name="right") as right:
        await left.ref("root/it").ask(1)

        answer = await right.ref("root/it").ask(5)
        await left.stop_child("root/it")

        assert answer == 5
        assert await right.ref("root/it").ask(0) == 5
        assert left.ref("root") != right.ref("root")

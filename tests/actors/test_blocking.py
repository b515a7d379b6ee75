import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from math import inf
from typing import Any

import pykka
import pytest
import trio
import trio.testing

from runtara.actors import (
    Actor,
    Backoff,
    BlockingActor,
    Delivery,
    Down,
    MailboxSpec,
    Policy,
    Restart,
    Strategy,
    System,
    SystemFailed,
    child,
    hears,
    open_system,
    supervisor,
)
from runtara.errors import ActorFailed, ActorStopped, InvalidInput, OutcomeUnknown
from tests.actors.troupe import Blocker, Boom, Fail, Forward, Players, Run, Stuck, Worker, caught, one
from tests.house.source import ROOT

QUICK: dict[str, Any] = {"backoff": Backoff(first=0.001, most=0.001)}


class Batcher(BlockingActor):
    """Takes what waits, up to four at a time."""

    BATCH = 4

    def __init__(self, batches: list[list[Any]]) -> None:
        super().__init__()
        self.batches = batches

    def on_batch(self, deliveries: Sequence[Delivery]) -> None:
        self.batches.append([delivery.message for delivery in deliveries])
        for delivery in deliveries:
            if isinstance(delivery.message, Stuck):
                delivery.message.entered.set()
                delivery.message.released.wait()
            if isinstance(delivery.message, Fail):
                raise delivery.message.error
            if delivery.message == "no":
                delivery.fail(InvalidInput("no"))
            elif delivery.message != "forgotten":
                delivery.settle(delivery.message)


def stuck() -> Stuck:
    return Stuck(threading.Event(), threading.Event())


async def entered(event: threading.Event) -> None:
    await trio.to_thread.run_sync(event.wait)


async def restarted(system: System, restarts: int = 1) -> None:
    slot = system.ref("root/it").slot
    while slot.restarts < restarts or slot.state.value != "running":  # noqa: ASYNC110 - its threads tell nobody else
        await trio.sleep(0.001)


async def test_handlers_run_in_a_thread_of_the_actors_own() -> None:
    async with one(Blocker) as system:
        threads = [await system.ref("root/it").ask(Run(lambda _: threading.get_ident())) for _ in range(2)]

        assert threads[0] == threads[1] != threading.get_ident()


async def test_a_refusal_reaches_the_asker_and_the_actor_carries_on() -> None:
    async with one(Blocker) as system:
        ref = system.ref("root/it")
        await ref.ask(1)

        errors = [await caught(ref, "no"), await caught(ref, 1.5)]

        assert [str(error) for error in errors] == [
            "no",
            "Blocker does not hear float: it hears Fail, Forward, Run, Stuck, int, str",
        ]
        assert await ref.ask(1) == 2


@pytest.mark.parametrize("failure", [Boom("boom"), SystemExit(1), KeyboardInterrupt(), BaseException("base")])
@pytest.mark.parametrize("kind", [Blocker, Players])
async def test_any_other_exception_crashes_only_this_actor(kind: Any, failure: BaseException) -> None:
    log: list[Any] = []
    host = Players.start([])
    try:
        async with one(kind, log, **QUICK) as system:
            ref = system.ref("root/it")

            error = await caught(ref, Fail(failure))
            await restarted(system)

            assert isinstance(error, ActorFailed)
            assert error.__cause__ is failure
            assert ref.slot.failure is failure
            assert await ref.ask(1) == 1
        assert host.is_alive()
        assert host.ask(5) == 5
    finally:
        host.stop()


async def test_a_tell_that_crashes_the_actor_is_a_dead_letter_and_one_that_is_refused_too() -> None:
    async with one(Blocker, **QUICK) as system:
        ref = system.ref("root/it")

        ref.tell_nowait("no")
        ref.tell_nowait(Fail())
        await restarted(system)

        assert [letter.reason for letter in system.dead_letters.recent] == ["refused", "failed"]


async def test_hooks_run_in_their_order() -> None:
    log: list[Any] = []

    async with one(Blocker, log, **QUICK) as system:
        await caught(system.ref("root/it"), Fail())
        await restarted(system)

    assert log == ["blocker starts", "blocker fails: boom", "blocker starts", "blocker stops"]


class BadFailure(Blocker):
    def on_failure(self, type_: Any, value: Any, traceback: Any) -> None:
        raise SystemExit("clean-up")


async def test_a_clean_up_that_fails_does_not_hide_why_it_was_needed() -> None:
    host = Players.start([])
    async with one(BadFailure, **QUICK) as system:
        await caught(system.ref("root/it"), Fail())
        await restarted(system)

        assert isinstance(system.ref("root/it").slot.failure, Boom)
        assert host.is_alive()
    host.stop()


class BadStart(Blocker):
    def on_start(self) -> None:
        raise Boom("start")


class BadStop(Blocker):
    def on_stop(self) -> None:
        raise Boom("stop")


class BadInit(Blocker):
    def __init__(self) -> None:
        raise Boom("init")


@pytest.mark.parametrize("kind", [BadStart, BadInit])
async def test_a_start_that_fails_is_seen(kind: type[Blocker]) -> None:
    with pytest.raises(SystemFailed) as failed:
        async with one(kind):
            pytest.fail("it cannot start")

    cause = failed.value.__cause__
    assert cause is not None
    assert isinstance(cause.__cause__, Boom)


async def test_a_clean_up_that_fails_after_a_good_life_is_a_failure() -> None:
    async with one(BadStop) as system:
        slot = system.ref("root/it").slot

    assert isinstance(slot.failure, Boom)


async def test_mail_that_waits_is_read_after_the_restart_in_order() -> None:
    async with one(Blocker, **QUICK) as system, trio.open_nursery() as nursery:
        ref, block, answers = system.ref("root/it"), stuck(), {}

        async def ask(number: int) -> None:
            answers[number] = await ref.ask(number)

        ref.tell_nowait(block)
        await entered(block.entered)
        ref.tell_nowait(Fail())
        for number in (1, 20, 300):
            nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()

        block.released.set()
        await restarted(system)
        await ref.ask(0)
        await trio.testing.wait_all_tasks_blocked()

        assert answers == {1: 1, 20: 21, 300: 321}


async def test_mail_that_waits_is_handed_over_in_batches() -> None:
    batches: list[list[Any]] = []
    async with one(Batcher, batches) as system:
        ref, block = system.ref("root/it"), stuck()
        ref.tell_nowait(block)
        await entered(block.entered)
        for number in range(9):
            ref.tell_nowait(number)

        block.released.set()
        last = await ref.ask("last")

        assert last == "last"
        assert batches == [[block], [0, 1, 2, 3], [4, 5, 6, 7], [8, "last"]]
        assert ref.slot.handled == 11


async def test_each_of_a_batch_is_answered_on_its_own() -> None:
    async with one(Batcher, []) as system, trio.open_nursery() as nursery:
        ref, block, answers = system.ref("root/it"), stuck(), {}

        async def ask(message: str) -> None:
            try:
                answers[message] = await ref.ask(message)
            except InvalidInput as refusal:
                answers[message] = str(refusal)

        ref.tell_nowait(block)
        await entered(block.entered)
        for message in ("yes", "no", "forgotten"):
            nursery.start_soon(ask, message)
        await trio.testing.wait_all_tasks_blocked()

        block.released.set()
        await ref.ask("last")
        await trio.testing.wait_all_tasks_blocked()

        assert answers == {"yes": "yes", "no": "no", "forgotten": None}


async def test_a_crash_fails_what_was_not_answered_of_the_batch() -> None:
    async with one(Batcher, [], **QUICK) as system, trio.open_nursery() as nursery:
        ref, block, answers = system.ref("root/it"), stuck(), []

        async def ask(message: Any) -> None:
            try:
                answers.append(await ref.ask(message))
            except ActorFailed:
                answers.append("crashed")

        ref.tell_nowait(block)
        await entered(block.entered)
        for message in ("first", Fail(), "third", "fourth", "next batch"):
            nursery.start_soon(ask, message)
            await trio.testing.wait_all_tasks_blocked()

        block.released.set()
        await restarted(system)
        await ref.ask("last")
        await trio.testing.wait_all_tasks_blocked()

        assert sorted(answers) == ["crashed", "crashed", "crashed", "first", "next batch"]


async def test_mail_of_an_asker_that_went_away_is_dropped_unread() -> None:
    async with one(Blocker) as system:
        ref, block = system.ref("root/it"), stuck()
        ref.tell_nowait(block)
        await entered(block.entered)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

        block.released.set()
        total = await ref.ask(0)

        assert total == 0
        assert system.dead_letters.counts == {"expired": 1}


async def test_senders_wait_for_room_and_are_let_in_in_order() -> None:
    batches: list[Any] = []
    async with one(Batcher, batches, mailbox=MailboxSpec(bound=1)) as system, trio.open_nursery() as nursery:
        ref, block = system.ref("root/it"), stuck()
        ref.tell_nowait(block)
        await entered(block.entered)
        for number in range(5):
            nursery.start_soon(ref.tell, number)
            await trio.testing.wait_all_tasks_blocked()

        block.released.set()
        await ref.ask("last")

        assert [number for batch in batches[1:] for number in batch] == [0, 1, 2, 3, 4, "last"]


@pytest.mark.parametrize("policy", [Policy.DROP_OLDEST, Policy.COALESCE])
async def test_a_reader_in_a_thread_and_a_flood_that_drops_do_not_disturb_each_other(policy: Policy) -> None:
    spec = MailboxSpec(bound=2, policy=policy, key=lambda _: "all")
    batches: list[Any] = []
    async with one(Batcher, batches, mailbox=spec) as system:
        ref = system.ref("root/it")

        for number in range(20_000):
            ref.tell_nowait(number)
            if number % 1000 == 0:
                await trio.lowlevel.checkpoint()
        await ref.ask(20_000)

        assert ref.slot.restarts == 0
        read = [number for batch in batches for number in batch]
        if policy is Policy.DROP_OLDEST:
            assert len(read) + system.dead_letters.counts.get("dropped", 0) == 20_001
            assert read == sorted(read)


async def test_no_mail_is_overlooked() -> None:
    async with one(Blocker, mailbox=MailboxSpec(bound=4000)) as system:
        ref = system.ref("root/it")

        for number in range(3000):  # each finds the thread at another point of its way to sleep
            if number % 3 == 0:
                await ref.tell(1)
            else:
                ref.tell_nowait(1)
        total = await ref.ask(0, timeout=60)

        assert total == 3000


async def test_a_graceful_stop_lets_the_batch_in_hand_end_and_reads_no_more() -> None:
    batches: list[list[Any]] = []
    async with one(Batcher, batches) as system, trio.open_nursery() as nursery:
        ref, block, answers = system.ref("root/it"), stuck(), []

        async def ask(message: Any) -> None:
            try:
                answers.append(await ref.ask(message))
            except ActorStopped:
                answers.append("not run")

        nursery.start_soon(ask, block)
        await entered(block.entered)
        nursery.start_soon(ask, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(system.stop_child, "root/it")
        await trio.testing.wait_all_tasks_blocked()

        block.released.set()

    assert answers == [block, "not run"]
    assert batches == [[block]]


async def test_an_actor_that_is_stuck_is_abandoned_and_the_asker_told_that_nobody_knows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    block = stuck()
    async with trio.open_nursery() as nursery:
        errors: list[BaseException] = []

        async def ask(message: Any) -> None:
            errors.append(await caught(ref, message))

        async with one(Blocker, stop_grace=0.05) as system:
            ref = system.ref("root/it")
            nursery.start_soon(ask, block)
            await entered(block.entered)
            nursery.start_soon(ask, 1)
            await trio.testing.wait_all_tasks_blocked()

    block.released.set()  # its thread may end now
    assert {type(error) for error in errors} == {OutcomeUnknown, ActorStopped}


async def test_an_abandoned_thread_leaves_the_mail_to_the_next_life() -> None:
    block = stuck()
    log: list[Any] = []
    async with open_system(
        supervisor(
            "root",
            child("it", Blocker, log, stop_grace=0.05),
            child("other", Worker),
            strategy=Strategy.ONE_FOR_ALL,
            **QUICK,
        )
    ) as system:
        ref = system.ref("root/it")
        ref.tell_nowait(block)
        await entered(block.entered)
        for _ in range(3):
            ref.tell_nowait(1)

        await caught(system.ref("root/other"), Fail())
        await restarted(system)
        block.released.set()
        total = await ref.ask(0)

        assert total == 3
        assert [letter.reason for letter in system.dead_letters.recent] == ["unknown"]


def test_a_process_can_exit_while_an_actor_is_stuck() -> None:
    program = """
import threading, trio
from runtara.actors import BlockingActor, child, hears, open_system, supervisor

class Stuck(BlockingActor):
    @hears(threading.Event)
    def wait(self, entered):
        entered.set()
        threading.Event().wait()

async def main():
    async with open_system(supervisor("root", child("it", Stuck, stop_grace=0.01))) as system:
        entered = threading.Event()
        system.ref("root/it").tell_nowait(entered)
        await trio.to_thread.run_sync(entered.wait)
    print("ended")

trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


async def test_the_hosts_own_actors_are_left_alone_and_ours_by_the_host() -> None:
    before = set(pykka.ActorRegistry.get_all())
    host = Players.start([])
    async with one(Blocker) as system:
        registered = set(pykka.ActorRegistry.get_all()) - before

        pykka.ActorRegistry.stop_all()

        assert registered == {host}
        assert not host.is_alive()
        assert await system.ref("root/it").ask(1) == 1


async def test_a_bug_of_the_hosts_own_actors_does_not_stop_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "pykka")
    host = Players.start([])
    async with one(Blocker) as system:
        host.tell(Fail(SystemExit()))
        await trio.to_thread.run_sync(host.actor_stopped.wait)

        assert await system.ref("root/it").ask(1) == 1
        assert system.ref("root/it").slot.restarts == 0


async def test_somebodys_own_pykka_actor_is_supervised_and_keeps_its_proxy_and_its_ref() -> None:
    log: list[Any] = []
    async with one(Players, log, **QUICK) as system:
        ref = system.ref("root/it")
        own = log[0]

        answers = [await ref.ask(1), own.ask(2), own.proxy().win().get(), await ref.ask(0)]
        named = pykka.ActorRegistry.get_by_class_name("Players")

        assert answers == [1, 3, 103, 103]
        assert named == [own]
        assert issubclass(own.actor_class, Players)


async def test_a_tell_through_its_own_ref_that_fails_is_a_crash_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "pykka")
    log: list[Any] = []
    async with one(Players, log, **QUICK) as system:
        log[0].tell(Fail())
        await restarted(system)

        assert isinstance(system.ref("root/it").slot.failure, Boom)
        assert not log[0].is_alive()
        assert await system.ref("root/it").ask(1) == 1


class Witness(Actor):
    def __init__(self, came: trio.Event, heard: list[Down]) -> None:
        self.came = came
        self.heard = heard

    @hears(Down)
    def down(self, message: Down) -> None:
        self.heard.append(message)
        self.came.set()


async def test_an_actor_that_is_stopped_through_its_own_ref_has_ended_well() -> None:
    log: list[Any] = []
    async with one(Players, log, restart=Restart.TRANSIENT) as system:
        ref = system.ref("root/it")
        came = trio.Event()
        heard: list[Any] = []
        await system.start_child("root", child("w", Witness, came, heard))
        ref.watch(system.ref("root/w"))

        log[0].stop()
        await came.wait()

        assert heard == [Down("root/it", None, restarts=False)]
        assert isinstance(await caught(ref, 1), ActorStopped)


async def test_a_blocking_actor_asks_others() -> None:
    async with one(Blocker) as system:
        worker = await system.start_child("root", child("w", Worker))
        cell = await system.start_child("root", child("b", Blocker))

        answers = [await system.ref("root/it").ask(Forward(ref, 5)) for ref in (worker, cell)]

        assert answers == [5, 5]


async def test_a_delivery_knows_how_long_the_asker_waits() -> None:
    deadlines: list[float] = []

    class Looks(BlockingActor):
        def on_batch(self, deliveries: Sequence[Delivery]) -> None:
            deadlines.extend(delivery.deadline for delivery in deliveries)

    async with one(Looks) as system:
        now = trio.current_time()

        await system.ref("root/it").ask(1, timeout=60)
        await system.ref("root/it").tell(2)
        await system.ref("root/it").ask(3)

        assert now + 60 <= deadlines[0] < now + 90
        assert deadlines[1] == inf


def test_the_table_of_handlers_is_that_of_the_class() -> None:
    class More(Blocker):
        @hears(float)
        def half(self, number: float) -> float:
            return number / 2

    assert More.HEARS[float](None, 3.0) == 1.5
    assert More.HEARS[int] is Blocker.HEARS[int]

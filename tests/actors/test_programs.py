from collections import Counter
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.actors.programs import Program
from runtara.errors import StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    CompleteInstance,
    GetStatus,
    ListEvents,
    RegisterInstance,
    SendSignal,
    SignalKind,
    Sleep,
    StartInstance,
)
from runtara.system import PROGRAMS
from tests.actors.stage import Stage, TrioClock, WatchedStore, open_stage

REGISTER = RegisterInstance(attempt_id="a")


class Host:
    """Programs that note what becomes of them."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.begun: list[tuple[float, str, int]] = []
        self.cancelled: list[tuple[str, int]] = []
        self.failing = trio.Event()

    @property
    def epochs(self) -> list[int]:
        return [epoch for _, _, epoch in self.begun]

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.begun]

    async def complete(self, key: InstanceKey, epoch: int) -> None:
        self._begin(key, epoch)
        assert self.stage is not None
        await self.stage.ask(key.instance_id, REGISTER, epoch)
        await self.stage.ask(key.instance_id, CompleteInstance(output=b"done"), epoch)

    async def crash(self, key: InstanceKey, epoch: int) -> None:
        self._begin(key, epoch)
        raise ZeroDivisionError("the program has a bug")

    async def hang(self, key: InstanceKey, epoch: int) -> None:
        self._begin(key, epoch)
        try:
            await self.failing.wait()
            self.failing = trio.Event()
            raise ZeroDivisionError("the program has a bug")
        except trio.Cancelled:
            self.cancelled.append((key.instance_id, epoch))
            raise

    async def hang_for(self, seconds: float, key: InstanceKey, epoch: int) -> None:
        self._begin(key, epoch)
        await trio.sleep(seconds)

    def _begin(self, key: InstanceKey, epoch: int) -> None:
        self.begun.append((trio.current_time(), key.instance_id, epoch))

    @property
    def programs(self) -> dict[str, Program]:
        return {"complete": self.complete, "crash": self.crash, "hang": self.hang}


@pytest.fixture
def host() -> Host:
    return Host()


def stage(host: Host, store: WatchedStore | None = None, **more: Any) -> AbstractAsyncContextManager[Stage]:
    return open_stage(store, programs=host.programs, **more)


async def events_of(stage: Stage, name: str = "one") -> list[str]:
    return [event.type for event in (await stage.ask(name, ListEvents())).events]


async def test_a_started_program_is_launched_once_and_ends(host: Host, autojump_clock: MockClock) -> None:
    async with stage(host) as host.stage:
        for _ in range(3):
            await host.stage.ask("one", StartInstance(program="complete"))
        await trio.sleep(60)
        info = await host.stage.ask("one", GetStatus())
        facts = host.stage.facts(PROGRAMS)

    assert host.epochs == [1]
    assert (info.status, info.output) == (Status.COMPLETED, b"done")
    assert facts == {"running": 0, "programs": 3}


async def test_a_program_that_crashes_is_launched_again_later_and_later_until_it_has_crashed_too_often(
    host: Host, autojump_clock: MockClock
) -> None:
    async with stage(host, max_auto_restarts=4, relaunch_after_ms=1_000, relaunch_after_max_ms=3_000) as host.stage:
        await host.stage.ask("one", StartInstance(program="crash"))
        await trio.sleep(300)
        info = await host.stage.ask("one", GetStatus())
        events = await events_of(host.stage)

    waits = [later - earlier for earlier, later in pairwise(host.times)]
    assert host.epochs == [1, 3, 5, 7, 9]  # losing an attempt fences it: that takes a number, too
    assert waits == pytest.approx([1, 2, 3, 3], abs=0.1)
    assert events.count("crashed") == 4
    assert (info.status, info.termination_reason) == (Status.FAILED, TerminationReason.RECOVERY_BUDGET_SPENT)
    assert "the program has a bug" in info.error


async def test_trouble_of_the_host_is_reported_later_and_later_and_does_not_count(
    host: Host, autojump_clock: MockClock
) -> None:
    async def suffer(key: InstanceKey, epoch: int) -> None:
        await host.hang_for(0, key, epoch)
        raise StoreUnavailable("the disk is away")

    async with open_stage(programs={"suffer": suffer}, max_auto_restarts=0) as host.stage:
        await host.stage.ask("one", StartInstance(program="suffer"))
        await trio.sleep(300)
        info = await host.stage.ask("one", GetStatus())

    waits = [later - earlier for earlier, later in pairwise(host.times)]
    assert 5 <= len(host.begun) <= 15
    assert waits[0] < 0.5
    assert waits[-1] > 30
    assert (info.finished_at, info.losses) == (None, 0)


async def test_a_report_is_told_again_until_the_store_has_it(host: Host, autojump_clock: MockClock) -> None:
    def fail(saves: object) -> None:
        if trio.current_time() < 100:
            raise StoreUnavailable("the disk is away")

    store = WatchedStore()
    async with stage(host, store) as host.stage:
        await host.stage.ask("one", StartInstance(program="hang"))
        await trio.sleep(1)
        store.before_commit = fail
        host.failing.set()
        await trio.sleep(200)
        events = await events_of(host.stage)

    assert events.count("crashed") == 1
    assert host.epochs == [1, 3]


async def test_an_unknown_program_is_reported_by_name_and_tried_again_when_the_host_knows_it(
    host: Host, autojump_clock: MockClock
) -> None:
    store = WatchedStore()
    async with stage(host, store) as system:
        await system.ask("one", StartInstance(program="unknown"))
        await trio.sleep(60)
        info = await system.ask("one", GetStatus())
        page = await system.ask("one", ListEvents(event_type="crashed"))
    async with open_stage(store, programs={"unknown": host.complete}) as host.stage:
        await trio.sleep(120)
        later = await host.stage.ask("one", GetStatus())

    assert info.status in (Status.SUSPENDED, Status.RUNNING)
    assert b"no program called 'unknown'" in page.events[0].payload
    assert later.status is Status.COMPLETED


async def test_an_attempt_that_was_taken_over_is_cancelled(host: Host, autojump_clock: MockClock) -> None:
    async with stage(host) as host.stage:
        await host.stage.ask("one", StartInstance(program="hang"))
        await trio.sleep(1)
        await host.stage.ask("one", RegisterInstance(attempt_id="first"), epoch=1)
        await host.stage.ask("one", RegisterInstance(attempt_id="by-hand"))
        await trio.sleep(1)
        facts = host.stage.facts(PROGRAMS)
        cancelled = list(host.cancelled)

    assert cancelled == [("one", 1)]
    assert facts["running"] == 0


async def test_an_attempt_that_was_stopped_is_not_reported_as_a_crash(host: Host, autojump_clock: MockClock) -> None:
    async with stage(host) as host.stage:
        await host.stage.ask("one", StartInstance(program="hang"))
        await trio.sleep(1)
        await host.stage.ask("one", RegisterInstance(attempt_id="first"), epoch=1)
        await host.stage.ask("one", RegisterInstance(attempt_id="by-hand"))
        await trio.sleep(600)
        events = await events_of(host.stage)

    assert "crashed" not in events
    assert len(host.begun) == 1


async def test_attempts_that_ran_when_the_process_ended_are_launched_again(
    host: Host, autojump_clock: MockClock
) -> None:
    store = WatchedStore()
    async with stage(host, store) as system:
        for number in range(30):
            await system.ask(f"i{number}", StartInstance(program="hang"))
        await trio.sleep(1)
    async with stage(host, store):
        await trio.sleep(1)
        begun = Counter(name for _, name, _ in host.begun)
        latest = {name: epoch for _, name, epoch in host.begun}

    assert begun == {f"i{number}": 2 for number in range(30)}
    assert set(latest.values()) == {3}


async def test_an_attempt_by_hand_is_not_reported_when_the_runner_is_back(
    host: Host, autojump_clock: MockClock
) -> None:
    async with stage(host) as host.stage:
        await host.stage.ask("one", StartInstance(program="hang"))
        await trio.sleep(1)
        await host.stage.ask("one", RegisterInstance(attempt_id="by-hand"))
        await host.stage.ask("one", RegisterInstance(attempt_id="by-hand-again"))
        await host.stage.crash(PROGRAMS)
        await trio.sleep(30)
        info = await host.stage.ask("one", GetStatus())

    assert (info.status, info.epoch) == (Status.RUNNING, 2)


async def test_a_program_that_registers_twice_and_crashes_is_launched_again(
    host: Host, autojump_clock: MockClock
) -> None:
    async def twice(key: InstanceKey, epoch: int) -> None:
        await host.hang_for(0, key, epoch)
        assert host.stage is not None
        await host.stage.ask("one", RegisterInstance(attempt_id=f"first-{epoch}"), epoch)
        await host.stage.ask("one", RegisterInstance(attempt_id=f"second-{epoch}"), epoch)
        if epoch == 1:
            raise ZeroDivisionError("the program has a bug")
        await host.stage.ask("one", CompleteInstance(), epoch + 1)

    async with open_stage(programs={"twice": twice}) as host.stage:
        await host.stage.ask("one", StartInstance(program="twice"))
        await trio.sleep(30)
        info = await host.stage.ask("one", GetStatus())

    assert host.epochs == [1, 4]
    assert info.status is Status.COMPLETED


async def test_a_program_that_has_reported_its_end_has_a_while_to_leave(host: Host, autojump_clock: MockClock) -> None:
    async def linger(key: InstanceKey, epoch: int) -> None:
        assert host.stage is not None
        await host.stage.ask("one", REGISTER, epoch)
        await host.stage.ask("one", CompleteInstance(), epoch)
        try:
            await trio.sleep(8)
            host.begun.append((trio.current_time(), "tidied up", epoch))
            await trio.sleep_forever()
        finally:
            host.begun.append((trio.current_time(), "gone", epoch))

    async with open_stage(programs={"linger": linger}) as host.stage:
        await host.stage.ask("one", StartInstance(program="linger"))
        await trio.sleep(60)

    assert [(round(at), what) for at, what, _ in host.begun] == [(8, "tidied up"), (10, "gone")]


@pytest.mark.parametrize(
    ("kind", "status"), [("cancel", Status.CANCELLED), ("pause", Status.SUSPENDED), ("shutdown", Status.RUNNING)]
)
async def test_a_signal_stops_a_program_that_has_not_registered_at_once(
    kind: SignalKind, status: Status, host: Host, autojump_clock: MockClock
) -> None:
    async with stage(host) as host.stage:
        await host.stage.ask("one", StartInstance(program="hang"))
        await trio.sleep(1)
        await host.stage.ask("one", SendSignal(kind=kind, signal_id="s"))
        await trio.sleep(1)
        info = await host.stage.ask("one", GetStatus())
        cancelled = list(host.cancelled)

    assert cancelled == [("one", 1)]
    assert info.status is status  # who is shut down is launched again
    assert host.epochs == ([1, 2] if kind == "shutdown" else [1])


@pytest.mark.parametrize("kind", ["cancel", "shutdown"])
@pytest.mark.parametrize(("grace_ms", "seconds"), [(2_500, 2.5), (None, 10.0)])
async def test_a_program_that_does_not_heed_a_signal_is_stopped_after_its_grace(
    kind: SignalKind, grace_ms: int | None, seconds: float, host: Host, autojump_clock: MockClock
) -> None:
    stopped: list[float] = []

    async def deaf(key: InstanceKey, epoch: int) -> None:
        assert host.stage is not None
        await host.stage.ask("one", RegisterInstance(attempt_id=f"deaf-{epoch}"), epoch)
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(trio.current_time())

    async with open_stage(programs={"deaf": deaf}) as host.stage:
        await host.stage.ask("one", StartInstance(program="deaf"))
        await trio.sleep(1)
        await host.stage.ask("one", SendSignal(kind=kind, signal_id="s", grace_ms=grace_ms))
        await trio.sleep(60)
        info = await host.stage.ask("one", GetStatus())
        at = stopped[0]

    assert at == pytest.approx(1 + seconds, abs=0.1)
    assert info.status is (Status.CANCELLED if kind == "cancel" else Status.RUNNING)


async def test_a_program_that_is_launched_again_does_not_find_its_older_self(
    host: Host, autojump_clock: MockClock
) -> None:
    async def slow(key: InstanceKey, epoch: int) -> None:
        assert host.stage is not None
        host.begun.append((trio.current_time(), "begun", epoch))
        await host.stage.ask("one", RegisterInstance(attempt_id=f"slow-{epoch}"), epoch)
        if epoch == 1:
            await host.stage.ask("one", Sleep(checkpoint_id="nap", duration_ms=3_000, park=True), epoch)
        try:
            await trio.sleep_forever()
        finally:
            host.cancelled.append((str(round(trio.current_time())), epoch))

    async with open_stage(programs={"slow": slow}, clock=TrioClock()) as host.stage:
        await host.stage.ask("one", StartInstance(program="slow"))
        await trio.sleep(9)
        cancelled = list(host.cancelled)

    assert host.epochs == [1, 2]
    assert cancelled == [("3", 1)]


@pytest.mark.parametrize("count", [1, 50])
async def test_a_runner_that_crashes_stops_its_programs_and_launches_them_again(
    count: int, host: Host, autojump_clock: MockClock
) -> None:
    async with stage(host) as host.stage:
        for number in range(count):
            await host.stage.ask(f"i{number}", StartInstance(program="hang"))
        await trio.sleep(1)
        await host.stage.crash(PROGRAMS)
        await trio.sleep(30)
        facts = host.stage.facts(PROGRAMS)
        stopped = {name for name, epoch in host.cancelled if epoch == 1}

    assert len(stopped) == count
    assert facts["running"] == count
    assert len({name for _, name, epoch in host.begun if epoch == 3}) == count


async def test_a_program_that_raises_an_exit_of_the_interpreter_ends_only_itself(
    host: Host, autojump_clock: MockClock
) -> None:
    async def leave(key: InstanceKey, epoch: int) -> None:
        raise SystemExit(3)

    async with open_stage(programs={**host.programs, "leave": leave}) as host.stage:
        await host.stage.ask("leaves", StartInstance(program="leave"))
        await host.stage.ask("one", StartInstance(program="complete"))
        await trio.sleep(5)
        status = (await host.stage.ask("one", GetStatus())).status
        events = await events_of(host.stage, "leaves")

    assert status is Status.COMPLETED
    assert "crashed" in events


async def test_a_cancelled_program_is_stopped_even_if_it_never_registered(
    host: Host, autojump_clock: MockClock
) -> None:
    async with stage(host) as host.stage:
        await host.stage.ask("one", StartInstance(program="unknown"))
        await trio.sleep(10)
        await host.stage.ask("one", SendSignal(kind="cancel", signal_id="c"))
        await trio.sleep(600)
        status = (await host.stage.ask("one", GetStatus())).status

    assert status is Status.CANCELLED

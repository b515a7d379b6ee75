from collections import Counter
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import CompleteInstance, GetStatus, ListEvents, RegisterInstance, SendSignal, StartInstance
from runtara.system import PROGRAMS
from tests.actors.stage import Stage, WatchedStore, open_stage

REGISTER = RegisterInstance(attempt_id="a")


class Host:
    """Programs that note what becomes of them."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.begun: list[tuple[float, str, int]] = []
        self.cancelled: list[tuple[str, int]] = []

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
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled.append((key.instance_id, epoch))
            raise

    def _begin(self, key: InstanceKey, epoch: int) -> None:
        self.begun.append((trio.current_time(), key.instance_id, epoch))

    @property
    def programs(self) -> dict[str, object]:
        return {"complete": self.complete, "crash": self.crash, "hang": self.hang}


@pytest.fixture
def host() -> Host:
    return Host()


def stage(host: Host, store: WatchedStore | None = None, **more: object):
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


async def test_a_program_that_crashes_is_reported_and_launched_again_later_and_later(
    host: Host, autojump_clock: MockClock
) -> None:
    async with stage(host) as host.stage:
        await host.stage.ask("one", StartInstance(program="crash"))
        await trio.sleep(300)
        info = await host.stage.ask("one", GetStatus())
        events = await events_of(host.stage)

    waits = [later - earlier for earlier, later in pairwise(host.times)]
    assert host.epochs == sorted(set(host.epochs))
    assert 5 <= len(host.begun) <= 15
    assert waits[0] < 0.5
    assert waits[-1] > 30
    assert "crashed" in events
    assert info.status is not Status.COMPLETED


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

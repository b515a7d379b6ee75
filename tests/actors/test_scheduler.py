import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from runtara.actors import Actor, child, hears
from runtara.actors.instance import Arm, Disarm, Launch
from runtara.actors.instances import Effected
from runtara.actors.places import ListPlaces, PlaceFreed, PlacesInUse, StopWaking
from runtara.actors.programs import Program
from runtara.errors import ActorStopped, NotFound, StoreUnavailable
from runtara.ids import ImageRef, InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Call, GetStatus, RegisterInstance, SendSignal, Sleep, StartInstance, WakeInstance
from runtara.records import ImageVersion
from runtara.store import Save, open_store
from runtara.system import INSTANCES, PROGRAMS, SCHEDULER, Launcher
from tests.actors.stage import NOW, Stage, TrioClock, WatchedStore, crash_actor, key_of, open_stage, sleeper
from tests.store.samples import save

YEAR_MS = 366 * 86_400_000
PATIENCE_S = 60.0


class Log:
    """Which attempts were launched, and when."""

    def __init__(self, clock: TrioClock) -> None:
        self._clock = clock
        self.launches: list[tuple[int, str, int]] = []

    async def program(self, key: InstanceKey, epoch: int) -> None:
        self.launches.append((self._clock.now_ms() - NOW, key.instance_id, epoch))

    @property
    def programs(self) -> dict[str, Program]:
        return {"nap": self.program}

    @property
    def times(self) -> list[int]:
        return [at for at, _, _ in self.launches]

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self.launches]


@pytest.fixture
def clock() -> TrioClock:
    return TrioClock()


@pytest.fixture
def log(clock: TrioClock) -> Log:
    return Log(clock)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


async def test_each_sleeper_is_woken_once_at_its_millisecond(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    due = [5, 1, 1_000, 60_001, 86_400_000, 17]
    store.put(*(sleeper(f"s{at}", NOW + at, epoch=1) for at in due))

    async with open_stage(store, programs=log.programs, clock=clock, clock_check_ms=600_000):
        await trio.sleep(2 * 86_400)

    assert log.launches == [(at, f"s{at}", 2) for at in sorted(due)]


async def test_what_is_overdue_at_the_start_is_woken_at_once_and_oldest_first(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    claimed: list[str] = []
    store.put(*(sleeper(f"s{age}", NOW - age) for age in (3, 5, 1, 4, 2)))
    store.before_commit = lambda saves: claimed.extend(save.instance.instance_id for save in saves)

    async with open_stage(store, programs=log.programs, clock=clock, wakes_in_flight=1):
        await trio.sleep(1)

    assert claimed == ["s5", "s4", "s3", "s2", "s1"]
    assert sorted(log.names) == sorted(claimed)
    assert set(log.times) == {0}


@pytest.mark.parametrize("window", [1, 3, 10, 29, 30, 31])
async def test_a_window_smaller_than_the_number_of_sleepers_is_read_again_in_time(
    window: int, store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(*(sleeper(f"s{n:02}", NOW + 100 * (n // 3)) for n in range(30)))

    async with open_stage(store, programs=log.programs, clock=clock, wake_window=window):
        await trio.sleep(60)

    assert sorted(log.launches) == [(100 * (n // 3), f"s{n:02}", 2) for n in range(30)]


async def test_sleepers_that_are_added_beyond_a_full_window_are_not_forgotten(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async def nap(key: InstanceKey, epoch: int) -> None:
        await log.program(key, epoch)
        if epoch == 1:
            at = int(key.instance_id[1:])
            await stage.ask(key.instance_id, RegisterInstance(attempt_id="a"), epoch)
            await stage.ask(key.instance_id, Sleep(checkpoint_id="c", duration_ms=at, park=True), epoch)

    async with open_stage(store, programs={"nap": nap}, clock=clock, wake_window=4) as stage:
        for number in (18, 4, 14, 2, 10, 6, 16, 8, 12, 20, 3, 5, 7, 9, 11, 13, 15, 17, 19, 1):
            await stage.ask(f"s{number * 500}", StartInstance(program="nap"))
        await trio.sleep(60)

    assert [(name, at) for at, name, epoch in log.launches if epoch == 2] == [
        (f"s{at}", at) for at in range(500, 10_001, 500)
    ]


async def test_an_instance_that_is_armed_earlier_is_woken_earlier(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async def nap(key: InstanceKey, epoch: int) -> None:
        await log.program(key, epoch)
        if epoch == 1:
            await stage.ask("one", RegisterInstance(attempt_id="a"), epoch)
            await stage.ask("one", Sleep(checkpoint_id="c", duration_ms=60_000, park=True), epoch)

    async with open_stage(store, programs={"nap": nap}, clock=clock) as stage:
        await stage.ask("one", StartInstance(program="nap"))
        await trio.sleep(10)
        await stage.ask("one", SendSignal(kind="resume", signal_id="r"))
        await trio.sleep(100)

    assert log.launches == [(0, "one", 1), (10_000, "one", 2)]


async def test_the_latest_word_about_when_an_instance_is_due_counts(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    async with open_stage(store, clock=clock) as stage:
        scheduler = stage.system.ref(SCHEDULER)
        for at in (50_000, 10_000, 90_000):
            scheduler.tell_nowait(Effected(key_of("one"), Arm(NOW + at)))
        await trio.sleep(60)
        before = stage.facts(SCHEDULER)
        await trio.sleep(40)

        assert (before["woken"], before["armed"]) == (0, 1)
        assert stage.facts(SCHEDULER)["armed"] == 0


async def test_an_instance_that_is_disarmed_is_not_woken(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(sleeper("one", NOW + 10_000), sleeper("two", NOW + 10_000))

    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await stage.ask("one", SendSignal(kind="cancel", signal_id="c"))
        await trio.sleep(1)
        armed = stage.facts(SCHEDULER)["armed"]
        stage.system.ref(SCHEDULER).tell_nowait(Effected(key_of("unknown"), Disarm()))
        await trio.sleep(60)

    assert armed == 1
    assert log.names == ["two"]


async def test_a_hundred_instances_that_cannot_be_woken_hold_up_nobody(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(*(sleeper(f"bad{n}", NOW - 1_000 + n) for n in range(100)))
    store.put(*(sleeper(f"good{n}", NOW) for n in range(3)), sleeper("later", NOW + 7_000))
    store.poison = {key_of(f"bad{n}") for n in range(100)}

    async with open_stage(store, programs=log.programs, clock=clock, wake_window=10, wakes_in_flight=8):
        await trio.sleep(60)

    assert sorted(log.launches) == [(0, "good0", 2), (0, "good1", 2), (0, "good2", 2), (7_000, "later", 2)]


async def test_an_instance_that_cannot_be_woken_is_tried_again_less_and_less_often_until_it_can(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    tries: list[float] = []
    store.put(sleeper("bad", NOW))
    store.poison = {key_of("bad")}

    def note(method: str) -> None:
        if method == "load":
            tries.append(trio.current_time())

    store.before_read = note
    async with open_stage(store, programs=log.programs, clock=clock):
        await trio.sleep(3_600)
        failing = list(tries)
        store.poison.clear()
        await trio.sleep(600)

    waits = [later - earlier for earlier, later in pairwise(failing)]
    assert 8 <= len(failing) <= 30
    assert waits[-1] > 20 * waits[0]
    assert max(waits) <= 300 * 1.2 + 60
    assert log.names == ["bad"]


async def test_a_wall_clock_that_is_set_forward_wakes_within_one_look(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(sleeper("one", NOW + 3_600_000))

    async with open_stage(store, programs=log.programs, clock=clock, clock_check_ms=5_000):
        await trio.sleep(12)
        clock.jump_ms(3_600_000)
        await trio.sleep(5.001)

    assert log.names == ["one"]


async def test_a_wall_clock_that_is_set_back_wakes_nobody_early_and_loses_nobody(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(*(sleeper(f"s{n}", NOW + 10_000 + n) for n in range(3)))

    async with open_stage(store, programs=log.programs, clock=clock):
        await trio.sleep(9)
        clock.jump_ms(-3_600_000)
        await trio.sleep(2 * 3_600)

    assert log.launches == [(10_000 + n, f"s{n}", 2) for n in range(3)]


async def test_a_wake_up_that_finds_the_clock_set_back_waits_for_the_time_once_more(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(sleeper("one", NOW + 10_000))

    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        wake = Call(key_of("one"), WakeInstance(due_at=NOW + 10_000))
        await stage.system.cell(INSTANCES, key_of("one")).ask(wake)
        await trio.sleep(60)

    assert log.launches == [(10_000, "one", 2)]


async def test_sleeps_of_ten_years_end_on_their_day(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(sleeper("long", NOW + 10 * YEAR_MS), sleeper("longest", NOW + 100 * YEAR_MS))

    async with open_stage(store, programs=log.programs, clock=clock, clock_check_ms=30 * 86_400_000):
        await trio.sleep(11 * YEAR_MS / 1000)

    assert log.launches == [(10 * YEAR_MS, "long", 2)]


async def test_no_more_wake_ups_are_under_way_at_once_than_allowed(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(*(sleeper(f"s{n:03}", NOW + 1_000) for n in range(100)))

    async with open_stage(store, programs=log.programs, clock=clock, wakes_in_flight=7):
        await trio.sleep(60)

    assert len(log.launches) == len(set(log.names)) == 100
    assert max(store.commits) <= 7


async def test_a_scheduler_that_is_restarted_wakes_the_same_instances_once(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(*(sleeper(f"s{n}", NOW + 1_000 * n) for n in range(1, 21)))

    async with open_stage(store, programs=log.programs, clock=clock, wake_window=6) as stage:
        await trio.sleep(5.5)
        await stage.crash(SCHEDULER)
        await trio.sleep(60)

    assert log.names == [f"s{n}" for n in range(1, 21)]


async def test_a_system_that_is_restarted_wakes_what_has_become_due_meanwhile(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    store.put(*(sleeper(f"s{n}", NOW + 10_000 * n) for n in range(1, 5)))

    async with open_stage(store, programs=log.programs, clock=clock):
        await trio.sleep(15)
    await trio.sleep(20)
    async with open_stage(store, programs=log.programs, clock=clock):
        await trio.sleep(60)

    assert sorted(launch for launch in log.launches if launch[2] == 2) == [
        (10_000, "s1", 2),
        (35_000, "s2", 2),
        (35_000, "s3", 2),
        (40_000, "s4", 2),
    ]


async def test_a_store_that_fails_for_a_while_delays_wake_ups_and_loses_none(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    def fail(saves: Any) -> None:
        if clock.now_ms() < NOW + 30_000:
            raise StoreUnavailable("the disk is away")

    store.put(*(sleeper(f"s{n}", NOW + 10_000) for n in range(20)))
    store.before_commit = fail
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await trio.sleep(120)
        statuses = {(await stage.ask(f"s{n}", GetStatus())).status for n in range(20)}

    assert sorted(log.names) == sorted(f"s{n}" for n in range(20))
    assert min(log.times) >= 30_000
    assert statuses == {Status.RUNNING}


async def test_a_store_that_cannot_be_read_when_the_window_is_empty_delays_the_rest_and_loses_none(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    failing = iter([StoreUnavailable("the disk is away")] * 2)
    armed = False

    def fail(method: str) -> None:
        error = next(failing, None) if method == "list_due" and armed else None
        if error is not None:
            raise error

    store.put(*(sleeper(f"s{n}", NOW + 1_000 * n) for n in range(1, 7)))
    store.before_read = fail
    async with open_stage(store, programs=log.programs, clock=clock, wake_window=2):
        armed = True
        await trio.sleep(600)

    assert sorted(log.names) == [f"s{n}" for n in range(1, 7)]


# Places --------------------------------------------------------------------------------------------------------------


class FakeRunner(Actor):
    """Launches nothing, but notes what it is told to; processes end when the test says so."""

    def __init__(self, processes: set[InstanceKey], launched: list[InstanceKey]) -> None:
        self._processes = processes
        self._launched = launched

    async def on_start(self) -> None:
        """Say which processes there are, as after every start."""
        with suppress(NotFound):  # at the first start nobody is there yet
            self.system.ref(SCHEDULER).tell_nowait(PlacesInUse(dict.fromkeys(self._processes)))

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Take note of a launch."""
        if isinstance(message.effect, Launch):
            self._launched.append(message.key)
            self._processes.add(message.key)

    @hears(ListPlaces)
    def list_places(self, _: ListPlaces) -> dict[InstanceKey, str | None]:
        """Say which processes there are."""
        return dict.fromkeys(self._processes)


class Host:
    """A host with places, whose processes end on command."""

    def __init__(self, places: int) -> None:
        self.processes: set[InstanceKey] = set()
        self.launched: list[InstanceKey] = []
        runner = child(PROGRAMS.rpartition("/")[2], FakeRunner, self.processes, self.launched)
        self.launcher = Launcher(runner=runner, places=places)

    @property
    def names(self) -> list[str]:
        return [key.instance_id for key in self.launched]

    def end(self, stage: Stage, key: InstanceKey) -> None:
        """Let a process end."""
        self.processes.remove(key)
        stage.system.ref(SCHEDULER).tell_nowait(PlaceFreed(key))

    async def drain(self, stage: Stage) -> None:
        """Let all processes end, one after the other, in the order of their launch."""
        for key in self.launched:  # which grows meanwhile
            self.end(stage, key)
            await trio.sleep(0.1)


def of(tenant_id: str, name: str, wake_at: int, program: str = "nap", priority: int = 0) -> Save:
    key = InstanceKey(tenant_id, name)
    return save(key, status=Status.SUSPENDED, program=program, wake_at=wake_at, priority=priority)


async def test_no_more_instances_are_claimed_than_there_are_places_and_the_others_follow_in_order(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=3)
    store.put(*(sleeper(f"s{n}", NOW + n) for n in range(10)))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(60)
        first, facts = list(host.names), stage.facts(SCHEDULER)
        waiting = await stage.ask("s3", GetStatus())
        host.end(stage, key_of("s1"))
        await trio.sleep(1)
        second = list(host.names)

    assert first == ["s0", "s1", "s2"]
    assert (facts["places_in_use"], facts["queued"]) == (3, 7)
    assert (waiting.status, waiting.epoch) == (Status.SUSPENDED, 1)
    assert second == ["s0", "s1", "s2", "s3"]


async def test_a_tenant_with_many_instances_does_not_hold_up_one_with_few(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=1)
    store.put(*(of("many", f"m{n}", NOW + n) for n in range(4)), of("few", "f", NOW + 10), of("some", "s", NOW + 11))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        await host.drain(stage)

    assert host.names == ["m0", "m1", "f", "s", "m2", "m3"]


async def test_within_a_tenant_the_highest_priority_is_launched_first_and_then_what_was_due_first(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=1)
    ranks = {"low": -100, "old": 0, "young": 0, "high": 100}
    store.put(
        of("acme", "first", NOW),
        *(of("acme", name, NOW + n, priority=rank) for n, (name, rank) in enumerate(ranks.items(), 1)),
    )

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        await stage.ask("urgent", StartInstance(program="nap", priority=50))
        await host.drain(stage)

    assert host.names == ["first", "high", "urgent", "old", "young", "low"]


async def test_an_instance_that_starts_later_is_launched_then_and_not_before(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await stage.ask("later", StartInstance(program="nap", start_at=NOW + 90_000))
        await stage.ask("past", StartInstance(program="nap", start_at=NOW - 90_000))
        waiting = await stage.ask("later", GetStatus())
        again = await stage.ask("later", StartInstance(program="nap", start_at=NOW + 1_000))
        await trio.sleep(600)

    assert (waiting.status, waiting.wake_at, again.created) == (Status.PENDING, NOW + 90_000, False)
    assert log.launches == [(0, "past", 1), (90_000, "later", 1)]


async def test_a_tenant_at_its_cap_waits_while_others_are_launched(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=4)
    store.put(*(of("many", f"m{n}", NOW + n) for n in range(5)), of("few", "f", NOW + 10))

    async with open_stage(store, launcher=host.launcher, clock=clock, max_concurrent_per_tenant=2) as stage:
        await trio.sleep(1)
        first = list(host.names)
        host.end(stage, InstanceKey("many", "m0"))
        await trio.sleep(1)
        second = list(host.names)
        await stage.crash(SCHEDULER)
        await trio.sleep(60)

    assert first in (["m0", "m1", "f"], ["m0", "f", "m1"])
    assert second == host.names == [*first, "m2"], "also after a crash"


IMAGE = ImageRef("a" * 32, 1)


def push(store: WatchedStore, max_concurrent: int) -> str:
    """Store an image with a cap; return the program of its instances."""
    options = msgspec.json.encode({"max_concurrent": max_concurrent})
    version = ImageVersion(version=1, digest="d" * 64, size=1, kind="python", created_at=NOW, options=options)
    writer = store._store.open_writer()
    writer.push_image("acme", "report", IMAGE.image_id, version)
    writer.close()
    return IMAGE.program


async def test_an_image_at_its_cap_waits_while_other_programs_of_its_tenant_are_launched(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=9)
    program = push(store, max_concurrent=2)
    store.put(*(of("acme", f"i{n}", NOW + n, program) for n in range(4)), of("acme", "other", NOW + 10))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        first = sorted(host.names)
        host.end(stage, key_of("i1"))
        await trio.sleep(1)
        second = list(host.names)
        await stage.crash(PROGRAMS)
        await trio.sleep(60)

    assert first == ["i0", "i1", "other"]
    assert second == host.names
    assert second[-1] == "i2"


async def test_a_cap_that_cannot_be_read_for_a_while_delays_its_image_alone(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=9)
    program = push(store, max_concurrent=2)
    store.put(of("acme", "image", NOW, program), of("acme", "other", NOW))

    def fail(method: str) -> None:
        if method == "read_image_version" and clock.now_ms() < NOW + 10_000:
            raise StoreUnavailable("the disk is away")

    store.before_read = fail
    async with open_stage(store, launcher=host.launcher, clock=clock):
        await trio.sleep(5)
        before = list(host.names)
        await trio.sleep(10)

    assert before == ["other"]
    assert host.names == ["other", "image"]


@pytest.mark.parametrize("window", [1, 3, 8])
async def test_a_tenant_at_its_cap_that_fills_the_queue_holds_up_nobody_behind_it(
    window: int, store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=6)
    store.put(*(of("many", f"m{n:02}", NOW + n) for n in range(20)))
    store.put(*(of("few", f"f{n}", NOW + 100 + n) for n in range(2)), of("late", "l", NOW + 30_000))
    options: dict[str, Any] = {"max_concurrent_per_tenant": 2, "wake_window": window}
    looks: list[str] = []
    store.before_read = looks.append

    async with open_stage(store, launcher=host.launcher, clock=clock, **options) as stage:
        await trio.sleep(10)
        soon = list(host.names)
        await stage.dispatch.call(InstanceKey("new", "n"), StartInstance(program="nap"))
        await trio.sleep(1)
        started = list(host.names)
        await trio.sleep(60)
        later = list(host.names)
        await host.drain(stage)

    assert sorted(soon) == ["f0", "f1", "m00", "m01"]
    assert (started, later) == ([*soon, "n"], [*soon, "n", "l"])
    assert looks.count("list_due") < 100, "nothing is read again and again"
    assert sorted(host.names) == sorted([*(f"m{n:02}" for n in range(20)), "f0", "f1", "l", "n"])


async def test_an_instance_that_waits_for_a_place_may_be_paused_cancelled_and_resumed(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=1)
    store.put(*(sleeper(f"s{n}", NOW + n) for n in range(5)))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        await stage.ask("s1", SendSignal(kind="cancel", signal_id="c"))
        await stage.ask("s2", SendSignal(kind="pause", signal_id="p"))
        await stage.ask("s3", SendSignal(kind="resume", signal_id="r"))
        await stage.ask("s2", SendSignal(kind="resume", signal_id="r"))
        await host.drain(stage)

    assert host.names == ["s0", "s3", "s4", "s2"]


async def test_an_instance_that_still_has_its_process_takes_no_second_place(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=2)
    store.put(sleeper("one", NOW), sleeper("two", NOW + 1), sleeper("three", NOW + 2))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        await stage.ask("one", RegisterInstance(attempt_id="a"), epoch=2)
        await stage.ask("one", Sleep(checkpoint_id="nap", duration_ms=1_000, park=True), epoch=2)
        await trio.sleep(5)
        while_it_leaves = list(host.names)
        host.end(stage, key_of("one"))
        await trio.sleep(1)

    assert while_it_leaves == ["one", "two"]
    assert host.names == ["one", "two", "three"]


async def test_places_that_are_in_use_when_the_scheduler_starts_stay_in_use(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=2)
    host.processes.add(key_of("adopted"))
    store.put(*(sleeper(f"s{n}", NOW + n) for n in range(4)))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        at_the_start = list(host.names)
        await stage.crash(SCHEDULER)
        await trio.sleep(1)
        after_a_crash = list(host.names)
        host.end(stage, key_of("adopted"))
        await trio.sleep(1)

    assert at_the_start == after_a_crash == ["s0"]
    assert host.names == ["s0", "s1"]


async def test_a_runner_that_is_back_says_which_places_are_free(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=2)
    store.put(*(sleeper(f"s{n}", NOW + n) for n in range(4)))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        host.processes.clear()
        await stage.crash(PROGRAMS)
        await trio.sleep(1)

    assert host.names == ["s0", "s1", "s2", "s3"]


async def test_an_instance_that_cannot_be_woken_keeps_no_place(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=1)
    store.put(sleeper("bad", NOW), sleeper("good", NOW + 1))
    store.poison = {key_of("bad")}

    async with open_stage(store, launcher=host.launcher, clock=clock):
        await trio.sleep(10)

    assert host.names == ["good"]


@pytest.mark.parametrize("window", [1, 3, 100])
async def test_what_does_not_fit_into_the_queue_waits_in_the_store(
    window: int, store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=2)
    store.put(*(sleeper(f"s{n:02}", NOW + n) for n in range(30)))

    async with open_stage(store, launcher=host.launcher, clock=clock, wake_window=window) as stage:
        await trio.sleep(60)
        facts = stage.facts(SCHEDULER)
        await host.drain(stage)

    assert facts["queued"] <= window
    assert host.names == [f"s{n:02}" for n in range(30)]


async def test_a_host_that_goes_down_wakes_nobody_any_more(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    host = Host(places=2)
    store.put(*(sleeper(f"s{n}", NOW + n) for n in range(4)), sleeper("later", NOW + 5_000))

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage:
        await trio.sleep(1)
        await stage.system.ref(SCHEDULER).ask(StopWaking())
        await host.drain(stage)
        await trio.sleep(60)
        status = (await stage.ask("s2", GetStatus())).status

    assert host.names == ["s0", "s1"]
    assert status is Status.SUSPENDED


async def test_it_has_stopped_waking_only_when_the_runner_knows_of_all_whom_it_woke(
    tmp_path: Path, clock: TrioClock
) -> None:
    store = WatchedStore(open_store(f"sqlite:///{tmp_path / 's.db'}"))
    host, gate, order = Host(places=2), threading.Event(), list[str]()
    store.put(sleeper("due", NOW - 1))
    store.before_commit = lambda saves: gate.wait(PATIENCE_S)

    async def stop() -> None:
        await stage.system.ref(SCHEDULER).ask(StopWaking())
        await stage.system.ref(PROGRAMS).ask(ListPlaces())  # what was said to the runner before is heard before
        order.append(f"stopped with {host.names}")

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await trio.testing.wait_all_tasks_blocked(0.01)
        order.append("let it be stored")
        gate.set()

    assert order == ["let it be stored", "stopped with ['due']"]


async def test_who_waits_for_it_to_stop_hears_of_its_end(tmp_path: Path, clock: TrioClock) -> None:
    store = WatchedStore(open_store(f"sqlite:///{tmp_path / 's.db'}"))
    host, gate = Host(places=2), threading.Event()
    store.put(sleeper("due", NOW - 1))
    store.before_commit = lambda saves: gate.wait(PATIENCE_S)

    async def stop() -> None:
        with pytest.raises(ActorStopped, match="ask again"):
            await stage.system.ref(SCHEDULER).ask(StopWaking())
        gate.set()

    async with open_stage(store, launcher=host.launcher, clock=clock) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await crash_actor(stage.system, SCHEDULER)

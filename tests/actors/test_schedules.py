"""Schedules in a whole system under a clock that jumps; and on a database that two systems share."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from runtara.actors import _schedule_calls as schedule_calls
from runtara.actors import schedules as schedules_module
from runtara.actors.programs import Program
from runtara.errors import (
    Busy,
    Forbidden,
    InvalidInput,
    NotFound,
    StoreUnavailable,
    TooLarge,
)
from runtara.ids import InstanceKey
from runtara.messages import (
    CatchUp,
    DeleteSchedule,
    GetInput,
    GetSchedule,
    GetStatus,
    ListInstances,
    ListSchedules,
    PauseSchedule,
    PutSchedule,
    Request,
    ScheduleInfo,
    SchedulePlan,
    StartInstance,
)
from runtara.system import SCHEDULES, Launcher, in_process
from tests.actors.stage import NOW, Stage, TrioClock, WatchedStore, open_stage
from tests.actors.village import Village, until

HOUR, DAY = 3_600_000, 86_400_000
SHIP = StartInstance(program="ship", input=b"input", env={"A": "1"}, priority=7, timeout_ms=5_000)


def hourly(**fields: Any) -> SchedulePlan:
    return SchedulePlan(**{"start": SHIP, "every_ms": HOUR, **fields})


class Log:
    """Which instances were launched, and when, in milliseconds."""

    def __init__(self, clock: TrioClock) -> None:
        self._clock = clock
        self.launches: list[tuple[int, str]] = []

    async def ship(self, key: InstanceKey, epoch: int) -> None:
        self.launches.append((self._clock.now_ms() - NOW, key.instance_id))

    @property
    def programs(self) -> dict[str, Program]:
        return {"ship": self.ship}

    @property
    def times(self) -> list[int]:
        return [at for at, _ in self.launches]


@pytest.fixture
def clock() -> TrioClock:
    return TrioClock()


@pytest.fixture
def log(clock: TrioClock) -> Log:
    return Log(clock)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


async def manage(stage: Stage, command: Request[Any], tenant_id: str = "acme") -> Any:
    return await stage.dispatch.call(InstanceKey(tenant_id, "cli"), command)


# When it starts -------------------------------------------------------------------------------------------------------


async def test_a_schedule_starts_an_instance_at_each_of_its_instants(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await trio.sleep(3.5 * 3_600)
        info = await stage.ask("nightly.20250615T160640Z", GetStatus())
        given = await stage.ask("nightly.20250615T160640Z", GetInput())
        schedule: ScheduleInfo = await manage(stage, GetSchedule(name="nightly"))

    assert log.launches == [
        (HOUR, "nightly.20250615T160640Z"),
        (2 * HOUR, "nightly.20250615T170640Z"),
        (3 * HOUR, "nightly.20250615T180640Z"),
    ]
    assert (info.program, info.priority, info.timeout_ms, given.input) == ("ship", 7, 5_000, b"input")
    assert (schedule.next_at, schedule.last_id) == (NOW + 4 * HOUR, "nightly.20250615T180640Z")
    assert (schedule.last_at, schedule.last_error) == (NOW + 3 * HOUR, None)


async def test_many_schedules_of_many_tenants_are_kept_to_each_at_its_time(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        for number in range(1, 41):
            plan = hourly(every_ms=number * 60_000)
            await manage(stage, PutSchedule(name=f"s{number}", plan=plan), f"t{number % 3}")
        await trio.sleep(3_600 + 1)

    expected = Counter(number * 60_000 * nth for number in range(1, 41) for nth in range(1, 60 // number + 1))
    assert Counter(log.times) == expected


async def test_nothing_is_read_while_nothing_is_due(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    reads: list[str] = []
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await trio.sleep(1)
        store.before_read = reads.append
        await trio.sleep(10 * 3_600)
        without_any = list(reads)
        await manage(stage, PutSchedule(name="nightly", plan=hourly(every_ms=30 * DAY)))
        reads.clear()
        await trio.sleep(10 * 3_600)

    assert [read for read in without_any + reads if "schedule" in read] == []


async def test_a_wall_clock_that_is_set_forward_is_noticed_within_one_look(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock, clock_check_ms=5_000) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await trio.sleep(12)
        clock.jump_ms(HOUR)
        await trio.sleep(5.001)

    assert len(log.launches) == 1


async def test_a_schedule_that_is_due_earlier_than_all_others_is_not_waited_for_in_vain(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock, clock_check_ms=10**9) as stage:
        await manage(stage, PutSchedule(name="late", plan=hourly()))
        await trio.sleep(10)
        await manage(stage, PutSchedule(name="soon", plan=hourly(every_ms=60_000, until=NOW + 80_000)))
        await trio.sleep(3_500)

    assert log.times == [70_000]


async def test_a_schedule_ends_with_its_last_instant(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly(until=NOW + 2 * HOUR)))
        await trio.sleep(10 * 3_600)
        schedule = await manage(stage, GetSchedule(name="nightly"))

    assert log.times == [HOUR, 2 * HOUR]
    assert schedule.next_at is None


# Downtime -------------------------------------------------------------------------------------------------------------


MADE_UP_FOR: dict[CatchUp, list[int]] = {"skip": [], "one": [3], "all": [1, 2, 3]}


@pytest.mark.parametrize("catch_up", MADE_UP_FOR)
async def test_what_nobody_could_start_is_made_up_for_as_the_plan_says(
    catch_up: CatchUp, store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly(catch_up=catch_up)))
    await trio.sleep(3.5 * 3_600)
    async with open_stage(store, programs=log.programs, clock=clock):
        await trio.sleep(3_600)

    names = [f"nightly.20250615T{15 + number}0640Z" for number in (*MADE_UP_FOR[catch_up], 4)]
    assert sorted(name for _, name in log.launches) == names
    assert log.launches[-1][0] == 4 * HOUR


async def test_a_start_that_is_only_a_little_late_was_not_missed(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly(catch_up="skip")))
    await trio.sleep(3_600 + 30)
    async with open_stage(store, programs=log.programs, clock=clock):
        await trio.sleep(60)

    assert log.times == [HOUR + 30_000]


@pytest.mark.parametrize("where", ["before", "between"])
async def test_a_crash_around_a_start_starts_each_instant_once(
    where: str, store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("the disk is away")

    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await trio.sleep(3_590)
        if where == "before":
            store.before_commit = fail
        else:
            store.before_put = fail
        await trio.sleep(15)
    before = list(log.launches)
    store.before_commit = lambda _: None
    store.before_put = lambda _: None
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await trio.sleep(3_600)
        found = await manage(stage, ListInstances())

    assert len(before) == (where == "between")
    assert [row.instance_id for row in found.instances] == ["nightly.20250615T160640Z", "nightly.20250615T170640Z"]


async def test_an_actor_that_crashes_goes_on_where_it_was(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await stage.crash(SCHEDULES)
        await trio.sleep(3_600)
        await stage.crash(SCHEDULES)
        await trio.sleep(3_600)

    assert log.times == [HOUR, 2 * HOUR]


async def test_a_store_that_is_away_for_a_while_delays_a_start_and_loses_none(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    def fail(method: str) -> None:
        if "schedule" in method and HOUR <= clock.now_ms() - NOW < HOUR + 30_000:
            raise StoreUnavailable("the disk is away")

    store.before_read = fail
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await trio.sleep(2 * 3_600 + 1)

    assert len(log.times) == 2
    assert HOUR + 30_000 <= log.times[0] < HOUR + 40_000
    assert log.times[1] == 2 * HOUR


# What is refused ------------------------------------------------------------------------------------------------------


def launcher(check: Callable[[str], object]) -> Launcher:
    return replace(in_process({}), check_program=check)


async def test_a_start_that_is_refused_is_noted_and_does_not_stop_the_schedule(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    gone = False

    def check(program: str) -> None:
        if gone:
            raise NotFound(f"there is no program {program!r}: look where it lies")

    async with open_stage(store, launcher=launcher(check), clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        gone = True
        await trio.sleep(3_601)
        refused, facts = await manage(stage, GetSchedule(name="nightly")), stage.facts(SCHEDULES)
        gone = False
        await trio.sleep(3_600)
        after = await manage(stage, GetSchedule(name="nightly"))
        found = await manage(stage, ListInstances())

    assert refused.last_error == facts["last_error"] == "there is no program 'ship': look where it lies"
    assert (facts["refused"], facts["started"]) == (1, 0)
    assert after.last_error is None
    assert [row.instance_id for row in found.instances] == ["nightly.20250615T170640Z"]
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == ["schedule-refused"]


async def test_an_id_that_somebody_else_has_taken_is_noted_and_does_not_stop_the_schedule(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await stage.ask("nightly.20250615T160640Z", StartInstance(program="other"))
        await trio.sleep(3_601)
        refused = await manage(stage, GetSchedule(name="nightly"))
        await trio.sleep(3_600)

    assert "exists with another program" in (refused.last_error or "")
    assert log.times == [2 * HOUR]


async def test_a_schedule_that_cannot_be_read_holds_up_nobody(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        for name in ("bad", "good"):
            await manage(stage, PutSchedule(name=name, plan=hourly()))
        tables: Any = store._store
        row = tables._tables.schedules["acme", "bad"]
        tables._tables.schedules["acme", "bad"] = replace(row, plan=b"{}")
        await trio.sleep(3 * 3_600 + 10)

    assert [name.split(".")[0] for _, name in log.launches] == ["good"] * 3
    assert all(late < HOUR + 5_000 for late in (at - nth * HOUR for nth, at in enumerate(log.times)))


# Who manages them -----------------------------------------------------------------------------------------------------


async def test_a_schedule_that_is_put_again_changes_nothing(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    async with open_stage(store, clock=clock) as stage:
        first = await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await trio.sleep(10)
        again = await manage(stage, PutSchedule(name="nightly", plan=hourly()))

    assert first == again
    assert (first.name, first.plan, first.next_at, first.created_at) == ("nightly", hourly(), NOW + HOUR, NOW)


async def test_a_new_plan_counts_from_the_next_start_on(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await trio.sleep(1_000)
        changed = await manage(stage, PutSchedule(name="nightly", plan=hourly(every_ms=HOUR // 2)))
        await trio.sleep(3_000)

    assert changed.next_at == NOW + HOUR // 2
    assert log.times == [HOUR // 2, HOUR]


async def test_a_paused_schedule_starts_nothing_until_it_goes_on(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly(catch_up="all")))
        paused = await manage(stage, PauseSchedule(name="nightly"))
        again = await manage(stage, PauseSchedule(name="nightly"))
        await trio.sleep(2.5 * 3_600)
        resumed = await manage(stage, PauseSchedule(name="nightly", paused=False))
        await trio.sleep(3_600)

    assert (paused.next_at, paused.plan.paused, again) == (None, True, paused)
    assert (resumed.next_at, resumed.plan.paused) == (NOW + 3 * HOUR, False)
    assert log.times == [3 * HOUR]


async def test_a_schedule_that_is_deleted_starts_nothing_more_and_what_it_has_started_goes_on(
    store: WatchedStore, clock: TrioClock, log: Log, autojump_clock: MockClock
) -> None:
    async with open_stage(store, programs=log.programs, clock=clock) as stage:
        await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        await trio.sleep(3_601)
        deleted = await manage(stage, DeleteSchedule(name="nightly"))
        again = await manage(stage, DeleteSchedule(name="nightly"))
        await trio.sleep(2 * 3_600)
        info = await stage.ask("nightly.20250615T160640Z", GetStatus())

    assert (deleted.deleted, again.deleted) == (True, False)
    assert log.times == [HOUR]
    assert info.program == "ship"


async def test_schedules_are_listed_by_name_a_page_at_a_time_and_those_of_others_are_unknown(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    async with open_stage(store, clock=clock) as stage:
        for name in "cab":
            await manage(stage, PutSchedule(name=name, plan=hourly()))
        first = await manage(stage, ListSchedules(limit=2))
        second = await manage(stage, ListSchedules(limit=2, cursor=first.cursor))
        foreign = await manage(stage, ListSchedules(), "rival")
        for command in (GetSchedule(name="a"), PauseSchedule(name="a")):
            with pytest.raises(NotFound, match="there is no schedule 'a'"):
                await manage(stage, command, "rival")

    assert [line.name for line in first.schedules + second.schedules] == ["a", "b", "c"]
    assert (first.schedules[0].program, first.schedules[0].next_at) == ("ship", NOW + HOUR)
    assert (second.cursor, foreign.schedules) == (None, ())


async def test_a_program_that_cannot_be_launched_is_refused_when_the_schedule_is_put(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    def check(program: str) -> None:
        raise Forbidden(f"{program!r} lies outside")

    async with open_stage(store, launcher=launcher(check), clock=clock) as stage:
        with pytest.raises(Forbidden, match="lies outside"):
            await manage(stage, PutSchedule(name="nightly", plan=hourly()))
        found = await manage(stage, ListSchedules())

    assert found.schedules == ()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (PutSchedule(name="a b", plan=hourly()), InvalidInput),
        (PutSchedule(name="n" * 112, plan=hourly()), InvalidInput),
        (PutSchedule(name="n", plan=hourly(every_ms=1)), InvalidInput),
        (PutSchedule(name="n", plan=hourly(paused="yes")), InvalidInput),
        (PutSchedule(name="n", plan=hourly(start=replace(SHIP, start_at=NOW))), InvalidInput),
        (PutSchedule(name="n", plan=hourly(start=replace(SHIP, replace=True))), InvalidInput),
        (PutSchedule(name="n", plan=hourly(start=replace(SHIP, priority=101))), InvalidInput),
        (PutSchedule(name="n", plan=hourly(start=replace(SHIP, input="text"))), InvalidInput),
        (PutSchedule(name="n", plan=hourly(start=replace(SHIP, input=b"x" * 65_537))), TooLarge),
        (GetSchedule(name=""), InvalidInput),
        (ListSchedules(limit=0), InvalidInput),
        (PauseSchedule(name="n", paused=1), InvalidInput),  # type: ignore[arg-type]  # wrong on purpose
    ],
    ids=[
        *("name", "long name", "interval", "paused", "start_at", "replace", "priority", "input", "large input"),
        *("no name", "limit", "pause"),
    ],
)
async def test_what_is_malformed_or_too_large_is_refused(
    command: Request[Any], error: type[Exception], store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    async with open_stage(store, clock=clock) as stage:
        with pytest.raises(error):
            await manage(stage, command)


async def test_a_tenant_has_only_so_many_schedules(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_calls, "SCHEDULES_MAX", 2)
    async with open_stage(store, clock=clock) as stage:
        for name in "ab":
            await manage(stage, PutSchedule(name=name, plan=hourly()))

        with pytest.raises(TooLarge, match="2 schedules, the bound for one tenant"):
            await manage(stage, PutSchedule(name="c", plan=hourly()))
        await manage(stage, PutSchedule(name="a", plan=hourly(every_ms=DAY)))
        await manage(stage, PutSchedule(name="c", plan=hourly()), "rival")


async def test_who_changes_a_schedule_at_the_same_time_as_others_succeeds_or_is_told_to_try_again(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock
) -> None:
    puts = 0

    def refuse(_: object) -> bool:
        nonlocal puts
        puts += 1
        return puts <= 2 or puts > 3

    async with open_stage(store, clock=clock) as stage:
        store.forestall_put = refuse
        won = await manage(stage, PutSchedule(name="a", plan=hourly()))
        with pytest.raises(Busy, match="schedule 'b' is being changed by others"):
            await manage(stage, PutSchedule(name="b", plan=hourly()))

    assert won.name == "a"


async def test_only_so_many_calls_are_answered_at_once(
    store: WatchedStore, clock: TrioClock, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules_module, "CALLS_MAX", 0)
    async with open_stage(store, clock=clock) as stage:
        with pytest.raises(Busy, match="0 calls about schedules"):
            await manage(stage, ListSchedules())


# Several nodes --------------------------------------------------------------------------------------------------------


async def test_two_systems_on_one_database_start_each_instant_once(database: str) -> None:
    village, launches = Village(database), list[str]()

    async def ship(key: InstanceKey, epoch: int) -> None:
        launches.append(key.instance_id)

    async def length() -> int:
        return len(launches)

    manager = InstanceKey("acme", "cli")
    plan = SchedulePlan(start=StartInstance(program="ship"), every_ms=1_000, catch_up="all")
    options: dict[str, Any] = {"programs": {"ship": ship}, "clock_check_ms": 100}
    async with village.open("a", **options) as a, village.open("b", **options) as b:
        put = await a.runtime.dispatch.call(manager, PutSchedule(name="beat", plan=plan))
        await until(length, lambda count: count >= 4)
        await b.runtime.dispatch.call(manager, DeleteSchedule(name="beat"))
        started = [node.facts(SCHEDULES)["started"] for node in (a, b)]
        found = await a.runtime.dispatch.call(manager, ListInstances())

    names = [row.instance_id for row in found.instances]
    instants = [put.created_at // 1000 + nth for nth in range(1, len(names) + 1)]
    assert names == [f"beat.{datetime.fromtimestamp(instant, UTC):%Y%m%dT%H%M%SZ}" for instant in instants]
    assert len(launches) == len(set(launches))
    assert sum(started) == len(names)


async def test_a_schedule_is_kept_to_by_those_who_are_left(database: str) -> None:
    village, launches = Village(database), list[str]()

    async def ship(key: InstanceKey, epoch: int) -> None:
        launches.append(key.instance_id)

    async def launched() -> bool:
        return bool(launches)

    manager = InstanceKey("acme", "cli")
    plan = SchedulePlan(start=StartInstance(program="ship"), every_ms=2_000)
    async with village.open("b", programs={"ship": ship}, clock_check_ms=100):
        async with village.open("a", programs={"ship": ship}) as a:
            await a.runtime.dispatch.call(manager, PutSchedule(name="beat", plan=plan))
        await until(launched)

    assert launches[0].startswith("beat.")

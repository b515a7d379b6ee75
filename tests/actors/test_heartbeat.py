from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.actors.sessions import Attach
from runtara.errors import Fenced, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    CompleteInstance,
    GetCheckpoint,
    GetStatus,
    Heartbeat,
    InstanceInfo,
    RecordEvent,
    RegisterInstance,
    SaveCheckpoint,
    StartInstance,
    SuspendInstance,
)
from runtara.system import HEARTBEAT, SESSIONS
from runtara.transport import Session
from tests.actors.stage import NOW, Stage, WatchedStore, key_of, open_stage

TIMEOUT_S = 120
LOOK_S = TIMEOUT_S / 3
REGISTER = RegisterInstance(attempt_id="a")


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


def stage(store: WatchedStore, **more: Any) -> AbstractAsyncContextManager[Stage]:
    given: dict[str, Any] = {"heartbeat_timeout_ms": TIMEOUT_S * 1000, "heartbeat_interval_ms": 30_000}
    return open_stage(store, **given | more)


async def status_of(stage: Stage, name: str = "one") -> Status:
    info: InstanceInfo = await stage.ask(name, GetStatus())
    return info.status


async def test_an_attempt_that_falls_silent_is_declared_so_after_the_timeout_and_a_third_of_it(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        await trio.sleep(TIMEOUT_S - 1)
        before = await status_of(system)
        await trio.sleep(1 + LOOK_S + 1)
        info = await system.ask("one", GetStatus())

    assert before is Status.RUNNING
    assert (info.status, info.termination_reason) == (Status.SUSPENDED, TerminationReason.HEARTBEAT_TIMEOUT)


@pytest.mark.parametrize(
    "message",
    [
        Heartbeat(),
        SaveCheckpoint(checkpoint_id="c", state=b""),
        GetCheckpoint(checkpoint_id="c"),
        RecordEvent(subtype="e"),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_any_message_of_an_attempt_counts_as_a_heartbeat(
    message: Heartbeat, store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        for _ in range(20):
            await trio.sleep(TIMEOUT_S - 1)
            await system.ask("one", message, epoch=1)

        assert await status_of(system) is Status.RUNNING


async def test_what_others_say_about_an_instance_is_no_heartbeat(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        for _ in range(20):
            await trio.sleep(10)
            await status_of(system)

        assert await status_of(system) is Status.SUSPENDED


async def test_an_older_attempt_does_not_keep_a_newer_one_alive(store: WatchedStore, autojump_clock: MockClock) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        await system.ask("one", RegisterInstance(attempt_id="b"))
        for _ in range(20):
            await trio.sleep(10)
            with pytest.raises(Fenced):
                await system.ask("one", Heartbeat(), epoch=1)

        assert await status_of(system) is Status.SUSPENDED


async def test_a_program_of_this_process_that_sleeps_for_hours_is_never_declared_silent(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        session = Session(key_of("one"))
        session.epoch = (await system.ask("one", REGISTER)).epoch
        system.system.ref(SESSIONS).tell_nowait(Attach(session))
        await trio.sleep(4 * 3_600)

        assert await status_of(system) is Status.RUNNING
        assert system.facts(HEARTBEAT) == {"watched": 1, "silenced": 0}


async def test_a_silent_attempt_of_a_program_of_this_host_is_stopped_and_launched_again(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    lives: list[tuple[int, str]] = []

    async def hang(key: InstanceKey, epoch: int) -> None:
        lives.append((epoch, "begun"))
        await system.ask(key.instance_id, REGISTER, epoch)
        try:
            await trio.sleep_forever()
        finally:
            lives.append((epoch, "stopped"))

    async with stage(store, programs={"hang": hang}) as system:
        await system.ask("one", StartInstance(program="hang"))
        await trio.sleep(TIMEOUT_S + LOOK_S + 1)
        seen = list(lives)

    assert sorted(seen) == [(1, "begun"), (1, "stopped"), (3, "begun")]


async def test_an_attempt_that_was_declared_silent_is_fenced_when_it_comes_back(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        await trio.sleep(TIMEOUT_S + LOOK_S + 1)

        with pytest.raises(Fenced):
            await system.ask("one", Heartbeat(), epoch=1)


@pytest.mark.parametrize("end", [CompleteInstance(), SuspendInstance()], ids=lambda end: type(end).__name__)
async def test_who_does_not_run_any_more_is_not_watched(
    end: CompleteInstance, store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        await system.ask("one", end, epoch=1)
        await trio.sleep(1)

        assert system.facts(HEARTBEAT)["watched"] == 0


async def test_after_a_restart_of_the_monitor_everybody_has_the_full_time_again(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        await trio.sleep(TIMEOUT_S - 2)
        await system.crash(HEARTBEAT)
        await trio.sleep(TIMEOUT_S - 2)
        before = await status_of(system)
        await trio.sleep(LOOK_S + 3)

        assert before is Status.RUNNING
        assert await status_of(system) is Status.SUSPENDED


async def test_after_a_restart_of_the_system_everybody_has_the_full_time_again(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        await trio.sleep(TIMEOUT_S - 2)
    await trio.sleep(3_600)
    async with stage(store) as system:
        await trio.sleep(TIMEOUT_S - 2)
        before = await status_of(system)
        await trio.sleep(LOOK_S + 3)

        assert before is Status.RUNNING
        assert await status_of(system) is Status.SUSPENDED


async def test_time_in_which_the_process_stood_still_counts_for_nobody(
    store: WatchedStore, mock_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        mock_clock.jump(LOOK_S - 1)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(300)  # as if the process had been stopped: the next look comes five minutes late
        await trio.testing.wait_all_tasks_blocked()

        assert await status_of(system) is Status.RUNNING


async def test_heartbeats_are_stored_in_one_batch_per_look_and_not_more_often(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        for number in range(50):
            await system.ask(f"i{number}", REGISTER)
        commits = len(store.commits)
        for _ in range(40):
            for number in range(50):
                await system.ask(f"i{number}", Heartbeat(), epoch=1)
            await trio.sleep(10)
        info = await system.ask("i7", GetStatus())

    assert len(store.commits) == commits
    assert 8 <= len(store.heartbeats) <= 400 / LOOK_S + 1
    assert set(store.heartbeats) == {50}
    assert info.heartbeat_at is not None


async def test_the_stored_heartbeat_of_a_restarted_system_is_at_most_a_look_old(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        for _ in range(30):
            await system.ask("one", Heartbeat(), epoch=1)
            await trio.sleep(10)
        now = NOW + int(trio.current_time() * 1000)
    async with stage(store) as system:
        info = await system.ask("one", GetStatus())

    assert now - (LOOK_S + 10) * 1000 <= info.heartbeat_at <= now


async def test_a_monitor_goes_on_after_a_look_that_failed(store: WatchedStore, autojump_clock: MockClock) -> None:
    async with stage(store, request_timeout_ms=1_000) as system:
        await system.ask("one", REGISTER)
        monitor: Any = system.system.ref(HEARTBEAT).slot.actor
        monitor._instances = Refusing(monitor._instances)
        await trio.sleep(TIMEOUT_S + 2 * LOOK_S + 1)

        assert await status_of(system) is Status.SUSPENDED


class Refusing:
    """The region's reference, which refuses the first ask."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref
        self._refused = False

    async def ask(self, message: object) -> object:
        if not self._refused:
            self._refused = True
            raise StoreUnavailable("not now")
        return await self._ref.ask(message)

    def __getattr__(self, name: str) -> object:
        return getattr(self._ref, name)


async def test_an_attempt_whose_silence_could_not_be_stored_is_declared_later(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    failing = iter([StoreUnavailable("the disk is away")] * 2)

    def fail(saves: object) -> None:
        error = next(failing, None) if trio.current_time() > 60 else None
        if error is not None:
            raise error

    store.before_commit = fail
    async with stage(store) as system:
        await system.ask("one", REGISTER)
        await trio.sleep(TIMEOUT_S + LOOK_S + 1)
        before = await status_of(system)
        await trio.sleep(3 * LOOK_S)

        assert before is Status.RUNNING
        assert await status_of(system) is Status.SUSPENDED

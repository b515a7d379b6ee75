import os
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from runtara.errors import InstanceCancelled, InstancePaused
from runtara.messages import GetHealth, ListEvents, RecordEvent, SaveCheckpoint, Sleep
from runtara.sdk import SignalType, embedded
from runtara.sdk._drive import drive
from runtara.sdk._flows import RECHECK
from tests.actors.stage import TrioClock
from tests.sdk.faces import commands_of


async def pause(sdk: Any, seconds: float) -> None:
    await drive(sdk.pause(seconds), sdk.perform)


async def test_looking_for_signals_asks_only_if_something_was_pushed(tmp_path: Path) -> None:
    async with embedded.open(str(tmp_path)) as system, system.sdk("i") as sdk:
        await trio.testing.wait_all_tasks_blocked()
        commands = commands_of(sdk)
        for _ in range(3):
            await drive(sdk.look_for_signals(), sdk.perform)
        assert commands == ["PollSignals"]

        await system.custom_signal("i", "go")
        await trio.testing.wait_all_tasks_blocked()
        await drive(sdk.look_for_signals(), sdk.perform)
        assert commands == ["PollSignals"] * 2


async def test_looking_for_signals_in_memory_asks_only_if_there_is_one() -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        await trio.testing.wait_all_tasks_blocked()
        commands = commands_of(sdk)
        await drive(sdk.look_for_signals(), sdk.perform)
        await system.custom_signal("i", "go")
        await trio.testing.wait_all_tasks_blocked()
        await drive(sdk.look_for_signals(), sdk.perform)
        assert commands == []

        await system.signal("i", SignalType.PAUSE)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(InstancePaused):
            await drive(sdk.look_for_signals(), sdk.perform)
        assert commands == ["PollSignals"]


async def test_a_signal_that_was_raised_is_raised_again_until_the_program_ends() -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        await system.signal("i", SignalType.CANCEL)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            with pytest.raises(InstanceCancelled):
                await drive(sdk.look_for_signals(), sdk.perform)


async def test_a_pause_takes_its_time_and_asks_for_nothing(autojump_clock: MockClock) -> None:
    async with embedded.open(url="memory://", clock=TrioClock()) as system, system.sdk("i") as sdk:
        await trio.testing.wait_all_tasks_blocked()
        commands, began = commands_of(sdk), trio.current_time()
        await pause(sdk, 10 * RECHECK)
        assert trio.current_time() - began == pytest.approx(10 * RECHECK)
        assert commands == []


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_pause_of_no_time_only_looks(seconds: float) -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        await pause(sdk, seconds)
        await system.signal("i", SignalType.PAUSE)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(InstancePaused):
            await pause(sdk, seconds)


async def test_a_signal_ends_a_pause(autojump_clock: MockClock) -> None:
    async with embedded.open(url="memory://", clock=TrioClock()) as system, system.sdk("i") as sdk:

        async def cancel() -> None:
            await trio.sleep(5)
            await system.signal("i", SignalType.CANCEL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            with pytest.raises(InstanceCancelled):
                await pause(sdk, 600)
            assert trio.current_time() == pytest.approx(5)


async def test_calls_that_change_something_are_numbered_each_with_a_number_of_its_own() -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        wishes = [
            SaveCheckpoint(checkpoint_id="a", state=b""),
            Sleep(checkpoint_id="b", duration_ms=0),
            RecordEvent(subtype="c"),
        ]

        prepared = [sdk._prepare(wish) for wish in (*wishes, *wishes)]

        assert len({wish.request for wish in prepared}) == 6
        assert all(1 <= wish.request <= 2**53 for wish in prepared)
        assert [replace(wish, request=None) for wish in prepared] == wishes * 2
        assert sdk._prepare(GetHealth()) == GetHealth()


async def test_another_process_of_the_same_attempt_takes_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        wish = RecordEvent(subtype="c")
        ours = sdk._prepare(wish).request
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork

        theirs = sdk._prepare(wish).request

        assert theirs != ours + 1


async def test_a_call_that_was_sent_again_counts_once() -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        event = sdk._prepare(RecordEvent(subtype="c"))
        checkpoint = sdk._prepare(SaveCheckpoint(checkpoint_id="a", state=b""))

        saved = [await sdk._door.call(wish) for wish in (event, event, checkpoint, checkpoint)][2:]

        assert [reply.found for reply in saved] == [False, False]
        events = await sdk.perform(ListEvents(event_type="custom"))
        assert len(events.events) == 1

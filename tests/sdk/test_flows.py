"""Sleeping and waiting, by clocks that the tests set; and what a flow makes of every answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from math import inf
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from runtara import messages
from runtara.clock import INSTANT_MAX_MS, ManualClock
from runtara.errors import (
    DeadlineExceeded,
    InstanceCancelled,
    InstanceNotFound,
    InstancePaused,
    InstanceShutdown,
    InvalidInput,
)
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.records import Signal
from runtara.sdk import SignalType, embedded
from runtara.sdk import _flows as flows
from runtara.transport import Session
from tests.actors.stage import TrioClock
from tests.sdk.faces import commands_of

HOUR = 3_600

OTHERS_SPEAK = flows.AwaitPush(0.0, 0)
"""Before a program parks, what it does beside gets to the runtime."""


@contextmanager
def it_takes(seconds: float, tolerance: float = 0.01) -> Iterator[None]:
    """Check how much of the loop's time the block takes."""
    began = trio.current_time()
    yield
    assert seconds <= trio.current_time() - began + 1e-6 <= seconds + tolerance + 1e-6


def memory(clock: TrioClock) -> embedded.Opening:
    return embedded.open(url="memory://", clock=clock)


# Sleep ---------------------------------------------------------------------------------------------------------------


async def test_a_sleep_takes_its_time_and_no_longer(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk:
        for seconds in (HOUR, 0.5, 0.001, 0):
            with it_takes(seconds):
                await sdk.sleep(seconds, f"nap {seconds}")


async def test_after_a_crash_only_the_remainder_is_slept(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system:
        async with system.sdk("i") as sdk:
            with trio.move_on_after(10):
                await sdk.sleep(60, "nap", b"state")
        async with system.sdk("i") as sdk:
            with it_takes(50):
                assert await sdk.sleep(60, "nap") == b"state"
            with it_takes(0):
                assert await sdk.sleep(60, "nap") == b"state"


async def test_a_sleep_until_an_instant_ends_then_and_not_before(autojump_clock: MockClock) -> None:
    clock = TrioClock()
    async with memory(clock) as system, system.sdk("i") as sdk:
        instant = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(minutes=5)
        with it_takes(300):
            assert await sdk.sleep_until(instant.astimezone(timezone(timedelta(hours=5))), "nap") is None
        with it_takes(0):
            assert await sdk.sleep_until(instant + timedelta(days=1), "nap") == b""  # the first attempt has fixed it


async def test_a_clock_that_is_set_back_does_not_prolong_a_sleep_of_a_duration(autojump_clock: MockClock) -> None:
    clock = TrioClock()
    async with memory(clock) as system, system.sdk("i") as sdk, trio.open_nursery() as nursery:
        nursery.start_soon(_set_clock, clock, 30, -HOUR)
        with it_takes(300):
            await sdk.sleep(300, "nap")


async def test_a_clock_that_is_set_forward_is_noticed(autojump_clock: MockClock) -> None:
    clock = TrioClock()
    async with memory(clock) as system, system.sdk("i") as sdk, trio.open_nursery() as nursery:
        nursery.start_soon(_set_clock, clock, 30, HOUR)
        with it_takes(flows.RECHECK):
            await sdk.sleep(600, "nap")


async def test_a_sleep_until_an_instant_follows_the_clock_both_ways(autojump_clock: MockClock) -> None:
    clock = TrioClock()
    async with memory(clock) as system, system.sdk("i") as sdk, trio.open_nursery() as nursery:
        instant = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(seconds=300)
        nursery.start_soon(_set_clock, clock, 30, -100)
        with it_takes(400):
            await sdk.sleep_until(instant, "nap")


async def _set_clock(clock: TrioClock, after: float, seconds: float) -> None:
    await trio.sleep(after)
    clock.jump_ms(int(seconds * 1000))


async def test_a_cancel_ends_a_sleep_of_ten_years_at_once(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk, trio.open_nursery() as nursery:
        nursery.start_soon(_signal_later, system, SignalType.CANCEL)
        with it_takes(30), pytest.raises(InstanceCancelled):
            await sdk.sleep(timedelta(days=3652), "nap")


async def _signal_later(system: embedded.AsyncEmbedded, signal_type: SignalType) -> None:
    await trio.sleep(30)
    await system.signal("i", signal_type)


async def test_a_pause_that_is_taken_back_does_not_end_a_sleep(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk:
        await system.signal("i", SignalType.PAUSE)
        await system.signal("i", SignalType.RESUME)
        with it_takes(100):
            await sdk.sleep(100, "nap")


async def test_a_sleep_asks_for_nothing_while_it_lasts(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk:
        await trio.testing.wait_all_tasks_blocked()  # so that it has heard of its own registration
        commands = commands_of(sdk)
        await sdk.sleep(flows.RECHECK - 1, "nap")
        assert commands == ["Sleep"]
        await sdk.sleep(HOUR, "long")
        assert len(commands) <= 1 + HOUR / flows.RECHECK + 1


# Waiting for a signal ------------------------------------------------------------------------------------------------


async def test_a_wait_times_out_at_its_deadline(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk:
        with it_takes(100):
            assert await sdk.wait_for_signal("go", 100) is None
        with it_takes(0):
            assert await sdk.wait_for_signal("go", 0) is None


async def test_a_replay_does_not_prolong_a_wait(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system:
        async with system.sdk("i") as sdk:
            with trio.move_on_after(40):
                await sdk.wait_for_signal("go", 100)
        async with system.sdk("i") as sdk:
            with it_takes(60):
                assert await sdk.wait_for_signal("go", 100) is None


async def test_a_wait_asks_for_nothing_until_something_comes(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk, trio.open_nursery() as nursery:
        await trio.testing.wait_all_tasks_blocked()
        commands = commands_of(sdk)

        async def send() -> None:
            await trio.sleep(flows.RECHECK - 1)
            assert commands == ["TakeSignal", "PollSignals"]
            await system.custom_signal("i", "go", b"now")

        nursery.start_soon(send)
        with it_takes(flows.RECHECK - 1):
            assert (await sdk.wait_for_signal("go")).payload == b"now"  # type: ignore[union-attr]
        assert commands == ["TakeSignal", "PollSignals", "TakeSignal"]


async def test_waits_at_the_same_time_take_a_signal_each(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk:
        taken: list[bytes] = []

        async def wait() -> None:
            signal = await sdk.wait_for_signal("go")
            assert signal is not None
            taken.append(signal.payload)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await trio.sleep(1)
            for payload in (b"1", b"2", b"3"):
                await system.custom_signal("i", "go", payload)

        assert sorted(taken) == [b"1", b"2", b"3"]


async def test_whoever_waits_for_an_end_is_told_at_once(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk, trio.open_nursery() as nursery:

        async def complete() -> None:
            await trio.sleep(30)
            await sdk.completed(b"done")

        nursery.start_soon(complete)
        with it_takes(30):
            assert (await system.wait("i")).output == b"done"


async def test_whoever_waits_for_an_end_is_told_at_once_of_a_cancel(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk, trio.open_nursery() as nursery:
        nursery.start_soon(_acknowledge_later, sdk)
        nursery.start_soon(_signal_later, system, SignalType.CANCEL)
        with it_takes(30):
            assert (await system.wait("i")).status is Status.CANCELLED


async def test_whoever_waits_for_an_end_is_told_at_once_of_a_cancel_in_a_pause(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i") as sdk:
        await system.signal("i", SignalType.PAUSE)
        await sdk.suspended()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_signal_later, system, SignalType.CANCEL)
            with it_takes(30):
                assert (await system.wait("i")).status is Status.CANCELLED


async def _acknowledge_later(sdk: Any) -> None:
    with pytest.raises(InstanceCancelled):
        await sdk.sleep(HOUR, "nap")
    await sdk.acknowledge(SignalType.CANCEL)


async def test_a_wait_for_an_end_may_time_out_and_says_how_it_stands(autojump_clock: MockClock) -> None:
    async with memory(TrioClock()) as system, system.sdk("i"):
        for timeout in (timedelta(seconds=5), 5, 0):
            with pytest.raises(DeadlineExceeded, match="running"):
                await system.wait("i", timeout)
        with pytest.raises(InvalidInput, match="timeout"):
            await system.wait("i", float("nan"))
        with pytest.raises(InstanceNotFound):
            await system.wait("unknown")


# Flows by hand -------------------------------------------------------------------------------------------------------


def signal(kind: str) -> Signal:
    return Signal(signal_id="s", kind=kind, sent_at=0)


def session() -> Session:
    return Session(InstanceKey("t", "i"))


def started(remaining_ms: int, *, parked: bool = False, pending: Signal | None = None) -> messages.SleepStarted:
    return messages.SleepStarted(
        wake_at=0, remaining_ms=remaining_ms, found=True, state=b"kept", parked=parked, signal=pending
    )


def test_a_sleep_that_is_long_enough_parks_the_program() -> None:
    flow = flows.sleep(session(), 10, "nap", b"", park_after=5)

    first = next(flow)
    others = flow.send(started(10_000))
    second = flow.send(0.0)

    assert (first.park, others, second.park) == (False, OTHERS_SPEAK, True)
    with pytest.raises(flows.Parked):
        flow.send(started(10_000, parked=True))


def test_a_sleep_that_is_over_when_it_would_park_is_over() -> None:
    flow = flows.sleep(session(), 10, "nap", b"", park_after=5)
    next(flow)
    flow.send(started(10_000))
    flow.send(0.0)

    with pytest.raises(StopIteration) as end:
        flow.send(started(0))

    assert end.value.value == b"kept"


def test_a_sleep_shorter_than_that_waits_in_the_program() -> None:
    flow = flows.sleep(session(), 4, "nap", b"", park_after=5)
    next(flow)

    assert flow.send(started(4_000)) == flows.AwaitPush(4.0, 0)
    with pytest.raises(StopIteration):
        flow.send(4.0)


def test_a_push_that_comes_while_the_runtime_answers_is_not_missed() -> None:
    mine = session()
    flow = flows.sleep(mine, 4, "nap", b"")
    next(flow)
    mine.pushed(None)

    assert flow.send(started(4_000)) == flows.AwaitPush(4.0, 0)  # the session wakes it at once: 1 > 0


def test_a_wait_parks_once_it_has_waited_long_enough() -> None:
    class StandingClock:
        def now_ms(self) -> int:
            return 0

    flow = flows.wait_for_signal(session(), StandingClock(), "go", "place", None, park_after=5)

    looked = next(flow)
    flow.send(messages.SignalTaken())
    waited = flow.send(messages.SignalsPending())
    others = flow.send(5.0)
    again = flow.send(0.0)

    assert (looked.park, waited, others, again.park) == (False, flows.AwaitPush(5.0, 0), OTHERS_SPEAK, True)
    with pytest.raises(flows.Parked):
        flow.send(messages.SignalTaken(parked=True))


@pytest.mark.parametrize(
    ("kind", "error"), [("cancel", InstanceCancelled), ("pause", InstancePaused), ("shutdown", InstanceShutdown)]
)
def test_each_signal_is_raised_as_what_it_means(kind: str, error: type[Exception]) -> None:
    flow = flows.sleep(session(), 4, "nap", b"")
    next(flow)

    with pytest.raises(error):
        flow.send(started(0, pending=signal(kind)))


def test_an_unknown_instance_is_one_that_was_not_found() -> None:
    flow = flows.get_status()
    next(flow)

    with pytest.raises(StopIteration) as end:
        flow.throw(InstanceNotFound("no"))

    assert (end.value.value.found, end.value.value.status, end.value.value.is_finished) == (False, None, False)


def test_other_errors_pass_through_a_flow() -> None:
    flow = flows.get_status()
    next(flow)

    with pytest.raises(DeadlineExceeded):
        flow.throw(DeadlineExceeded("late"))


def test_suspending_acknowledges_the_shutdown_that_asked_for_it() -> None:
    flow = flows.suspended(Session(InstanceKey("t", "i")), ManualClock(), None)

    assert next(flow) == messages.PollSignals()
    assert flow.send(messages.SignalsPending((signal("shutdown"),))) == messages.AcknowledgeSignal(signal_id="s")


def test_suspending_for_a_pause_that_is_taken_back_while_it_is_acknowledged_leaves_the_instance_due() -> None:
    session, clock = Session(InstanceKey("t", "i")), ManualClock()
    flow = flows.suspended(session, clock, None)
    next(flow)
    session.received(messages.SignalsPending((signal("pause"),)))
    flow.send(messages.SignalsPending((signal("pause"),)))

    assert flow.send(messages.Acknowledged(Status.RUNNING)) == messages.SuspendInstance(wake_at=clock.now_ms())
    assert not session.told_to_rest


def test_acknowledging_by_type_finds_the_signal_of_that_type() -> None:
    flow = flows.acknowledge_pending(SignalType.PAUSE)
    next(flow)

    pending = messages.SignalsPending((Signal(signal_id="other", kind="cancel", sent_at=0), signal("pause")))

    assert flow.send(pending) == messages.AcknowledgeSignal(signal_id="s")


@given(st.integers(0, INSTANT_MAX_MS), st.integers(-1439, 1439))
def test_an_instant_of_whole_milliseconds_is_exact_in_every_time_zone(ms: int, minutes: int) -> None:
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    try:
        instant = instant.astimezone(timezone(timedelta(minutes=minutes)))
    except OverflowError:
        return

    assert flows.instant_ms(instant) == ms


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - the bound has no zone
def test_an_instant_is_never_rounded_to_an_earlier_one(instant: datetime) -> None:
    rounded = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=flows.instant_ms(instant) - 1)

    assert rounded < instant


def test_waits_have_no_end_where_none_is_given() -> None:
    flow = flows.wait_until_finished(session(), None)
    next(flow)
    info = messages.InstanceInfo(tenant_id="t", instance_id="i", status=Status.RUNNING, epoch=1, created_at=0)

    assert flow.send(info) == flows.AwaitPush(min(inf, flows.RECHECK), 0)

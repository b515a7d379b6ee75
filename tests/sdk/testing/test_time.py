"""Time that stands still, jumps where everybody waits, and lets whoever is first go first."""

from typing import Any

import pytest

from runtara.clock import ManualClock
from runtara.ids import InstanceKey
from runtara.sdk._flows import AwaitPush
from runtara.sdk.testing._time import Time
from runtara.threads import run_async
from runtara.transport import Session

SESSION = InstanceKey("tenant", "i")


def test_a_wait_of_a_thread_is_over_at_once_and_has_taken_its_time() -> None:
    clock = ManualClock(0)
    time, session = Time(clock), Session(SESSION)

    assert time.wait_blocking(AwaitPush(1.5, session.pushes), session) == 1.5
    assert clock.now_ms() == 1_500


def test_a_wait_for_what_has_been_pushed_takes_no_time() -> None:
    clock = ManualClock(0)
    time, session = Time(clock), Session(SESSION)
    session.pushed(None)

    assert time.wait_blocking(AwaitPush(60, 0), session) == 0
    assert run_async("trio", lambda: time.wait(AwaitPush(60, 0), session)) == 0
    assert clock.now_ms() == 0


def test_nothing_moves_the_clock_back() -> None:
    clock = ManualClock(1_000)

    Time(clock).jump_to(10)

    assert clock.now_ms() == 1_000


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_waits_end_in_the_order_of_their_ends(library: str) -> None:
    clock = ManualClock(0)
    time, session, ended = Time(clock), Session(SESSION), list[tuple[float, int]]()

    async def wait(seconds: float) -> None:
        await time.wait(AwaitPush(seconds, 0), session)
        ended.append((seconds, clock.now_ms()))

    run_async(library, lambda: _together(library, [wait(seconds) for seconds in (3, 1, 2)]))

    assert ended == [(1, 1_000), (2, 2_000), (3, 3_000)]


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_time_stands_still_while_a_call_is_under_way(library: str) -> None:
    clock = ManualClock(0)
    time, session, seen = Time(clock), Session(SESSION), list[int]()

    async def wait() -> None:
        await time.wait(AwaitPush(60, 0), session)

    async def call() -> None:
        from runtara.threads import others_wait

        with time.busy():
            for _ in range(3):
                await others_wait()
            seen.append(clock.now_ms())

    run_async(library, lambda: _together(library, [call(), wait()]))

    assert seen == [0]
    assert clock.now_ms() == 60_000


async def _together(library: str, calls: list[Any]) -> None:
    if library == "asyncio":
        import asyncio

        await asyncio.gather(*calls)
        return
    import trio

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(_awaited, call)


async def _awaited(call: Any) -> None:
    await call

import threading
from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from runtara.ids import InstanceKey
from runtara.sdk._flows import RECHECK
from runtara.sdk.flow._ear import Ear
from runtara.transport import Session

Looks = list[float]


def ear_of(nursery: trio.Nursery, looks: Looks, during: Callable[[], Awaitable[None]] | None = None) -> Ear:
    """Return an ear that takes note of when it looks."""

    async def look() -> None:
        looks.append(trio.current_time())
        if during is not None:
            await during()

    return Ear(look, nursery.start_soon)


def session_of_one() -> Session:
    """Return the session of somebody."""
    return Session(InstanceKey("acme", "one"))


async def test_each_push_is_looked_at_and_those_that_come_meanwhile_together(nursery: trio.Nursery) -> None:
    looks, session, go_on = Looks(), session_of_one(), trio.Event()
    with ear_of(nursery, looks, go_on.wait).listening(session):
        await wait_all_tasks_blocked()
        before = len(looks)
        session.pushed(None)
        await wait_all_tasks_blocked()
        for _ in range(3):
            session.pushed(None)
        await wait_all_tasks_blocked()
        during = len(looks)
        go_on.set()
        await wait_all_tasks_blocked()

    assert (before, during, len(looks)) == (0, 1, 2)


async def test_a_push_may_come_from_any_thread(nursery: trio.Nursery) -> None:
    looked, session = trio.Event(), session_of_one()

    async def look() -> None:
        looked.set()

    with Ear(look, nursery.start_soon).listening(session):
        threading.Thread(target=session.pushed, args=(None,)).start()
        await looked.wait()


async def test_who_listens_no_more_looks_no_more_and_is_cancelled_where_it_does(nursery: trio.Nursery) -> None:
    looks, session, ended = Looks(), session_of_one(), trio.Event()

    async def for_ever() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    with ear_of(nursery, looks, for_ever).listening(session):
        session.pushed(None)
        await wait_all_tasks_blocked()
    await ended.wait()
    session.pushed(None)
    await wait_all_tasks_blocked()

    assert len(looks) == 1


async def test_where_nothing_is_pushed_for_long_it_looks_when_it_is_told_to(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    looks, session = Looks(), session_of_one()
    ear = ear_of(nursery, looks)
    with ear.listening(session):
        ear.look_if_late()
        mock_clock.jump(RECHECK)
        ear.look_if_late()
        await wait_all_tasks_blocked()
        ear.look_if_late()
        await wait_all_tasks_blocked()
        session.pushed(None)
        await wait_all_tasks_blocked()

    assert looks == [RECHECK, RECHECK]


async def test_a_loop_that_has_ended_hears_of_no_push() -> None:
    session = session_of_one()

    async def other() -> None:
        async with trio.open_nursery() as nursery:
            ear_of(nursery, Looks()).listening(session).__enter__()

    await trio.to_thread.run_sync(trio.run, other)

    session.pushed(None)

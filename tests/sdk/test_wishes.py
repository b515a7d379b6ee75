"""What flows wish for, done by blocking and by awaiting; and flows from which items come."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.errors import Busy
from runtara.messages import GetHealth
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import (
    AsyncStream,
    Emit,
    Stream,
    ask,
    await_push,
    now,
    perform,
    perform_blocking,
    work,
)
from tests.sdk.faces import Awaited


class Door:
    """A door that answers with how it was asked."""

    async def call(self, command: object, *, timeout: float | None = None) -> tuple[str, object]:
        return "call", timeout

    def call_from_thread(self, command: object, *, timeout: float | None = None) -> tuple[str, object]:
        return "call_from_thread", timeout


DRIVES: dict[str, Callable[[Flow[Any]], Any]] = {
    "sync": lambda flow: drive_blocking(flow, perform_blocking),
    "trio": lambda flow: trio.run(drive, flow, perform),
    "asyncio": lambda flow: asyncio.run(drive(flow, perform)),
}

each_way = pytest.mark.parametrize("way", DRIVES)


@each_way
def test_a_command_is_asked_through_its_own_door(way: str) -> None:
    door: Any = Door()

    answer: Any = DRIVES[way](ask(door, GetHealth(), 7))

    assert answer == ("call_from_thread" if way == "sync" else "call", 7)


@each_way
def test_what_may_block_is_done_beside_an_event_loop(way: str) -> None:
    where = DRIVES[way](work(threading.get_ident))

    assert (where == threading.get_ident()) is (way == "sync")


@each_way
def test_what_goes_wrong_is_raised_in_the_flow(way: str) -> None:
    def fail() -> None:
        raise Busy("full")

    def flow() -> Flow[str]:
        try:
            yield from work(fail)
        except Busy as error:
            return str(error)
        return ""

    assert DRIVES[way](flow()) == "full"


@each_way
def test_the_clock_goes_on(way: str) -> None:
    def flow() -> Flow[tuple[float, float]]:
        return (yield from now()), (yield from now())

    first, second = DRIVES[way](flow())

    assert first <= second


async def test_a_wait_lasts_as_long_as_it_may_on_the_clock_of_the_loop(autojump_clock: MockClock) -> None:
    class Silent:
        def on_push(self, since: int, wake: object) -> None: ...

        def forget(self, wake: object) -> None: ...

    door: Any = Door()
    door.session = Silent()

    def flow() -> Flow[float]:
        began = yield from now()
        yield from await_push(door, 40, 0)
        return (yield from now()) - began

    assert await drive(flow(), perform) == pytest.approx(40)


def counting(closed: list[str]) -> Flow[None]:
    try:
        for number in range(3):
            yield from work(lambda: None)
            yield Emit(number)
    finally:
        closed.append("closed")


def failing() -> Flow[None]:
    yield Emit(1)
    raise Busy("full")


def iterated(way: str, flow: Flow[None], most: int) -> list[Any]:
    """The first items of a flow."""

    async def take() -> list[Any]:
        stream: Any = Awaited(Stream[Any](flow)) if way == "sync" else AsyncStream[Any](flow)
        found = []
        async with stream as items:
            async for item in items:
                found.append(item)
                if len(found) == most:
                    break
        return found

    if way == "sync":
        with pytest.raises(StopIteration) as end:
            take().send(None)
        return list(end.value.value)
    return trio.run(take) if way == "trio" else asyncio.run(take())


@each_way
@pytest.mark.parametrize("most", [1, 3, 9])
def test_items_come_one_by_one_and_the_flow_is_closed_behind_them(way: str, most: int) -> None:
    closed: list[str] = []

    found = iterated(way, counting(closed), most)

    assert (found, closed) == ([0, 1, 2][:most], ["closed"])


@each_way
def test_what_a_flow_raises_ends_the_items(way: str) -> None:
    with pytest.raises(Busy):
        iterated(way, failing(), 9)


def test_a_stream_that_was_closed_has_nothing_more() -> None:
    stream = Stream[int](counting([]))
    first = next(stream)

    stream.close()
    stream.close()

    assert (first, list(stream)) == (0, [])

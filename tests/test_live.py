import msgspec
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from runtara.live import Heard, Item, Outlet, Reset


def item(seq: int) -> Item:
    return Item(f"x-{seq}", msgspec.Raw(b"{}"))


async def test_what_is_put_is_received_in_order_and_together(autojump_clock: MockClock) -> None:
    outlet = Outlet(10)
    for number in range(3):
        outlet.put(number, item(number))

    assert await outlet.receive() == [(number, item(number)) for number in range(3)]


async def test_whoever_receives_waits_until_there_is_something(autojump_clock: MockClock) -> None:
    outlet, received = Outlet(1), list[list[tuple[int, Heard]] | None]()

    async def receive() -> None:
        for _ in range(3):
            received.append(await outlet.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert received == []
        outlet.put(1, Reset("x-0"))
        await wait_all_tasks_blocked()
        outlet.put(1, Reset("x-1"))
        await wait_all_tasks_blocked()
        outlet.close()

    assert received == [[(1, Reset("x-0"))], [(1, Reset("x-1"))], None]


async def test_too_much_puts_an_outlet_behind_and_drops_what_waits(autojump_clock: MockClock) -> None:
    outlet = Outlet(2)
    for number in range(2):
        outlet.put(1, item(number))
    before = outlet.behind

    outlet.put(1, item(2))
    outlet.put(1, item(3))

    assert (before, outlet.behind) == (False, True)
    assert await outlet.receive() is None
    assert await outlet.receive() is None


async def test_what_can_wait_waits_for_room_and_pushes_nobody_behind(autojump_clock: MockClock) -> None:
    outlet, done = Outlet(4), list[bool]()

    async def tell() -> None:
        done.extend([await outlet.put_in_time(1, item(number)) for number in range(10)])

    received: list[tuple[int, Heard]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        while len(received) < 10:
            await wait_all_tasks_blocked()
            received += await outlet.receive() or []

    assert [heard for _, heard in received] == [item(number) for number in range(10)]
    assert done == [True] * 10
    assert not outlet.behind


async def test_whoever_waits_for_room_is_told_that_there_will_be_none(autojump_clock: MockClock) -> None:
    outlet, done = Outlet(1), list[bool]()

    async def tell() -> None:
        done.append(await outlet.put_in_time(1, item(1)))
        done.append(await outlet.put_in_time(1, item(2)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        await wait_all_tasks_blocked()
        outlet.close()
        outlet.close()

    assert done == [True, False]
    assert outlet.ended

import trio
from trio.testing import MockClock

from runtara.actors._for_each import for_each


async def test_results_come_in_the_order_of_the_items_and_so_many_are_worked_on_at_a_time(
    autojump_clock: MockClock,
) -> None:
    under_way, most = 0, 0

    async def work(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(10 - number)
        under_way -= 1
        return number * number

    found = await for_each(range(10), work, 3)

    assert found == tuple(number * number for number in range(10))
    assert most == 3


async def test_nothing_is_done_for_nobody() -> None:
    async def work(_: int) -> None:
        raise AssertionError("there is nobody")

    assert await for_each((), work, 3) == ()

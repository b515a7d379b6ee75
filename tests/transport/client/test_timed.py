"""What time does to a connection over TCP."""

from math import inf

import pytest
import trio
from trio.testing import MockClock

from runtara.errors import RuntaraError
from runtara.transport.client.connection import TRY
from runtara.transport.client.pulse import ASK_AFTER, DEAD_AFTER, KEEP_ALIVE
from runtara.transport.client.timed import TimedConnection


class Wishes:
    """Calls as far as a connection asks about them."""

    limit = 1_000
    is_welcome = True
    is_leaving = is_owed = is_ready = is_done = False
    alarm = inf
    ticks = 0

    def hello(self) -> bytes:
        return b""

    def outgoing(self, _now: float) -> list[tuple[bytes, bool]]:
        return []

    def received(self, _body: bytes, _now: float) -> None: ...

    def tick(self, _now: float) -> None:
        self.ticks += 1
        self.alarm = inf

    def blame(self, _error: RuntaraError) -> None: ...


class Line(TimedConnection):
    """A connection that carries nothing; whether its server answers pings is the test's to say."""

    def __init__(self, wishes: Wishes, *, is_answered: bool = True) -> None:
        super().__init__(wishes)
        self.pings = 0
        self.parted = False
        self._is_answered = is_answered

    async def run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_time, nursery)
                await trio.sleep_forever()

    def welcome(self) -> None:
        self.was_welcome = True
        self._heard()
        self._look_again()

    async def _ping(self) -> None:
        self.pings += 1
        if not self._is_answered:
            await trio.sleep_forever()
        self._heard()

    async def _part(self) -> None:
        self.parted = True


async def test_who_is_not_welcomed_in_time_leaves(autojump_clock: MockClock) -> None:
    line = Line(Wishes())

    await line.run()

    assert trio.current_time() == TRY
    assert line.why == f"no welcome within {TRY:g} s"


async def test_an_idle_server_is_asked_now_and_then_for_as_long_as_it_answers(autojump_clock: MockClock) -> None:
    line = Line(Wishes())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.testing.wait_all_tasks_blocked()
        line.welcome()
        await trio.sleep(5.5 * KEEP_ALIVE)
        line.close()

    assert line.pings == 5
    assert line.why == "closed by this side"


async def test_a_server_that_does_not_answer_is_left(autojump_clock: MockClock) -> None:
    line = Line(Wishes(), is_answered=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.testing.wait_all_tasks_blocked()
        line.welcome()

    assert trio.current_time() == pytest.approx(KEEP_ALIVE + DEAD_AFTER)
    assert (line.pings, line.why) == (1, "nothing is heard of the server any more")


async def test_a_server_that_owes_an_answer_is_asked_soon(autojump_clock: MockClock) -> None:
    wishes = Wishes()
    line = Line(wishes, is_answered=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.testing.wait_all_tasks_blocked()
        wishes.is_owed = True
        line.welcome()
        await trio.sleep(ASK_AFTER + 0.1)
        assert line.pings == 1

    assert trio.current_time() == pytest.approx(ASK_AFTER + DEAD_AFTER, abs=0.6)


@pytest.mark.parametrize("reason", ["is_done", "is_leaving"])
async def test_what_is_not_needed_any_more_says_goodbye(autojump_clock: MockClock, reason: str) -> None:
    wishes = Wishes()
    line = Line(wishes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.testing.wait_all_tasks_blocked()
        line.welcome()
        setattr(wishes, reason, True)
        line.flush()

    assert (line.parted, line.why) == (True, "not needed any more")


async def test_what_is_due_in_between_is_done(autojump_clock: MockClock) -> None:
    wishes = Wishes()
    line = Line(wishes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.testing.wait_all_tasks_blocked()
        line.welcome()
        wishes.alarm = trio.current_time() + 1
        line.flush()
        await trio.sleep(0.9)
        assert wishes.ticks == 0
        await trio.sleep(0.2)
        assert wishes.ticks == 1
        line.close()


async def test_a_machine_that_stands_still_costs_no_connection(autojump_clock: MockClock) -> None:
    wishes = Wishes()
    line = Line(wishes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await trio.testing.wait_all_tasks_blocked()
        wishes.is_owed = True
        line.welcome()
        autojump_clock.jump(20)  # the server has answered by then, but nobody could hear it
        await trio.sleep(ASK_AFTER + 0.1)
        pings = line.pings
        line.close()

    assert (pings, line.why) == (1, "closed by this side")

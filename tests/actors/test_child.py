from typing import Any

import trio
import trio.testing

from runtara.actors import Down, MailboxSpec, child, open_system, supervisor
from runtara.actors._child import Ended, Running, not_started, run
from runtara.actors._slot import STOP, Slot, State
from tests.actors.troupe import Boom, Fail, Worker, caught, idle


class Parent:
    def __init__(self) -> None:
        self.ended: list[Ended] = []

    def child_ended(self, ended: Ended) -> None:
        self.ended.append(ended)


async def test_the_life_of_a_child_is_told_to_its_parent(nursery: trio.Nursery) -> None:
    async with open_system(supervisor("root")) as system:
        log: list[Any] = []
        slot, parent = Slot(system, "a", "service", MailboxSpec()), Parent()
        running = Running(child("a", Worker, log), slot)
        running.begin()
        nursery.start_soon(run, running, parent)
        await running.started_or_gone.wait()
        state = slot.state

        running.request_stop()
        await running.gone.wait()

        assert state is State.RUNNING
        assert parent.ended == [Ended("a", 1, None)]
        assert log == ["worker starts", "worker stops"]
        assert slot.actor is None


async def test_a_failure_is_told_and_never_raised(nursery: trio.Nursery) -> None:
    async with open_system(supervisor("root")) as system:
        slot, parent = Slot(system, "a", "service", MailboxSpec()), Parent()
        running = Running(child("a", Worker), slot)
        running.begin()
        nursery.start_soon(run, running, parent)
        await running.started_or_gone.wait()

        await caught(slot.ref(), Fail(SystemExit(2)))
        await running.gone.wait()

        assert isinstance(parent.ended[0].failure, SystemExit)
        assert slot.failure is parent.ended[0].failure


async def test_a_child_that_is_not_wanted_any_more_before_it_began_does_not_begin(nursery: trio.Nursery) -> None:
    async with open_system(supervisor("root")) as system:
        log: list[Any] = []
        slot, parent = Slot(system, "a", "service", MailboxSpec()), Parent()
        running = Running(child("a", Worker, log), slot)
        running.begin()
        nursery.start_soon(run, running, parent)

        running.request_stop()
        await running.gone.wait()

        assert log == []
        assert parent.ended == [Ended("a", 1, None)]


async def test_only_news_of_others_is_left_for_the_next_life(nursery: trio.Nursery) -> None:
    async with open_system(supervisor("root")) as system:
        slot, parent = Slot(system, "a", "service", MailboxSpec()), Parent()
        running = Running(child("a", Worker), slot)
        running.begin()
        news = Down("b", None, restarts=True)
        slot.mailbox.control.extend([STOP, news, 5])
        nursery.start_soon(run, running, parent)

        await running.gone.wait()

        assert list(slot.mailbox.control) == [news]


async def test_a_child_has_a_number_for_every_life(autojump_clock: object) -> None:
    async with open_system(supervisor("root", child("a", Worker))) as system:
        slot = system.ref("root/a").slot
        first = slot.incarnation

        await caught(slot.ref(), Fail())
        await trio.sleep(5)
        await idle()

        assert (first, slot.incarnation) == (1, 2)


def test_why_a_child_could_not_be_started_is_chained() -> None:
    cause = Boom("no")

    error = not_started("root/a", cause)

    assert error.__cause__ is cause
    assert str(error) == "root/a could not be started: Boom('no')"

"""Those who watch are told of what is stored, and of nothing that is not theirs."""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from runtara.actors import feed as feed_module
from runtara.actors.feed import FeedDoor
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.live import Heard, Item, Outlet, Refused, Reset, Wanted, Watching
from runtara.messages import CompleteInstance, InstanceSummary, RecordEvent, RegisterInstance, SaveCheckpoint
from runtara.system import FEED
from tests.actors.stage import Stage, key_of, open_stage

__all__ = ["Seat"]


class Seat:
    """Somebody who watches."""

    def __init__(self, stage: Stage, bound: int = 1_000) -> None:
        self.outlet = Outlet(bound)
        self.door = FeedDoor(stage.system.ref(FEED))
        self._heard: list[tuple[int, Heard]] = []

    def watch(self, stream: Any = "instances", number: int = 1, **wanted: Any) -> None:
        self.door.watch(self.outlet, number, Wanted(**{"tenant_id": "acme", "stream": stream, **wanted}))

    async def next(self) -> Heard:
        """What is heard next, under any number."""
        while not self._heard:
            more = await self.outlet.receive()
            assert more is not None, "the outlet has ended"
            self._heard += more
        return self._heard.pop(0)[1]

    async def next_item(self) -> Any:
        """The next item, decoded, others being passed over."""
        while True:
            heard = await self.next()
            if isinstance(heard, Item):
                return msgspec.json.decode(heard.data)

    async def silence(self) -> None:
        """Insist that nothing is heard for a long time."""
        with trio.move_on_after(30) as waited:
            heard = await self.next()
        assert waited.cancelled_caught, heard


def summary(item: Heard) -> InstanceSummary:
    assert isinstance(item, Item)
    return msgspec.json.decode(item.data, type=InstanceSummary)


async def test_whoever_watches_a_tenant_is_told_of_every_change_of_its_instances(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch()
        assert isinstance(await seat.next(), Watching)

        await stage.ask("one", RegisterInstance(attempt_id="a"))
        await stage.ask("one", CompleteInstance(), epoch=1)

        told = [summary(await seat.next()) for _ in range(2)]
        assert [(row.instance_id, row.status) for row in told] == [("one", Status.RUNNING), ("one", Status.COMPLETED)]


async def test_nobody_is_told_of_another_tenant_nor_of_what_no_list_shows(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch(tenant_id="globex")
        await stage.ask("one", RegisterInstance(attempt_id="a"))
        seat.watch(number=2)
        await stage.ask("one", SaveCheckpoint(checkpoint_id="step", state=b""), epoch=1)
        await stage.ask("one", RecordEvent(subtype="note"), epoch=1)

        assert isinstance(await seat.next(), Watching)
        assert isinstance(await seat.next(), Watching)
        await seat.silence()

from contextlib import suppress
from typing import Any

from trio.testing import MockClock

from runtara.errors import MailboxFull, OutcomeUnknown
from runtara.live import Item, Reset
from runtara.messages import RegisterInstance
from runtara.system import FEED, INSTANCES
from tests.actors.stage import open_stage
from tests.actors.test_feed import Seat


async def test_only_what_watched_tenants_store_is_told_to_the_feed(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch(tenant_id="globex")
        await seat.next()
        handled = stage.system.ref(FEED).slot.handled

        await stage.ask("one", RegisterInstance(attempt_id="a"))

        assert stage.system.ref(FEED).slot.handled == handled


async def test_where_it_is_not_known_what_was_stored_all_are_told_to_read_anew(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch()
        await seat.next()

        def fail(saves: object) -> None:
            stage.store.after_commit = lambda saves: None
            raise OutcomeUnknown("the answer was lost")

        stage.store.after_commit = fail
        with suppress(OutcomeUnknown):
            await stage.ask("one", RegisterInstance(attempt_id="a"))

        assert isinstance(await seat.next(), Reset)


async def test_a_feed_that_takes_no_more_mail_costs_the_store_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch()
        await seat.next()
        region: Any = stage.system.ref(INSTANCES).slot.actor

        region._in_charge[FEED] = Full()
        await stage.ask("one", RegisterInstance(attempt_id="a"))
        del region._in_charge[FEED]
        await stage.ask("two", RegisterInstance(attempt_id="a"))

        assert [type(await seat.next()) for _ in range(2)] == [Item, Reset]
        assert stage.system.ref(INSTANCES).slot.restarts == 0


class Full:
    """An actor whose mailbox is full."""

    def tell_nowait(self, message: object) -> None:
        raise MailboxFull("full")

"""Those who watch are told of what is stored, and of nothing that is not theirs."""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from runtara.actors import feed as feed_module
from runtara.actors.feed import FeedDoor
from runtara.errors import StoreUnavailable
from runtara.lifecycle import Status
from runtara.live import Heard, Item, Outlet, Refused, Reset, Wanted, Watching
from runtara.messages import CompleteInstance, InstanceSummary, RecordEvent, RegisterInstance, SaveCheckpoint
from runtara.system import FEED, Runtime
from tests.actors.stage import Stage, open_stage
from tests.actors.village import PATIENCE_S, Village

__all__ = ["Seat"]


class Seat:
    """Somebody who watches."""

    def __init__(self, stage: Stage | Runtime, bound: int = 1_000) -> None:
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

    async def seq(self) -> str:
        """The place of what is heard next."""
        heard = await self.next()
        assert not isinstance(heard, Refused), heard
        return heard.seq

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


# Coming back ----------------------------------------------------------------------------------------------------------


async def start(stage: Stage, *names: str) -> None:
    for name in names:
        await stage.ask(name, RegisterInstance(attempt_id="a"))


async def names_of(seat: Seat, count: int) -> list[str]:
    return [summary(await seat.next()).instance_id for _ in range(count)]


async def test_whoever_comes_back_goes_on_where_he_was(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        first, second = Seat(stage), Seat(stage)
        first.watch()
        await first.next()
        await start(stage, "one", "two")
        place = await first.seq()
        first.door.unwatch(first.outlet)
        await start(stage, "three")
        await trio.sleep(feed_module.KEPT_S - 1)
        await start(stage, "four")

        second.watch(after=place)

        assert await second.next() == Watching(place)
        assert await names_of(second, 3) == ["two", "three", "four"]


async def test_after_a_minute_without_anybody_nothing_is_known_any_more(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        first, second = Seat(stage), Seat(stage)
        first.watch()
        place = await first.seq()
        first.door.unwatch(first.outlet, 1)
        await trio.sleep(feed_module.KEPT_S + 1)

        assert stage.facts(FEED)["tenants"] == 0
        second.watch(after=place)

        assert isinstance(await second.next(), Reset)


async def test_whoever_comes_within_the_minute_begins_it_anew(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        for _ in range(3):
            seat.watch()
            await seat.next()
            seat.door.unwatch(seat.outlet)
            await trio.sleep(feed_module.KEPT_S - 1)

        assert stage.facts(FEED)["tenants"] == 1
        await trio.sleep(2)
        assert stage.facts(FEED)["tenants"] == 0


@pytest.mark.parametrize(
    "after", ["", "x", "x-1", "-1", "1", "{boot}-", "{boot}-99", "{boot}--1", "{boot}-x", "{boot}-²"]
)
async def test_a_place_that_nobody_knows_is_told_to_read_anew(after: str, autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch()
        boot = (await seat.seq()).rpartition("-")[0]

        seat.watch(number=2, after=after.format(boot=boot))

        assert await seat.next() == Reset(f"{boot}-0")


async def test_what_has_left_the_ring_is_told_to_read_anew(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("runtara.actors._feed_board.RING_MAX", 2)
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch()
        places = [await seat.seq()]
        for name in ("one", "two", "three"):
            await start(stage, name)
            places.append(await seat.seq())

        seat.watch(number=2, after=places[0])
        seat.watch(number=3, after=places[1])

        assert await seat.next() == Reset(places[3])
        assert await seat.next() == Watching(places[1])
        assert await names_of(seat, 2) == ["two", "three"]


async def test_a_feed_that_was_restarted_tells_to_read_anew_and_goes_on(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch()
        before = await seat.seq()
        await stage.crash(FEED)
        after = await seat.next()
        await start(stage, "one")

        assert isinstance(after, Reset)
        assert after.seq != before
        assert await names_of(seat, 1) == ["one"]


# Who falls behind -----------------------------------------------------------------------------------------------------


async def test_a_watcher_that_takes_nothing_is_behind_and_the_others_hear_all(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        slow, quick = Seat(stage, bound=10), Seat(stage)
        slow.watch()
        quick.watch()
        await quick.next()
        names = [f"i{number}" for number in range(50)]

        await start(stage, *names)

        assert await names_of(quick, 50) == names
        assert slow.outlet.behind
        assert await slow.outlet.receive() is None


async def test_what_the_feed_could_not_be_told_makes_all_read_anew(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch()
        await seat.next()
        actor: Any = stage.system.ref(FEED).slot.actor
        actor._watched.missed = True

        await start(stage, "one")

        assert await names_of(seat, 1) == ["one"]
        assert isinstance(await seat.next(), Reset)


async def test_while_nobody_watches_the_feed_is_told_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await start(stage, "one", "two")

        assert stage.system.ref(FEED).slot.handled == 0


async def test_an_unwatched_number_is_told_nothing_more(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        for number, stream in enumerate(("instances", "tree", "metrics"), 1):
            seat.watch(stream, number=number)
        seat.watch("instance", number=4, instance_id="one")
        await start(stage, "one")
        await trio.sleep(3)

        for number in (1, 2, 3, 4, 5):
            seat.door.unwatch(seat.outlet, number)
        await trio.sleep(0.5)
        assert await seat.outlet.receive()
        await start(stage, "two")

        assert stage.facts(FEED)["watches"] == 0
        await seat.silence()


# One instance ---------------------------------------------------------------------------------------------------------


async def test_whoever_watches_an_instance_hears_its_history_and_goes_on(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await start(stage, "one", "other")
        await stage.ask("one", RecordEvent(subtype="note", payload=b"x"), epoch=1)
        seat = Seat(stage)

        seat.watch("instance", instance_id="one")
        early = [await seat.next_item() for _ in range(4)]
        await stage.ask("other", CompleteInstance(), epoch=1)
        await stage.ask("one", CompleteInstance(output=b"secret"), epoch=1)
        late = [await seat.next_item() for _ in range(2)]

        assert [item["event"]["type"] for item in early[:3]] == ["created", "registered", "custom"]
        assert (early[3]["status"]["status"], late[1]["status"]["status"]) == ("running", "completed")
        assert late[0]["event"]["type"] == "completed"
        assert late[1]["status"]["output"] is None
        await seat.silence()


async def test_a_place_in_an_instance_is_good_for_ever(autojump_clock: MockClock) -> None:
    store = None
    async with open_stage() as stage:
        await start(stage, "one")
        seat = Seat(stage)
        seat.watch("instance", instance_id="one")
        await seat.next()
        place = await seat.seq()
        store = stage.store
    async with open_stage(store) as stage:
        seat = Seat(stage)
        seat.watch("instance", instance_id="one", after=place)
        assert await seat.next() == Watching(place)

        item = await seat.next_item()

    assert item["event"]["type"] == "registered"


async def test_a_restarted_feed_goes_on_with_an_instance_where_it_was(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await start(stage, "one")
        seat = Seat(stage)
        seat.watch("instance", instance_id="one")
        for _ in range(3):
            await seat.next_item()

        await stage.crash(FEED)
        assert isinstance(await seat.next(), Watching)
        assert "status" in await seat.next_item()
        await stage.ask("one", CompleteInstance(), epoch=1)

        assert (await seat.next_item())["event"]["type"] == "completed"


async def test_a_checkpoint_shows_in_the_status(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await start(stage, "one")
        seat = Seat(stage)
        seat.watch("instance", instance_id="one")
        for _ in range(3):
            await seat.next_item()

        await stage.ask("one", SaveCheckpoint(checkpoint_id="step", state=b""), epoch=1)

        assert (await seat.next_item())["status"]["checkpoint_count"] == 1


async def test_a_long_history_waits_for_a_connection_instead_of_pushing_it_behind(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await start(stage, "one")
        for number in range(100):
            await stage.ask("one", RecordEvent(subtype=f"n{number}"), epoch=1)
        seat = Seat(stage, bound=10)

        seat.watch("instance", instance_id="one")
        await trio.sleep(10)
        events = [await seat.next_item() for _ in range(102)]

        assert not seat.outlet.behind
        assert [item["event"]["subtype"] for item in events[2:]] == [f"n{number}" for number in range(100)]


async def test_an_instance_that_is_not_there_is_refused(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch("instance", instance_id="nobody")
        await seat.next()

        refused = await seat.next()

        assert isinstance(refused, Refused)
        assert refused.code == "instance-not-found"
        await trio.sleep(1)
        assert stage.facts(FEED)["watches"] == 0


@pytest.mark.parametrize("after", ["", "x", "1.2", "-1", "1.2.3.4", "9" * 19, "٣"])
async def test_a_place_that_no_instance_has_is_refused(after: str, autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await start(stage, "one")
        seat = Seat(stage)

        seat.watch("instance", instance_id="one", after=after)

        assert isinstance(await seat.next(), Refused)


async def test_no_more_instances_are_followed_than_may_be(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(feed_module, "FOLLOWED_MAX", 2)
    async with open_stage() as stage:
        await start(stage, "one")
        seat = Seat(stage)
        for number in range(3):
            seat.watch("instance", number=number, instance_id="one")

        heard = [await seat.next() for _ in range(3)]

        assert [one.code for one in heard if isinstance(one, Refused)] == ["busy"]


async def test_a_store_that_is_away_for_a_while_costs_a_follower_nothing(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await start(stage, "one")
        failures = iter(range(3))

        def fail(method: str) -> None:
            if method == "list_events" and next(failures, None) is not None:
                raise StoreUnavailable("away")

        stage.store.before_read = fail
        seat = Seat(stage)
        seat.watch("instance", instance_id="one")

        items = [await seat.next_item() for _ in range(3)]

        assert [item["event"]["type"] for item in items[:2]] == ["created", "registered"]


# What only a look can tell --------------------------------------------------------------------------------------------


async def test_the_tree_is_told_when_it_has_changed_and_at_most_once_a_second(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch("tree")
        await seat.next()
        began = trio.current_time()
        first = await seat.next_item()
        await start(stage, "one")
        second = await seat.next_item()

        assert first["path"] == second["path"] == "root"
        assert trio.current_time() - began == pytest.approx(1)
        await trio.sleep(1)
        await seat.silence()


async def test_the_metrics_of_a_tenant_are_told_every_second(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        seat.watch("metrics")
        await seat.next()
        await seat.next_item()
        await start(stage, "one", "two")
        await stage.ask("one", SaveCheckpoint(checkpoint_id="step", state=b""), epoch=1)
        await stage.ask("one", CompleteInstance(), epoch=1)

        second, third = await seat.next_item(), await seat.next_item()

        rates = {name: second[name] for name in ("transitions", "checkpoints", "starts", "finishes")}
        assert rates == {"transitions": 4, "checkpoints": 1, "starts": 2, "finishes": 1}
        assert (second["started"], second["completed"], second["failed"]) == (2, 1, 0)
        assert second["commit_p50_ms"] <= second["commit_p99_ms"]
        assert third["transitions"] == 0
        assert third["now"] - second["now"] == 1000


async def test_looks_end_with_the_last_watcher_and_begin_with_the_next(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        seat = Seat(stage)
        for _ in range(2):
            seat.watch("metrics")
            await seat.next_item()
            seat.door.unwatch(seat.outlet)
            await trio.sleep(3)
            seat.watch("tree")
            await seat.next_item()
            seat.door.unwatch(seat.outlet)


# Many nodes -----------------------------------------------------------------------------------------------------------


async def test_a_watcher_at_any_node_is_told_of_what_every_node_has_stored(database: str) -> None:
    village = Village(database)
    async with village.open("a") as a, village.open("b") as b:
        here, there, foreign = Seat(a.runtime), Seat(b.runtime), Seat(b.runtime)
        for seat, tenant_id in ((here, "acme"), (there, "acme"), (foreign, "globex")):
            seat.watch(tenant_id=tenant_id)
            await seat.next()

        await a.ask("one", RegisterInstance(attempt_id="x"))
        await a.ask("one", CompleteInstance(), 1)

        with trio.fail_after(PATIENCE_S):
            told: dict[str, list[Status]] = {"here": [], "there": []}
            for name, seat in (("here", here), ("there", there)):
                while told[name][-1:] != [Status.COMPLETED]:
                    row = summary(await seat.next())
                    assert row.instance_id == "one"
                    told[name].append(row.status)
            await b.ask("end", RegisterInstance(attempt_id="x"))
            assert (await there.next_item())["instance_id"] == "end"
        assert told["here"] == [Status.RUNNING, Status.COMPLETED]
        with trio.move_on_after(0.1) as waited:
            await foreign.next()
        assert waited.cancelled_caught


async def test_one_instance_may_be_watched_at_another_node_than_its_own(database: str) -> None:
    village = Village(database)
    async with village.open("a") as a, village.open("b") as b:
        await a.ask("one", RegisterInstance(attempt_id="x"))
        seat = Seat(b.runtime)
        seat.watch("instance", instance_id="one")
        events, statuses = list[str](), list[str]()

        async def until(event: str, status: str) -> None:
            with trio.fail_after(PATIENCE_S):
                while [*events[-1:], *statuses[-1:]] != [event, status]:
                    item = await seat.next_item()
                    if "event" in item:
                        events.append(item["event"]["type"])
                    else:
                        statuses.append(item["status"]["status"])

        await until("registered", "running")
        await a.ask("one", RecordEvent(subtype="note"), 1)
        await until("custom", "running")
        await a.ask("one", CompleteInstance(), 1)
        await until("completed", "completed")

    assert events == ["created", "registered", "custom", "completed"]


async def test_more_changes_than_a_notice_can_name_make_all_read_anew(database: str) -> None:
    village = Village(database)
    async with village.open("a") as a:
        seat = Seat(a.runtime)
        seat.watch()
        await seat.next()
        await village.execute("NOTIFY runtara_changed, '*'")

        with trio.fail_after(PATIENCE_S):
            assert isinstance(await seat.next(), Reset)

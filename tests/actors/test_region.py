from typing import Any

import pytest
import trio
import trio.testing

from runtara.actors import Decision, Region, System, child, open_system, supervisor
from runtara.errors import (
    ActorFailed,
    ActorStopped,
    Busy,
    DeadlineExceeded,
    Internal,
    InvalidInput,
    MailboxFull,
    OutcomeUnknown,
    Quarantined,
    StoreUnavailable,
)
from tests.actors.tally import Ask, Crash, Effect, Read, Shelf, Sum, Tally
from tests.actors.troupe import Boom, Fail, Worker, caught, idle, one


def region(system: System) -> Tally:
    actor = system.ref("root/it").slot.actor
    assert isinstance(actor, Tally)
    return actor


def tally(shelf: Shelf, **options: Any) -> Any:
    """A system of one region, ``root/it``."""
    return open_system(supervisor("root", child("it", Tally, shelf, kwargs=options)))


async def test_a_cell_is_loaded_once_by_its_first_message() -> None:
    shelf = Shelf()
    shelf.sums["x"] = Sum(40)
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")

        answers = [await cell.ask(1), await cell.ask(1)]

        assert answers == [41, 42]
        assert shelf.calls("hydrate") == [["x"]]
        assert shelf.sums["x"].total == 42


async def test_messages_that_come_during_the_load_wait_for_it_and_are_kept_together() -> None:
    shelf = Shelf()
    shelf.hold_loads = True
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        for number in (1, 2, 3):
            cell.tell_nowait(number)

        shelf.release()
        total = await cell.ask(Read())

        assert total == 6
        assert shelf.calls("hydrate") == [["x"]]
        assert shelf.calls("persist") == [{"x": [1, 2, 3]}]


@pytest.mark.parametrize(("messages", "bursts"), [(32, [32]), (33, [32, 1])])
async def test_a_burst_has_at_most_so_many_messages(messages: int, bursts: list[int]) -> None:
    shelf = Shelf()
    shelf.hold_loads = True
    async with one(Tally, shelf) as system:
        for _ in range(messages):
            system.cell("root/it", "x").tell_nowait(1)

        shelf.release()
        await idle()

        assert [len(write["x"]) for write in shelf.calls("persist")] == bursts


async def test_a_lone_message_is_served_at_once() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        system.cell("root/it", "x").tell_nowait(1)  # to wake it
        await idle()

        system.cell("root/it", "x").tell_nowait(2)

        assert shelf.sums["x"].total == 3


async def test_a_cell_that_is_loaded_at_once_serves_its_first_message_at_once() -> None:
    shelf = Shelf()
    shelf.sums["x"] = Sum(40)
    async with one(Tally, shelf) as system:
        await idle()

        system.cell("root/it", "x").tell_nowait(2)

        assert shelf.sums["x"].total == 42


async def test_what_comes_while_something_is_kept_is_collected_and_kept_together() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        for key in "abc":
            await system.cell("root/it", key).ask(0)
        shelf.log.clear()
        shelf.hold_writes = True
        system.cell("root/it", "a").tell_nowait(1)

        for key in "abc":
            for number in (10, 20):
                system.cell("root/it", key).tell_nowait(number)
        await idle()
        shelf.release()
        await idle()

        assert shelf.calls("persist") == [{"a": [1]}, {"b": [10, 20], "c": [10, 20]}, {"a": [10, 20]}]


async def test_replies_leave_after_the_burst_is_kept_also_those_that_only_read() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell, note = system.cell("root/it", "x"), region(system).note
        await cell.ask(0)
        shelf.log.clear()
        shelf.hold_writes = True
        cell.tell_nowait(1)
        for message in (Read(), 1, Read(), "no"):
            cell.ask_then(message, note)
        await idle()
        early = shelf.calls("reply")

        shelf.release()
        await idle()

        assert early == []
        assert [entry[0] for entry in shelf.log] == ["persist", "persist", *["reply"] * 4]
        assert shelf.calls("reply")[:3] == [1, 2, 2]
        assert isinstance(shelf.calls("reply")[3], InvalidInput)


async def test_a_message_that_changes_nothing_is_not_kept() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        await system.cell("root/it", "x").ask(Read())
        await caught(system.cell("root/it", "x"), "no")

        assert shelf.calls("persist") == []


async def test_what_follows_is_done_after_the_replies() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")

        cell.ask_then(Effect("launch"), region(system).note)
        await idle()

        assert shelf.log[1:] == [("persist", {"x": [1]}), ("reply", 1), ("perform", ["launch"])]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (StoreUnavailable("down"), StoreUnavailable),
        (OutcomeUnknown("who knows"), OutcomeUnknown),
        (OSError("raw"), Internal),
    ],
)
async def test_what_could_not_be_kept_is_answered_so_and_the_cell_loaded_anew(
    error: Exception, seen: type[Exception]
) -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        await cell.ask(1)
        shelf.write_error = error
        shelf.sums["x"] = Sum(70, 1)

        got = await caught(cell, Effect("never"))
        shelf.write_error = None

        assert type(got) is seen
        assert await cell.ask(1) == 71
        assert shelf.calls("hydrate") == [["x"], ["x"]]
        assert shelf.calls("perform") == []


async def test_a_tell_that_could_not_be_kept_is_a_dead_letter() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        for error in (OutcomeUnknown("?"), StoreUnavailable("down"), OSError("raw")):
            shelf.write_error = error
            cell.tell_nowait(1)
            await idle()

        assert [letter.reason for letter in system.dead_letters.recent] == ["unknown", "refused", "failed"]


@pytest.mark.parametrize(("conflicts", "answer"), [(1, 101), (3, 301)])
async def test_a_burst_that_lost_a_race_is_decided_again_on_what_is_stored(conflicts: int, answer: int) -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        shelf.conflicts = conflicts

        assert await system.cell("root/it", "x").ask(1) == answer
        assert len(shelf.calls("persist")) == conflicts + 1


async def test_a_burst_that_loses_every_race_is_refused_as_busy() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        shelf.conflicts = 4

        error = await caught(system.cell("root/it", "x"), 1)

        assert isinstance(error, Busy)
        assert len(shelf.calls("persist")) == 4
        assert await system.cell("root/it", "x").ask(1) == 401


async def test_a_race_does_not_change_the_order_of_messages() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell, note = system.cell("root/it", "x"), region(system).note
        await cell.ask(0)
        shelf.conflicts, shelf.hold_writes = 1, True
        for number in (1, 2, 4):
            cell.ask_then(number, note)
        await idle()

        shelf.release()
        await idle()

        assert shelf.calls("reply") == [101, 103, 107]


async def test_what_a_message_needs_is_looked_up_first() -> None:
    shelf = Shelf()
    shelf.found = {"a": "A", "b": "B"}
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")

        answers = [await cell.ask(Ask("a")), await cell.ask(Ask("b")), await cell.ask(Ask("nowhere"))]

        assert answers == ["A", "B", None]


async def test_a_need_is_answered_when_everything_before_it_is_kept() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        shelf.hold_loads = True
        for message in (1, 2, Ask("a"), 4):
            cell.tell_nowait(message)

        shelf.release()
        await idle()

        assert shelf.log == [
            ("hydrate", ["x"]),
            ("persist", {"x": [1, 2]}),
            ("look up", "a"),
            ("persist", {"x": [4]}),
        ]


async def test_messages_wait_while_something_is_looked_up() -> None:
    shelf = Shelf()
    shelf.hold_look_ups = True
    async with one(Tally, shelf) as system:
        cell, note = system.cell("root/it", "x"), region(system).note
        cell.ask_then(Ask("a"), note)
        cell.ask_then(1, note)
        await idle()
        shelf.found = {"a": "late"}

        shelf.release()
        await idle()

        assert shelf.calls("reply") == ["late", 1]


@pytest.mark.parametrize(("error", "seen"), [(StoreUnavailable("down"), StoreUnavailable), (OSError("raw"), Internal)])
async def test_a_look_up_that_fails_fails_its_message_only(error: Exception, seen: type[Exception]) -> None:
    shelf = Shelf()
    shelf.found = {"a": error}
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")

        got = await caught(cell, Ask("a"))

        assert type(got) is seen
        assert await cell.ask(1) == 1


async def test_a_look_up_for_somebody_who_went_away_is_for_nobody_else(autojump_clock: object) -> None:
    shelf = Shelf()
    shelf.hold_look_ups = True
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        got = await caught(cell, Ask("a"), timeout=1)
        cell.ask_then(Ask("b"), region(system).note)
        shelf.found = {"a": "A", "b": "B"}

        shelf.release()
        await idle()

        assert isinstance(got, DeadlineExceeded)
        assert shelf.calls("reply") == ["B"]
        assert system.dead_letters.counts == {"expired": 1}


async def test_expired_mail_is_dropped_unread(autojump_clock: object) -> None:
    shelf = Shelf()
    shelf.hold_loads = True
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")

        got = await caught(cell, 1, timeout=1)
        shelf.release()
        await idle()

        assert isinstance(got, DeadlineExceeded)
        assert await cell.ask(Read()) == 0
        assert system.dead_letters.counts == {"expired": 1}


async def test_a_cells_mailbox_has_a_bound_of_its_own() -> None:
    shelf = Shelf()
    shelf.hold_loads = True
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        for _ in range(Region.MAILBOX):
            cell.tell_nowait(1)

        with pytest.raises(MailboxFull, match="256 messages wait for x, the bound"):
            cell.tell_nowait(1)
        system.cell("root/it", "y").tell_nowait(1)

        shelf.release()
        await idle()
        assert await cell.ask(Read()) == Region.MAILBOX


async def test_the_cells_that_were_idle_longest_leave_memory_first() -> None:
    shelf = Shelf()
    async with tally(shelf, resident=3) as system:
        for key in "abc":
            await system.cell("root/it", key).ask(1)
        await system.cell("root/it", "a").ask(1)

        await system.cell("root/it", "d").ask(1)

        assert list(region(system)._cells) == ["c", "a", "d"]
        assert await system.cell("root/it", "b").ask(1) == 2


async def test_cells_leave_memory_when_they_have_been_idle_for_long(autojump_clock: object) -> None:
    async with tally(Shelf(), idle_after=10) as system:
        await system.cell("root/it", "old").ask(1)
        await trio.sleep(8)
        await system.cell("root/it", "young").ask(1)
        await trio.sleep(5)
        left = list(region(system)._cells)

        await trio.sleep(20)

        assert left == ["young"]
        assert region(system)._cells == {}
        assert await system.cell("root/it", "old").ask(1) == 2


@pytest.mark.parametrize("hold", ["hold_loads", "hold_writes", "hold_look_ups"])
async def test_a_cell_for_which_something_is_under_way_stays_in_memory(hold: str, autojump_clock: object) -> None:
    shelf = Shelf()
    setattr(shelf, hold, True)
    async with tally(shelf, resident=1, idle_after=1) as system:
        cell, note = system.cell("root/it", "x"), region(system).note
        cell.ask_then(Ask("a") if hold == "hold_look_ups" else 1, note)

        system.cell("root/it", "y").tell_nowait(1)
        await trio.sleep(10)
        setattr(shelf, hold, False)
        resident = list(region(system)._cells)
        shelf.release()
        await idle()

        assert "x" in resident
        assert len(shelf.calls("reply")) == 1


async def test_memory_stays_within_the_bound_while_many_cells_come_and_go() -> None:
    async with tally(Shelf(), resident=100) as system:
        for number in range(1000):
            await system.cell("root/it", number).ask(1)

            assert len(region(system)._cells) <= 100


async def test_a_cell_that_cannot_be_loaded_rests_for_a_while(autojump_clock: object) -> None:
    shelf = Shelf()
    shelf.load_errors["x"] = ValueError("damaged")
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        errors = [await caught(cell, 1) for _ in range(4)]
        neighbour = await system.cell("root/it", "y").ask(1)
        tries = len(shelf.calls("hydrate"))
        facts = system.inspect().children[0].facts
        del shelf.load_errors["x"]
        resting = await caught(cell, 1)

        await trio.sleep(Region.QUARANTINE)
        answer = await cell.ask(1)

        assert [type(error) for error in errors] == [Internal, Internal, Internal, Quarantined]
        assert "x could not be loaded: ValueError('damaged')" in str(errors[0])
        assert isinstance(resting, Quarantined)
        assert (tries, neighbour, answer) == (4, 1, 1)
        assert facts == {"cells": 1, "quarantined": 1}


async def test_a_store_that_cannot_be_reached_is_no_strike() -> None:
    shelf = Shelf()
    shelf.load_error = StoreUnavailable("down")
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")

        errors = [await caught(cell, 1) for _ in range(5)]
        shelf.load_error = None

        assert [type(error) for error in errors] == [StoreUnavailable] * 5
        assert await cell.ask(1) == 1


async def test_strikes_are_counted_in_a_row() -> None:
    shelf = Shelf()
    async with tally(shelf, resident=1) as system:
        for _ in range(3):
            shelf.load_errors["x"] = ValueError("damaged")
            await caught(system.cell("root/it", "x"), 1)
            await caught(system.cell("root/it", "x"), 1)
            del shelf.load_errors["x"]
            await system.cell("root/it", "x").ask(1)
            await system.cell("root/it", "y").ask(1)

        assert await system.cell("root/it", "x").ask(1) == 4


async def test_a_tell_to_a_cell_that_cannot_be_loaded_is_a_dead_letter() -> None:
    shelf = Shelf()
    shelf.load_errors["x"] = ValueError("damaged")
    async with one(Tally, shelf) as system:
        system.cell("root/it", "x").tell_nowait(1)
        await idle()

        assert [letter.reason for letter in system.dead_letters.recent] == ["failed"]


@pytest.mark.parametrize("failure", [Boom("bug"), SystemExit(1)])
async def test_a_bug_in_a_decision_fails_that_message_only(failure: BaseException) -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell, note = system.cell("root/it", "x"), region(system).note
        await cell.ask(0)
        shelf.hold_writes = True
        for message in (1, Fail(failure), 1):
            cell.ask_then(message, note)
        await idle()

        shelf.release()
        await idle()

        answers = shelf.calls("reply")
        assert [answers[0], answers[2]] == [1, 2]
        assert isinstance(answers[1], Internal)
        assert answers[1].__cause__ is failure
        assert system.ref("root/it").slot.restarts == 0
        assert system.inspect().children[0].failure == repr(failure)


async def test_tells_that_are_refused_or_meet_a_bug_are_dead_letters() -> None:
    async with one(Tally, Shelf()) as system:
        cell = system.cell("root/it", "x")

        cell.tell_nowait("no")
        cell.tell_nowait(Fail())
        await idle()

        assert [letter.reason for letter in system.dead_letters.recent] == ["refused", "failed"]


class BadHooks(Tally):
    """Has a bug in the hook whose name the shelf has under ``found["bug"]``."""

    def _buggy(self, hook: str) -> None:
        if self.shelf.found.get("bug") == hook:
            raise Boom(hook)

    def hydrate(self, keys: Any, settle: Any) -> None:
        self._buggy("hydrate")
        super().hydrate(keys, settle)

    def needs(self, state: Sum, message: Any) -> Any:
        self._buggy("needs")
        return super().needs(state, message)

    def look_up(self, key: Any, needs: Any, settle: Any) -> None:
        self._buggy("look_up")
        super().look_up(key, needs, settle)

    def evolve(self, state: Sum, event: Any) -> Sum:
        self._buggy("evolve")
        return super().evolve(state, event)

    def persist(self, writes: Any, settle: Any) -> None:
        self._buggy("persist")
        super().persist(writes, settle)

    def kept(self, state: Sum, write: Any) -> Sum:
        self._buggy("kept")
        return super().kept(state, write)


@pytest.mark.parametrize("hook", ["hydrate", "needs", "look_up", "evolve", "persist", "kept"])
async def test_a_bug_in_a_hook_fails_those_whose_messages_met_it(hook: str) -> None:
    shelf = Shelf()
    async with one(BadHooks, shelf) as system:
        cell = system.cell("root/it", "x")
        shelf.found["bug"] = hook

        error = await caught(cell, Ask("a") if hook == "look_up" else 1)
        shelf.found["bug"] = None

        assert isinstance(error, Internal)
        assert isinstance(error.__cause__, Boom)
        assert await cell.ask(Read()) == (1 if hook == "kept" else 0)
        assert system.ref("root/it").slot.restarts == 0


class Late(Tally):
    """Settles, and fails only then."""

    def persist(self, writes: Any, settle: Any) -> None:
        super().persist(writes, settle)
        raise Boom("after all")


async def test_a_bug_after_everything_was_settled_crashes_the_region(autojump_clock: object) -> None:
    async with one(Late, Shelf()) as system:
        cell = system.cell("root/it", "x")
        await cell.ask(Read())

        answer = await cell.ask(1)
        await trio.sleep(1)

        assert answer == 1
        assert isinstance(system.ref("root/it").slot.failure, Boom)
        assert system.ref("root/it").slot.restarts == 1


class Short(Tally):
    """Settles with less than it was asked for."""

    def hydrate(self, keys: Any, settle: Any) -> None:
        settle({} if "lost" in keys else dict.fromkeys(keys, Sum()))

    def persist(self, writes: Any, settle: Any) -> None:
        settle([])


async def test_results_that_are_missing_are_errors() -> None:
    async with one(Short, Shelf()) as system:
        errors = [await caught(system.cell("root/it", key), 1) for key in ("lost", "x")]

        assert [type(error) for error in errors] == [Internal, Internal]


async def test_a_bug_in_what_is_done_after_a_reply_crashes_the_region_and_not_the_asker(
    autojump_clock: object,
) -> None:
    shelf = Shelf()
    shelf.perform_error = Boom("perform")
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")

        answer = await cell.ask(Effect("launch"))
        shelf.perform_error = None
        await trio.sleep(1)

        assert answer == 1
        assert system.ref("root/it").slot.restarts == 1
        assert system.ref("root/it").slot.failure is not None
        assert await cell.ask(1) == 2


async def test_a_bug_after_a_reply_does_not_reach_the_actor_that_settles_the_write(autojump_clock: object) -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        shelf.hold_writes, shelf.perform_error = True, Boom("perform")
        cell.tell_nowait(Effect("launch"))

        shelf.release()  # in the task of somebody else
        await trio.sleep(1)

        assert system.ref("root/it").slot.restarts == 1


async def test_a_crash_of_the_region_answers_the_mail_of_its_cells_and_the_next_life_goes_on(
    autojump_clock: object,
) -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system, trio.open_nursery() as nursery:
        errors: dict[str, type[BaseException]] = {}

        async def ask(key: str, message: Any) -> None:
            errors[key] = type(await caught(system.cell("root/it", key), message))

        shelf.hold_loads = True
        nursery.start_soon(ask, "x", 1)
        system.cell("root/it", "y").tell_nowait(2)
        await idle()

        crash = await caught(system.ref("root/it"), Crash())
        shelf.hold_loads = False
        await trio.sleep(1)
        total = await system.cell("root/it", "x").ask(1)

        assert isinstance(crash, ActorFailed)
        assert errors == {"x": ActorStopped}
        assert total == 1
        assert [(letter.reason, letter.message) for letter in system.dead_letters.recent] == [("stopped", 2)]
        assert system.ref("root/it").slot.restarts == 1
        shelf.release()  # the load of the life that is over disturbs nobody
        assert await system.cell("root/it", "x").ask(1) == 2


async def test_a_graceful_stop_waits_for_what_is_being_kept_and_refuses_the_rest() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system, trio.open_nursery() as nursery:
        outcomes: dict[str, Any] = {}
        cell = system.cell("root/it", "x")

        async def ask(name: str) -> None:
            try:
                outcomes[name] = await cell.ask(1)
            except ActorStopped:
                outcomes[name] = "not run"

        await cell.ask(0)
        shelf.hold_writes = True
        nursery.start_soon(ask, "in flight")
        await idle()
        nursery.start_soon(ask, "waits")
        await idle()
        nursery.start_soon(system.stop_child, "root/it")
        await idle()
        during = dict(outcomes)

        shelf.release()

    assert during == {"waits": "not run"}
    assert outcomes == {"in flight": 1, "waits": "not run"}
    assert shelf.sums["x"].total == 1


async def test_a_stop_during_a_look_up_refuses_its_message() -> None:
    shelf = Shelf()
    shelf.hold_look_ups = True
    async with one(Tally, shelf) as system, trio.open_nursery() as nursery:
        errors: list[BaseException] = []

        async def ask() -> None:
            errors.append(await caught(system.cell("root/it", "x"), Ask("a")))

        nursery.start_soon(ask)
        await idle()

        await system.stop_child("root/it")
        shelf.found = {"a": StoreUnavailable("down")}
        shelf.release()

    assert [type(error) for error in errors] == [ActorStopped]


async def test_a_reply_may_lead_to_the_next_message_of_the_same_cell() -> None:
    shelf = Shelf()
    async with one(Tally, shelf) as system:
        cell, totals = system.cell("root/it", "x"), []

        def again(reply: Any) -> None:
            totals.append(reply.value)
            if len(totals) < 5:
                cell.ask_then(1, again)
                cell.tell_nowait(Read())

        cell.ask_then(1, again)
        await idle()

        assert totals == [1, 2, 3, 4, 5]
        assert shelf.sums["x"].version == 5


async def test_an_asker_of_cells_in_a_loop_lets_others_run() -> None:
    async with one(Tally, Shelf()) as system, trio.open_nursery() as nursery:
        cell, others = system.cell("root/it", "x"), []

        async def other() -> None:
            while True:
                others.append(1)
                await trio.lowlevel.checkpoint()

        nursery.start_soon(other)
        for _ in range(256):
            await cell.ask(1)

        nursery.cancel_scope.cancel()
        assert len(others) >= 7


async def test_cells_are_not_bounded_by_the_patience_of_whoever_wakes_them(autojump_clock: object) -> None:
    shelf = Shelf()
    shelf.hold_loads = True
    async with one(Tally, shelf) as system, trio.open_nursery() as nursery:
        await system.start_child("root", child("w", Worker))
        cell, answers = system.cell("root/it", "x"), []

        async def ask(timeout: float) -> None:
            try:
                answers.append(await cell.ask(1, timeout=timeout))
            except DeadlineExceeded:
                answers.append("late")

        nursery.start_soon(ask, 1)
        await idle()
        nursery.start_soon(ask, 100)
        await trio.sleep(5)
        shelf.release()

    assert answers == ["late", 1]


async def test_the_region_itself_hears_what_its_class_says() -> None:
    async with one(Tally, Shelf()) as system:
        error = await caught(system.ref("root/it"), 1)

        assert isinstance(error, InvalidInput)


class Plain(Region[str, int]):
    """The least that a region must say."""

    def hydrate(self, keys: Any, settle: Any) -> None:
        settle(dict.fromkeys(keys, 0))

    def decide(self, state: int, message: Any, now_ms: int, found: Any) -> Decision:
        return Decision(events=(message,), reply=Boom("a reply") if message < 0 else state + message)

    def evolve(self, state: int, event: int) -> int:
        return state + event


async def test_a_region_without_a_store_keeps_its_cells_in_memory() -> None:
    async with one(Plain) as system:
        cell = system.cell("root/it", "x")

        assert [await cell.ask(2), await cell.ask(3)] == [2, 5]


async def test_a_reply_that_is_an_exception_is_raised_when_the_events_are_kept() -> None:
    async with one(Plain) as system:
        cell = system.cell("root/it", "x")

        error = await caught(cell, -5)

        assert isinstance(error, Boom)
        assert await cell.ask(0) == -5


async def test_keys_may_be_anything_that_can_be_a_key() -> None:
    shelf = Shelf()
    shelf.load_errors[1, "a"] = ValueError("damaged")
    async with one(Tally, shelf) as system:
        error = await caught(system.cell("root/it", (1, "a")), 1)

        assert "1/a could not be loaded" in str(error)

import gc
import weakref
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from runtara.actors.sessions import Attach, Changed, Detach
from runtara.errors import StoreFull
from runtara.messages import CompleteInstance, GetStatus, RegisterInstance, SendSignal, SuspendInstance
from runtara.records import Signal
from runtara.store import digest_of
from runtara.system import SESSIONS
from runtara.transport import Session
from tests.actors.stage import Stage, WatchedStore, key_of, once, open_stage

REGISTER = RegisterInstance(attempt_id="a")


class Listener(Session):
    """A session that keeps what it was told."""

    def __init__(self, instance_id: str, epoch: int | None = None) -> None:
        super().__init__(key_of(instance_id))
        self.epoch = epoch
        self.heard: list[Signal | None] = []

    def pushed(self, signal: Signal | None, /) -> None:
        self.heard.append(signal)
        super().pushed(signal)


async def attach(stage: Stage, *sessions: Session) -> None:
    for session in sessions:
        stage.system.ref(SESSIONS).tell_nowait(Attach(session))
    await trio.testing.wait_all_tasks_blocked()


async def test_a_signal_is_shown_to_all_sessions_of_its_instance_and_to_no_other(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        for name in ("one", "two"):
            await stage.ask(name, REGISTER)
        first, second, other = Listener("one"), Listener("one"), Listener("two")
        namesake = Listener("one")
        namesake.key = namesake.key._replace(tenant_id="rival")
        await attach(stage, first, second, other, namesake)
        await stage.ask("one", SendSignal(kind="custom", name="go", signal_id="s", payload=b"now"))
        await trio.sleep(1)

    assert [signal.payload for signal in first.heard if signal] == [b"now"]
    assert first.heard == second.heard
    assert other.heard == namesake.heard == []


async def test_a_detached_session_hears_nothing_more(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await stage.ask("one", REGISTER)
        session = Listener("one")
        await attach(stage, session)
        stage.system.ref(SESSIONS).tell_nowait(Detach(session))
        stage.system.ref(SESSIONS).tell_nowait(Detach(session))
        await stage.ask("one", SendSignal(kind="pause", signal_id="s"))
        await trio.sleep(1)
        facts = stage.facts(SESSIONS)

    assert session.heard == []
    assert facts == {"connected": 0}


async def test_a_session_that_its_program_has_dropped_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await stage.ask("one", REGISTER)
        session = Listener("one", epoch=1)
        gone = weakref.ref(session)
        await attach(stage, session)
        del session
        gc.collect()
        await trio.sleep(60)

        assert gone() is None
        assert stage.facts(SESSIONS) == {"connected": 0}


async def test_a_session_with_an_epoch_beats_and_one_without_does_not(autojump_clock: MockClock) -> None:
    store = WatchedStore()
    async with open_stage(store, heartbeat_timeout_ms=90_000, heartbeat_interval_ms=10_000) as stage:
        for name in ("beats", "silent"):
            await stage.ask(name, REGISTER)
        sessions = Listener("beats", epoch=1), Listener("silent")
        await attach(stage, *sessions)
        await trio.sleep(600)
        statuses = [(await stage.ask(name, GetStatus())).status for name in ("beats", "silent")]

    assert [str(status) for status in statuses] == ["running", "suspended"]


async def test_begin_and_end_of_an_attempt_are_shown_without_a_signal(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        session = Listener("one")
        await attach(stage, session)
        await stage.ask("one", REGISTER)
        await stage.ask("one", CompleteInstance(), epoch=1)
        await trio.sleep(1)

    assert session.heard == [None, None]


async def test_an_attempt_is_not_told_that_it_has_begun_and_who_awaits_the_end_of_nothing_else(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        own, older, waiter = Listener("one", epoch=2), Listener("one", epoch=1), Listener("one")
        waiter.awaits_end = True
        await stage.ask("one", REGISTER)
        await attach(stage, own, older, waiter)
        await stage.ask("one", RegisterInstance(attempt_id="b"))
        await trio.sleep(1)
        await stage.ask("one", SendSignal(kind="custom", name="go", signal_id="s"))
        await stage.ask("one", SuspendInstance(), epoch=2)
        await stage.ask("one", RegisterInstance(attempt_id="c"))
        await trio.sleep(1)
        heard = [len(session.heard) for session in (own, older, waiter)]
        await stage.ask("one", CompleteInstance(output=b"out"), epoch=3)
        await trio.sleep(1)

    assert heard == [3, 4, 0]
    assert waiter.heard == [None]


async def test_the_sessions_of_an_instance_are_told_how_it_ended_before_they_are_told_that_it_has(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        session, other = Listener("one"), Listener("two")
        await stage.ask("one", REGISTER)
        await attach(stage, session, other)
        await stage.ask("one", CompleteInstance(output=b"out"), epoch=1)
        await trio.sleep(1)
        info = await stage.ask("one", GetStatus())

    assert session.end == (info, None)
    assert other.end is None


async def test_an_end_that_is_not_stored_is_told_to_nobody(autojump_clock: MockClock) -> None:
    store = WatchedStore()
    async with open_stage(store) as stage:
        session = Listener("one")
        await stage.ask("one", REGISTER)
        await attach(stage, session)
        once(store, "before_commit", StoreFull("no room"))
        with pytest.raises(StoreFull):
            await stage.ask("one", CompleteInstance(output=b"out"), epoch=1)
        await trio.sleep(1)

    assert session.end is None


async def test_many_sessions_cost_one_timer(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        sessions = [Listener(f"i{number}", epoch=1) for number in range(100)]
        await attach(stage, *sessions)
        actor: Any = stage.system.ref(SESSIONS).slot.actor

        assert len(actor._nursery.child_tasks) == 1
        assert stage.facts(SESSIONS) == {"connected": 100}


async def test_sessions_outlive_a_crash_and_are_told_that_they_may_have_missed_something(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        await stage.ask("one", REGISTER)
        session = Listener("one")
        await attach(stage, session)
        await stage.crash(SESSIONS)
        told = list(session.heard)
        await stage.ask("one", SendSignal(kind="pause", signal_id="s"))
        await trio.sleep(1)

    assert told == [None]
    assert [signal.kind for signal in session.heard if signal] == ["pause"]


async def test_a_program_stays_alive_through_a_crash_of_the_sessions(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        await stage.ask("one", REGISTER)
        session = Listener("one", epoch=1)
        await attach(stage, session)
        await stage.crash(SESSIONS)
        await trio.sleep(600)
        status = await stage.ask("one", GetStatus())

    assert status.status == "running"


async def test_what_another_node_has_changed_is_told_to_its_sessions_and_to_no_other(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        one, other = Listener("one"), Listener("two")
        await attach(stage, one, other)
        stage.system.ref(SESSIONS).tell_nowait(Changed(frozenset({digest_of(key_of("one")), "unknown"})))
        await trio.sleep(1)

    assert (one.heard, other.heard) == ([None], [])


async def test_where_anything_may_have_changed_every_session_is_told(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        sessions = [Listener(f"i{number}") for number in range(3)]
        await attach(stage, *sessions)
        stage.system.ref(SESSIONS).tell_nowait(Changed(None))
        await trio.sleep(1)

    assert [session.heard for session in sessions] == [[None]] * 3


async def test_a_detached_session_is_not_told_what_has_changed_elsewhere(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        session = Listener("one")
        await attach(stage, session)
        stage.system.ref(SESSIONS).tell_nowait(Detach(session))
        stage.system.ref(SESSIONS).tell_nowait(Changed(frozenset({digest_of(key_of("one"))})))
        await trio.sleep(1)

    assert session.heard == []


async def test_after_a_crash_sessions_are_still_told_what_has_changed_elsewhere(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        session = Listener("one")
        await attach(stage, session)
        await stage.crash(SESSIONS)
        stage.system.ref(SESSIONS).tell_nowait(Changed(frozenset({digest_of(key_of("one"))})))
        await trio.sleep(1)

    assert session.heard == [None, None]

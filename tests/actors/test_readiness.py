"""Whether a system says truly that it serves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from runtara import __version__
from runtara.actors.readiness import OK, Fitness
from runtara.errors import RuntaraError, StoreFull, StoreUnavailable
from runtara.messages import RegisterInstance
from runtara.settings import Settings
from runtara.store import Save
from runtara.system import PROGRAMS, Runtime, open_runtime
from tests.actors.stage import WatchedStore, crash_actor, key_of

GOOD_FOR_S = 1
FORGIVEN_AFTER_S = 10


@asynccontextmanager
async def running(store: WatchedStore, **options: Any) -> AsyncIterator[Runtime]:
    async with open_runtime(Settings(), store=store, **options) as runtime:
        yield runtime


def full(saves: Sequence[Save]) -> None:
    if saves:
        raise StoreFull("no space is left")


def away(_: object) -> None:
    raise StoreUnavailable("it is away, and here is a secret")


async def try_to_store(runtime: Runtime, name: str) -> None:
    try:
        await runtime.dispatch.call(key_of(name), RegisterInstance(attempt_id="a"))
    except RuntaraError:
        return


async def test_a_system_that_serves_is_ready_and_says_what_was_looked_at(autojump_clock: MockClock) -> None:
    async with running(WatchedStore()) as runtime:
        fitness = await runtime.readiness.ready()

    assert fitness.is_good
    assert msgspec.json.decode(fitness.body()) == {
        "status": "ready",
        "version": __version__,
        "checks": {"write": OK, "read": OK, "actors": OK, "draining": OK},
    }


async def test_whoever_gets_an_answer_knows_that_it_is_alive(autojump_clock: MockClock) -> None:
    store = WatchedStore()
    async with running(store) as runtime:
        store.before_commit = store.before_read = away

        assert runtime.readiness.alive() == Fitness("alive", __version__)
        assert runtime.readiness.alive().is_good


@pytest.mark.parametrize(("fault", "check"), [("before_commit", "write"), ("before_read", "read")])
async def test_without_its_store_it_is_not_ready_and_says_so_without_details(
    autojump_clock: MockClock, fault: str, check: str
) -> None:
    store = WatchedStore()
    async with running(store) as runtime:
        setattr(store, fault, away)
        fitness = await runtime.readiness.ready()

        setattr(store, fault, lambda _: None)
        await trio.sleep(GOOD_FOR_S + FORGIVEN_AFTER_S)
        later = await runtime.readiness.ready()

    assert not fitness.is_good
    assert fitness.checks[check] == "store-unavailable"
    assert later.is_good


async def test_with_a_full_disk_it_is_not_ready_until_something_can_be_stored(autojump_clock: MockClock) -> None:
    store = WatchedStore()
    async with running(store) as runtime:
        store.before_commit = full
        await try_to_store(runtime, "one")
        fitness = await runtime.readiness.ready()

        store.before_commit = lambda _: None
        await try_to_store(runtime, "two")
        await trio.sleep(GOOD_FOR_S)
        later = await runtime.readiness.ready()

    assert fitness.checks["write"] == "the last changes could not be stored"
    assert later.is_good


async def test_without_anything_to_store_a_failure_is_forgiven(autojump_clock: MockClock) -> None:
    store = WatchedStore()
    async with running(store) as runtime:
        store.before_commit = full
        await try_to_store(runtime, "one")
        await runtime.readiness.ready()
        await trio.sleep(FORGIVEN_AFTER_S)

        assert (await runtime.readiness.ready()).is_good


async def test_a_host_that_goes_down_is_not_ready_at_once(autojump_clock: MockClock) -> None:
    draining = [False]
    async with running(WatchedStore(), is_draining=lambda: draining[0]) as runtime:
        await runtime.readiness.ready()

        draining[0] = True

        assert (await runtime.readiness.ready()).checks["draining"] == "the host is going down"


async def test_with_an_actor_that_does_not_run_it_is_not_ready(autojump_clock: MockClock) -> None:
    async with running(WatchedStore()) as runtime:
        await crash_actor(runtime.system, PROGRAMS)

        fitness = await runtime.readiness.ready()
        await trio.sleep(GOOD_FOR_S)

        assert fitness.checks["actors"] == f"not running: {PROGRAMS}"
        assert (await runtime.readiness.ready()).is_good


async def test_however_many_ask_the_store_is_looked_at_once(autojump_clock: MockClock) -> None:
    looks: list[Sequence[Save]] = []
    store = WatchedStore()
    async with running(store) as runtime:
        store.before_commit = looks.append
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(runtime.readiness.ready)

        assert looks == [()]

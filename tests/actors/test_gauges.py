"""What is read of a running system when its metrics are asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from runtara import __version__
from runtara.errors import StoreUnavailable
from runtara.messages import RegisterInstance, SaveCheckpoint
from runtara.metrics import Sample
from runtara.settings import Settings
from runtara.system import WRITER, Runtime, open_runtime
from tests.actors.stage import WatchedStore, crash_actor, key_of
from tests.test_metrics import values

KEPT_S = 5


@asynccontextmanager
async def running(store: WatchedStore | None = None, **options: Any) -> AsyncIterator[Runtime]:
    async with open_runtime(Settings(), store=store or WatchedStore(), **options) as runtime:
        yield runtime


def found(samples: tuple[Sample, ...], name: str) -> dict[tuple[str, ...], Any]:
    return dict(next(sample.values for sample in samples if sample.metric.name == name))


async def test_work_that_was_done_is_seen(autojump_clock: MockClock) -> None:
    async with running() as runtime:
        key = key_of("one")
        epoch = (await runtime.dispatch.call(key, RegisterInstance(attempt_id="a"))).epoch
        await runtime.dispatch.call(key, SaveCheckpoint(checkpoint_id="c", state=b"s", request=1), epoch)

        seen = values(await runtime.gauges.render())

    assert seen["runtara_instances", ("running",)] == 1
    assert seen["runtara_instances", ("failed",)] == 0
    assert seen["runtara_transitions_total", ()] == seen["runtara_commit_seconds_count", ()] == 2
    assert seen["runtara_checkpoints_total", ()] == 1
    assert seen["runtara_mailbox_depth", (WRITER,)] == 0
    assert ("runtara_runner_places", ()) not in seen
    assert seen["runtara_runner_in_use", ()] == 0


async def test_what_runs_is_said(autojump_clock: MockClock) -> None:
    async with running() as runtime:
        samples = await runtime.gauges.collect()

    (labels,) = found(samples, "runtara_build_info")
    assert labels[0] == __version__
    assert labels[2] == "memory"


async def test_instances_are_counted_once_in_a_while(autojump_clock: MockClock) -> None:
    asked: list[str] = []
    store = WatchedStore()
    store.before_read = asked.append
    async with running(store) as runtime:
        await runtime.gauges.collect()
        await runtime.gauges.collect()
        await runtime.dispatch.call(key_of("one"), RegisterInstance(attempt_id="a"))
        kept = found(await runtime.gauges.collect(), "runtara_instances")
        await trio.sleep(KEPT_S)
        counted = found(await runtime.gauges.collect(), "runtara_instances")

    assert asked.count("count_by_status") == 2
    assert kept["running",] == 0
    assert counted["running",] == 1


async def test_many_who_ask_at_once_have_instances_counted_once(autojump_clock: MockClock) -> None:
    asked: list[str] = []
    store = WatchedStore()
    store.before_read = asked.append
    async with running(store) as runtime, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(runtime.gauges.collect)

    assert asked.count("count_by_status") == 1


async def test_nothing_is_said_of_instances_while_the_store_is_away(autojump_clock: MockClock) -> None:
    def fail(_: str) -> None:
        raise StoreUnavailable("it is away")

    store = WatchedStore()
    async with running(store) as runtime:
        store.before_read = fail

        samples = await runtime.gauges.collect()

    assert found(samples, "runtara_instances") == {}
    assert found(samples, "runtara_mailbox_depth") != {}


async def test_a_restart_is_counted_and_takes_no_count_with_it(autojump_clock: MockClock) -> None:
    async with running() as runtime:
        await runtime.dispatch.call(key_of("one"), RegisterInstance(attempt_id="a"))
        await crash_actor(runtime.system, WRITER)
        await trio.sleep(KEPT_S)

        samples = await runtime.gauges.collect()

    assert found(samples, "runtara_actor_restarts_total")[WRITER,] == 1
    assert found(samples, "runtara_transitions_total") == {(): 1}


async def test_a_store_that_counts_slowly_is_asked_seldom(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    def take_a_while(method: str) -> None:
        if method == "count_by_status":
            asked.append(method)
            autojump_clock.jump(0.2)

    store = WatchedStore()
    store.before_read = take_a_while
    async with running(store) as runtime:
        for _ in range(10):
            await runtime.gauges.collect()
            await trio.sleep(KEPT_S)

    assert len(asked) == 3, "in fifty seconds, each kept for a hundred times as long as it took"


async def test_however_many_ask_at_once_it_is_rendered_once(autojump_clock: MockClock) -> None:
    pages: list[bytes] = []

    async with running() as runtime:

        async def ask() -> None:
            pages.append(await runtime.gauges.render())

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        await runtime.dispatch.call(key_of("one"), RegisterInstance(attempt_id="a"))
        await trio.sleep(0.2)
        later = await runtime.gauges.render()

    assert len(pages) == 20
    assert len({id(page) for page in pages}) == 1
    assert values(later)["runtara_transitions_total", ()] == 1

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest
import sniffio
import trio
import trio.testing

from runtara.errors import ActorStopped
from runtara.threads import (
    Canceller,
    ForeignEvent,
    Ingress,
    others_wait,
    pause,
    run_async,
    running_library,
    settled,
    together,
    within,
)

SECONDS = 100
"""How long a test waits for what comes at once."""


def _never(error: Exception) -> None:
    raise AssertionError("no callback of this test fails") from error


class Token:
    """Stands for a loop that has ended: the first wake-up is refused, and others rely on it."""

    def __init__(self, ingress: Ingress, others: Callable[[], None]) -> None:
        self._ingress = ingress
        self._others = others

    def run_sync_soon(self, _: object) -> None:
        self._others()
        raise trio.RunFinishedError


async def test_those_who_rely_on_the_wake_up_of_somebody_else_are_answered_too() -> None:
    ran: list[str] = []
    ingress = Ingress("system", _never)
    ingress._token = Token(ingress, lambda: ingress.post(ran.append, "other"))  # type: ignore[assignment]

    with pytest.raises(ActorStopped):
        ingress.post(ran.append, "first")

    assert ran == ["first", "other"]


async def test_a_callback_that_fails_does_not_end_the_loop() -> None:
    failures: list[Exception] = []
    ingress, ran = Ingress("system", failures.append), trio.Event()

    ingress.post(lambda: 1 / 0)
    ingress.post(ran.set)
    await ran.wait()

    assert [type(failure) for failure in failures] == [ZeroDivisionError]


async def test_a_flood_costs_one_wake_up() -> None:
    ran: list[int] = []
    wake_ups: list[int] = []
    ingress = Ingress("system", _never)
    token = ingress._token

    class Counting:
        def run_sync_soon(self, callback: Callable[[], None]) -> None:
            wake_ups.append(1)
            token.run_sync_soon(callback)

    ingress._token = Counting()  # type: ignore[assignment]
    for number in range(100):
        ingress.post(ran.append, number)
    await trio.testing.wait_all_tasks_blocked()

    assert ran == list(range(100))
    assert len(wake_ups) == 1


async def test_what_was_handed_over_before_the_end_is_still_run() -> None:
    ran: list[int] = []
    ingress = Ingress("system", _never)
    ingress.post(ran.append, 1)

    ingress.close()

    assert ran == [1]
    with pytest.raises(ActorStopped):
        ingress.post(ran.append, 2)


async def test_an_event_is_set_from_another_thread_and_waited_for_under_trio() -> None:
    event = ForeignEvent()
    threading.Thread(target=event.set).start()

    waited = await event.wait(30)

    assert waited < 30


async def test_an_event_that_is_not_set_is_waited_for_until_its_time(autojump_clock: object) -> None:
    assert await ForeignEvent().wait(5) == 5


def test_an_event_is_set_from_another_thread_and_waited_for_under_asyncio() -> None:
    async def main() -> list[float]:
        event = ForeignEvent()
        threading.Thread(target=event.set).start()
        return [await event.wait(30), await ForeignEvent().wait(0.01)]

    waited = asyncio.run(main())

    assert waited[0] < 30
    assert waited[1] >= 0.01


def test_an_event_of_a_loop_that_has_ended_may_be_set() -> None:
    async def main() -> ForeignEvent:
        return ForeignEvent()

    trio.run(main).set()
    asyncio.run(main()).set()


@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())], ids=["trio", "asyncio"])
def test_a_future_is_awaited_and_gives_what_came_of_it(run: Callable[..., Any]) -> None:
    future: Future[int] = Future()

    async def main() -> int:
        threading.Thread(target=future.set_result, args=(7,)).start()
        return await settled(future)

    assert run(main) == 7


async def test_a_future_that_nobody_waits_for_any_more_is_cancelled() -> None:
    future: Future[int] = Future()

    with trio.move_on_after(0):
        await settled(future)

    assert future.cancelled()


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_a_function_runs_in_a_loop_of_its_own(library: str) -> None:
    async def main() -> str:
        return sniffio.current_async_library()

    assert run_async(library, main) == library


@pytest.mark.parametrize("first", ["begun", "wanted"])
def test_an_asyncio_function_is_cancelled_from_another_thread(first: str) -> None:
    canceller, begun, ended = Canceller(), threading.Event(), threading.Event()

    async def main() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    if first == "wanted":
        canceller.cancel()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(run_async, "asyncio", main, canceller)
        assert begun.wait(SECONDS)
        canceller.cancel()
        with pytest.raises(CancelledError):
            done.result(SECONDS)

    assert ended.is_set()
    canceller.cancel()


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_a_task_lets_the_others_go_on_until_they_wait(library: str) -> None:
    async def main() -> list[int]:
        came: list[int] = []
        first, second = ForeignEvent(), ForeignEvent()

        async def relay() -> None:
            await first.wait(SECONDS)
            came.append(1)
            second.set()
            await second.wait(SECONDS)
            came.append(2)

        async def look() -> list[int]:
            await others_wait()
            first.set()
            await others_wait()
            return list(came)

        if library == "asyncio":
            task = asyncio.create_task(relay())
            seen = await look()
            await task
            return seen
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay)
            return await look()

    assert run_async(library, main) == [1, 2]


LOOPS: list[Callable[..., Any]] = [trio.run, lambda main: asyncio.run(main())]


@pytest.mark.parametrize("run", LOOPS, ids=["trio", "asyncio"])
def test_a_call_that_ends_in_time_returns_its_value_and_raises_its_error(run: Callable[..., Any]) -> None:
    async def value() -> str:
        return "value"

    async def error() -> str:
        raise TimeoutError("its own")

    async def main() -> None:
        assert await within(30, value) == (False, "value")
        with pytest.raises(TimeoutError, match="its own"):
            await within(30, error)

    run(main)


@pytest.mark.parametrize("run", LOOPS, ids=["trio", "asyncio"])
def test_a_call_that_takes_too_long_is_cancelled(run: Callable[..., Any]) -> None:
    cleaned: list[bool] = []

    async def forever() -> str:
        try:
            await ForeignEvent().wait(600)
        finally:
            cleaned.append(True)
        return "never"

    async def main() -> None:
        assert await within(0.01, forever) == (True, None)

    run(main)

    assert cleaned == [True]


@pytest.mark.parametrize("run", LOOPS, ids=["trio", "asyncio"])
def test_several_calls_are_awaited_at_the_same_time(run: Callable[..., Any]) -> None:
    async def main() -> None:
        first, second = ForeignEvent(), ForeignEvent()

        async def left() -> str:
            first.set()
            await second.wait(SECONDS)
            return "left"

        async def right() -> str:
            await first.wait(SECONDS)
            second.set()
            return "right"

        assert await together([left, right]) == ["left", "right"]
        assert await together([]) == []

    run(main)


@pytest.mark.parametrize("run", LOOPS, ids=["trio", "asyncio"])
def test_the_first_call_that_fails_has_the_others_cancelled_and_its_error_is_raised(run: Callable[..., Any]) -> None:
    cleaned: list[bool] = []

    async def forever() -> str:
        try:
            await pause(600)
        finally:
            cleaned.append(True)
        return "never"

    async def fails() -> str:
        await pause(0)
        raise KeyError("first")

    async def main() -> None:
        with pytest.raises(KeyError, match="first"):
            await together([forever, fails])

    run(main)

    assert cleaned == [True]


@pytest.mark.parametrize("run", LOOPS, ids=["trio", "asyncio"])
def test_the_error_of_a_call_keeps_its_cause(run: Callable[..., Any]) -> None:
    async def fails() -> str:
        raise KeyError("what") from LookupError("why")

    async def main() -> None:
        with pytest.raises(KeyError) as caught:
            await together([fails])
        assert isinstance(caught.value.__cause__, LookupError)

    run(main)


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_a_loop_knows_of_which_kind_it_is(library: str) -> None:
    async def main() -> str:
        return running_library()

    assert run_async(library, main) == library

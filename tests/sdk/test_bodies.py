import asyncio
import threading
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.sdk._bodies import try_async, try_blocking
from runtara.sdk._scopes import Scope, scope_in_use


def scope() -> Scope:
    return Scope(None).inside("step()")


def test_a_function_runs_in_its_scope_with_and_without_a_timeout() -> None:
    before = scope_in_use.get()
    for timeout in (None, 30.0):
        mine = scope()
        assert try_blocking(mine, scope_in_use.get, timeout).value is mine
    assert scope_in_use.get() is before


async def test_an_async_function_runs_in_its_scope_with_and_without_a_timeout() -> None:
    async def found() -> Any:
        await trio.lowlevel.checkpoint()
        return scope_in_use.get()

    before = scope_in_use.get()
    for timeout in (None, 30.0):
        mine = scope()
        assert (await try_async(mine, found, timeout)).value is mine
    assert scope_in_use.get() is before


def test_without_a_timeout_a_function_runs_on_the_thread_of_its_caller_and_with_one_on_another() -> None:
    here = threading.get_ident()

    assert try_blocking(scope(), threading.get_ident, None).value == here
    assert try_blocking(scope(), threading.get_ident, 30).value != here


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_an_error_is_an_outcome_and_what_is_more_than_an_error_is_raised(timeout: float | None) -> None:
    def fail(error: BaseException) -> Any:
        def call() -> None:
            raise error

        return call

    error = LookupError("none")
    assert try_blocking(scope(), fail(error), timeout).error is error
    for more in (SystemExit(0), KeyboardInterrupt()):
        with pytest.raises(type(more)):
            try_blocking(scope(), fail(more), timeout)


def test_a_function_that_takes_too_long_is_abandoned() -> None:
    mine, end, ended = scope(), threading.Event(), threading.Event()

    def wait() -> None:
        end.wait(100)
        ended.set()

    outcome = try_blocking(mine, wait, 0.01)

    assert isinstance(outcome.error, TimeoutError)
    assert str(outcome.error) == "step() took longer than 0.01 seconds"
    assert mine.is_abandoned
    end.set()
    assert ended.wait(100)


def test_a_timeout_of_the_functions_own_is_its_error() -> None:
    mine, own = scope(), TimeoutError("its own")

    def fail() -> None:
        raise own

    assert try_blocking(mine, fail, 30).error is own
    assert not mine.is_abandoned


async def test_an_async_function_that_takes_too_long_is_cancelled(autojump_clock: MockClock) -> None:
    cleaned: list[str] = []

    async def wait() -> None:
        try:
            await trio.sleep(600)
        finally:
            cleaned.append("up")

    outcome = await try_async(scope(), wait, 5)

    assert isinstance(outcome.error, TimeoutError)
    assert trio.current_time() == pytest.approx(5)
    assert cleaned == ["up"]


def test_an_async_function_is_cancelled_under_asyncio_too() -> None:
    cancelled: list[bool] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    outcome = asyncio.run(try_async(scope(), wait, 0.01))

    assert isinstance(outcome.error, TimeoutError)
    assert cancelled == [True]

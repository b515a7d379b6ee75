"""One try of a step's function: in a scope of its own, and within its time if it has one."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from runtara.sdk._scopes import Scope, scope_in_use

if TYPE_CHECKING:
    from runtara.threads import Canceller

__all__ = ["Outcome", "try_async", "try_blocking", "try_in_loop"]


class Outcome(NamedTuple):
    """What came of a try: a value, or an error."""

    value: Any = None
    error: Exception | None = None
    is_over: bool = False
    """Whether the try took longer than it may: then the error is not one of the function's own."""


def try_blocking(scope: Scope, call: Callable[[], Any], timeout: float | None) -> Outcome:
    """Call a function; with a `timeout` (seconds) on a thread of its own, which is left to itself after that time."""
    outer = scope_in_use.set(scope)
    try:
        return Outcome(call()) if timeout is None else _call_on_thread(scope, call, timeout)
    except Exception as error:  # noqa: BLE001 - the flow decides what an error means
        return Outcome(error=error)
    finally:
        scope_in_use.reset(outer)


async def try_async(scope: Scope, call: Callable[[], Awaitable[Any]], timeout: float | None) -> Outcome:
    """Await a function; with a `timeout` (seconds) it is cancelled after that time."""
    outer = scope_in_use.set(scope)
    try:
        if timeout is None:
            return Outcome(await call())
        from runtara.threads import within  # takes trio, which a program without time-outs need not wait for

        is_over, value = await within(timeout, call)
        return _over(scope, timeout) if is_over else Outcome(value)
    except Exception as error:  # noqa: BLE001 - the flow decides what an error means
        return Outcome(error=error)
    finally:
        scope_in_use.reset(outer)


def try_in_loop(library: str, call: Callable[[], Awaitable[Outcome]], canceller: Canceller | None = None) -> Outcome:
    """Await a try in an event loop of its own; one that is cancelled has failed."""
    from runtara.threads import run_async  # takes trio, which a program without async steps need not wait for

    try:
        return run_async(library, call, canceller)
    except CancelledError as error:
        return Outcome(error=error)


def _call_on_thread(scope: Scope, call: Callable[[], Any], timeout: float) -> Outcome:
    done: Future[Any] = Future()
    context = copy_context()

    def run() -> None:
        try:
            done.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
            done.set_exception(error)

    threading.Thread(target=run, name=f"runtara-{scope.path[:-1]}", daemon=True).start()
    try:
        wait([done], timeout)
    finally:
        # Python cannot stop a thread. From here on it can at least store nothing any more, nor run a further step.
        scope.is_abandoned = not done.done()
    return _over(scope, timeout) if scope.is_abandoned else Outcome(done.result())


def _over(scope: Scope, timeout: float) -> Outcome:
    return Outcome(error=TimeoutError(f"{scope.path[:-1]} took longer than {timeout:g} seconds"), is_over=True)

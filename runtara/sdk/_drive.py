"""Run flows: by blocking a thread, or by awaiting under trio or asyncio."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from runtara.clock import monotonic
from runtara.sdk._flows import AwaitPush, Flow
from runtara.transport import Door, Session

__all__ = ["drive", "drive_blocking", "perform", "perform_blocking"]

T = TypeVar("T")


def drive_blocking(flow: Flow[T], perform: Callable[[Any], Any]) -> T:
    """Run a flow to its end, doing what it yields with `perform`."""
    value: Any = None
    error: Exception | None = None
    try:
        while True:
            wish = flow.send(value) if error is None else flow.throw(error)
            error = None
            try:
                value = perform(wish)
            except Exception as raised:  # noqa: BLE001 - the flow decides what an error means
                error = raised
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


async def drive(flow: Flow[T], perform: Callable[[Any], Awaitable[Any]]) -> T:
    """Run a flow to its end, awaiting what it yields with `perform`."""
    value: Any = None
    error: Exception | None = None
    try:
        while True:
            wish = flow.send(value) if error is None else flow.throw(error)
            error = None
            try:
                value = await perform(wish)
            except Exception as raised:  # noqa: BLE001 - the flow decides what an error means
                error = raised
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


def perform_blocking(door: Door, wish: Any) -> Any:
    """Do what a flow wishes for, blocking the thread."""
    if wish.__class__ is AwaitPush:
        return _await_push_blocking(door.session, wish)
    return door.call_from_thread(wish)


async def perform(door: Door, wish: Any) -> Any:
    """Do what a flow wishes for, awaiting it."""
    if wish.__class__ is AwaitPush:
        return await _await_push(door.session, wish)
    return await door.call(wish)


def _await_push_blocking(session: Session, wish: AwaitPush) -> float:
    """Block until a signal is pushed or the time is over; return the seconds that passed."""
    pushed = threading.Lock()  # not an Event, whose wait an interrupt from the keyboard can leave in pieces
    pushed.acquire()
    began = monotonic()
    session.on_push(wish.since, pushed.release)
    try:
        pushed.acquire(timeout=wish.seconds)
    finally:
        session.forget(pushed.release)
    return monotonic() - began


async def _await_push(session: Session, wish: AwaitPush) -> float:
    """Wait until a signal is pushed or the time is over, under trio or asyncio; return the seconds that passed."""
    from runtara.threads import ForeignEvent  # takes trio, which a blocking program's own thread need not wait for

    pushed = ForeignEvent()
    session.on_push(wish.since, pushed.set)
    try:
        return await pushed.wait(wish.seconds)
    finally:
        session.forget(pushed.set)

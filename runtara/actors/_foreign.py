"""Mail from outside the event loop: from plain threads, from asyncio and from other trio loops.

The one door to asyncio. Everything crosses to the loop through an `Ingress`: a queue with one pending wake-up, so that
a flood of messages costs one wake-up, not one each.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import sniffio
import trio

from runtara.actors._reply import Reply
from runtara.actors._slot import Frame, current_frame
from runtara.errors import ActorStopped, MailboxFull, RuntaraError

if TYPE_CHECKING:
    from runtara.actors._mailbox import DeadLetters
    from runtara.actors._ref import Askable

__all__ = ["ForeignEvent", "Ingress", "ask", "ask_blocking", "tell", "tell_blocking", "tell_nowait"]

INGRESS_BOUND: Final = 65_536
"""Most messages from other threads on their way to one loop."""


class Ingress:
    """Runs callbacks on the thread of one event loop, in order, from any thread."""

    def __init__(self, name: str, dead_letters: DeadLetters) -> None:
        self._name = name
        self._dead_letters = dead_letters
        self._token = trio.lowlevel.current_trio_token()
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._pending = False
        self._closed = False

    def enter(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback` called on the loop, unless too much waits for it. Raises `MailboxFull` or `ActorStopped`."""
        if len(self._waiting) >= INGRESS_BOUND:
            raise MailboxFull(f"{INGRESS_BOUND} messages wait to enter {self._name}, the bound: try again later")
        self.post(callback, *args)

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback` called on the loop, for what must not be lost, such as answers. Raises `ActorStopped`."""
        if self._closed:
            raise self._gone()
        self._waiting.append((callback, args))
        if not self._pending:
            try:
                self._pending = True
                self._token.run_sync_soon(self._drain)
            except trio.RunFinishedError:
                self._drain()  # others may have relied on this wake-up; by now, all they can hear is a refusal
                raise self._gone() from None
            except BaseException:  # an interrupt from the keyboard: nobody may rely on this wake-up
                self._pending = False
                raise

    def close(self) -> None:
        """Take no more; what waits is still run."""
        self._closed = True
        self._drain()

    def _drain(self) -> None:
        # The flag falls before the queue is emptied: whoever appends after the last look schedules a new drain.
        self._pending = False
        waiting = self._waiting
        for _ in range(len(waiting)):
            try:
                callback, args = waiting.popleft()
            except IndexError:  # the loop is gone, and several threads are here
                return
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - an exception here would end the whole loop
                self._dead_letters.add("ingress", "failed", error)
        if waiting and not self._pending:
            self._pending = True
            self._token.run_sync_soon(self._drain)

    def _gone(self) -> ActorStopped:
        return ActorStopped(f"{self._name} has stopped and did not read the message")


class ForeignEvent:
    """Something that any thread may set and one task waits for, under trio or asyncio. Made by the task that waits."""

    def __init__(self) -> None:
        self._call: Callable[[Callable[[], object]], object]
        self._set: Callable[[], object]
        self._wait: Callable[[float], Awaitable[object]]
        self._now: Callable[[], float]
        if sniffio.current_async_library() == "asyncio":
            self._begin_asyncio()
        else:
            happened = trio.Event()
            self._call = trio.lowlevel.current_trio_token().run_sync_soon
            self._set, self._now = happened.set, trio.current_time
            self._wait = partial(_wait_under_trio, happened)

    def _begin_asyncio(self) -> None:
        import asyncio  # takes 40 ms, and most programs never need it

        happened, loop = asyncio.Event(), asyncio.get_running_loop()
        self._call = loop.call_soon_threadsafe
        self._set, self._now = happened.set, loop.time
        self._wait = lambda timeout: asyncio.wait_for(happened.wait(), timeout)

    def set(self) -> None:
        """Wake the task that waits; from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop has ended: nobody waits
            self._call(self._set)

    async def wait(self, timeout: float) -> float:
        """Return when it is set, or after `timeout` seconds; return how many passed, on the clock of the loop."""
        began = self._now()
        with contextlib.suppress(TimeoutError):
            await self._wait(timeout)
        return self._now() - began


async def _wait_under_trio(event: trio.Event, timeout: float) -> None:
    with trio.move_on_after(timeout):
        await event.wait()


async def ask(ref: Askable, message: object, timeout: float | None) -> Any:
    """Ask from another event loop, trio's or asyncio's."""
    return await _settled(_submit_ask(ref, message, timeout))


async def tell(ref: Askable, message: object) -> None:
    """Tell from another event loop, trio's or asyncio's."""
    await _settled(_submit_tell(ref, message))


def ask_blocking(ref: Askable, message: object, timeout: float | None) -> Any:
    """Ask from a thread, and block it."""
    _check_thread(ref)
    return _result(_submit_ask(ref, message, timeout))


def tell_blocking(ref: Askable, message: object) -> None:
    """Tell from a thread, and block it until the mailbox has taken the message."""
    _check_thread(ref)
    _result(_submit_tell(ref, message))


def tell_nowait(ref: Askable, message: object) -> None:
    """Hand a message to the loop; what the mailbox refuses there becomes a dead letter."""
    ref.slot.system.ingress.enter(_offer, ref, message)


def _check_thread(ref: Askable) -> None:
    if threading.get_ident() == ref.slot.system.thread_id:
        raise RuntimeError(f"a blocking call to {ref.path} would stop the loop that must answer it: use await")


def _result(answer: Future[Any]) -> Any:
    try:
        return answer.result()
    except BaseException:
        answer.cancel()  # of use if it was the keyboard that interrupted the wait
        raise


async def _settled(answer: Future[Any]) -> Any:
    if sniffio.current_async_library() == "asyncio":
        import asyncio  # takes 40 ms, and most programs never need it

        return await asyncio.wrap_future(answer)
    done = ForeignEvent()
    answer.add_done_callback(lambda _: done.set())
    try:
        await done.wait(inf)
    except BaseException:
        answer.cancel()
        raise
    return answer.result()


def _submit_ask(ref: Askable, message: object, timeout: float | None) -> Future[Any]:
    answer: Future[Any] = Future()
    ref.slot.system.ingress.enter(_start_ask, ref, message, timeout, _frame_for(ref), answer)
    return answer


def _frame_for(ref: Askable) -> Frame | None:
    """Return on whose behalf this thread asks, with the deadline on the clock of the loop that is asked."""
    frame = current_frame.get()
    if frame is None:
        return None
    crossing = Frame(frame.slot)
    crossing.deadline = frame.deadline + ref.slot.system.now() - frame.slot.system.now()
    return crossing


def _start_ask(ref: Askable, message: object, timeout: float | None, frame: Frame | None, answer: Future[Any]) -> None:
    waits_for = frame.slot.waits_for if frame is not None else []

    def settle(reply: Reply) -> None:
        waits_for.remove(ref.slot)
        _finish(answer, reply)

    def withdraw() -> None:
        if reply.waiter is not None:
            reply.abandon()
            waits_for.remove(ref.slot)

    try:
        ref._check_cycle(frame)  # noqa: SLF001 - the other half of the ref's own doing
        waits_for.append(ref.slot)  # before the ask, which may be answered at once
        try:
            reply = ref._send(message, timeout, frame, settle)  # noqa: SLF001 - likewise
        except BaseException:
            waits_for.remove(ref.slot)
            raise
    except Exception as error:  # noqa: BLE001 - whatever it is belongs to the asker
        if answer.set_running_or_notify_cancel():
            answer.set_exception(error)
    else:
        _if_cancelled(answer, ref, withdraw)


def _submit_tell(ref: Askable, message: object) -> Future[Any]:
    accepted: Future[Any] = Future()
    ref.slot.system.ingress.enter(_start_tell, ref, message, accepted)
    return accepted


def _start_tell(ref: Askable, message: object, accepted: Future[Any]) -> None:
    ticket = Reply(ref.path, inf, ref.slot.system.deadlines, lambda ticket: _finish(accepted, ticket))
    try:
        if ref._tell(message):  # noqa: SLF001 - likewise
            ticket.settle(None)
        else:
            ref.slot.mailbox.waits(message, None, ticket)
            _if_cancelled(accepted, ref, ticket.abandon)
    except Exception as error:  # noqa: BLE001 - whatever it is belongs to the teller
        ticket.fail(error)


def _if_cancelled(answer: Future[Any], ref: Askable, withdraw: Callable[[], None]) -> None:
    """Have `withdraw` called on the loop if whoever waits for the answer goes away."""

    def done(answer: Future[Any]) -> None:
        if answer.cancelled():
            with contextlib.suppress(ActorStopped):  # the system has ended, and everything with it
                ref.slot.system.ingress.post(withdraw)

    answer.add_done_callback(done)


def _offer(ref: Askable, message: object) -> None:
    try:
        if not ref._tell(message):  # noqa: SLF001 - likewise
            ref.slot.mailbox.waits(message, None, None)
    except RuntaraError as refusal:
        ref.slot.system.dead_letters.add(ref.path, _REASONS.get(type(refusal), "refused"), message)


_REASONS: Final[dict[type[RuntaraError], str]] = {ActorStopped: "stopped", MailboxFull: "mailbox-full"}
"""Why mail from other threads that is refused on the loop becomes a dead letter."""


def _finish(answer: Future[Any], reply: Reply) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    if reply.error is not None:
        answer.set_exception(reply.error)
    else:
        answer.set_result(reply.value)

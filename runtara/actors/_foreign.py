"""Mail from outside the event loop: from plain threads, from asyncio and from other trio loops.

Says how messages and their answers cross; that they cross at all is the work of `runtara.threads`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from math import inf
from typing import TYPE_CHECKING, Any, Final

from runtara.actors._reply import Reply
from runtara.actors._slot import Frame, current_frame
from runtara.errors import ActorStopped, MailboxFull, RuntaraError
from runtara.threads import settled

if TYPE_CHECKING:
    from runtara.actors._ref import Askable

__all__ = ["ask", "ask_blocking", "tell", "tell_blocking", "tell_nowait"]


async def ask(ref: Askable, message: object, timeout: float | None) -> Any:
    """Ask from another event loop, trio's or asyncio's."""
    return await _awaited(_Ask(ref, message, timeout))


async def tell(ref: Askable, message: object) -> None:
    """Tell from another event loop, trio's or asyncio's."""
    await _awaited(_Tell(ref, message, None))


def ask_blocking(ref: Askable, message: object, timeout: float | None) -> Any:
    """Ask from a thread, and block it."""
    _check_thread(ref)
    return _blocked(_Ask(ref, message, timeout))


def tell_blocking(ref: Askable, message: object) -> None:
    """Tell from a thread, and block it until the mailbox has taken the message."""
    _check_thread(ref)
    _blocked(_Tell(ref, message, None))


def tell_nowait(ref: Askable, message: object) -> None:
    """Hand a message to the loop; what the mailbox refuses there becomes a dead letter."""
    ref.slot.system.ingress.enter(_offer, ref, message)


def _check_thread(ref: Askable) -> None:
    if threading.get_ident() == ref.slot.system.thread_id:
        raise RuntimeError(f"a blocking call to {ref.path} would stop the loop that must answer it: use await")


def _frame_for(ref: Askable) -> Frame | None:
    """Return on whose behalf this thread asks, with the deadline on the clock of the loop that is asked."""
    frame = current_frame.get()
    if frame is None:
        return None
    crossing = Frame(frame.slot)
    crossing.deadline = frame.deadline + ref.slot.system.now() - frame.slot.system.now()
    return crossing


def _blocked(crossing: _Crossing) -> Any:
    answered = threading.Lock()  # not an Event, whose wait an interrupt from the keyboard can leave in pieces
    answered.acquire()
    crossing.enter(answered.release)
    try:
        answered.acquire()
    except BaseException:
        crossing.withdraw_soon()
        raise
    return crossing.result()


async def _awaited(crossing: _Crossing) -> Any:
    answered: Future[None] = Future()

    def wake() -> None:
        if answered.set_running_or_notify_cancel():
            answered.set_result(None)

    crossing.enter(wake)
    try:
        await settled(answered)
    except BaseException:
        crossing.withdraw_soon()
        raise
    return crossing.result()


class _Crossing:
    """A message on its way into the loop, and what comes of it on its way back to whoever waits outside."""

    __slots__ = ("_error", "_frame", "_message", "_ref", "_reply", "_timeout", "_value", "_wake")

    def __init__(self, ref: Askable, message: object, timeout: float | None) -> None:
        self._ref = ref
        self._message = message
        self._timeout = timeout
        self._frame: Frame | None = None
        self._wake: Callable[[], object]
        self._reply: Reply | None = None
        self._value: object = None
        self._error: BaseException | None = None

    def enter(self, wake: Callable[[], object]) -> None:
        """Have it begun on the loop; `wake` is called there, once, when there is something to be had from `result`."""
        self._wake = wake
        self._frame = _frame_for(self._ref)
        self._ref.slot.system.ingress.enter(self._begin)

    def result(self) -> Any:
        """Return what was answered, or raise it."""
        if self._error is not None:
            raise self._error
        return self._value

    def withdraw_soon(self) -> None:
        """Say that nobody waits any more."""
        with contextlib.suppress(ActorStopped):  # the system has ended, and everything with it
            self._ref.slot.system.ingress.post(self._withdraw)

    def _begin(self) -> None:
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to whoever waits
            self._error = error
            self._wake()

    def _send(self) -> None:
        raise NotImplementedError

    def _settle(self, reply: Reply) -> None:
        self._value, self._error = reply.value, reply.error
        self._wake()

    def _withdraw(self) -> None:
        if self._reply is not None and self._reply.waiter is not None:
            self._reply.abandon()


class _Ask(_Crossing):
    __slots__ = ()

    def _send(self) -> None:
        ref, frame = self._ref, self._frame
        ref._check_cycle(frame)  # noqa: SLF001 - the other half of the ref's own doing
        if frame is not None:
            frame.slot.waits_for.append(ref.slot)  # before the ask, which may be answered at once
        try:
            self._reply = ref._send(self._message, self._timeout, frame, self._settle)  # noqa: SLF001 - likewise
        except BaseException:
            self._waits_no_more()
            raise

    def _settle(self, reply: Reply) -> None:
        self._waits_no_more()
        super()._settle(reply)

    def _withdraw(self) -> None:
        if self._reply is not None and self._reply.waiter is not None:
            self._reply.abandon()
            self._waits_no_more()

    def _waits_no_more(self) -> None:
        if self._frame is not None:
            self._frame.slot.waits_for.remove(self._ref.slot)


class _Tell(_Crossing):
    __slots__ = ()

    def _send(self) -> None:
        ref = self._ref
        ticket = self._reply = Reply(ref.path, inf, ref.slot.system.deadlines, self._settle)
        try:
            if ref._tell(self._message):  # noqa: SLF001 - likewise
                ticket.settle(None)
            else:
                ref.slot.mailbox.waits(self._message, None, ticket)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the teller
            ticket.fail(error)


def _offer(ref: Askable, message: object) -> None:
    try:
        if not ref._tell(message):  # noqa: SLF001 - likewise
            ref.slot.mailbox.waits(message, None, None)
    except RuntaraError as refusal:
        ref.slot.system.dead_letters.add(ref.path, _REASONS.get(type(refusal), "refused"), message)


_REASONS: Final[dict[type[RuntaraError], str]] = {ActorStopped: "stopped", MailboxFull: "mailbox-full"}
"""Why mail from other threads that is refused on the loop becomes a dead letter."""

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
    return await settled(_submit_ask(ref, message, timeout))


async def tell(ref: Askable, message: object) -> None:
    """Tell from another event loop, trio's or asyncio's."""
    await settled(_submit_tell(ref, message))


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

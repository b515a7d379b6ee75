"""How to talk to an actor: `Ref`. It stays valid while the actor behind it is restarted.

Within the system's own event loop an ask costs two task switches. The same `await ref.ask(...)` works from asyncio and
from another trio loop, and the ``…_from_thread`` calls from threads without a loop; `_foreign` carries those over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, overload

import trio
from trio.lowlevel import Task, current_task

from runtara.actors import _foreign
from runtara.actors._reply import Reply
from runtara.actors._slot import Frame, Slot, State, current_frame, nobody
from runtara.errors import DeadlineExceeded
from runtara.messages import R_co, Request

__all__ = ["Askable", "Ref"]

_thread_id = threading.get_ident


class Askable:
    """Something that answers asks: an actor, or a cell."""

    __slots__ = ("_thread_id", "slot")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self._thread_id = slot.system.thread_id

    @property
    def path(self) -> str:
        """Where the actor is in the tree, as in ``root/store/writer``."""
        return self.slot.path

    @overload
    async def ask(self, message: Request[R_co], *, timeout: float | None = None) -> R_co: ...
    @overload
    async def ask(self, message: object, *, timeout: float | None = None) -> Any: ...
    async def ask(self, message: object, *, timeout: float | None = None) -> Any:
        """Send a message and return its reply, waiting at most `timeout` seconds (the system's default if None).

        An ask made while an actor handles a message has no more time than is left for that message. Raises what the
        actor refused with; `ActorFailed` if it crashed; `DeadlineExceeded`; `MailboxFull` or `ActorStopped` if the
        message was not run; `AskCycle`; `OutcomeUnknown` if the actor was cut off.
        """
        if _thread_id() != self._thread_id:
            return await _foreign.ask(self, message, timeout)
        frame = current_frame.get()
        life = self.slot.life
        if life is not None and life.idle and not life.has_mail():
            return await life.ask_now(message, self._deadline(timeout, frame))
        if frame is None:
            return await self._send(message, timeout, frame, current_task()).wait()
        self._check_cycle(frame)
        reply = self._send(message, timeout, frame, current_task())
        return await frame.slot.wait_for(self.slot, reply)

    def ask_then(self, message: object, then: Callable[[Reply], None], *, timeout: float | None = None) -> None:
        """Send a message and have `then` called with the settled `Reply`, on the loop. Raises if it is refused at once.

        For actors that must not wait. `then` must not raise: it runs in the task of whoever answers, and before this
        returns if the actor was idle.
        """
        self._send(message, timeout, current_frame.get(), partial(_call_back, then))

    @overload
    def ask_from_thread(self, message: Request[R_co], *, timeout: float | None = None) -> R_co: ...
    @overload
    def ask_from_thread(self, message: object, *, timeout: float | None = None) -> Any: ...
    def ask_from_thread(self, message: object, *, timeout: float | None = None) -> Any:
        """Like `ask`, blocking the calling thread. Raises `RuntimeError` on the thread of the system's own loop."""
        return _foreign.ask_blocking(self, message, timeout)

    async def tell(self, message: object) -> None:
        """Send a message; return once the mailbox has taken it. Raises `MailboxFull` or `ActorStopped`."""
        if _thread_id() != self._thread_id:
            await _foreign.tell(self, message)
            return
        if self._tell(message):
            await trio.lowlevel.checkpoint()
            return
        ticket = Reply(self.path, inf, self.slot.system.deadlines, current_task())
        try:
            self.slot.mailbox.waits(message, None, ticket)
        except BaseException:
            ticket.abandon()
            raise
        await ticket.wait()

    def tell_nowait(self, message: object) -> None:
        """Send a message from any thread. Raises `MailboxFull` or `ActorStopped`.

        From another thread the message is handed to the loop first; if it is then refused, it becomes a dead letter.
        Use `tell_from_thread` to learn of that.
        """
        raise NotImplementedError  # each kind has its own mailboxes

    def tell_from_thread(self, message: object) -> None:
        """Like `tell`, blocking the calling thread. Raises `RuntimeError` on the thread of the system's own loop."""
        _foreign.tell_blocking(self, message)

    def _check_cycle(self, frame: Frame | None) -> None:
        """Raise `AskCycle` if this actor waits for the one that asks."""
        if frame is not None and (self.slot.waits_for or self.slot is frame.slot):
            frame.slot.check_cycle(self.slot)

    def _deadline(self, timeout: float | None, frame: Frame | None) -> float:
        system = self.slot.system
        now = system.now()
        deadline = now + (system.ask_timeout if timeout is None else timeout)
        if frame is not None and frame.deadline < deadline:
            deadline = frame.deadline
        if deadline <= now:
            raise DeadlineExceeded(f"no time is left to ask {self.path}: allow more time")
        return deadline

    def _open_reply(self, timeout: float | None, frame: Frame | None, waiter: Task | Callable[[Reply], None]) -> Reply:
        """Return a fresh reply for an ask. Raises `DeadlineExceeded`."""
        slot = self.slot
        return Reply(slot.path, self._deadline(timeout, frame), slot.system.deadlines, waiter)

    def _send(
        self, message: object, timeout: float | None, frame: Frame | None, waiter: Task | Callable[[Reply], None]
    ) -> Reply:
        """Hand an ask over. Raises what refuses it at once."""
        raise NotImplementedError  # each kind has its own mailboxes

    def _tell(self, message: object) -> bool:
        """Hand a tell over and return True, or return False if there is no room now. Raises what else refuses it."""
        raise NotImplementedError  # each kind has its own mailboxes


class Ref(Askable):
    """A reference to an actor of one system, equal to every other reference to the same place."""

    __slots__ = ("_mailbox",)

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot)
        self._mailbox = slot.mailbox

    def __repr__(self) -> str:
        return f"<Ref {self.slot.path}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.slot is self.slot

    def __hash__(self) -> int:
        return hash(self.slot)

    def tell_nowait(self, message: object) -> None:
        """Send a message from any thread. Raises `MailboxFull` or `ActorStopped`; see `Askable.tell_nowait`."""
        mailbox = self._mailbox
        user = mailbox.user
        if len(user) < mailbox.room and _thread_id() == self._thread_id:
            user.append(message)
            if mailbox.notify is not None:
                mailbox.ring()
        elif _thread_id() != self._thread_id:
            _foreign.tell_nowait(self, message)
        elif not self._tell(message):
            raise mailbox.full()

    def watch(self, watcher: Ref) -> None:
        """Have `watcher` told `Down` whenever this actor ends, at once if it has ended for good; on the loop only."""
        self.slot.add_watcher(watcher.slot)

    def unwatch(self, watcher: Ref) -> None:
        """Take `watch` back; harmless if nothing is watched; on the loop only."""
        self.slot.remove_watcher(watcher.slot)

    def _check_open(self) -> None:
        if self.slot.state is State.STOPPED:
            raise self.slot.stopped()

    def _send(
        self, message: object, timeout: float | None, frame: Frame | None, waiter: Task | Callable[[Reply], None]
    ) -> Reply:
        """Put an ask into the mailbox, or let it wait for room there; have it answered at once if the actor is idle."""
        self._check_open()
        reply = self._open_reply(timeout, frame, waiter)
        mailbox, life = self._mailbox, self.slot.life
        if life is not None and life.idle and not life.has_mail() and waiter.__class__ is not Task:
            life.answer_now(message, reply)
            return reply
        if mailbox.senders or not mailbox.put(message, reply):
            try:
                mailbox.waits(message, reply, None)
            except BaseException:
                reply.abandon()
                raise
        return reply

    def _tell(self, message: object) -> bool:
        self._check_open()
        mailbox = self._mailbox
        return not mailbox.senders and mailbox.put(message, None)


def _call_back(then: Callable[[Reply], None], reply: Reply) -> None:
    with nobody():  # not on behalf of the actor that answers
        then(reply)

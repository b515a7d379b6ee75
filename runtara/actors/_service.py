"""Service actors: one trio task each, one message at a time.

A class says what it hears with `@hears(MessageType)`; the table is built once per class. An exception that is a
`RuntaraError` is a refusal: the asker gets it and the actor carries on. Any other exception is a bug: the asker gets
`ActorFailed`, and the actor crashes into the hands of its supervisor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from math import inf
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from runtara.actors._deferred import Deferred
from runtara.actors._mailbox import Asked
from runtara.actors._ref import Ref
from runtara.actors._reply import Reply
from runtara.actors._slot import STOP, Frame, Slot, current_frame, nobody
from runtara.errors import InvalidInput, RuntaraError
from runtara.logs import about_nothing
from runtara.traces import under

if TYPE_CHECKING:
    from runtara.actors._system import System

__all__ = ["Actor", "Hearing", "Life", "hears", "single"]

_BURST: Final = 512
"""Messages after which an actor lets others have a turn."""

F = TypeVar("F", bound=Callable[..., Any])


def hears(*message_types: type) -> Callable[[F], F]:
    """Mark a method as the handler of messages of exactly these types."""

    def mark(method: F) -> F:
        method.__dict__.setdefault("__hears__", []).extend(message_types)
        return method

    return mark


class Hearing:
    """Gives a class its table of handlers, `HEARS`: message type to function. Subclasses add and override."""

    HEARS: ClassVar[dict[type, Callable[..., Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        marks = {
            heard: name
            for base in reversed(cls.__mro__)
            for name, method in vars(base).items()
            for heard in getattr(method, "__hears__", ())
        }
        cls.HEARS = {heard: getattr(cls, name) for heard, name in marks.items()}


class Actor(Hearing):
    """Base of service actors. Handlers may be plain or async functions; what they return is the reply."""

    AT_ONCE: ClassVar[bool] = True
    """Whether an ask that finds the actor idle may be answered in the asker's task."""

    _slot: Slot
    _nursery: trio.Nursery

    @property
    def ref(self) -> Ref:
        """The reference under which this actor, and any later incarnation of it, is known."""
        return self._slot.ref()

    @property
    def system(self) -> System:
        """The system that this actor belongs to."""
        return self._slot.system

    async def on_start(self) -> None:
        """Prepare; the supervisor starts nobody else until this returns. An exception counts as a crash."""

    async def on_stop(self, failure: BaseException | None) -> None:
        """Clean up, also after an `on_start` that failed; what takes longer than the stop grace is cut off.

        `failure` is what crashed the actor, None when it was asked to stop.
        """

    def describe(self) -> dict[str, Any]:
        """Return a few facts about the actor's state for `runtara tree` and the console; must not wait."""
        return {}

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run a task beside the mailbox, for as long as this incarnation lives. Its exceptions crash the actor.

        It is not part of the message in hand: what it asks has the system's time-out, and may be asked of this actor.
        """
        with nobody(), about_nothing(), under(None):
            self._nursery.start_soon(task, *args)

    def tell_later(self, delay: float, message: object) -> trio.CancelScope:
        """Tell oneself `message` in `delay` seconds, before other mail; cancel the returned scope to take it back."""
        scope = trio.CancelScope()
        self.start_soon(self._tell_later, scope, trio.current_time() + delay, message)
        return scope

    async def _tell_later(self, scope: trio.CancelScope, at: float, message: object) -> None:
        with scope:
            await trio.sleep_until(at)
            self._slot.mailbox.put_control(message)


class Life:
    """One incarnation of a service actor: its task, and the answering of mail.

    While the actor is idle its next ask is answered right in the asker's task, if the handler need not wait: there is
    nothing to wait for, one message at a time still holds, and two task switches are saved. That goes for answers that
    are called back, too. A handler that turns out to be async is carried on in the actor's own task.
    """

    __slots__ = ("_asked", "_crash", "_frame", "_slot", "_table", "_unfinished", "actor", "idle")

    def __init__(self, actor: Actor, slot: Slot) -> None:
        self.actor = actor
        self.idle = False
        self._slot = slot
        self._frame = Frame(slot)
        self._table = actor.HEARS
        self._unfinished: tuple[Coroutine[Any, Any, object], object, Reply | None] | None = None
        self._crash: BaseException | None = None
        self._asked = 0

    async def run(self, stop_grace: float, started: Callable[[], None]) -> None:
        """Start, answer messages until told to stop, clean up. Raises what crashed the actor."""
        current_frame.set(self._frame)
        failure: BaseException | None = None
        try:
            await self._live(started)
        except BaseException as error:  # noqa: BLE001 - raised again below, when the actor has cleaned up
            failure = single(error)
        self._frame.deadline = inf
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + stop_grace) as scope:
                await self.actor.on_stop(None if isinstance(failure, trio.Cancelled) else failure)
            if scope.cancelled_caught:
                raise TimeoutError(f"{self._slot.path} did not clean up within {stop_grace:g} s")
        except BaseException as error:
            if failure is None:
                raise
            failure.add_note(f"and its clean-up failed: {error!r}")
        if failure is not None:
            raise failure

    async def _live(self, started: Callable[[], None]) -> None:
        actor = self.actor
        async with trio.open_nursery() as nursery:
            actor._slot, actor._nursery = self._slot, nursery  # noqa: SLF001 - an actor is given its place
            await actor.on_start()
            started()
            await self._answer()
            nursery.cancel_scope.cancel()

    def crash(self, error: BaseException) -> None:
        """End the actor with `error` as soon as its task runs; for code of the actor's that runs in other tasks."""
        self.idle = False
        self._crash = error
        self._slot.mailbox.ring()

    def has_mail(self) -> bool:
        """Return whether anybody comes before a new ask."""
        mailbox = self._slot.mailbox
        return bool(mailbox.user or mailbox.control)

    @trio.lowlevel.enable_ki_protection  # an interrupt from the keyboard is for the asker, not for the actor
    async def ask_now(self, message: object, deadline: float) -> object:
        """Answer an ask in the asker's task, or start to and wait for the rest. Only while `idle`."""
        try:
            value = self._handle_now(message, deadline)
        except RuntaraError:
            await trio.lowlevel.checkpoint()
            raise
        except BaseException as error:
            self.crash(error)
            raise self._slot.crashed(error) from error
        if value.__class__ is CoroutineType:
            return await self._finish_later(cast("Coroutine[Any, Any, object]", value), message, deadline)
        self._asked += 1
        if self._asked & 31:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        return value

    @trio.lowlevel.enable_ki_protection  # likewise
    def answer_now(self, message: object, reply: Reply) -> None:
        """Answer an ask whose answer is called back, or start to. Only while `idle`."""
        try:
            value = self._handle_now(message, reply.deadline)
        except RuntaraError as refusal:
            reply.fail(refusal)
        except BaseException as error:  # noqa: BLE001 - raised again in the actor's own task
            self.crash(error)
            reply.fail(self._slot.crashed(error))
        else:
            if value.__class__ is CoroutineType:
                self._leave(cast("Coroutine[Any, Any, object]", value), message, reply)
            else:
                reply.settle(value)

    def _handle_now(self, message: object, deadline: float) -> object:
        self._frame.deadline = deadline
        outer = current_frame.set(self._frame)
        self.idle = False
        self._slot.handled += 1
        try:
            return self._table.get(message.__class__, _unheard)(self.actor, message)
        finally:
            current_frame.reset(outer)
            self.idle = self._crash is None

    def _leave(self, rest: Coroutine[Any, Any, object], message: object, reply: Reply) -> None:
        """Leave a handler that waits to the actor's own task."""
        self.idle = False
        self._unfinished = rest, message, reply
        self._slot.mailbox.ring()

    async def _finish_later(self, rest: Coroutine[Any, Any, object], message: object, deadline: float) -> object:
        slot = self._slot
        reply = Reply(slot.path, deadline, slot.system.deadlines, current_task())
        self._leave(rest, message, reply)
        asker = current_frame.get()
        return await (reply.wait() if asker is None else asker.slot.wait_for(slot, reply))

    async def _answer(self) -> None:
        """Read mail and answer it until told to stop."""
        control = self._slot.mailbox.control
        wake = partial(reschedule, current_task())
        while True:
            if self._crash is not None:
                raise self._crash
            while control and self._unfinished is None:
                if self._hear(control.popleft()):
                    return
            if self._unfinished is None:
                self._burst()
            if self._unfinished is not None:
                await self._finish()
            elif control or self._slot.mailbox.user or self._crash is not None:
                await trio.lowlevel.checkpoint()
            else:
                await self._wait_for_mail(wake)

    def _burst(self) -> None:
        """Answer mail until there is none, a handler has to wait, or it is the turn of others."""
        slot, actor, table = self._slot, self.actor, self._table
        mailbox = slot.mailbox
        control, pop = mailbox.control, mailbox.pop
        self._frame.deadline = inf
        handled = 0
        try:
            for handled in range(1, min(len(mailbox.user), _BURST) + 1):  # noqa: B007 - read below, however this ends
                message = pop()
                if message.__class__ is Asked:
                    self._answer_ask(message)
                else:
                    try:
                        value = table.get(message.__class__, _unheard)(actor, message)
                    except BaseException as error:  # noqa: BLE001 - raised again if it is a crash
                        self._fail(message, None, error)
                    else:
                        if value is not None and value.__class__ is CoroutineType:
                            self._unfinished = cast("Coroutine[Any, Any, object]", value), message, None
                if control or self._unfinished is not None:
                    break
        finally:
            slot.handled += handled
        if mailbox.senders:
            mailbox.admit()

    def _answer_ask(self, asked: Asked) -> None:
        message, reply = asked.unwrap()
        if reply.waiter is None:
            self._slot.handled -= 1
            self._slot.mailbox.dead_letters.add(self._slot.path, "expired", message)
            return
        self._frame.deadline = reply.deadline
        try:
            value = self._table.get(message.__class__, _unheard)(self.actor, message)
        except BaseException as error:  # noqa: BLE001 - raised again if it is a crash
            self._fail(message, reply, error)
        else:
            if value.__class__ is CoroutineType:
                self._unfinished = cast("Coroutine[Any, Any, object]", value), message, reply
            elif value.__class__ is Deferred:
                value.bind(reply)
            else:
                reply.settle(value)
        self._frame.deadline = inf

    def _hear(self, message: object) -> bool:
        """Handle a control message; return whether it is the one to stop."""
        if message is STOP:
            return True
        self._frame.deadline = inf
        self._slot.handled += 1
        try:
            value = self._table.get(message.__class__, _unheard)(self.actor, message)
        except BaseException as error:  # noqa: BLE001 - raised again if it is a crash
            self._fail(message, None, error)
        else:
            if value.__class__ is CoroutineType:
                self._unfinished = cast("Coroutine[Any, Any, object]", value), message, None
        return False

    async def _finish(self) -> None:
        """Carry on with a handler that waits."""
        assert self._unfinished is not None
        rest, message, reply = self._unfinished
        self._frame.deadline = inf if reply is None else reply.deadline
        try:
            value = await rest
        except BaseException as error:  # noqa: BLE001 - raised again if it is a crash
            self._fail(message, reply, error)
        else:
            if reply is not None:
                reply.settle(value)
        finally:
            self._unfinished = None

    async def _wait_for_mail(self, wake: Callable[[], None]) -> None:
        mailbox = self._slot.mailbox
        mailbox.notify = wake
        self.idle = self.actor.AT_ONCE
        try:
            await wait_task_rescheduled(self._stop_waiting)
        finally:
            self.idle = False

    def _stop_waiting(self, _raise_cancel: object) -> Abort:
        self.idle = False  # at once, and not when the task runs: nobody shall leave work that it will not do
        self._slot.mailbox.notify = None
        return Abort.SUCCEEDED

    def _fail(self, message: object, reply: Reply | None, error: BaseException) -> None:
        """Answer the mail whose handler raised `error`; raise it again if the actor has crashed with it."""
        slot = self._slot
        cause = single(error)
        answer: RuntaraError
        if isinstance(cause, RuntaraError):
            answer, reason = cause, "refused"
        elif isinstance(cause, trio.Cancelled):
            answer, reason = slot.interrupted(), "unknown"
        else:
            answer, reason = slot.crashed(cause), "failed"
        if reply is not None:
            reply.fail(answer)
        else:
            slot.mailbox.dead_letters.add(slot.path, reason, message)
        if answer is not cause:
            raise error


def _unheard(actor: Actor, message: object) -> None:
    heard = ", ".join(sorted(known.__name__ for known in actor.HEARS)) or "nothing"
    raise InvalidInput(f"{actor.ref.path} does not hear {type(message).__name__}: it hears {heard}")


def single(error: BaseException) -> BaseException:
    """Unwrap groups of one, which a nursery makes of a lone exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error

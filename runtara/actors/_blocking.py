"""Blocking actors: pykka threads for work that honestly blocks. The one door to pykka, through its public API.

Mail waits in our own mailbox; pykka's inbox holds at most one hint that there is some. One hint is answered by draining
the mailbox, a batch at a time, so an actor that overrides `on_batch` can do the work of many messages in one go.

A `pykka.ThreadingActor` of the user's own can be supervised too: it keeps its class, its proxies and its pykka refs.
Exceptions never reach pykka's loop from mail of ours, because there a `BaseException` would stop every pykka actor of
the process.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pykka
import trio

from runtara.actors._mailbox import Mailbox
from runtara.actors._reply import Reply
from runtara.actors._service import Hearing
from runtara.actors._slot import Frame, Slot, current_frame
from runtara.errors import ActorFailed, ActorStopped, InvalidInput, RuntaraError

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # only for type checkers: it is not installed with us

    from runtara.actors._system import System

__all__ = ["BlockingActor", "Delivery", "Incarnation", "PykkaActor", "is_blocking"]

PykkaActor = pykka.ThreadingActor


class _Hint:
    """The only message of ours that passes through pykka's inbox: there is mail."""


_HINT: Final = _Hint()


class Delivery:
    """One message handed to a blocking actor, to be answered with `settle` or `fail`. Left alone, its reply is None."""

    __slots__ = ("_reply", "error", "message", "settled", "value")

    def __init__(self, message: object, reply: Reply | None) -> None:
        self.message = message
        self._reply = reply
        self.settled = False
        self.value: object = None
        self.error: BaseException | None = None

    @property
    def expired(self) -> bool:
        """Whether somebody asked, and waits no more."""
        return self._reply is not None and self._reply.waiter is None

    @property
    def deadline(self) -> float:
        """Until when the asker waits, on the clock of the loop; infinite for a tell."""
        return inf if self._reply is None else self._reply.deadline

    def settle(self, value: object) -> None:
        """Answer with `value`."""
        self.value, self.settled = value, True

    def fail(self, error: BaseException) -> None:
        """Answer with `error`."""
        self.error, self.settled = error, True

    def interrupt(self, slot: Slot) -> None:
        """Tell the asker that it will not be known what came of the message; on the loop."""
        if self._reply is None:
            slot.mailbox.dead_letters.add(slot.path, "unknown", self.message)
        else:
            self._reply.fail(slot.interrupted())

    def send(self, slot: Slot) -> None:
        """Carry the answer to the asker; on the loop."""
        if self._reply is None:
            if self.error is not None:
                reason = "failed" if isinstance(self.error, ActorFailed) else "refused"
                slot.mailbox.dead_letters.add(slot.path, reason, self.message)
        elif self.error is not None:
            self._reply.fail(self.error)
        else:
            self._reply.settle(self.value)


class BlockingActor(Hearing, pykka.ThreadingActor):
    """Base of blocking actors. Handlers are plain functions, marked with `@hears`; all hooks run in its own thread."""

    use_daemon_thread: ClassVar[bool] = True  # a thread stuck in a system call must not keep the process alive

    BATCH: ClassVar[int] = 1
    """Most messages handed to `on_batch` at once."""

    @property
    def system(self) -> System:
        """The system that this actor belongs to; in its own thread only."""
        frame = current_frame.get()
        assert frame is not None, "its thread begins with it"
        return frame.slot.system

    def on_batch(self, deliveries: Sequence[Delivery]) -> None:
        """Answer each delivery; by default one by one, through the handlers."""
        for delivery in deliveries:
            handler = self.HEARS.get(type(delivery.message), _unheard)
            try:
                delivery.settle(handler(self, delivery.message))
            except RuntaraError as refusal:
                delivery.fail(refusal)


def _unheard(actor: BlockingActor, message: object) -> None:
    heard = ", ".join(sorted(known.__name__ for known in actor.HEARS)) or "nothing"
    raise InvalidInput(f"{type(actor).__name__} does not hear {type(message).__name__}: it hears {heard}")


def is_blocking(factory: Callable[..., object]) -> TypeIs[type[pykka.ThreadingActor]]:
    """Return whether `factory` makes actors that live in pykka threads."""
    return isinstance(factory, type) and issubclass(factory, pykka.ThreadingActor)


class Incarnation:
    """One life of a blocking actor, seen from the loop: start it, stop it, hear of its end."""

    def __init__(self, slot: Slot, started: Callable[[], None]) -> None:
        self.slot = slot
        self.frame = Frame(slot)
        self._started = started
        self._ended = trio.Event()
        self._failure: BaseException | None = None
        self._ref: pykka.ActorRef[Any] | None = None
        self._over = False
        self.stopping = False
        self.in_hand: Sequence[Delivery] = ()

    async def live(self, factory: type[pykka.ThreadingActor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Run the actor's thread to its end. Raises what crashed it."""
        hosted = _hosted(factory)
        self._ref = hosted.start(*args, incarnation=self, **kwargs)
        if issubclass(factory, BlockingActor):
            # Out of pykka's process-wide registry: a host that stops its own pykka actors must not stop ours.
            pykka.ActorRegistry.unregister(self._ref)
        try:
            await self._ended.wait()
        except trio.Cancelled:
            self.stopping = True  # its thread cannot be killed; it ends after the system call it is in
            for delivery in self.in_hand:
                delivery.interrupt(self.slot)
            raise
        finally:
            self._over = True
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask the thread to end after the batch in hand."""
        self.stopping = True
        if self._ref is not None:
            self._tell_pykka(self._ref.stop, block=False)

    def hint(self) -> None:
        """Tell the thread that there is mail."""
        if self._ref is not None:
            self._tell_pykka(self._ref.tell, _HINT)

    def report_started(self) -> None:
        """Say from the thread that `on_start` has returned."""
        self._post(self._begin)

    def report_end(self, failure: BaseException | None) -> None:
        """Say from the thread that it ends."""
        self._post(self._end, failure)

    def report_answers(self, deliveries: Sequence[Delivery]) -> None:
        """Send a batch of answers from the thread."""
        self._post(self._send, deliveries)

    def report_expired(self, delivery: Delivery) -> None:
        """Say from the thread that mail was dropped unread."""
        self._post(self.slot.mailbox.dead_letters.add, self.slot.path, "expired", delivery.message)

    def _post(self, callback: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(ActorStopped):  # the loop is gone, and everybody who waited has been told
            self.slot.system.ingress.post(callback, *args)

    def _begin(self) -> None:
        if self._over:
            return
        self._started()
        self.slot.mailbox.notify = self.hint
        self.hint()

    def _send(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            delivery.send(self.slot)
        self.slot.handled += len(deliveries)
        if self.slot.mailbox.senders:
            self.slot.mailbox.admit()

    def _end(self, failure: BaseException | None) -> None:
        if not self._over:
            self.slot.mailbox.notify = None
        self._failure = failure
        self._ended.set()

    def _tell_pykka(self, call: Callable[..., object], *args: object, **kwargs: object) -> None:
        with contextlib.suppress(pykka.ActorDeadError):  # it has ended by itself, and will say so
            call(*args, **kwargs)


class _Host(pykka.ThreadingActor):
    """Comes before the actor's own class: carries our mail into its thread, and word of its end out of it."""

    _incarnation: Incarnation

    def __init__(self, *args: Any, incarnation: Incarnation, **kwargs: Any) -> None:
        self._incarnation = incarnation
        super().__init__(*args, **kwargs)

    def on_start(self) -> None:
        current_frame.set(self._incarnation.frame)
        try:
            super().on_start()
        except BaseException as error:  # noqa: BLE001 - reported, and then it ends the actor
            self._end(error)
        else:
            self._incarnation.report_started()

    def on_stop(self) -> None:
        failure: BaseException | None = None
        try:
            super().on_stop()
        except BaseException as error:  # noqa: BLE001 - reported
            failure = error
        self._incarnation.report_end(failure)

    def on_failure(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """A tell through the actor's own pykka ref has failed; pykka ends the actor."""
        try:
            super().on_failure(type_, value, traceback)
        finally:
            self._incarnation.report_end(value)

    def on_receive(self, message: Any) -> Any:
        if message is not _HINT:
            return super().on_receive(message)
        if self._incarnation.stopping:
            return None  # the mail is for the next life
        mailbox = self._incarnation.slot.mailbox
        mailbox.notify = self._incarnation.hint  # before the mailbox is emptied, so that no mail is overlooked
        batch = self.BATCH if isinstance(self, BlockingActor) else 1
        while deliveries := self._take(mailbox, batch):
            self._incarnation.in_hand = deliveries
            failure = self._answer(deliveries)
            self._incarnation.in_hand = ()
            self._incarnation.report_answers(deliveries)
            if failure is not None:
                self._end(failure)
            if failure is not None or self._incarnation.stopping:
                return None
        return None

    def _take(self, mailbox: Mailbox, most: int) -> list[Delivery]:
        """Take up to `most` messages that somebody still waits for."""
        deliveries: list[Delivery] = []
        with contextlib.suppress(IndexError):  # a look first would not do: the loop, too, takes out what it drops
            while len(deliveries) < most:
                delivery = Delivery(*mailbox.take())
                if delivery.expired:
                    self._incarnation.report_expired(delivery)
                else:
                    deliveries.append(delivery)
        return deliveries

    def _answer(self, deliveries: Sequence[Delivery]) -> BaseException | None:
        """Have a batch answered; return what crashed the actor, if anything did."""
        self._incarnation.frame.deadline = min(delivery.deadline for delivery in deliveries)
        try:
            if isinstance(self, BlockingActor):
                self.on_batch(deliveries)
            else:
                _receive(super().on_receive, deliveries[0])
        except BaseException as error:  # noqa: BLE001 - reported, and then it ends the actor
            for delivery in deliveries:
                if not delivery.settled:
                    delivery.fail(self._incarnation.slot.crashed(error))
            return error
        return None

    def _end(self, failure: BaseException) -> None:
        """End the thread without pykka's own failure handling, which would log and, at worst, stop everybody."""
        self._incarnation.stopping = True
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        with contextlib.suppress(BaseException):  # a clean-up that fails too must not hide why it was needed
            super().on_failure(type(failure), failure, failure.__traceback__)
        self._incarnation.report_end(failure)


def _receive(on_receive: Callable[[object], object], delivery: Delivery) -> None:
    try:
        delivery.settle(on_receive(delivery.message))
    except RuntaraError as refusal:
        delivery.fail(refusal)


@functools.cache
def _hosted(factory: type[pykka.ThreadingActor]) -> type[pykka.ThreadingActor]:
    return type(factory.__name__, (_Host, factory), {"__doc__": factory.__doc__, "use_daemon_thread": True})

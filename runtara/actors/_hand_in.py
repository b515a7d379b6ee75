"""Checkpoints that are handed in: taken at once from a program of this process, and saved while it goes on.

That is for a store that ends with the process. There, waiting for the answer protects nothing: whatever ends the
program before a checkpoint is saved ends everything that is saved, too. What is handed in within some milliseconds goes
with one message, and an instance hears nothing else, of whomever, before it has heard all that was handed in for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from runtara.actors._cell import CellRef
from runtara.actors._ref import Askable, Ref
from runtara.errors import Retry, RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import Call, SaveCheckpoints

if TYPE_CHECKING:
    from trio.lowlevel import Task

    from runtara.actors._reply import Reply
    from runtara.actors._slot import Frame
    from runtara.actors.instances import Instances

__all__ = ["HANDED_IN_MAX", "HANDED_IN_MAX_BYTES", "Behind", "BehindAll", "HandIn", "Tray"]

HANDED_IN_MAX: Final = 128
"""Most checkpoints of a program that are handed in and not yet on their way."""

HANDED_IN_MAX_BYTES: Final = 16_384
"""The largest state that is handed in."""


class Tray:
    """The ways on which something may lie that was handed in: by instance, the last one of each. For the loop only."""

    def __init__(self) -> None:
        self._ways: dict[InstanceKey, HandIn] = {}

    def add(self, way: HandIn) -> None:
        """Note a way; what lies on an older one to the same instance goes first."""
        older = self._ways.get(way.key)
        if older is not way:
            if older is not None:
                older.save()
            self._ways[way.key] = way

    def discard(self, way: HandIn) -> None:
        """Note that nothing lies on a way any more."""
        if self._ways.get(way.key) is way:
            del self._ways[way.key]

    def clear(self, key: InstanceKey) -> None:
        """Have everything saved that was handed in for an instance."""
        way = self._ways.get(key)
        if way is not None:
            way.save()

    def clear_all(self) -> None:
        """Have everything saved that was handed in."""
        for way in tuple(self._ways.values()):
            way.save()


class BehindAll(Askable):
    """Somebody who reads what is stored, and is asked behind all that was handed in."""

    __slots__ = ("_reader", "_tray")

    def __init__(self, reader: Ref, tray: Tray) -> None:
        super().__init__(reader.slot)
        self._reader = reader
        self._tray = tray

    async def ask(self, message: object, *, timeout: float | None = None) -> Any:
        """Ask behind all that was handed in; see `Askable.ask`."""
        if threading.get_ident() == self._thread_id:
            self._tray.clear_all()  # here, as whoever is idle is not sent the message, but answers at once
        return await super().ask(message, timeout=timeout)

    def _send(
        self, message: object, timeout: float | None, frame: Frame | None, waiter: Task | Callable[[Reply], None]
    ) -> Reply:
        self._tray.clear_all()
        return self._reader._send(message, timeout, frame, waiter)  # noqa: SLF001 - this only stands before it


class Behind(CellRef[InstanceKey]):
    """An instance that hears of everybody only behind all that was handed in for it."""

    __slots__ = ("key", "tray")

    def __init__(self, region: Ref, key: InstanceKey, tray: Tray) -> None:
        super().__init__(region, key)
        self.key = key
        self.tray = tray

    def _send(
        self, message: object, timeout: float | None, frame: Frame | None, waiter: Task | Callable[[Reply], None]
    ) -> Reply:
        self.tray.clear(self.key)
        return super()._send(message, timeout, frame, waiter)


class HandIn(Behind):
    """An instance as one program of this process speaks to it, which may hand in checkpoints.

    It is looked for them some milliseconds after the program has spoken, and for as long as there are some. So a
    program whose tasks are short wakes nobody, and what those have returned lies here for no longer than that.
    """

    __slots__ = (
        "_cell",
        "_epoch",
        "_handed_in",
        "_is_looked_at",
        "_refusal",
        "_trouble",
        "_under_way",
        "_waiters",
        "deadline",
    )

    def __init__(self, region: Ref, key: InstanceKey, tray: Tray) -> None:
        super().__init__(region, key, tray)
        self.deadline = 0.0
        self._cell: Final = CellRef(region, key)
        self._is_looked_at = False
        self._handed_in: deque[tuple[str, bytes]] = deque()
        self._under_way: tuple[tuple[str, bytes], ...] = ()
        self._epoch: int | None = None
        self._refusal: RuntaraError | None = None
        """Why what was handed in is not saved, and never will be; told once, by what the program does next."""
        self._trouble: BaseException | None = None
        """Why it is not saved yet: it is sent again with what is said next."""
        self._waiters: list[tuple[object, Reply]] = []
        """What was said behind it."""

    def is_left_alone(self, epoch: int | None, checkpoint_id: str | None = None) -> bool:
        """Whether an attempt may go on as far as is known, and would hear nothing new; from any thread."""
        region = cast("Instances | None", self.slot.actor)
        return region is not None and self._refusal is None and region.is_left_alone(self.key, epoch, checkpoint_id)

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int) -> bool:
        """Take a checkpoint, from any thread; False where it has to be saved by a call, whose answer says more.

        Raises what earlier ones were refused with.
        """
        if self._refusal is not None:
            raise self._told(self._refusal)
        if len(self._handed_in) >= HANDED_IN_MAX or len(state) > HANDED_IN_MAX_BYTES:
            return False
        if not self.is_left_alone(epoch, checkpoint_id):
            return False
        self._epoch = epoch
        self._handed_in.append((checkpoint_id, state))
        if not self._is_looked_at:
            self._is_looked_at = True
            if threading.get_ident() == self._thread_id:
                self.tray.add(self)  # who asks on the loop itself may be quicker than the look
            self.slot.system.ingress.post(self.expire)
        return True

    def expire(self) -> None:
        """It is time to look for what was handed in; on the loop."""
        self._is_looked_at = False  # before the look: whoever hands in after it has it looked again
        if not self._handed_in:
            self.tray.discard(self)
            return
        self.save()
        if self._trouble is None:  # else it is for whoever comes next
            self._have_looked_at()

    def save(self) -> None:
        """Have everything saved that was handed in; on the loop."""
        if self._under_way or not self._handed_in:
            return
        self._trouble = None
        self._under_way = tuple(self._handed_in.popleft() for _ in range(len(self._handed_in)))
        call = Call(self.key, SaveCheckpoints(checkpoints=self._under_way), self._epoch)
        try:
            self._cell.ask_then(call, self._settled)
        except RuntaraError as error:
            self._end(error)

    def _send(
        self, message: object, timeout: float | None, frame: Frame | None, waiter: Task | Callable[[Reply], None]
    ) -> Reply:
        """Say something behind all that was handed in. Raises why that is not saved."""
        self.save()
        if self._refusal is not None:
            raise self._told(self._refusal)
        if not self._is_looked_at:
            self._have_looked_at()
        if self._under_way:
            reply = self._open_reply(timeout, frame, waiter)
            self._waiters.append((message, reply))
            return reply
        if self._trouble is not None:
            raise self._trouble
        return super()._send(message, timeout, frame, waiter)

    def _have_looked_at(self) -> None:
        system = self.slot.system
        self._is_looked_at = True
        self.tray.add(self)
        self.deadline = system.now()
        system.deadlines.add(self)  # with the next of its ticks

    def _settled(self, reply: Reply) -> None:
        self._end(reply.error)

    def _end(self, error: BaseException | None) -> None:
        under_way, self._under_way = self._under_way, ()
        if isinstance(error, RuntaraError) and error.retry is Retry.NEVER:
            self._refusal = error
            self._handed_in.clear()
        elif error is not None:
            self._trouble = error
            self._handed_in.extendleft(reversed(under_way))
        elif self._waiters:
            self.save()
        if not self._under_way:
            self._let_on(error)

    def _let_on(self, error: BaseException | None) -> None:
        waiters, self._waiters = self._waiters, []
        for message, reply in waiters:
            if error is None:
                self._deliver(message, reply)
            else:
                reply.fail(error)
        if waiters and error is self._refusal:
            self._refusal = None

    def _told(self, refusal: RuntaraError) -> RuntaraError:
        self._refusal = None
        return refusal

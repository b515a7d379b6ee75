"""One cell: its state while it is in memory, a burst of its decided messages, its kind, and how to talk to it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import msgspec
from trio.lowlevel import Task

from runtara.actors import _foreign
from runtara.actors._ref import Askable, Ref
from runtara.actors._reply import Reply
from runtara.actors._slot import Frame, Slot, State
from runtara.errors import ActorStopped, RuntaraError

if TYPE_CHECKING:
    from runtara.actors._region import Region

__all__ = ["UNREAD", "Cell", "CellKind", "CellRef", "Decision", "Elsewhere", "Write", "once"]

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")

UNREAD: Final = object()
"""What a cell has found while it has not looked anything up."""


class Decision(msgspec.Struct, frozen=True):
    """What a cell makes of a message. A reply that is an exception is raised at the asker once the events are kept."""

    events: tuple[Any, ...] = ()
    reply: Any = None
    effects: tuple[Any, ...] = ()


class Elsewhere(Exception):
    """The cell lives elsewhere: `hydrate` gives this instead of a state, and the cell's mail is passed on."""


class Cell(Generic[S]):
    """One cell while it is in memory. `busy` says that something is under way for it; its mail then waits."""

    __slots__ = ("busy", "conflicts", "found", "mail", "state", "used_at")

    def __init__(self) -> None:
        self.state: S | None = None
        self.mail: deque[tuple[Any, Reply | None]] | None = None
        self.found: Any = UNREAD
        self.busy = False
        self.conflicts = 0
        self.used_at = 0.0


class Write(Generic[K, S]):
    """A burst of one cell, decided but not yet kept."""

    __slots__ = ("after", "answers", "before", "burst", "cell", "effects", "events", "key")

    def __init__(self, key: K, cell: Cell[S], before: S) -> None:
        self.key = key
        self.cell = cell
        self.before = before
        self.after = before
        self.events: list[Any] = []
        self.effects: list[Any] = []
        self.burst: list[tuple[Any, Reply | None]] = []
        self.answers: list[Any] = []
        """What becomes of each message of the burst; an exception is raised at the asker."""


class CellKind(ABC, Generic[K, S]):
    """How the cells of one kind are loaded, decided, kept and acted upon: what a region needs to be told."""

    @abstractmethod
    def hydrate(self, keys: Sequence[K], settle: Callable[[Mapping[K, S | Exception] | Exception], None]) -> None:
        """Begin to load the cells' states; call `settle` with all of them, or with one error for the whole."""

    @abstractmethod
    def decide(self, state: S, message: Any, now_ms: int, found: Any) -> Decision:
        """Return what comes of the message. Pure. A `RuntaraError` refuses it; any other exception fails only it."""

    @abstractmethod
    def evolve(self, state: S, event: Any) -> S:
        """Return the state after an event. Pure."""

    def needs(self, state: S, message: Any) -> Any:
        """Return what has to be looked up before the message can be decided, or None. Pure."""

    def look_up(self, key: K, needs: Any, settle: Callable[[Any], None]) -> None:
        """Begin to look up what a message needs; call `settle` with it, or with an exception."""
        raise NotImplementedError  # only for kinds whose `needs` returns something

    def persist(self, writes: Sequence[Write[K, S]], settle: Callable[[Sequence[bool] | Exception], None]) -> None:
        """Begin to keep the writes' events; call `settle` with True per write, False for one that lost a race.

        An exception says that none is kept (`StoreUnavailable` and its like) or that it is not known.
        """
        settle([True] * len(writes))

    def kept(self, state: S, write: Write[K, S]) -> S:
        """Return the state of a cell whose write has been kept, where keeping it changed something. Pure."""
        return state

    def keeps(self, state: S) -> bool:
        """Return whether nobody else changes the stored state, so that it may stay in memory. Pure."""
        return True

    def pass_on(self, key: K, message: Any, reply: Reply | None, elsewhere: Elsewhere) -> None:
        """Have a message answered where its cell lives."""
        raise NotImplementedError  # only for kinds that load such cells

    def perform(self, key: K, state: S, effects: Sequence[Any]) -> None:
        """Do what follows from a kept decision. At most once: whatever it does must be derivable from stored state."""


class CellRef(Askable, Generic[K]):
    """A reference to one cell, whether it is in memory or not."""

    __slots__ = ("_key",)

    def __init__(self, region: Ref, key: K) -> None:
        super().__init__(region.slot)
        self._key = key

    def __repr__(self) -> str:
        return f"<CellRef {self.path}/{self._key}>"

    def tell_nowait(self, message: Any) -> None:
        """Send a message from any thread. Raises `MailboxFull`, `Quarantined` or `ActorStopped`."""
        if threading.get_ident() == self._thread_id:
            self._tell(message)
        else:
            _foreign.tell_nowait(self, message)

    def _send(
        self, message: object, timeout: float | None, frame: Frame | None, waiter: Task | Callable[[Reply], None]
    ) -> Reply:
        region = _region(self.slot)
        reply = self._open_reply(timeout, frame, waiter)
        try:
            region.deliver(self._key, message, reply)
        except BaseException:
            reply.abandon()
            raise
        return reply

    def _deliver(self, message: object, reply: Reply) -> None:
        """Hand an ask over whose reply is open already, and fails with what refuses it."""
        try:
            _region(self.slot).deliver(self._key, message, reply)
        except RuntaraError as refusal:
            reply.fail(refusal)

    def _tell(self, message: object) -> bool:
        _region(self.slot).deliver(self._key, message, None)
        return True


def once(work: Callable[[Callable[[Any], None]], None], settle: Callable[[Any], None]) -> None:
    """Have `work` call `settle` once, with its result or its error; what it raises is its error."""
    settled = False

    def settle_once(result: Any) -> None:
        nonlocal settled
        if not settled:
            settled = True
            settle(result)

    try:
        work(settle_once)
    except BaseException as error:
        if settled:
            raise
        settle_once(error)


def _region(slot: Slot) -> Region[Any, Any]:
    if slot.state is State.STOPPED:
        raise slot.stopped()
    if slot.state is not State.RUNNING or slot.actor is None:
        raise ActorStopped(f"{slot.path} does not run at the moment and did not read the message: try again")
    return cast("Region[Any, Any]", slot.actor)

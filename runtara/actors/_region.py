"""Regions: dispatchers of cells, actors that cost next to nothing while idle.

A region holds many cells, each with its own mailbox and its own state, none with a task. It brings a cell to life with
its first message (hydration), decides bursts of its messages with pure functions, has the resulting events persisted
together with those of other cells, and only then answers: decide, persist, evolve, reply, effects. Cells that nobody
speaks to leave memory again (passivation). A cell whose state cannot be loaded several times rests in quarantine; its
neighbours never notice.

A bug in what a subclass decides fails that one message; a bug in what it performs crashes the region. The mail of its
cells is then refused as not run, since a cell's mailbox lives and dies with the cell.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import trio

from runtara.actors._cell import UNREAD, Cell, CellKind, Elsewhere, Write, once
from runtara.actors._quarantine import Quarantine
from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors._slot import current_frame
from runtara.clock import Clock, SystemClock
from runtara.errors import ActorStopped, Busy, Internal, MailboxFull, OutcomeUnknown, Quarantined, RuntaraError

__all__ = ["Region"]

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")

_TURN: Final = 512
"""Cells that a region serves before others have a turn."""


class _Ready:
    """Tells a region that cells have mail."""


class _Sweep:
    """Tells a region to look for idle cells."""


_READY: Final = _Ready()
_SWEEP: Final = _Sweep()


class Region(Actor, CellKind[K, S]):
    """The dispatcher of many cells of one kind; a subclass says what a `CellKind` has to say.

    Everything runs on the loop, and nothing here waits: loading and keeping are begun here, and settled by a callback.
    """

    AT_ONCE: ClassVar[bool] = False  # asks are for cells; the region itself hears only its own control messages

    MAILBOX: ClassVar[int] = 256
    """Most messages that may wait for one cell."""
    BURST: ClassVar[int] = 32
    """Most messages of one cell that are decided and kept together."""
    BATCH: ClassVar[int] = 512
    """Most cells whose bursts are kept together."""
    CONFLICTS: ClassVar[int] = 3
    """How often a burst is decided again because somebody else changed the cell's stored state."""
    STRIKES: ClassVar[int] = 3
    """Failed loads in a row after which a cell is quarantined."""
    QUARANTINE: ClassVar[float] = 60.0
    """Seconds that a quarantine lasts."""

    def __init__(self, *, resident: int = 10_000, idle_after: float = 60.0, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.resident = resident
        self.idle_after = idle_after
        self._cells: dict[K, Cell[S]] = {}
        self._ready: deque[tuple[K, Cell[S]]] = deque()
        self._called = False
        self._turning = False
        self._sweep: trio.CancelScope | None = None
        self._quarantine: Quarantine[K] = Quarantine(self.STRIKES, self.QUARANTINE)
        self._in_flight = 0
        self._keeping = 0
        self._kept = trio.Event()
        self._stopping = False

    @trio.lowlevel.enable_ki_protection  # it may serve cells right here, and an interrupt is for the sender
    def deliver(self, key: K, message: Any, reply: Reply | None) -> None:
        """Put a message into a cell's mailbox. Raises `MailboxFull`, `Quarantined` or `ActorStopped`."""
        if self._stopping:
            raise self._slot.stopped()
        cell = self._cells.get(key)
        if cell is None:
            cell = self._awake(key)
        if cell.mail is None:
            cell.mail = deque()
        elif len(cell.mail) >= self.MAILBOX:
            self._slot.mailbox.refused += 1
            raise MailboxFull(f"{self.MAILBOX} messages wait for {_name(key)}, the bound: try again later")
        cell.mail.append((message, reply))
        if not cell.busy and len(cell.mail) == 1:
            self._ready.append((key, cell))
            self._hurry()

    def describe(self) -> dict[str, Any]:
        """Return how many cells are in memory, and how many rest in quarantine."""
        return {"cells": len(self._cells), "quarantined": len(self._quarantine)}

    async def on_stop(self, failure: BaseException | None) -> None:
        """Refuse what was not begun, and wait for what is being kept."""
        self._stopping = True
        for cell in self._cells.values():
            self._refuse_all(cell, self._slot.stopped())
        while self._keeping:
            self._kept = trio.Event()
            await self._kept.wait()

    def _awake(self, key: K) -> Cell[S]:
        now = trio.current_time()
        if self._quarantine.rests(key, now):
            raise Quarantined(f"{_name(key)} could not be loaded {self.STRIKES} times: it rests for a while")
        if len(self._cells) >= self.resident:
            self._passivate(len(self._cells) - self.resident + 1)
        cell = self._cells[key] = Cell()
        cell.used_at = now
        if self._sweep is None:
            self._sweep = self.tell_later(self.idle_after, _SWEEP)
        return cell

    def _hurry(self) -> None:
        """Have a turn taken: at once if nothing is under way, so that a lone message loses no time to task switches.

        While something is being loaded or kept, what comes in is collected, and then loaded or kept together.
        """
        if self._in_flight or self._called or self._turning:
            self._call()
            return
        outer = current_frame.set(None)  # what the region asks for is not bounded by the patience of one asker
        try:
            self._take_turn(_READY)
        except BaseException as error:  # noqa: BLE001 - a bug of the region's is not the sender's
            self._crash(error)
        finally:
            current_frame.reset(outer)

    def _call(self) -> None:
        if not self._called and not self._turning:
            self._called = True
            self._slot.mailbox.put_control(_READY)

    def _crash(self, error: BaseException) -> None:
        life = self._slot.life
        if life is not None and life.actor is self:  # and not a later life of the region
            life.crash(error)

    @hears(_Ready)
    def _take_turn(self, _: _Ready) -> None:
        """Serve the cells that have mail: load the absent, decide the others, and have what was decided kept."""
        self._called, self._turning = False, True
        try:
            while self._serve():
                pass  # what was absent has been loaded at once, from memory: decide it now
        finally:
            self._turning = False
        if self._ready:
            self._call()

    def _serve(self) -> bool:
        absent: list[tuple[K, Cell[S]]] = []
        writes: list[Write[K, S]] = []
        now_ms = self.clock.now_ms()
        for _turn in range(min(len(self._ready), _TURN)):
            key, cell = self._ready.popleft()
            cell.busy = True
            if cell.state is None:
                absent.append((key, cell))
            else:
                self._decide_burst(key, cell, cell.state, now_ms, writes)
        for first in range(0, len(writes), self.BATCH):
            self._keep(writes[first : first + self.BATCH])
        if absent:
            self._load(absent)
        return bool(absent) and not self._in_flight

    def _decide_burst(self, key: K, cell: Cell[S], state: S, now_ms: int, writes: list[Write[K, S]]) -> None:
        """Decide a cell's waiting messages, each on the state that the one before it leads to."""
        write = Write(key, cell, state)
        needs = None
        while cell.mail and len(write.burst) < self.BURST:
            message, reply = cell.mail[0]
            if reply is not None and reply.waiter is None:
                self._slot.mailbox.dead_letters.add(self._slot.path, "expired", message)
                cell.found = UNREAD
                cell.mail.popleft()
                continue
            needs = self._needs(cell, write.after, message)
            if needs is not None:
                break  # what was decided so far is kept first
            found, cell.found = cell.found, UNREAD
            write.burst.append(cell.mail.popleft())
            write.answers.append(self._decide(write, message, now_ms, None if found is UNREAD else found))
        if write.events:
            writes.append(write)
        elif needs is not None and not write.burst:
            self._look_up(key, cell, needs)
        else:
            self._finish(write, write.before)

    def _needs(self, cell: Cell[S], state: S, message: Any) -> Any:
        if cell.found is not UNREAD:
            return None
        try:
            return self.needs(state, message)
        except BaseException as error:  # noqa: BLE001 - fails the message, where it is decided
            cell.found = error
            return None

    def _decide(self, write: Write[K, S], message: Any, now_ms: int, found: Any) -> Any:
        """Add what comes of the message to the write; return the answer to it."""
        try:
            if isinstance(found, BaseException):
                raise found
            decision = self.decide(write.after, message, now_ms, found)
            after = write.after
            for event in decision.events:
                after = self.evolve(after, event)
        except RuntaraError as refusal:
            return refusal
        except BaseException as error:  # noqa: BLE001 - answered
            return self._bug(f"{_name(write.key)} could not handle {type(message).__name__}", error)
        write.after = after
        write.events.extend(decision.events)
        write.effects.extend(decision.effects)
        return decision.reply

    def _bug(self, what: str, error: BaseException) -> RuntaraError:
        """Return what those are told who met `error`: itself if it is a refusal."""
        if isinstance(error, RuntaraError):
            return error
        self._slot.failure = error
        bug = Internal(f"{what}: {error!r}")
        bug.__cause__ = error
        return bug

    def _finish(self, write: Write[K, S], state: S) -> None:
        """Answer a burst whose events, if any, are kept; then act on it."""
        cell = write.cell
        cell.state = state if self.keeps(state) else None
        cell.conflicts = 0
        cell.used_at = self.system.now()
        self._cells[write.key] = self._cells.pop(write.key, cell)  # to the end: the front has been idle longest
        self._slot.handled += len(write.burst)
        for (message, reply), answer in zip(write.burst, write.answers, strict=True):
            if isinstance(answer, BaseException):
                self._refuse(message, reply, answer)
            elif reply is not None:
                reply.settle(answer)
        if write.effects:
            try:
                self.perform(write.key, state, write.effects)
            except BaseException as error:  # noqa: BLE001 - what should have been done can be derived after a restart
                self._crash(error)
        self._release(write.key, cell)

    def _release(self, key: K, cell: Cell[S]) -> None:
        """Nothing is under way for the cell any more: go on with its mail, if there is some."""
        cell.busy = False
        if not cell.mail:
            cell.mail = None
        elif self._stopping:
            self._refuse_all(cell, self._slot.stopped())
        else:
            self._ready.append((key, cell))
            self._call()

    def _begin(self, work: Callable[[Callable[[Any], None]], None], settle: Callable[[Any], None]) -> None:
        self._in_flight += 1

        def settled(result: Any) -> None:
            self._in_flight -= 1
            settle(result)

        once(work, settled)

    def _keep(self, writes: list[Write[K, S]]) -> None:
        self._keeping += 1

        def settle(kept: Sequence[bool] | Exception) -> None:
            self._keeping -= 1
            self._kept.set()
            if not isinstance(kept, BaseException) and len(kept) != len(writes):
                kept = LookupError(f"{len(writes)} writes, and {len(kept)} results")
            for i, write in enumerate(writes):
                if isinstance(kept, BaseException):
                    self._drop(write, self._bug(f"{_name(write.key)} could not be kept", kept))
                elif kept[i]:
                    self._evolve(write)
                else:
                    self._decide_again(write)

        self._begin(partial(self.persist, writes), settle)

    def _evolve(self, write: Write[K, S]) -> None:
        try:
            state = self.kept(write.after, write)
        except BaseException as error:  # noqa: BLE001 - answered
            self._drop(write, self._bug(f"{_name(write.key)} could not take in what was kept", error))
        else:
            self._finish(write, state)

    def _drop(self, write: Write[K, S], error: RuntaraError) -> None:
        """Keeping failed: whatever is stored now, this cell does not know it; it is loaded anew."""
        for message, reply in write.burst:
            self._refuse(message, reply, error)
        write.cell.state = None
        write.cell.conflicts = 0
        self._release(write.key, write.cell)

    def _decide_again(self, write: Write[K, S]) -> None:
        """Somebody else changed the stored state, so nothing of this burst was kept: load, and decide it anew."""
        cell = write.cell
        cell.conflicts += 1
        if cell.conflicts > self.CONFLICTS:
            self._drop(write, Busy(f"{_name(write.key)} is being changed by somebody else: try again"))
            return
        cell.state = None
        cell.mail = deque() if cell.mail is None else cell.mail
        cell.mail.extendleft(reversed(write.burst))
        self._release(write.key, cell)

    def _load(self, absent: list[tuple[K, Cell[S]]]) -> None:
        def settle(states: Mapping[K, S | Exception] | Exception) -> None:
            for key, cell in absent:
                state = states if isinstance(states, BaseException) else states.get(key, LookupError("nothing found"))
                if not isinstance(state, BaseException):
                    self._quarantine.forgive(key)
                    cell.state = state
                    self._release(key, cell)
                    continue
                if isinstance(state, Elsewhere):
                    self._pass_on(key, cell, state)
                    continue
                self._refuse_all(cell, self._bug(f"{_name(key)} could not be loaded", state))
                self._cells.pop(key, None)
                if not isinstance(states, BaseException):
                    self._quarantine.strike(key, trio.current_time())

        self._begin(partial(self.hydrate, [key for key, _ in absent]), settle)

    def _pass_on(self, key: K, cell: Cell[S], elsewhere: Elsewhere) -> None:
        self._cells.pop(key, None)
        for message, reply in cell.mail or ():
            try:
                self.pass_on(key, message, reply, elsewhere)
            except RuntaraError as refusal:
                self._refuse(message, reply, refusal)

    def _refuse_all(self, cell: Cell[S], refusal: RuntaraError) -> None:
        """Answer everything that waits for the cell with `refusal`."""
        mail, cell.mail = cell.mail, None
        for message, reply in mail or ():
            self._refuse(message, reply, refusal)

    def _refuse(self, message: Any, reply: Reply | None, refusal: BaseException) -> None:
        if reply is not None:
            reply.fail(refusal)
        else:
            self._slot.mailbox.dead_letters.add(self._slot.path, _REASONS.get(type(refusal), "refused"), message)

    def _look_up(self, key: K, cell: Cell[S], needs: Any) -> None:
        def settle(found: Any) -> None:
            cell.found = found  # an error fails the message, where it is decided
            self._release(key, cell)

        self._begin(partial(self.look_up, key, needs), settle)

    def _passivate(self, most: int) -> None:
        """Let go of the cells that have been idle longest."""
        idle = (key for key, cell in self._cells.items() if not cell.busy and cell.mail is None)
        for key in list(itertools.islice(idle, most)):
            del self._cells[key]

    @hears(_Sweep)
    def _let_go(self, _: _Sweep) -> None:
        now = trio.current_time()
        old = itertools.takewhile(lambda item: item[1].used_at <= now - self.idle_after, self._cells.items())
        for key in [key for key, cell in old if not cell.busy and cell.mail is None]:
            del self._cells[key]
        self._quarantine.forget(now)
        again = self._cells or self._quarantine
        self._sweep = self.tell_later(self.idle_after, _SWEEP) if again else None


_REASONS: Final[dict[type, str]] = {ActorStopped: "stopped", Internal: "failed", OutcomeUnknown: "unknown"}
"""Why a tell becomes a dead letter, where it was not simply refused."""


def _name(key: object) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)

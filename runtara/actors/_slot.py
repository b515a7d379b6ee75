"""A place in the supervision tree. Actors come and go in it; the place, its mail and its history stay.

Refs point to slots, never to actors, which is why a ref outlives restarts.
"""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Literal

import msgspec

from runtara.actors._mailbox import MailboxSpec, open_mailbox
from runtara.errors import ActorFailed, ActorStopped, AskCycle, OutcomeUnknown

if TYPE_CHECKING:
    from runtara.actors._ref import Ref
    from runtara.actors._reply import Reply
    from runtara.actors._service import Life
    from runtara.actors._system import System

__all__ = ["STOP", "Down", "Frame", "Kind", "Slot", "State", "current_frame", "nobody"]

Kind = Literal["service", "blocking", "region", "supervisor"]


class State(Enum):
    """What is going on in a slot."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


class _Stop:
    """The control message that ends an actor after the message in hand."""


STOP = _Stop()


class Down(msgspec.Struct, frozen=True):
    """Told to those who watch an actor when it ended. `failure` is None where it ended well."""

    path: str
    failure: BaseException | None
    restarts: bool
    """Whether its supervisor will start it again."""


class Frame:
    """Whose code runs here, and how long the message in hand may take: asks made from it inherit the deadline."""

    __slots__ = ("deadline", "slot")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.deadline = inf


current_frame: ContextVar[Frame | None] = ContextVar("current_frame", default=None)


class nobody:  # noqa: N801 - used as a word in `with nobody():`; a class, because it is on the way of every message
    """Run code, and start tasks, on nobody's behalf: not bounded by the patience of whoever is being answered."""

    __slots__ = ("_outer",)

    def __enter__(self) -> None:
        self._outer = current_frame.set(None)

    def __exit__(self, *_: object) -> None:
        current_frame.reset(self._outer)


class Slot:
    """Everything about an actor that survives its restarts."""

    __slots__ = (
        "_announced",
        "_watching",
        "actor",
        "ended_with",
        "failure",
        "handled",
        "incarnation",
        "kind",
        "life",
        "mailbox",
        "path",
        "restarts",
        "state",
        "system",
        "waits_for",
        "watchers",
    )

    def __init__(self, system: System, path: str, kind: Kind, mailbox: MailboxSpec) -> None:
        self.system = system
        self.path = path
        self.kind: Kind = kind
        self.mailbox = open_mailbox(path, mailbox, system.dead_letters)
        self.state = State.STARTING
        self.actor: object = None
        self.life: Life | None = None
        """The incarnation, where it is a service actor."""
        self.incarnation = 0
        self.restarts = 0
        self.failure: BaseException | None = None
        """The latest failure, of whichever life."""
        self.ended_with: BaseException | None = None
        """What the life that has just ended failed with; None while there is one, and where it ended well."""
        self.handled = 0
        self.watchers: set[Slot] = set()
        self._watching: set[Slot] = set()
        self._announced = False
        self.waits_for: list[Slot] = []
        """Whom the actor's handler is asking at this moment."""

    def check_cycle(self, target: Slot) -> None:
        """Raise `AskCycle` if `target` waits, directly or through others, for this actor."""
        seen = {target}
        edge = [target]
        while edge:
            slot = edge.pop()
            if slot is self:
                raise AskCycle(f"{self.path} asks {target.path}, which waits for {self.path}: tell instead of asking")
            fresh = [waited for waited in slot.waits_for if waited not in seen]
            seen.update(fresh)
            edge.extend(fresh)

    async def wait_for(self, asked: Slot, reply: Reply) -> object:
        """Wait for the reply of `asked`, and let `check_cycle` know."""
        self.waits_for.append(asked)
        try:
            return await reply.wait()
        finally:
            self.waits_for.remove(asked)

    def started(self) -> None:
        """Note that the actor has started, or started again."""
        self.state = State.RUNNING
        self.ended_with = None
        self._announced = False

    def ended(self, failure: BaseException | None) -> None:
        """Note that a life of the actor is over."""
        self.actor = self.life = None
        self.mailbox.notify = None
        self.ended_with = failure
        if failure is not None:
            self.failure = failure

    def add_watcher(self, watcher: Slot) -> None:
        """Have `watcher` told `Down` whenever the actor ends; at once if it has ended for good."""
        if self.state is State.STOPPED:
            watcher.mailbox.put_control(Down(self.path, self.ended_with, restarts=False))
        else:
            self.watchers.add(watcher)
            watcher._watching.add(self)

    def remove_watcher(self, watcher: Slot) -> None:
        """Take `add_watcher` back; harmless if nothing is watched."""
        self.watchers.discard(watcher)
        watcher._watching.discard(self)

    def announce_restart(self) -> None:
        """Tell those who watch that the actor ended and will be started again, once for every end."""
        if not self._announced:
            self._announced = True
            for watcher in self.watchers:
                watcher.mailbox.put_control(Down(self.path, self.ended_with, restarts=True))

    def close(self) -> None:
        """End the slot for good: its mail is answered as not run, and so is all mail to come."""
        self.state = State.STOPPED
        self.actor = self.life = None
        self.mailbox.close()
        for message, reply in self.mailbox.drain():
            self.mailbox.dead_letters.add(self.path, "stopped", message)
            if reply is not None:
                reply.fail(self.stopped())
        for watcher in list(self.watchers):
            watcher.mailbox.put_control(Down(self.path, self.ended_with, restarts=False))
            self.remove_watcher(watcher)
        for watched in list(self._watching):
            watched.remove_watcher(self)

    def stopped(self) -> ActorStopped:
        """Return the error for mail that will not be read."""
        cause = f" (it failed with {self.ended_with!r})" if self.ended_with is not None else ""
        return ActorStopped(f"{self.path} has stopped{cause} and did not read the message")

    def interrupted(self) -> OutcomeUnknown:
        """Return the error for mail whose handler was cut off."""
        return OutcomeUnknown(f"{self.path} was cut off while it handled the message: ask again with the same ids")

    def crashed(self, error: BaseException) -> ActorFailed:
        """Return the error for the mail that crashed the actor."""
        failed = ActorFailed(f"{self.path} crashed while it handled the message: {error!r}")
        failed.__cause__ = error
        return failed

    def ref(self) -> Ref:
        """Return a reference to whoever fills this slot."""
        from runtara.actors._ref import Ref

        return Ref(self)

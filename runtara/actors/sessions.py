"""The programs of this process that are connected: tells them of signals, and says for them that they are alive.

A program in this process lives as long as the process does, so its heartbeats need no help of its own: neither a long
step nor a long sleep makes it look silent. Sessions are held weakly; one that its program has dropped is forgotten.
"""

from typing import Protocol, TypeAlias
from weakref import WeakSet

import msgspec
import trio

from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors.instance import Push, Track
from runtara.actors.instances import Effected
from runtara.actors.watched import Ended
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import Call, Heartbeat, InstanceInfo
from runtara.records import Signal
from runtara.store import digest_of

__all__ = ["Attach", "Changed", "Connected", "Detach", "Roster", "Sessions"]


class Connected(Protocol):
    """A connected program."""

    key: InstanceKey
    epoch: int | None
    awaits_end: bool

    def ended(self, info: InstanceInfo, input: bytes | None, /) -> None:
        """Hear how the instance has ended, before that is pushed; likewise."""

    def pushed(self, signal: Signal | None, /) -> None:
        """Hear of a signal, or (None) of a change of status; on the loop, so it must neither wait nor raise."""


Roster: TypeAlias = dict[InstanceKey, WeakSet[Connected]]


class Attach(msgspec.Struct, frozen=True):
    """Tell this session of its instance's signals, and keep its attempt alive, from now on."""

    session: Connected


class Detach(msgspec.Struct, frozen=True):
    """Take `Attach` back; harmless if it is not attached."""

    session: Connected


class Changed(msgspec.Struct, frozen=True):
    """Another node has changed the instances of these digests (see `digest_of`); None where any may have changed."""

    digests: frozenset[str] | None
    numbers: frozenset[int] | None = None
    """The same instances by the numbers of their rows."""


class _Beat(msgspec.Struct, frozen=True):
    """It is time to say who is alive."""


class Sessions(Actor):
    """The sessions of each instance. `instances` is the path of their region, `every` the seconds between heartbeats.

    `roster` is where the sessions are listed. It outlives this actor's restarts, since the programs do, too; what they
    may have missed meanwhile, they are told to look for.
    """

    def __init__(self, *, instances: str, every: float, roster: Roster) -> None:
        self._instances = instances
        self._every = every
        self._sessions = roster
        self._beat: trio.CancelScope | None = None
        self._by_digest = {digest_of(key): key for key in roster}

    async def on_start(self) -> None:
        """Wake the programs that were connected before a restart."""
        for sessions in tuple(self._sessions.values()):
            for session in tuple(sessions):
                session.pushed(None)
        if self._sessions:
            self.beat(_Beat())

    def describe(self) -> dict[str, int]:
        """Return how many instances have a session."""
        return {"connected": len(self._sessions)}

    @hears(Attach)
    def attach(self, message: Attach) -> None:
        """Add a session."""
        key = message.session.key
        if key not in self._sessions:
            self._sessions[key] = WeakSet()
            self._by_digest[digest_of(key)] = key
        self._sessions[key].add(message.session)
        if self._beat is None:
            self._beat = self.tell_later(self._every, _Beat())

    @hears(Detach)
    def detach(self, message: Detach) -> None:
        """Remove a session."""
        sessions = self._sessions.get(message.session.key)
        if sessions is not None:
            sessions.discard(message.session)
            if not sessions:
                self._forget(message.session.key)

    @hears(Changed)
    def changed(self, message: Changed) -> None:
        """Have the sessions of instances look that were changed elsewhere."""
        known = self._by_digest
        keys = known.values() if message.digests is None else [known[one] for one in message.digests if one in known]
        for key in tuple(keys):
            for session in tuple(self._sessions.get(key, ())):
                session.pushed(None)

    @hears(Effected)
    def push(self, message: Effected) -> None:
        """Show a signal, or a change of status, to the instance's sessions."""
        effect = message.effect
        signal = effect.signal if isinstance(effect, Push) else None
        begun = effect.epoch if isinstance(effect, Track) else None  # which is no news to the attempt itself
        for session in tuple(self._sessions.get(message.key, ())):
            if message.over or not (session.awaits_end or session.epoch == begun is not None):
                session.pushed(signal)

    @hears(Ended)
    def ended(self, message: Ended) -> None:
        """Tell the instance's sessions how it has ended; that it has, they are told by what was decided."""
        for session in tuple(self._sessions.get(message.key, ())):
            session.ended(message.info, message.input)

    @hears(_Beat)
    def beat(self, _: _Beat) -> None:
        """Say for every session that its attempt is alive."""
        for key in [key for key, sessions in self._sessions.items() if not sessions]:
            self._forget(key)
        for key, sessions in self._sessions.items():
            for session in tuple(sessions):
                if session.epoch is not None:
                    self._say(Call(key, Heartbeat(), session.epoch))
        self._beat = self.tell_later(self._every, _Beat()) if self._sessions else None

    def _forget(self, key: InstanceKey) -> None:
        del self._sessions[key]
        self._by_digest.pop(digest_of(key), None)

    def _say(self, call: Call) -> None:
        try:
            # Asked, not told: only questions are passed on to other nodes.
            self.system.cell(self._instances, call.key).ask_then(call, _ignore)
        except RuntaraError:
            return  # it is said again with the next beat


def _ignore(_: Reply) -> None:
    """Hear what came of a heartbeat: whatever it is, the next beat says it again."""

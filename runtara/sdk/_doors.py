"""The ways from this process to the instances of one running system, and the end of all of them with it."""

import threading
from weakref import WeakSet

from runtara.actors.sessions import Attach, Detach
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey
from runtara.system import SESSIONS, Runtime
from runtara.transport import EmbeddedDoor, Session
from runtara.transport.calls import Calls
from runtara.transport.counted import CountedLine
from runtara.transport.traced import TracedLine

__all__ = ["Doors"]


class Doors:
    """Opens doors, from any thread."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._sessions = runtime.system.ref(SESSIONS)
        self._traces = runtime.system.traces
        self._calls = Calls(runtime.system.metrics)
        self._lock = threading.Lock()
        self._attached: WeakSet[Session] = WeakSet()

    def open(self, key: InstanceKey, epoch: int | None = None) -> EmbeddedDoor:
        """Return the door of a program: it hears of signals, and is kept alive. Raises `InvalidInput` for bad ids."""
        session = Session(key)
        session.epoch = epoch
        return EmbeddedDoor(session, self._line, self._attach, self._detach, self._line(key, hands_in=True))

    def open_beside(self, key: InstanceKey) -> EmbeddedDoor:
        """Return the door of somebody who manages an instance. Raises `InvalidInput` for bad ids."""
        return EmbeddedDoor(Session(key), self._line)

    def _line(self, key: InstanceKey, *, hands_in: bool = False) -> CountedLine | TracedLine:
        line = CountedLine(self.runtime.dispatch.line(key, hands_in=hands_in), self._calls)
        return line if self._traces is None else TracedLine(line, self._traces)

    def hang_up(self) -> None:
        """The system has ended: wake whoever waits for a push, so that it asks again and hears so."""
        with self._lock:
            sessions = tuple(self._attached)
        for session in sessions:
            session.pushed(None)

    def _attach(self, session: Session) -> None:
        with self._lock:  # first: should the system end in between, it is woken, or refused
            self._attached.add(session)
        self._sessions.tell_nowait(Attach(session))

    def _detach(self, session: Session) -> None:
        try:
            self._sessions.tell_nowait(Detach(session))
        except RuntaraError:
            return  # sessions are held weakly: it is forgotten anyway

"""The door for programs in this process: the same structs, by reference, without a socket.

It knows nothing of actors: whoever wires it gives it the ways in.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from runtara.ids import InstanceKey
from runtara.messages import Request
from runtara.transport.session import Session

__all__ = ["EmbeddedDoor"]

R = TypeVar("R")


class _Line(Protocol):
    async def call(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R: ...

    def call_from_thread(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R: ...

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int | None) -> bool: ...

    def is_left_alone(self, epoch: int | None) -> bool: ...


def _nothing(_: Session) -> None:
    """Neither attach nor detach: a door for those who only ask."""


class EmbeddedDoor:
    """A program's way to the actors of a system in the same process.

    `line` finds the way to an instance. `attach` has the session told of signals and kept alive by heartbeats, from its
    first call on; `detach` ends that. A call after `close` attaches it again. `own` is the way to the program's own
    instance, where that is another one than to those beside it.
    """

    def __init__(
        self,
        session: Session,
        line: Callable[[InstanceKey], _Line],
        attach: Callable[[Session], None] = _nothing,
        detach: Callable[[Session], None] = _nothing,
        own: _Line | None = None,
    ) -> None:
        self.session = session
        self._find_line = line
        self._line = line(session.key) if own is None else own
        self._attach = attach
        self._detach = detach
        self._attached = False

    async def call(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, from any event loop."""
        if not self._attached:
            self._open()
        reply = await self._line.call(command, self.session.epoch, timeout=timeout)
        self.session.received(reply)
        return reply

    def call_from_thread(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, blocking the calling thread."""
        if not self._attached:
            self._open()
        reply = self._line.call_from_thread(command, self.session.epoch, timeout=timeout)
        self.session.received(reply)
        return reply

    def hand_in(self, checkpoint_id: str, state: bytes) -> bool:
        """Take a checkpoint that is saved before any later call of this door is answered; from any thread.

        False where a call has to save it. Raises what checkpoints that were taken earlier are refused with.
        """
        return self._attached and self._line.hand_in(checkpoint_id, state, self.session.epoch)

    def is_left_alone(self) -> bool:
        """Whether it is known here that the attempt runs and was told nothing; where it is not, it has to ask."""
        return self._attached and self._line.is_left_alone(self.session.epoch)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, which there always is."""
        return True

    async def connect(self) -> None:
        """Return at once."""

    def connect_from_thread(self) -> None:
        """Return at once."""

    def beside(self, instance_id: str, *, watch: bool = False) -> "EmbeddedDoor":
        """Return a way to another instance of the same tenant, as somebody who manages it.

        Its session hears of what happens there only if it is to `watch`, from its first call until it is closed.
        """
        session = Session(InstanceKey(self.session.key.tenant_id, instance_id))
        attach, detach = (self._attach, self._detach) if watch else (_nothing, _nothing)
        return EmbeddedDoor(session, self._find_line, attach, detach)

    def stop_heartbeat(self) -> None:
        """Do nothing: a program in this process lives for as long as the process does, and with it the system."""

    def close(self) -> None:
        """Hear of nothing any more; harmless when repeated."""
        if self._attached:
            self._attached = False
            self._detach(self.session)

    def _open(self) -> None:
        self._attach(self.session)
        self._attached = True

"""What every door offers to the program that uses it; the SDK knows no more of a door than this."""

from typing import Protocol, TypeVar

from runtara.messages import Request
from runtara.transport.session import Session

__all__ = ["Door"]

R = TypeVar("R")


class Door(Protocol):
    """A program's way to the runtime. It may be used from any thread and from any event loop.

    A door opens with its first call, and again with the first one after `close`.
    """

    @property
    def session(self) -> Session:
        """Who speaks, and what was pushed."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now; calls make one where there is none."""

    async def call(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered within `timeout` seconds, or the door's own measure, from any event loop.

        Raises what the actors refuse with, as the class they raised; `Unreachable` where it could not be sent in time,
        and `DeadlineExceeded` where it was, but no answer came.
        """

    def call_from_thread(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Like `call`, blocking the calling thread."""

    async def connect(self) -> None:
        """Return when there is a connection. Raises `Unreachable`, `UntrustedServer`, `Unauthenticated`."""

    def connect_from_thread(self) -> None:
        """Like `connect`, blocking the calling thread."""

    def hand_in(self, checkpoint_id: str, state: bytes) -> bool:
        """Take a checkpoint that is saved before any later call of this door is answered; from any thread.

        False where a call has to save it, as everywhere but in a store that ends with this process. Raises what
        checkpoints that were taken earlier are refused with.
        """

    def is_left_alone(self) -> bool:
        """Whether it is known here that the attempt runs and was told nothing; where it is not, it has to ask."""

    def beside(self, instance_id: str, *, watch: bool = False) -> "Door":
        """Return a way to another instance of the same tenant, as somebody who manages it.

        Its session hears of what happens there only if it is to `watch`, from its first call until it is closed.
        """

    def stop_heartbeat(self) -> None:
        """Say no more by itself that the attempt is alive; harmless when repeated."""

    def close(self) -> None:
        """Hear of nothing any more, and say nothing; harmless when repeated."""

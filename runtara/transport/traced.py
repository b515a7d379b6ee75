"""The client's part of a trace: a span around each call, whichever the door is.

A system or a program that is not traced has none of these.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from runtara.messages import Request
from runtara.traces import Traces, under
from runtara.transport.door import Door
from runtara.transport.session import Session

__all__ = ["TracedDoor", "TracedLine"]

R = TypeVar("R")


class _Line(Protocol):
    async def call(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R: ...

    def call_from_thread(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R: ...


@contextmanager
def _span(traces: Traces, command: Request[Any], launch: str | None = None) -> Iterator[None]:
    span = traces.begin(type(command).__name__, None if traces.is_under_way() else launch, "client")
    failure: BaseException | None = None
    try:
        with under(span.trace):
            yield
    except BaseException as error:
        failure = error
        raise
    finally:
        span.end(failure)


class TracedLine:
    """The way to an instance in this process, traced."""

    def __init__(self, line: _Line, traces: Traces) -> None:
        self._line = line
        self._traces = traces

    async def call(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Have a command answered."""
        with _span(self._traces, command):
            return await self._line.call(command, epoch, timeout=timeout)

    def call_from_thread(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Have a command answered, blocking the calling thread."""
        with _span(self._traces, command):
            return self._line.call_from_thread(command, epoch, timeout=timeout)

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int | None) -> bool:
        """Take nothing: each call has its place in the trace."""
        return False

    def is_left_alone(self, epoch: int | None) -> bool:
        """Know nothing: one has to ask, and that has its place in the trace."""
        return False


class TracedDoor:
    """A door to another process, traced. See `Door`.

    `launch` is the ``traceparent`` of what has launched this process: calls are a part of that where nothing else of
    this process is being traced.
    """

    def __init__(self, door: Door, traces: Traces, launch: str | None = None) -> None:
        self._door = door
        self._traces = traces
        self._launch = launch

    @property
    def session(self) -> Session:
        """Who speaks, and what was pushed."""
        return self._door.session

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._door.is_connected

    async def call(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, from any event loop."""
        with _span(self._traces, command, self._launch):
            return await self._door.call(command, timeout=timeout)

    def call_from_thread(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, blocking the calling thread."""
        with _span(self._traces, command, self._launch):
            return self._door.call_from_thread(command, timeout=timeout)

    async def connect(self) -> None:
        """Return when there is a connection."""
        await self._door.connect()

    def connect_from_thread(self) -> None:
        """Like `connect`, blocking the calling thread."""
        self._door.connect_from_thread()

    def hand_in(self, checkpoint_id: str, state: bytes) -> bool:
        """Take nothing: each call has its place in the trace."""
        return False

    def is_left_alone(self) -> bool:
        """Know nothing: one has to ask, and that has its place in the trace."""
        return False

    def beside(self, instance_id: str, *, watch: bool = False) -> "TracedDoor":
        """Return a way to another instance of the same tenant, traced as well."""
        return TracedDoor(self._door.beside(instance_id, watch=watch), self._traces, self._launch)

    def stop_heartbeat(self) -> None:
        """Say no more by itself that the attempt is alive."""
        self._door.stop_heartbeat()

    def close(self) -> None:
        """Hear of nothing any more."""
        self._door.close()

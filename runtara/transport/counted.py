"""The calls of programs in this process, counted as those of any door are.

They come from threads and loops of all kinds, so what is noted of one is noted under a lock.
"""

import threading
from typing import Final, Protocol, TypeVar

from runtara.clock import monotonic
from runtara.messages import Request
from runtara.transport.calls import Calls

__all__ = ["CountedLine"]

R = TypeVar("R")

_DOOR: Final = "embedded"

_lock: Final = threading.Lock()


class _Line(Protocol):
    async def call(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R: ...

    def call_from_thread(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R: ...

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int | None) -> bool: ...

    def is_left_alone(self, epoch: int | None) -> bool: ...


class CountedLine:
    """The way to an instance in this process, its calls counted, unless their caller has given them up."""

    __slots__ = ("_calls", "_line", "hand_in", "is_left_alone")

    def __init__(self, line: _Line, calls: Calls) -> None:
        self._line = line
        self._calls = calls
        self.hand_in = line.hand_in  # these are no calls
        self.is_left_alone = line.is_left_alone

    async def call(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Have a command answered."""
        began = monotonic()
        try:
            reply = await self._line.call(command, epoch, timeout=timeout)
        except Exception as error:
            self._note(began, error)
            raise
        self._note(began, None)
        return reply

    def call_from_thread(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Have a command answered, blocking the calling thread."""
        began = monotonic()
        try:
            reply = self._line.call_from_thread(command, epoch, timeout=timeout)
        except Exception as error:
            self._note(began, error)
            raise
        self._note(began, None)
        return reply

    def _note(self, began: float, error: Exception | None) -> None:
        with _lock:
            self._calls.note(_DOOR, monotonic() - began, error)

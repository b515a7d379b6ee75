"""A call that a host which goes down takes only for an instance that it knows: it looks first, and then asks."""

from typing import Any

from runtara.errors import Draining, InstanceNotFound, RuntaraError
from runtara.transport.callers import Line, Outcome, Then
from runtara.transport.frames import Ask

__all__ = ["IfKnown", "draining"]


class IfKnown:
    """Has a call answered only if there is such an instance, for a host that goes down."""

    __slots__ = ("_ask", "_epoch", "_line", "_then", "_timeout", "error", "value")

    def __init__(self, line: Line, ask: Ask, epoch: int | None, then: Then, timeout: float | None) -> None:
        self._line = line
        self._ask = ask
        self._epoch = epoch
        self._then = then
        self._timeout = timeout
        self.value: Any = None
        self.error: BaseException | None = None

    def __call__(self, found: Outcome) -> None:
        if found.error is None:
            try:
                self._line.call_then(self._ask.command, self._epoch, self._then, self._timeout)
            except RuntaraError as error:
                self._refuse(error)
        elif isinstance(found.error, InstanceNotFound):
            self._refuse(draining())
        else:
            self._refuse(found.error)

    def _refuse(self, error: BaseException) -> None:
        self.error = error
        self._then(self)


def draining() -> Draining:
    return Draining("this host is going down and starts nothing new: try again later, or at another one")

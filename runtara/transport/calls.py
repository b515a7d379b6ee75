"""What is noted of every call that a gate lets through: how many, how long, what it was about, and its trace.

One of these follows a call from the gate to its answer. It decides nothing, and it knows no door: a caller says which
one it came through.
"""

import logging
from types import TracebackType
from typing import Any, Final, Self

from runtara.clock import monotonic
from runtara.errors import Code, RuntaraError
from runtara.ids import InstanceKey
from runtara.logs import about, known
from runtara.metrics import Metrics, Tally
from runtara.traces import Span, Traces, under
from runtara.transport.callers import Outcome, Then
from runtara.transport.frames import Ask

__all__ = ["Calls", "Followed"]

_log: Final = logging.getLogger("runtara.calls")

_OK: Final = "ok"

_BUGS: Final = frozenset({Code.INTERNAL, Code.ACTOR_FAILED})
"""What is no answer to a call, but a failure of ours: it is logged, whoever hears of it."""


class Calls:
    """Follows the calls of one system."""

    def __init__(self, metrics: Metrics, traces: Traces | None = None) -> None:
        self._counts: Final = metrics.counts("runtara_door_calls_total")
        self._seconds: Final = metrics.tallies("runtara_door_call_seconds")
        self._traces: Final = traces

    def follow(self, door: str, key: InstanceKey, epoch: int | None, ask: Ask, then: Then) -> "Followed":
        """Return what to put in the place of `then`, and to enter while the call is let through."""
        if ask.on_behalf is not None:
            key, epoch = InstanceKey(ask.on_behalf.tenant_id, ask.instance_id or ""), ask.on_behalf.epoch
        elif ask.instance_id is not None:
            key, epoch = InstanceKey(key.tenant_id, ask.instance_id), None
        names = about(tenant_id=key.tenant_id, instance_id=key.instance_id, epoch=epoch)
        return Followed(self, door, ask, then, names=names, span=self._begin(door, ask))

    def ended(self, followed: "Followed", error: BaseException | None) -> None:
        """Take note of what came of a call."""
        seconds = monotonic() - followed.began
        code = _OK if error is None else error.code.wire if isinstance(error, RuntaraError) else Code.INTERNAL.wire
        self._counts.add(followed.door, code)
        tally: Tally = self._seconds.of(followed.door)
        tally.observe(seconds)
        if followed.span is not None:
            followed.span.end(error)
        if error is not None and (not isinstance(error, RuntaraError) or error.code in _BUGS):
            _log.error("call-failed", extra={**followed.said(code, seconds), "error": str(error)})
        elif _log.isEnabledFor(logging.DEBUG):
            _log.debug("call", extra=followed.said(code, seconds))

    def _begin(self, door: str, ask: Ask) -> Span | None:
        if self._traces is None:
            return None
        return self._traces.begin(type(ask.command).__name__, ask.trace, "server", door=door)


class Followed:
    """One call: entered while it is let through, and called, once, with what came of it."""

    __slots__ = ("_calls", "_known", "_names", "_then", "_under", "ask", "began", "door", "span")

    def __init__(self, calls: Calls, door: str, ask: Ask, then: Then, *, names: about, span: Span | None) -> None:
        self.began: Final = monotonic()
        self.door: Final = door
        self.ask: Final = ask
        self.span: Final = span
        self._calls = calls
        self._names = names
        self._under = None if span is None else under(span.trace)
        self._then = then
        self._known: Any = {}

    def __enter__(self) -> Self:
        self._names.__enter__()
        self._known = known()
        if self._under is not None:
            self._under.__enter__()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._under is not None:
            self._under.__exit__()
        self._names.__exit__()
        if error is not None:  # refused at once
            self._calls.ended(self, error)

    def __call__(self, outcome: Outcome, /) -> None:
        """Take note of what came of the call, and hand it on."""
        self._calls.ended(self, outcome.error)
        self._then(outcome)

    def said(self, code: str, seconds: float) -> dict[str, object]:
        """Return what a line about it says."""
        what = {"door": self.door, "command": type(self.ask.command).__name__, "code": code}
        return {**self._known, **what, "took_ms": round(seconds * 1000, 3)}

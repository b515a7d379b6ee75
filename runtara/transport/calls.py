"""What is noted of every call that a gate lets through: how many, how long, what it was about, and its trace.

One of these follows a call from the gate to its answer. It decides nothing, and it knows no door: a caller says which
one it came through.
"""

import logging
from contextvars import Token
from types import TracebackType
from typing import Final, Self

from runtara.clock import monotonic
from runtara.errors import Code, RuntaraError
from runtara.ids import InstanceKey
from runtara.logs import Fields, fields_in_use
from runtara.metrics import Metrics
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
        span = None
        if self._traces is not None:
            span = self._traces.begin(type(ask.command).__name__, ask.trace, "server", door=door)
        return Followed(self, door, key, epoch, ask, then, span)

    def note(self, door: str, seconds: float, error: BaseException | None) -> str:
        """Count a call that a door has had answered; return how that is called."""
        code = _OK if error is None else error.code.wire if isinstance(error, RuntaraError) else Code.INTERNAL.wire
        self._counts.add(door, code)
        self._seconds.of(door).observe(seconds)
        return code

    def ended(self, followed: "Followed", error: BaseException | None) -> None:
        """Take note of what came of a call."""
        seconds = monotonic() - followed.began
        code = self.note(followed.door, seconds, error)
        if followed.span is not None:
            followed.span.end(error)
        if error is not None and (not isinstance(error, RuntaraError) or error.code in _BUGS):
            _log.error("call-failed", extra={**followed.said(code, seconds), "error": str(error)})
        elif _log.isEnabledFor(logging.DEBUG):
            _log.debug("call", extra=followed.said(code, seconds))


class Followed:
    """One call: entered while it is let through, and called, once, with what came of it."""

    __slots__ = ("_ask", "_calls", "_epoch", "_key", "_outer", "_then", "_token", "_under", "began", "door", "span")

    def __init__(  # noqa: PLR0917 - made in one place, for every call
        self,
        calls: Calls,
        door: str,
        key: InstanceKey,
        epoch: int | None,
        ask: Ask,
        then: Then,
        span: Span | None,
    ) -> None:
        self.began: Final = monotonic()
        self.door: Final = door
        self.span: Final = span
        self._calls = calls
        self._key = key
        self._epoch = epoch
        self._ask = ask
        self._then = then
        self._under = None if span is None else under(span.trace)
        self._outer: Fields
        self._token: Token[Fields]

    def __enter__(self) -> Self:
        self._outer = fields_in_use.get()
        self._token = fields_in_use.set(self._known)
        if self._under is not None:
            self._under.__enter__()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._under is not None:
            self._under.__exit__()
        fields_in_use.reset(self._token)
        if error is not None:  # refused at once
            self._calls.ended(self, error)

    def __call__(self, outcome: Outcome, /) -> None:
        """Take note of what came of the call, and hand it on."""
        self._calls.ended(self, outcome.error)
        self._then(outcome)

    def said(self, code: str, seconds: float) -> dict[str, object]:
        """Return what a line about it says."""
        what = {"door": self.door, "command": type(self._ask.command).__name__, "code": code}
        return {**self._known(), **what, "took_ms": round(seconds * 1000, 3)}

    def _known(self) -> dict[str, object]:
        """Return whom it is about, beside what was known already."""
        ask, tenant_id, instance_id, epoch = self._ask, self._key.tenant_id, self._key.instance_id, self._epoch
        if ask.on_behalf is not None:
            tenant_id, epoch = ask.on_behalf.tenant_id, ask.on_behalf.epoch
        elif ask.instance_id is not None:
            epoch = None
        named = ask.instance_id or instance_id
        return {**self._outer(), "tenant_id": tenant_id, "instance_id": named, "epoch": epoch}

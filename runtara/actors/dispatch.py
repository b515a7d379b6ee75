"""The way from every door to the actor that answers: checks a call, and finds out whom to ask.

What is malformed or too large is refused here, once for all doors. `ENDPOINTS` says who answers.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast, get_args

from runtara import messages
from runtara.actors._cell import CellRef
from runtara.actors._ref import Askable, Ref
from runtara.actors._system import System
from runtara.actors.storage import Query
from runtara.clock import SPAN_MAX_MS, check_instant_ms
from runtara.endpoints import ENDPOINTS
from runtara.errors import InvalidInput, TooLarge
from runtara.ids import InstanceKey, check_checkpoint_id, check_id
from runtara.lifecycle import Status
from runtara.messages import Call, Request

__all__ = ["PAGE_MAX", "TEXT_MAX_BYTES", "Dispatch", "Line"]

R = TypeVar("R")

PAGE_MAX: Final = 1_000
"""Most rows that a list returns at once."""

TEXT_MAX_BYTES: Final = 64 * 1024
"""Longest error text, in UTF-8 bytes."""


class Dispatch:
    """Sends calls to the actors of one system, from any thread and any event loop."""

    def __init__(self, system: System, *, instances: str, reader: str, payload_max_bytes: int) -> None:
        self._instances: Ref = system.ref(instances)
        self._reader: Ref = system.ref(reader)
        self._payload_max_bytes = payload_max_bytes

    def line(self, key: InstanceKey) -> "Line":
        """Return the way to one instance (or, for lists, to its tenant). Raises `InvalidInput` for malformed ids."""
        check_id(key.tenant_id, "tenant id")
        check_id(key.instance_id, "instance id")
        return Line(key, CellRef(self._instances, key), self._reader, self._payload_max_bytes)

    async def call(
        self, key: InstanceKey, command: Request[R], epoch: int | None = None, *, timeout: float | None = None
    ) -> R:
        """Have a command answered. Raises what the actor refuses with; see `Ref.ask` for the rest."""
        return await self.line(key).call(command, epoch, timeout=timeout)

    def call_from_thread(
        self, key: InstanceKey, command: Request[R], epoch: int | None = None, *, timeout: float | None = None
    ) -> R:
        """Like `call`, blocking the calling thread."""
        return self.line(key).call_from_thread(command, epoch, timeout=timeout)


class Line:
    """The way to one instance, its ids checked once."""

    __slots__ = ("_cell", "_key", "_payload_max_bytes", "_reader")

    def __init__(self, key: InstanceKey, cell: CellRef[InstanceKey], reader: Ref, payload_max_bytes: int) -> None:
        self._key = key
        self._cell = cell
        self._reader = reader
        self._payload_max_bytes = payload_max_bytes

    async def call(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Have a command answered. Raises what the actor refuses with; see `Ref.ask` for the rest."""
        target, message = self._route(command, epoch)
        return _reply(command, await target.ask(message, timeout=timeout))

    def call_from_thread(self, command: Request[R], epoch: int | None = None, *, timeout: float | None = None) -> R:
        """Like `call`, blocking the calling thread."""
        target, message = self._route(command, epoch)
        return _reply(command, target.ask_from_thread(message, timeout=timeout))

    def _route(self, command: Any, epoch: int | None) -> tuple[Askable, object]:
        """Return whom to ask, and what. Raises `InvalidInput` or `TooLarge`."""
        kind = type(command)
        if kind not in ENDPOINTS:
            raise InvalidInput(f"{kind.__name__} is not an operation that a door offers")
        check = _CHECKS.get(kind)
        if check is not None:
            check(command)
        payload = _PAYLOADS.get(kind)
        if payload is not None:
            self._check_payload(kind, payload, getattr(command, payload))
        query = _QUERIES.get(kind)
        if query is not None:
            return self._reader, query(self._key, command)
        return self._cell, Call(self._key, command, epoch)

    def _check_payload(self, kind: type, field: str, payload: object) -> None:
        if isinstance(payload, bytes):
            if len(payload) <= self._payload_max_bytes:
                return
        elif payload is None and kind is messages.StartInstance:
            return
        else:
            raise InvalidInput(f"{field} must be bytes, not {type(payload).__name__}: encode it first")
        raise TooLarge(
            f"{field} of {kind.__name__} has {len(payload)} bytes: at most {self._payload_max_bytes} are allowed; "
            "keep large data elsewhere and store a reference to it"
        )


def _reply(command: Request[R], answer: Any) -> R:
    wrap = _REPLIES.get(type(command))
    return cast("R", answer if wrap is None else wrap(answer))


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= PAGE_MAX:
        raise InvalidInput(
            f"limit {limit!r} is not allowed: ask for 1 to {PAGE_MAX} rows, and for more with the cursor"
        )


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"{what} must be text, not {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} holds lone surrogates: replace them") from None
    if size > TEXT_MAX_BYTES:
        raise TooLarge(f"{what} has {size} bytes: at most {TEXT_MAX_BYTES} are allowed; shorten it")


def _check_span(span_ms: object, what: str) -> None:
    if isinstance(span_ms, bool) or not isinstance(span_ms, int) or not 0 <= span_ms <= SPAN_MAX_MS:
        raise InvalidInput(f"{what} {span_ms!r} is not allowed: use whole milliseconds from 0 to {SPAN_MAX_MS}")


def _check_start(command: messages.StartInstance) -> None:
    check_id(command.program, "program")


def _check_register(command: messages.RegisterInstance) -> None:
    check_id(command.attempt_id, "attempt id")
    if command.checkpoint_id is not None:
        check_checkpoint_id(command.checkpoint_id)


def _check_checkpoint(command: messages.SaveCheckpoint | messages.GetCheckpoint | messages.ListRetries) -> None:
    check_checkpoint_id(command.checkpoint_id)


def _check_sleep(command: messages.Sleep) -> None:
    check_checkpoint_id(command.checkpoint_id)
    if command.duration_ms is not None:
        _check_span(command.duration_ms, "duration")
    if command.until is not None:
        check_instant_ms(command.until, "until")


def _check_fail(command: messages.FailInstance) -> None:
    _check_text(command.error, "error")


def _check_suspend(command: messages.SuspendInstance) -> None:
    if command.wake_at is not None:
        check_instant_ms(command.wake_at, "wake_at")


def _check_event(command: messages.RecordEvent) -> None:
    check_checkpoint_id(command.subtype, "subtype")


def _check_take(command: messages.TakeSignal) -> None:
    check_checkpoint_id(command.name, "signal name")
    check_checkpoint_id(command.place, "place")
    if command.timeout_ms is not None:
        _check_span(command.timeout_ms, "timeout")


def _check_acknowledge(command: messages.AcknowledgeSignal) -> None:
    check_id(command.signal_id, "signal id")


def _check_signal(command: messages.SendSignal) -> None:
    check_id(command.signal_id, "signal id")
    if command.kind not in get_args(messages.SignalKind):
        raise InvalidInput(f"signal kind {command.kind!r} is unknown: use {', '.join(get_args(messages.SignalKind))}")
    if (command.kind == "custom") != (command.name is not None):
        raise InvalidInput("a custom signal needs a name, and only a custom signal has one")
    if command.name is not None:
        check_checkpoint_id(command.name, "signal name")


def _check_retry(command: messages.RecordRetry) -> None:
    check_checkpoint_id(command.checkpoint_id)
    _check_attempt(command.attempt)
    if command.error is not None:
        _check_text(command.error, "error")
    if command.retry_after_ms is not None:
        _check_span(command.retry_after_ms, "retry_after")


def _check_attempt(attempt: object) -> None:
    if isinstance(attempt, bool) or not isinstance(attempt, int) or not 1 <= attempt < 2**31:
        raise InvalidInput(f"attempt {attempt!r} is not allowed: count from 1")


def _check_page(command: messages.ListCheckpoints | messages.ListEvents | messages.ListInstances) -> None:
    _check_limit(command.limit)
    if command.cursor is not None:
        _check_text(command.cursor, "cursor")


def _check_events(command: messages.ListEvents) -> None:
    _check_page(command)
    for what, wanted in (("event type", command.event_type), ("subtype", command.subtype)):
        if wanted is not None:
            check_checkpoint_id(wanted, what)


def _check_instances(command: messages.ListInstances) -> None:
    _check_page(command)
    if command.status is not None and command.status not in tuple(Status):
        raise InvalidInput(f"status {command.status!a} is unknown: use {', '.join(Status)}")


_CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    messages.StartInstance: _check_start,
    messages.RegisterInstance: _check_register,
    messages.SaveCheckpoint: _check_checkpoint,
    messages.GetCheckpoint: _check_checkpoint,
    messages.ListRetries: _check_checkpoint,
    messages.Sleep: _check_sleep,
    messages.FailInstance: _check_fail,
    messages.SuspendInstance: _check_suspend,
    messages.RecordEvent: _check_event,
    messages.TakeSignal: _check_take,
    messages.AcknowledgeSignal: _check_acknowledge,
    messages.SendSignal: _check_signal,
    messages.RecordRetry: _check_retry,
    messages.ListCheckpoints: _check_page,
    messages.ListEvents: _check_events,
    messages.ListInstances: _check_instances,
}

_PAYLOADS: Final[dict[type, str]] = {
    messages.StartInstance: "input",
    messages.SaveCheckpoint: "state",
    messages.Sleep: "state",
    messages.CompleteInstance: "output",
    messages.RecordEvent: "payload",
    messages.SendSignal: "payload",
}
"""The field that holds bytes of the user's."""

_QUERIES: Final[dict[type, Callable[[InstanceKey, Any], Query]]] = {
    messages.ListRetries: lambda key, command: Query("read_retries", (key, command.checkpoint_id)),
    messages.ListCheckpoints: lambda key, command: Query("list_checkpoints", (key, command.limit, command.cursor)),
    messages.ListEvents: lambda key, command: Query(
        "list_events", (key, command.event_type, command.subtype, command.limit, command.cursor)
    ),
    messages.ListInstances: lambda key, command: Query(
        "list_instances", (key.tenant_id, command.status, command.limit, command.cursor)
    ),
}
"""What readers answer: command to the reader's method."""

_REPLIES: Final[dict[type, Callable[[Any], object]]] = {
    messages.ListRetries: lambda retries: messages.RetriesFound(tuple(retries)),
}
"""What a reader's answer becomes, where it is not the reply itself."""

"""What every call of the SDK does, once for all faces.

A flow is a generator: it yields what is to be done (a command for the runtime, a wait, the body of a step) and is sent
what came of it. The sync face does these things by blocking, the async face by awaiting; neither knows more.
"""

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec
from msgspec.structs import replace

from runtara import messages
from runtara.clock import Clock, span_ms
from runtara.errors import (
    DeadlineExceeded,
    InstanceCancelled,
    InstanceNotFound,
    InstancePaused,
    InstanceShutdown,
    InvalidInput,
    RuntaraError,
)
from runtara.ids import new_id
from runtara.sdk._types import CustomSignal, InstanceStatus, Signal, SignalType, StatusResponse
from runtara.transport import Session

__all__ = [
    "RECHECK",
    "AwaitPush",
    "Flow",
    "Parked",
    "acknowledge_pending",
    "acknowledge_signal",
    "acknowledged",
    "check",
    "get_status",
    "health",
    "instant_ms",
    "load_input",
    "look",
    "poll_custom_signal",
    "poll_signal",
    "raise_for",
    "record_retry",
    "register",
    "send_signal",
    "sleep",
    "sleep_until",
    "start",
    "suspended",
    "take_signal",
    "wait_for_signal",
    "wait_until_finished",
]

T = TypeVar("T")

RECHECK: Final = 60.0
"""Seconds after which a wait looks for itself: a push may be lost, and the wall clock may be set."""


class AwaitPush(msgspec.Struct, frozen=True):
    """Wait until a signal is pushed, at most this many seconds; the reply is how many seconds it took."""

    seconds: float
    since: int
    """`Session.pushes` at the time of the last look."""


class Parked(SystemExit):
    """The instance is suspended and will be launched again when it is time: the program must end now.

    A program that lets it pass ends quietly, with exit code 0. Not an `Exception`, so that none catches it by mistake.
    """

    def __init__(self) -> None:
        super().__init__(0)


Flow: TypeAlias = Generator[Any, Any, T]


def register(
    checkpoint_id: str | None, attempt_id: str, replace: bool = False, replay: bool = False, fresh: bool = False
) -> Flow[messages.InstanceRegistered]:
    """Begin the attempt."""
    reply: messages.InstanceRegistered = yield messages.RegisterInstance(
        attempt_id=attempt_id, checkpoint_id=checkpoint_id, replace=replace, replay=replay, fresh=fresh
    )
    return reply


def sleep(
    session: Session, duration: float | timedelta, checkpoint_id: str, state: bytes, park_after: float = inf
) -> Flow[bytes | None]:
    """Sleep for the rest of a duration that began with the first attempt to sleep here."""
    command = messages.Sleep(checkpoint_id=checkpoint_id, state=state, duration_ms=_span_ms(duration))
    return (yield from _sleep(session, command, park_after))


def sleep_until(
    session: Session, instant: datetime, checkpoint_id: str, state: bytes, park_after: float = inf
) -> Flow[bytes | None]:
    """Sleep until an instant, which the first attempt to sleep here has fixed."""
    command = messages.Sleep(checkpoint_id=checkpoint_id, state=state, until=instant_ms(instant))
    return (yield from _sleep(session, command, park_after))


def instant_ms(instant: datetime) -> int:
    """Return milliseconds since 1970 UTC, rounded up. Raises `InvalidInput` for an instant without a time zone."""
    if not isinstance(cast(object, instant), datetime):
        raise InvalidInput(f"an instant must be a datetime with a time zone, not {type(instant).__name__}")
    if instant.utcoffset() is None:
        raise InvalidInput(f"instant {instant.isoformat()} has no time zone: add one, for example datetime.UTC")
    return -((_EPOCH - instant) // timedelta(milliseconds=1))


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _span_ms(span: float | timedelta, what: str = "duration") -> int:
    return span_ms(span.total_seconds() if isinstance(span, timedelta) else span, what)


def _sleep(session: Session, command: messages.Sleep, park_after: float) -> Flow[bytes | None]:
    """Store the deadline, then wait for it on the monotonic clock; or park, if more than `park_after` seconds remain.

    The wall clock decides only how long to wait. Should it be set back meanwhile, a sleep of a given duration is not
    prolonged; should it be set forward, the next look notices.
    """
    since = session.pushes
    reply = yield command
    state: bytes | None = reply.state if reply.found else None
    left = reply.remaining_ms / 1000
    while True:
        raise_for(Signal.of(reply.signal))
        if left <= 0:
            return state
        if left >= park_after:
            yield from _let_others_speak(session)
            reply = yield replace(command, park=True)
            _raise_if_parked(reply)
            left = reply.remaining_ms / 1000  # not parked: it is over
            continue
        left -= yield AwaitPush(min(left, RECHECK), since)
        if left > 0 or command.until is not None:
            since = session.pushes
            reply = yield command
            remaining = reply.remaining_ms / 1000
            left = remaining if command.until is not None else min(left, remaining)


def poll_signal() -> Flow[Signal | None]:
    """Look for a signal to the whole instance."""
    reply = yield messages.PollSignals()
    return Signal.of(reply.signals[0]) if reply.signals else None


def check(signal_type: SignalType) -> Flow[None]:
    """Raise if the instance was asked to cancel, or to pause."""
    reply = yield messages.PollSignals()
    for record in reply.signals:
        if record.kind == signal_type:
            raise_for(Signal.of(record))


def look() -> Flow[None]:
    """Raise if any signal to the whole instance says so."""
    reply = yield messages.PollSignals()
    for record in reply.signals:
        raise_for(Signal.of(record))


def raise_for(signal: Signal | None) -> None:
    """Raise what a signal to the whole instance means for a program that is in the middle of something."""
    if signal is None or signal.signal_type is SignalType.RESUME:
        return
    raise _MEANING[signal.signal_type](f"the instance was asked to {signal.signal_type.value}: end the program")


_MEANING: dict[SignalType, type[RuntaraError]] = {
    SignalType.CANCEL: InstanceCancelled,
    SignalType.PAUSE: InstancePaused,
    SignalType.SHUTDOWN: InstanceShutdown,
}


def poll_custom_signal(name: str, place: str) -> Flow[CustomSignal | None]:
    """Take the next custom signal of that name, if there is one."""
    # With a time-out of nothing, that there was no signal is stored as well: a replay finds none here, too.
    reply = yield messages.TakeSignal(name=name, place=place, timeout_ms=0)
    return CustomSignal.of(reply.signal)


def wait_for_signal(
    session: Session, clock: Clock, name: str, place: str, timeout: float | timedelta | None, *, park_after: float = inf
) -> Flow[CustomSignal | None]:
    """Wait for the next custom signal of that name; None once the time is over, in every replay too."""
    limit_ms = None if timeout is None else _span_ms(timeout, "timeout")
    command = messages.TakeSignal(name=name, place=place, timeout_ms=limit_ms)
    reply = yield from take_signal(session, clock, command, park_after)
    if reply.signal is None and not reply.timed_out:
        yield from _let_others_speak(session)
        reply = yield replace(command, park=True)
        _raise_if_parked(reply)
    return CustomSignal.of(reply.signal)


def take_signal(
    session: Session, clock: Clock, command: messages.TakeSignal, patience: float
) -> Flow[messages.SignalTaken]:
    """Wait until a place has found a signal, or that none came in time; at most `patience` seconds."""
    while True:
        since = session.pushes
        reply: messages.SignalTaken = yield command
        if reply.signal is not None or reply.timed_out or patience <= 0:
            return reply
        yield from look()
        left = inf if reply.deadline_at is None else max(0, reply.deadline_at - clock.now_ms()) / 1000
        patience -= yield AwaitPush(min(RECHECK, left, patience), since)
        if patience <= 0:  # whoever rests now hears of what has come meanwhile
            return reply


def _let_others_speak(session: Session) -> Flow[None]:
    """Have the deadlines stored of what the program does beside, which ends with the park."""
    yield AwaitPush(0.0, session.pushes)


def _raise_if_parked(reply: messages.SleepStarted | messages.SignalTaken) -> None:
    if reply.parked:
        raise Parked


def acknowledged(command: messages.Request[messages.Acknowledged]) -> Flow[InstanceStatus]:
    """Have a command done that is answered with what the instance has become."""
    reply: messages.Acknowledged = yield command
    return reply.status


def acknowledge_signal(signal: Signal | CustomSignal | str) -> Flow[InstanceStatus]:
    """Say that a signal was acted upon."""
    if not isinstance(cast(object, signal), Signal | CustomSignal | str):
        raise InvalidInput(f"a signal is acknowledged by itself or by its id, not by {signal!r}")
    signal_id = signal if isinstance(signal, str) else signal.signal_id
    return (yield from acknowledged(messages.AcknowledgeSignal(signal_id=signal_id)))


def suspended(session: Session, clock: Clock, wake_at: datetime | None) -> Flow[InstanceStatus]:
    """Acknowledge the pause or shutdown that asked for it, or suspend on the program's own account.

    Where what asked for it was taken back since, the instance is due at once: the resume that would wake it has passed.
    """
    instant = None if wake_at is None else instant_ms(wake_at)
    if wake_at is None:
        status = yield from _rest_as_told()
        was_told, session.told_to_rest = session.told_to_rest, False
        if status is not None and status is not InstanceStatus.RUNNING:
            return status
        if was_told:
            instant = clock.now_ms()
    return (yield from acknowledged(messages.SuspendInstance(wake_at=instant)))


def _rest_as_told() -> Flow[InstanceStatus | None]:
    """Acknowledge the pause or shutdown that pends; None if there is none, running if it was taken back just now."""
    pending = yield messages.PollSignals()
    for record in pending.signals:
        if record.kind in (SignalType.PAUSE, SignalType.SHUTDOWN):
            return (yield from acknowledge_signal(record.signal_id))
    return None


def start(program: str, input: bytes | None) -> Flow[str]:
    """Start a program."""
    reply: messages.InstanceStarted = yield messages.StartInstance(program=program, input=input)
    return reply.instance_id


def wait_until_finished(session: Session, timeout: float | timedelta | None) -> Flow[StatusResponse]:
    """Look how an instance stands whenever something happens to it, until it has ended."""
    left = inf if timeout is None else _span_ms(timeout, "timeout") / 1000
    while True:
        since = session.pushes
        status = _response((yield messages.GetStatus()))
        if status.is_finished:
            return status
        if left <= 0:
            raise DeadlineExceeded(f"instance {session.key.instance_id} has not ended in time: it is {status.status}")
        left -= yield AwaitPush(min(left, RECHECK), since)


def record_retry(checkpoint_id: str, attempt: int, error: str | None) -> Flow[InstanceStatus]:
    """Count a failed try."""
    return (yield from acknowledged(messages.RecordRetry(checkpoint_id=checkpoint_id, attempt=attempt, error=error)))


def load_input() -> Flow[bytes | None]:
    """Fetch the input."""
    reply: messages.InputFound = yield messages.GetInput()
    return reply.input


def acknowledge_pending(signal_type: SignalType) -> Flow[bool]:
    """Say that the pending signal of a type was acted upon; False if there is none."""
    reply = yield messages.PollSignals()
    for record in reply.signals:
        if record.kind == signal_type:
            yield messages.AcknowledgeSignal(signal_id=record.signal_id)
            return True
    return False


def health() -> Flow[messages.HealthFound]:
    """Ask whether the server serves."""
    reply: messages.HealthFound = yield messages.GetHealth()
    return reply


def get_status() -> Flow[StatusResponse]:
    """Ask how an instance stands; one that does not exist is not found."""
    try:
        return _response((yield messages.GetStatus()))
    except InstanceNotFound:
        return StatusResponse(found=False)


def _response(info: messages.InstanceInfo) -> StatusResponse:
    return StatusResponse(
        found=True,
        status=info.status,
        checkpoint_id=info.checkpoint_id,
        checkpoint_count=info.checkpoint_count,
        output=info.output,
        error=info.error,
        wake_at=info.wake_at,
        started_at=info.started_at,
        finished_at=info.finished_at,
        termination_reason=info.termination_reason,
    )


def send_signal(signal_type: SignalType | None, name: str | None, payload: bytes) -> Flow[InstanceStatus]:
    """Send a signal to an instance: of a type, or a custom one with a name."""
    if signal_type is not None and not isinstance(cast(object, signal_type), SignalType):
        known = ", ".join(f"SignalType.{one.name}" for one in SignalType)
        raise InvalidInput(f"a signal of type {signal_type!r} does not exist: use one of {known}")
    kind: messages.SignalKind = "custom" if signal_type is None else signal_type.value
    reply: messages.SignalAccepted = yield messages.SendSignal(
        kind=kind, signal_id=new_id(), name=name, payload=payload
    )
    return reply.status

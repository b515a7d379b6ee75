"""What the SDK's calls return, under the names that the reference SDK uses."""

import enum
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeGuard, cast

import msgspec

from runtara.errors import InvalidInput
from runtara.lifecycle import FINAL, TerminationReason
from runtara.lifecycle import Status as InstanceStatus
from runtara.messages import CheckpointSaved
from runtara.records import Signal as _Signal
from runtara.sdk._words import hint_of

__all__ = [
    "CheckpointResult",
    "CustomSignal",
    "InstanceStatus",
    "RetryConfig",
    "RetryStrategy",
    "Signal",
    "SignalType",
    "StatusResponse",
]


class SignalType(enum.StrEnum):
    """Signals that concern the instance as a whole."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    SHUTDOWN = "shutdown"


class Signal(msgspec.Struct, frozen=True):
    """A signal to the instance as a whole; acknowledge it by its id once it was acted upon."""

    signal_type: SignalType
    """What it asks for."""
    signal_id: str
    """By which it is acknowledged."""
    payload: bytes = b""
    """What the sender has added."""

    @classmethod
    def of(cls, record: _Signal | None) -> "Signal | None":
        """Return what a program sees of a stored signal."""
        return None if record is None else cls(SignalType(record.kind), record.signal_id, record.payload)


class CustomSignal(msgspec.Struct, frozen=True):
    """A signal with a name and a payload of the sender's choice."""

    name: str
    """For which a program waits."""
    payload: bytes
    """What the sender has added."""
    signal_id: str
    """What tells it from any other signal."""

    @classmethod
    def of(cls, record: _Signal | None) -> "CustomSignal | None":
        """Return what a program sees of a stored signal."""
        return None if record is None else cls(record.name or "", record.payload, record.signal_id)


class CheckpointResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `checkpoint` found: whether the id was saved before, and which signals wait."""

    found: bool
    """Whether the id was saved before; nothing was saved now then."""
    state: bytes | None = None
    """What was saved before."""
    pending_signal: Signal | None = None
    """The signal to the whole instance that waits to be acknowledged, a cancel before all others."""
    custom_signal: CustomSignal | None = None
    """The custom signal that is named like the checkpoint, and bound to it."""

    @classmethod
    def of(cls, reply: CheckpointSaved) -> "CheckpointResult":
        """Return what a program sees of the runtime's reply."""
        return cls(
            found=reply.found,
            state=reply.state,
            pending_signal=Signal.of(reply.signal),
            custom_signal=CustomSignal.of(reply.custom_signal),
        )

    @property
    def existing_state(self) -> bytes | None:
        """The state saved earlier under this id; None if it was saved just now. Empty is not None."""
        return self.state if self.found else None

    @property
    def should_cancel(self) -> bool:
        """Whether the program should clean up and end."""
        return self.pending_signal is not None and self.pending_signal.signal_type is SignalType.CANCEL

    @property
    def should_pause(self) -> bool:
        """Whether the program should end for now, to be resumed later."""
        return self.pending_signal is not None and self.pending_signal.signal_type is SignalType.PAUSE

    @property
    def should_exit(self) -> bool:
        """Whether the program should end, for whatever reason."""
        return self.pending_signal is not None and self.pending_signal.signal_type is not SignalType.RESUME


class StatusResponse(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance stands. Instants are milliseconds since 1970 UTC."""

    found: bool
    """Whether there is such an instance, and it is not somebody else's; if not, nothing else is said."""
    status: InstanceStatus | None = None
    """Where it stands."""
    checkpoint_id: str | None = None
    """The checkpoint that was saved last."""
    checkpoint_count: int = 0
    """How many checkpoints there are, sleeps included."""
    output: bytes | None = None
    """With what it has completed."""
    error: str | None = None
    """With what it has failed."""
    wake_at: int | None = None
    """When its sleep or its wait is over, if it rests until then."""
    started_at: int | None = None
    """When its first attempt began."""
    finished_at: int | None = None
    """When it ended."""
    termination_reason: TerminationReason | None = None
    """Why it has ended, or rests."""

    @property
    def is_finished(self) -> bool:
        """Whether the instance has ended for good."""
        return self.status in FINAL


class RetryStrategy(enum.StrEnum):
    """How the time between tries grows."""

    EXPONENTIAL_BACKOFF = "exponential-backoff"
    FIXED = "fixed"


class RetryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How often a failed step is tried again, and how long to wait between tries."""

    max_retries: int = 0
    """Tries after the first; 3 makes four tries in all."""
    delay: float = 1.0
    """Seconds before the first retry."""
    max_delay: float = 60.0
    """Seconds that no wait exceeds."""
    jitter: float = 0.1
    """Each wait is spread by this part of it, up or down."""
    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL_BACKOFF
    """Whether waits grow."""
    factor: float = 2.0
    """By what each wait is longer than the one before it, where waits grow."""
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    """Only these are tried again."""
    never_on: tuple[type[BaseException], ...] = ()
    """And of those not these."""
    max_retry_after: float = 3600.0
    """Seconds that no wait exceeds that a failure itself has asked for (`retry_after`)."""

    def __post_init__(self) -> None:
        if not (_is_number(self.max_retries, int) and 0 <= self.max_retries < 2**31):
            raise InvalidInput(f"max_retries of {self.max_retries!r} is not allowed: use a whole number, 0 or more")
        for name in ("delay", "max_delay", "jitter", "max_retry_after"):
            value, limit = getattr(self, name), 1 if name == "jitter" else 1e9
            if not (_is_number(value, int | float) and 0 <= value <= limit):
                what = "a part from 0 to 1" if name == "jitter" else "seconds, 0 or more"
                raise InvalidInput(f"{name} of {value!r} is not allowed: use {what}")
        if not (_is_number(self.factor, int | float) and 1 <= self.factor <= 1_000):
            raise InvalidInput(f"factor of {self.factor!r} is not allowed: use 1 to 1,000")
        strategy = cast(object, self.strategy)  # callers may not be checked
        if not isinstance(strategy, RetryStrategy):
            known = ", ".join(f"RetryStrategy.{known.name}" for known in RetryStrategy)
            raise InvalidInput(f"strategy of {strategy!r} is not allowed: use {known}")
        for name in ("retry_on", "never_on"):
            kinds = getattr(self, name)
            if not (isinstance(kinds, tuple) and all(map(_is_exception, kinds))):
                raise InvalidInput(f"{name} of {kinds!r} is not allowed: use a tuple of exception classes")

    def delay_for_attempt(self, attempt: int, random: Callable[[], float] = lambda: 0.5) -> timedelta:
        """Return the wait after the `attempt`-th failure (from 1): delay · factor^(attempt-1), spread and capped."""
        growth = 1.0 if self.strategy is RetryStrategy.FIXED else self.factor ** min(attempt - 1, 62)
        seconds = min(self.max_delay, self.delay * growth) * (1 + self.jitter * (2 * random() - 1))
        return timedelta(seconds=min(self.max_delay, seconds))

    def is_tried_again(self, error: Exception) -> bool:
        """Return whether a failure of this kind is tried again, as long as there are tries left."""
        return self.max_retries > 0 and isinstance(error, self.retry_on) and not isinstance(error, self.never_on)

    def delay_after(self, error: Exception, attempt: int, random: Callable[[], float] = lambda: 0.5) -> timedelta:
        """Return the wait after the `attempt`-th failure: what the error's `retry_after` asks for, if it does."""
        hint = hint_of(error)
        seconds = hint.total_seconds() if isinstance(hint, timedelta) else hint
        if not (_is_number(seconds, int | float) and seconds >= 0):  # no hint, or one that nobody understands
            return self.delay_for_attempt(attempt, random)
        return timedelta(seconds=min(seconds, self.max_retry_after))


def _is_number(value: object, kind: Any) -> TypeGuard[float]:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)

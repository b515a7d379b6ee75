"""What the SDK's calls return, under the names that the reference SDK uses."""

import enum
from collections.abc import Callable
from datetime import timedelta

import msgspec

from runtara.errors import InvalidInput
from runtara.lifecycle import FINAL, TerminationReason
from runtara.lifecycle import Status as InstanceStatus
from runtara.messages import CheckpointSaved
from runtara.records import Signal as _Signal

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
    signal_id: str
    payload: bytes = b""

    @classmethod
    def of(cls, record: _Signal | None) -> "Signal | None":
        """Return what a program sees of a stored signal."""
        return None if record is None else cls(SignalType(record.kind), record.signal_id, record.payload)


class CustomSignal(msgspec.Struct, frozen=True):
    """A signal with a name and a payload of the sender's choice."""

    name: str
    payload: bytes
    signal_id: str

    @classmethod
    def of(cls, record: _Signal | None) -> "CustomSignal | None":
        """Return what a program sees of a stored signal."""
        return None if record is None else cls(record.name or "", record.payload, record.signal_id)


class CheckpointResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `checkpoint` found: whether the id was saved before, and which signals wait."""

    found: bool
    state: bytes | None = None
    pending_signal: Signal | None = None
    custom_signal: CustomSignal | None = None

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
    status: InstanceStatus | None = None
    checkpoint_id: str | None = None
    checkpoint_count: int = 0
    output: bytes | None = None
    error: str | None = None
    wake_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    termination_reason: TerminationReason | None = None

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
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    """Only these are tried again."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_retries < 2**31:
            raise InvalidInput(f"max_retries of {self.max_retries} is not allowed: use 0 or more")
        if not (0 <= self.delay < 1e9 and 0 <= self.max_delay < 1e9 and 0 <= self.jitter <= 1):
            raise InvalidInput("delay and max_delay must be seconds from 0, jitter a part from 0 to 1")

    def delay_for_attempt(self, attempt: int, random: Callable[[], float] = lambda: 0.5) -> timedelta:
        """Return the wait after the `attempt`-th failure (from 1): delay · 2^(attempt-1), spread and capped."""
        factor = 1.0 if self.strategy is RetryStrategy.FIXED else 2.0 ** min(attempt - 1, 62)
        seconds = min(self.max_delay, self.delay * factor) * (1 + self.jitter * (2 * random() - 1))
        return timedelta(seconds=min(self.max_delay, seconds))

"""One command on its way to a server: its frame, how long it is good for, and what came of it."""

from collections.abc import Callable
from math import inf
from typing import Any, Final

from runtara.clock import SPAN_MAX_MS
from runtara.endpoints import ENDPOINTS
from runtara.errors import Code, DeadlineExceeded, InvalidInput, RuntaraError, Unreachable
from runtara.traces import current_trace
from runtara.transport.frames import Ask, OnBehalf, encode_frame
from runtara.transport.session import Session

__all__ = ["RETRIED", "Call", "Waiting", "encode_ask"]

RETRIED: Final = frozenset(
    {
        Code.BUSY,
        Code.MAILBOX_FULL,
        Code.ACTOR_STOPPED,
        Code.QUARANTINED,
        Code.STORE_UNAVAILABLE,
        Code.DRAINING,
        Code.OUTCOME_UNKNOWN,
    }
)
"""Refusals after which a call is sent again: they pass, and every operation may be repeated with the same ids."""

RETRY_AFTER: Final = 0.01
"""Seconds before a refused call is sent again; doubled with each further refusal."""

RETRY_AFTER_MAX: Final = 1.0
"""The longest such wait."""


def encode_ask(
    id: int, command: Any, instance_id: str | None, timeout: float, on_behalf: OnBehalf | None = None
) -> bytes:
    """Return the frame of a call. Raises `InvalidInput` for what cannot be sent."""
    if type(command) not in ENDPOINTS:
        raise InvalidInput(f"{type(command).__name__} is not an operation that a door offers")
    timeout_ms = min(int(timeout * 1000), SPAN_MAX_MS) if timeout < inf else SPAN_MAX_MS
    ask = Ask(
        id=id,
        command=command,
        instance_id=instance_id,
        timeout_ms=timeout_ms,
        on_behalf=on_behalf,
        trace=current_trace(),
    )
    return encode_frame(ask)


class Waiting:
    """What the asker waits for: done once, from any thread; `wake` is called then."""

    __slots__ = ("_error", "_reply", "wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.wake = wake
        self._reply: Any = None
        self._error: BaseException | None = None

    def done(self, reply: Any, error: BaseException | None) -> None:
        """Give the asker what came of it."""
        self._reply, self._error = reply, error
        self.wake()

    def result(self) -> Any:
        """Return the reply, or raise what the call failed with."""
        if self._error is not None:
            raise self._error
        return self._reply


def _nobody(_reply: Any, _error: BaseException | None) -> None:
    """Nobody waits yet."""


class Call:
    """A call that is not answered yet. `then` is called once, with a reply or with an error.

    One without a frame waits for the connection alone.
    """

    __slots__ = (
        "begun_at",
        "expires_at",
        "frame",
        "id",
        "is_sent",
        "is_uncertain",
        "refusal",
        "retry_at",
        "session",
        "then",
        "timeout",
        "tries",
        "what",
    )

    def __init__(
        self,
        id: int,
        what: str,
        *,
        frame: bytes | None,
        timeout: float,
        session: Session,
        then: Callable[[Any, BaseException | None], object] = _nobody,
    ) -> None:
        self.id = id
        self.what = what
        self.frame = frame
        self.timeout = timeout
        self.session = session
        """Whose call it is: what the reply says about the session is noted there."""
        self.then = then
        self.begun_at = 0.0
        self.expires_at = inf
        self.is_sent = False
        """Whether it was sent on the present connection, and has no answer yet."""
        self.is_uncertain = False
        """Whether it was sent on a connection that was lost: it may have been done."""
        self.refusal: RuntaraError | None = None
        """What it was refused with last, where it is to be sent again."""
        self.tries = 0
        self.retry_at = inf

    def lost(self) -> None:
        """Take note that its connection was lost."""
        self.is_uncertain |= self.is_sent
        self.is_sent = False

    def refused(self, refusal: RuntaraError, now: float, random: Callable[[], float]) -> bool:
        """Take note of a refusal; return whether the call is to be sent again, which it is at `retry_at`."""
        self.is_sent, self.refusal = False, refusal
        if refusal.code not in RETRIED:
            return False
        if refusal.code is Code.OUTCOME_UNKNOWN:
            self.is_uncertain = True
        self.retry_at = now + min(RETRY_AFTER * 2.0**self.tries, RETRY_AFTER_MAX) * (0.5 + random() / 2)
        self.tries = min(self.tries + 1, 30)
        return self.retry_at < self.expires_at

    def failure(self, why: str) -> RuntaraError:
        """Return what its asker is told when the time is over; `why` says what keeps the server from being reached."""
        if self.is_sent or self.is_uncertain:
            return DeadlineExceeded(f"{self.what} was sent and not answered within {self.timeout:g} s: {why}")
        if self.refusal is not None:
            return self.refusal
        return Unreachable(f"{self.what} was not sent: {why}")

"""How a step is run whose result is kept: look for it, try until there is one, keep it. Once for all kinds of steps."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from runtara import messages
from runtara.errors import RetriesExhausted, Retry, RuntaraError
from runtara.sdk import _flows as flows
from runtara.sdk._base import SdkBase
from runtara.sdk._bodies import Outcome
from runtara.sdk._types import RetryConfig, Signal
from runtara.sdk._words import shown

__all__ = ["Keeper", "PermanentError", "RetryLater", "run_step"]


class PermanentError(Exception):
    """Raise it, or a subclass, from a durable function when trying again would not help."""


class RetryLater(Exception):
    """Raise it, or a subclass, from a durable function to say when trying again may help: `after` so many seconds.

    Any exception with an attribute `retry_after` (seconds, or a timedelta) says the same.
    """

    def __init__(self, error: object = "not now", after: float | timedelta = 0.0) -> None:
        super().__init__(error)
        self.retry_after = after


class Keeper(Protocol):
    """Turns the results of a step into bytes, and back."""

    def keep(self, value: Any, what: str) -> tuple[bytes, Any]:
        """Return the bytes of a result, and what a replay will read from them. `what` is for errors."""

    def read(self, state: bytes | None, what: str) -> Any:
        """Return the result that was kept as these bytes."""


def run_step(
    owner: SdkBase,
    step: str,
    config: RetryConfig,
    keeper: Keeper,
    body: Callable[[int], object],
    *,
    is_new: bool,
    keeps_later: Callable[[str, bytes], bool] | None = None,
) -> flows.Flow[Any]:
    """Return the kept result, or have `body` tried until there is one, and keep it.

    `body` makes the wish for one try, of which it is given the number (from 1); the reply is an `Outcome`. `is_new`:
    nothing can have been kept yet. `keeps_later` may take it upon itself to have the result saved.
    """
    if not is_new:
        found: messages.CheckpointFound = yield messages.GetCheckpoint(checkpoint_id=step)
        if found.found:
            return _stored(step, keeper, found.state)
    failures = yield from _earlier_failures(owner, step, config)
    while True:
        yield from owner.look_for_signals()
        outcome: Outcome = yield body(failures + 1)
        if outcome.error is None:
            state, kept = keeper.keep(outcome.value, f"the result of {step}")
            if keeps_later is not None and keeps_later(step, state):
                return kept
            return (yield from _keep(step, keeper, state, kept))
        failures += 1
        yield from _after_failure(owner, step, config, failures, outcome.error)


def _earlier_failures(owner: SdkBase, step: str, config: RetryConfig) -> flows.Flow[int]:
    """Return how often the step failed in earlier attempts; wait out the time before its next try."""
    if not config.max_retries or not owner.is_resumed:
        return 0
    found: messages.RetriesFound = yield messages.ListRetries(checkpoint_id=step)
    if not found.retries:
        return 0
    last = found.retries[-1]
    if last.attempt > config.max_retries:
        raise RetriesExhausted(f"{step} failed {last.attempt} times, the last time with {last.error}")
    retry_at = last.retry_at or 0
    left = min(retry_at - owner.now_ms(), retry_at - last.recorded_at)  # no longer, should the clock be set back
    yield from owner.pause(left / 1000)
    return last.attempt


def _after_failure(owner: SdkBase, step: str, config: RetryConfig, failures: int, error: Exception) -> flows.Flow[None]:
    """Count the failure, and wait before the next try; or raise it, if there is none."""
    if not config.is_tried_again(error) or _is_permanent(error):
        raise error
    delay = config.delay_after(error, failures, owner.random)
    yield messages.RecordRetry(
        checkpoint_id=step,
        attempt=failures,
        error=shown(error)[:2048],
        retry_after_ms=int(delay.total_seconds() * 1000),
    )
    if failures > config.max_retries:
        raise error
    yield from owner.pause(delay.total_seconds())


def _is_permanent(error: Exception) -> bool:
    """Whether trying again would not help: the function says so, or the runtime, as when the instance is cancelled."""
    return isinstance(error, PermanentError) or (isinstance(error, RuntaraError) and error.retry is Retry.NEVER)


def _keep(step: str, keeper: Keeper, state: bytes, kept: Any) -> flows.Flow[Any]:
    """Save a result; return what a replay will return, so that both see the same (a tuple may have become a list)."""
    saved: messages.CheckpointSaved = yield messages.SaveCheckpoint(checkpoint_id=step, state=state)
    flows.raise_for(Signal.of(saved.signal))
    return _stored(step, keeper, saved.state) if saved.found else kept


def _stored(step: str, keeper: Keeper, state: bytes | None) -> Any:
    return keeper.read(state, f"result of {step} is not what the function returns")

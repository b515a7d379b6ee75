"""What a call may hold by which an attempt rests, or ends, with what it has done.

Owns the checks of these commands alone; how large each state may be is known to the dispatch.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from runtara.actors._dispatch_checks import check_integer, check_rest
from runtara.clock import SPAN_MAX_MS
from runtara.errors import InvalidInput, TooLarge
from runtara.ids import check_checkpoint_id
from runtara.messages import FinishInstance, RestInstance, StepResult

__all__ = ["REST_CHECKS", "RESULTS_MAX", "RESULTS_MAX_BYTES"]

RESULTS_MAX: Final = 64
"""Most checkpoints that are saved with one such call."""

RESULTS_MAX_BYTES: Final = 64 * 1024
"""Most bytes of their states together: what is larger is saved before, by itself."""


def _check_rest(command: RestInstance) -> None:
    delay, span_ms = command.checkpoint_id, command.duration_ms
    if (delay is None) != (span_ms is None):
        raise InvalidInput("a delay needs a checkpoint_id and a duration_ms: give both, or neither")
    if delay is not None and (command.wake_at is not None or command.awaits):
        raise InvalidInput(f"delay {delay!r} ends by itself: give no wake_at beside it, and no signals")
    _check_results(command.results, () if delay is None else (delay,))
    if span_ms is not None:
        check_integer(span_ms, "duration", 0, SPAN_MAX_MS)
    if command.subtype is not None:
        check_checkpoint_id(command.subtype, "subtype")
    check_rest(command)


def _check_finish(command: FinishInstance) -> None:
    _check_results(command.results)


def _check_results(results: tuple[StepResult, ...], others: tuple[str, ...] = ()) -> None:
    if len(results) > RESULTS_MAX:
        raise TooLarge(f"{len(results)} results are too many: save all but {RESULTS_MAX} of them before")
    ids = [*(result.checkpoint_id for result in results), *others]
    for checkpoint_id in ids:
        check_checkpoint_id(checkpoint_id)
    if len(set(ids)) < len(ids):
        raise InvalidInput("a checkpoint is named twice: an id is written once")
    if not all(isinstance(cast(object, result.state), bytes) for result in results):
        raise InvalidInput("the state of a result must be bytes: encode it first")
    size = sum(len(result.state) for result in results)
    if size > RESULTS_MAX_BYTES:
        raise TooLarge(f"{size} bytes of results are too many: save what is over {RESULTS_MAX_BYTES} before")


REST_CHECKS: Final[dict[type, Callable[[Any], None]]] = {RestInstance: _check_rest, FinishInstance: _check_finish}
"""By command; Any: each row takes its own."""

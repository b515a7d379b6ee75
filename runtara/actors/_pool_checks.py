"""What workers may say to a pool: checked before it gets there."""

from collections.abc import Callable
from typing import Any, Final

from runtara import messages
from runtara.actors._dispatch_checks import LOG_WAIT_MAX_MS, PRIORITY_MAX, PROGRAM_MAX_BYTES, check_integer, encoded
from runtara.clock import SPAN_MAX_MS
from runtara.errors import InvalidInput, TooLarge
from runtara.ids import check_checkpoint_id, check_id, is_pooled

__all__ = ["HELD_MAX", "POOL_CHECKS", "PROGRAMS_MAX", "SLOTS_MAX", "TAGS_MAX"]

SLOTS_MAX: Final = 1_024
"""Most slots of one worker."""

PROGRAMS_MAX: Final = 1_024
"""Most programs that one worker can run."""

TAGS_MAX: Final = 20
"""Most tags of a worker, or of a task."""

HELD_MAX: Final = 4 * SLOTS_MAX
"""Most claims that a worker keeps at a time."""

_LEASE_MIN_MS: Final = 100


def _check_claim(command: messages.ClaimWork) -> None:
    check_id(command.worker_id, "worker id")
    check_integer(command.slot, "slot", 0, SLOTS_MAX - 1)
    _check_tags(command.tags)
    _check_wait(command.wait_ms)
    _check_lease(command.lease_ms)
    _check_many(command.programs, "programs", 0, PROGRAMS_MAX)  # none: a slot says goodbye
    for program in command.programs:
        _check_program(program)


def _check_keep(command: messages.KeepClaims) -> None:
    check_id(command.worker_id, "worker id")
    _check_wait(command.wait_ms)
    _check_lease(command.lease_ms)
    _check_many(command.held, "held", 0, HELD_MAX)
    for claim_id in command.held:
        check_checkpoint_id(claim_id, "claim id")


def _check_finish(command: messages.FinishTask) -> None:
    check_checkpoint_id(command.claim_id, "claim id")


def _check_offer(command: messages.OfferTask) -> None:
    check_checkpoint_id(command.place, "place")
    _check_program(command.program)
    _check_tags(command.tags)
    check_integer(command.priority, "priority", -PRIORITY_MAX, PRIORITY_MAX)
    _check_wait(command.wait_ms)


def _check_withdraw(command: messages.WithdrawTask) -> None:
    check_checkpoint_id(command.place, "place")
    if not isinstance(command.hand_over, bool):
        raise InvalidInput(f"hand_over must be true or false, not {type(command.hand_over).__name__}")


def _check_many(values: object, what: str, least: int, most: int) -> None:
    if not isinstance(values, tuple) or not least <= len(values) <= most:
        raise InvalidInput(f"{what} must be a list of {least} to {most}")


def _check_program(program: object) -> None:
    if len(encoded(program, "program")) > PROGRAM_MAX_BYTES:
        raise TooLarge(f"a program has a name of at most {PROGRAM_MAX_BYTES} bytes: shorten it")
    check_checkpoint_id(str(program)[:256], "program")
    if not is_pooled(str(program)):
        raise InvalidInput(f"program {program!a:.80} is run by no worker: their programs are called pool:…")


def _check_tags(tags: tuple[str, ...]) -> None:
    _check_many(tags, "tags", 0, TAGS_MAX)
    for tag in tags:
        check_checkpoint_id(tag, "tag")


def _check_wait(wait_ms: object) -> None:
    check_integer(wait_ms, "wait_ms", 0, LOG_WAIT_MAX_MS)


def _check_lease(lease_ms: object) -> None:
    check_integer(lease_ms, "lease_ms", _LEASE_MIN_MS, SPAN_MAX_MS)


POOL_CHECKS: Final[dict[type, Callable[[Any], None]]] = {  # Any: each row takes its own command type
    messages.ClaimWork: _check_claim,
    messages.KeepClaims: _check_keep,
    messages.FinishTask: _check_finish,
    messages.OfferTask: _check_offer,
    messages.WithdrawTask: _check_withdraw,
}

"""What a call about a schedule may hold.

Owns the checks of these commands alone; a plan is checked when it is put, so that it fails in front of whoever made it.
"""

from collections.abc import Callable
from typing import Any, Final

from runtara import messages
from runtara.actors._dispatch_checks import check_page, check_start
from runtara.actors._schedule_plan import check_timing
from runtara.errors import InvalidInput, TooLarge
from runtara.ids import ID_MAX_CHARS, check_id

__all__ = ["INPUT_MAX_BYTES", "NAME_MAX_CHARS", "SCHEDULE_CHECKS"]

NAME_MAX_CHARS: Final = ID_MAX_CHARS - len(".20260101T000000Z")
"""Longest name of a schedule: the ids of its starts begin with it."""

INPUT_MAX_BYTES: Final = 64 * 1024
"""Largest input that a schedule keeps; it is read and written with every start."""


def _check_put(command: messages.PutSchedule) -> None:
    _check_name(command)
    plan = command.plan
    check_start(plan.start)
    if plan.start.start_at is not None:
        raise InvalidInput("the start of a schedule has no start_at: the schedule says when")
    if plan.start.replace:
        raise InvalidInput("the start of a schedule replaces nothing: each has an id of its own")
    content: object = plan.start.input
    if content is not None and not isinstance(content, bytes):
        raise InvalidInput(f"input must be bytes, not {type(content).__name__}: encode it first")
    if content is not None and len(content) > INPUT_MAX_BYTES:
        raise TooLarge(
            f"input of schedule {command.name!r} has {len(content)} bytes: at most {INPUT_MAX_BYTES} are allowed; "
            "keep large data elsewhere and store a reference to it"
        )
    if not isinstance(plan.paused, bool):
        raise InvalidInput(f"paused must be true or false, not {type(plan.paused).__name__}")
    check_timing(plan)


def _check_name(command: Any) -> None:  # Any: most of the commands have a name
    check_id(command.name, "schedule name")
    if len(command.name) > NAME_MAX_CHARS:
        raise InvalidInput(
            f"schedule name has {len(command.name)} characters: at most {NAME_MAX_CHARS} are allowed, "
            "as the ids of its starts are longer"
        )


def _check_pause(command: messages.PauseSchedule) -> None:
    _check_name(command)
    if not isinstance(command.paused, bool):
        raise InvalidInput(f"paused must be true or false, not {type(command.paused).__name__}")


# Any: each row takes its own command type.
SCHEDULE_CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    messages.PutSchedule: _check_put,
    messages.GetSchedule: _check_name,
    messages.ListSchedules: check_page,
    messages.DeleteSchedule: _check_name,
    messages.PauseSchedule: _check_pause,
}

"""What a call about many instances may hold: how many there may be, and what they are sent.

Owns the checks of these commands alone; what each start may hold is checked when it is made.
"""

from collections.abc import Callable
from typing import Any, Final

from runtara import messages
from runtara.actors._dispatch_checks import PAGE_MAX, check_integer, check_page
from runtara.actors._list_checks import check_filter
from runtara.clock import SPAN_MAX_MS
from runtara.errors import InvalidInput, TooLarge
from runtara.ids import check_id

__all__ = ["MANY_CHECKS", "STARTS_MAX"]

STARTS_MAX: Final = PAGE_MAX
"""Most instances that one call may start."""

_KINDS: Final = ("cancel", "pause", "resume")


def _check_starts(command: messages.StartMany) -> None:
    if not isinstance(command.starts, tuple):
        raise InvalidInput(f"starts must be a tuple, not {type(command.starts).__name__}")
    if not command.starts:
        raise InvalidInput("starts is empty: name at least one instance")
    if len(command.starts) > STARTS_MAX:
        raise TooLarge(f"{len(command.starts)} starts are too many: at most {STARTS_MAX} are allowed in one call")


def _check_signals(command: messages.SignalMany) -> None:
    check_id(command.signal_id, "signal id")
    if command.kind not in _KINDS:
        raise InvalidInput(f"signal kind {command.kind!r} is not sent to many: use {', '.join(_KINDS)}")
    if command.grace_ms is not None:
        check_integer(command.grace_ms, "grace_ms", 0, SPAN_MAX_MS)
    check_page(command)
    check_filter(command.filter)


# Any: each row takes its own command type.
MANY_CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    messages.StartMany: _check_starts,
    messages.SignalMany: _check_signals,
}

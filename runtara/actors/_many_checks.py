"""What a call about many instances may hold: how many there may be, and which filters there are.

Owns the checks of these commands alone; what each start may hold is checked when it is made.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from runtara import messages
from runtara.actors._dispatch_checks import PAGE_MAX, check_integer, check_page, check_text
from runtara.clock import SPAN_MAX_MS, check_instant_ms
from runtara.errors import InvalidInput, TooLarge
from runtara.ids import ID_MAX_CHARS, check_id
from runtara.lifecycle import Status

__all__ = ["MANY_CHECKS", "STARTS_MAX", "check_listed"]

STARTS_MAX: Final = PAGE_MAX
"""Most instances that one call may start."""

_KINDS: Final = ("cancel", "pause", "resume")
_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:@+-]*)?\Z", re.ASCII)
_IMAGE_ID: Final = re.compile(r"[0-9a-f]{32}\Z")


def check_listed(command: messages.ListInstances) -> None:
    """Raise `InvalidInput` unless a list with a filter may be asked for so."""
    if command.filter is None:
        return
    _check_filter(command.filter)
    if None not in (command.status, command.filter.status) and command.status != command.filter.status:
        raise InvalidInput(f"status {command.status} and a filter for {command.filter.status} exclude each other")


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
    _check_filter(command.filter)


def _check_filter(filter_: messages.InstanceFilter) -> None:
    if filter_.status is not None and filter_.status not in tuple(Status):
        raise InvalidInput(f"status {filter_.status!a} is unknown: use {', '.join(Status)}")
    if filter_.program is not None:
        check_text(filter_.program, "program")
    if filter_.image_id is not None and not _IMAGE_ID.match(filter_.image_id):
        raise InvalidInput(f"image id {filter_.image_id!a:.80} is not one: it has 32 hexadecimal digits")
    prefix: object = filter_.prefix  # who is in this process may give anything
    if not isinstance(prefix, str) or len(prefix) > ID_MAX_CHARS or not _PREFIX.match(prefix):
        raise InvalidInput(f"prefix {filter_.prefix!a:.150} is not the beginning of an instance id")
    for what, instant in (("created_from", filter_.created_from), ("created_before", filter_.created_before)):
        if instant is not None:
            check_instant_ms(instant, what)


# Any: each row takes its own command type.
MANY_CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    messages.StartMany: _check_starts,
    messages.SignalMany: _check_signals,
}

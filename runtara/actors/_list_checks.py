"""What a call about the lists and counts of a tenant's instances may hold: filters, orders, spans of time."""

import re
from collections.abc import Callable
from typing import Any, Final, get_args

from runtara import messages
from runtara.actors._dispatch_checks import check_page, check_text
from runtara.clock import check_instant_ms
from runtara.errors import InvalidInput
from runtara.ids import ID_MAX_CHARS, check_checkpoint_id, check_id
from runtara.lifecycle import Status
from runtara.messages import Granularity, InstanceFilter, InstanceOrder, StepStatus

__all__ = ["LIST_CHECKS", "SEARCH_MAX_CHARS", "check_filter"]

SEARCH_MAX_CHARS: Final = 200
"""Longest text that is looked for."""

_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:@+-]*)?\Z", re.ASCII)
_IMAGE_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
_INSTANTS: Final = ("created_from", "created_before", "finished_from", "finished_before")


def check_filter(wanted: InstanceFilter) -> None:
    """Raise `InvalidInput` unless instances may be looked for so."""
    _check_statuses(wanted)
    if wanted.program is not None:
        check_text(wanted.program, "program")
    if wanted.image_id is not None and not _IMAGE_ID.match(wanted.image_id):
        raise InvalidInput(f"image id {wanted.image_id!a:.80} is not one: it has 32 hexadecimal digits")
    prefix: object = wanted.prefix  # who is in this process may give anything
    if not isinstance(prefix, str) or len(prefix) > ID_MAX_CHARS or not _PREFIX.match(prefix):
        raise InvalidInput(f"prefix {wanted.prefix!a:.150} is not the beginning of an instance id")
    for what in _INSTANTS:
        instant = getattr(wanted, what)
        if instant is not None:
            check_instant_ms(instant, what)
    check_text(wanted.search, "search")
    if len(wanted.search) > SEARCH_MAX_CHARS or "\0" in wanted.search:
        raise InvalidInput(f"search is not allowed: use at most {SEARCH_MAX_CHARS} characters, none of them NUL")


def _check_statuses(wanted: InstanceFilter) -> None:
    if not isinstance(wanted.statuses, tuple):
        raise InvalidInput(f"statuses must be a tuple, not {type(wanted.statuses).__name__}")
    for status in (*wanted.statuses, *(() if wanted.status is None else (wanted.status,))):
        _check_status(status)


def _check_status(status: object) -> None:
    if status not in tuple(Status):
        raise InvalidInput(f"status {status!a:.80} is unknown: use {', '.join(Status)}")


def _check_choice(value: object, choices: Any, what: str) -> None:  # Any: a type of texts
    if value not in get_args(choices):
        raise InvalidInput(f"{what} {value!a:.80} is unknown: use {', '.join(get_args(choices))}")


def _check_instances(command: messages.ListInstances) -> None:
    check_page(command)
    _check_choice(command.order, InstanceOrder, "order")
    if command.status is not None:
        _check_status(command.status)
    if command.filter is None:
        return
    check_filter(command.filter)
    if None not in (command.status, command.filter.status) and command.status != command.filter.status:
        raise InvalidInput(f"status {command.status} and a filter for {command.filter.status} exclude each other")


def _check_steps(command: messages.ListSteps) -> None:
    check_page(command)
    if command.status is not None:
        _check_choice(command.status, StepStatus, "status of a step")
    if command.step_type is not None:
        check_checkpoint_id(command.step_type, "step type")


def _check_metrics(command: messages.GetTenantMetrics) -> None:
    check_id(command.tenant_id, "tenant id")
    check_instant_ms(command.from_ms, "from_ms")
    check_instant_ms(command.to_ms, "to_ms")
    _check_choice(command.granularity, Granularity, "granularity")


# Any: each row takes its own command type.
LIST_CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    messages.ListInstances: _check_instances,
    messages.ListSteps: _check_steps,
    messages.GetTenantMetrics: _check_metrics,
}
"""What is not here holds nothing that could be wrong."""

"""What a call may hold: the limits and alphabets of every field that a caller fills in.

Owns the tables of checks, but for those of images (`_images_checks`), of lists of instances (`_list_checks`) and the
like; whom to ask is decided in `dispatch`. Nothing here knows an instance: a call that passes may still be refused by
whoever answers it.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from runtara import messages
from runtara.clock import SPAN_MAX_MS, check_instant_ms
from runtara.errors import InvalidInput, TooLarge
from runtara.ids import check_checkpoint_id, check_id

__all__ = [
    "AMOUNT_MAX",
    "AWAITS_MAX",
    "CHECKS",
    "ENV_MAX_BYTES",
    "ENV_MAX_NAMES",
    "LOG_MAX_BYTES",
    "LOG_WAIT_MAX_MS",
    "PAGE_MAX",
    "PAYLOADS",
    "PRIORITY_MAX",
    "PROGRAM_MAX_BYTES",
    "REQUEST_MAX",
    "RESOURCES_MAX",
    "TEXT_MAX_BYTES",
    "check_environment",
    "check_integer",
    "check_page",
    "check_rest",
    "check_start",
    "check_text",
    "encoded",
]

PAGE_MAX: Final = 1_000
"""Most rows that a list returns at once."""

TEXT_MAX_BYTES: Final = 64 * 1024
"""Longest error text, in UTF-8 bytes."""

PROGRAM_MAX_BYTES: Final = 4_096
"""Longest path or name of a program, in UTF-8 bytes."""

ENV_MAX_NAMES: Final = 256
"""Most environment variables of one program."""

ENV_MAX_BYTES: Final = 64 * 1024
"""Most bytes of all names and values of one program's environment together."""

PRIORITY_MAX: Final = 100
"""Highest priority; the lowest is as far below 0."""

RESOURCES_MAX: Final = 16
"""Most resources that one program may need."""

AMOUNT_MAX: Final = 1e18
"""Largest amount of a resource."""

AWAITS_MAX: Final = 1_000
"""Most signals that an instance rests for."""

LOG_MAX_BYTES: Final = 1024 * 1024
"""Most bytes of a program's output that are read at once."""

LOG_WAIT_MAX_MS: Final = 60_000
"""Longest wait for more output."""

REQUEST_MAX: Final = 2**53
"""Largest number of a call: what every language can count up to."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_RESOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}\Z", re.ASCII)
_RESERVED: Final = re.compile(r"RUNTARA_|LD_|PYTHON|GLIBC_TUNABLES\Z")
"""Variables by which a program could be made another one, or take itself for another."""


# Kinds of fields ------------------------------------------------------------------------------------------------------


def check_integer(value: object, what: str, least: int, most: int) -> None:
    """Raise `InvalidInput` unless it is a whole number in these bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{what} {value!r} is not allowed: use a whole number from {least} to {most}")


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= PAGE_MAX:
        raise InvalidInput(
            f"limit {limit!r} is not allowed: ask for 1 to {PAGE_MAX} rows, and for more with the cursor"
        )


def check_text(text: object, what: str) -> None:
    """Raise `InvalidInput` or `TooLarge` unless it is text of at most `TEXT_MAX_BYTES`."""
    size = len(encoded(text, what))
    if size > TEXT_MAX_BYTES:
        raise TooLarge(f"{what} has {size} bytes: at most {TEXT_MAX_BYTES} are allowed; shorten it")


def encoded(text: object, what: str) -> bytes:
    """Return text in UTF-8. Raises `InvalidInput` for what is none."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what} must be text, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} holds lone surrogates: replace them") from None


def _check_span(span_ms: object, what: str) -> None:
    if isinstance(span_ms, bool) or not isinstance(span_ms, int) or not 0 <= span_ms <= SPAN_MAX_MS:
        raise InvalidInput(f"{what} {span_ms!r} is not allowed: use whole milliseconds from 0 to {SPAN_MAX_MS}")


def _check_flag(flag: object, what: str) -> None:
    if not isinstance(flag, bool):
        raise InvalidInput(f"{what} must be true or false, not {type(flag).__name__}")


def _check_request(request: object) -> None:
    if request is not None:
        check_integer(request, "request", 1, REQUEST_MAX)


# Commands, in the order of the endpoints ------------------------------------------------------------------------------


def check_start(command: messages.StartInstance) -> None:
    """Raise `InvalidInput` or `TooLarge` unless an instance may be started so."""
    _check_program(command.program)
    _check_flag(command.image, "image")
    check_environment(command.env)
    if command.timeout_ms is not None:
        check_integer(command.timeout_ms, "timeout_ms", 1, SPAN_MAX_MS)
    _check_resources(command.resources)
    check_integer(command.priority, "priority", -PRIORITY_MAX, PRIORITY_MAX)
    if command.start_at is not None:
        check_instant_ms(command.start_at, "start_at")
    _check_flag(command.replace, "replace")
    if command.request_id is not None:
        check_id(command.request_id, "request id")


def _check_fork(command: messages.ForkInstance) -> None:
    check_id(command.source, "source id")
    if command.checkpoint_id is not None:
        check_checkpoint_id(command.checkpoint_id)


def _check_program(program: object) -> None:
    size = len(encoded(program, "program"))
    if not 1 <= size <= PROGRAM_MAX_BYTES:
        raise InvalidInput(f"program has {size} bytes: give a path or a name of 1 to {PROGRAM_MAX_BYTES} bytes")
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in str(program)):
        raise InvalidInput(f"program {program!a} holds control characters: give a path or a name without them")


def check_environment(env: object) -> None:
    """Raise `InvalidInput` or `TooLarge` unless these variables may be given to a program."""
    if not isinstance(env, Mapping):
        raise InvalidInput(f"env must map names to values, not be {type(env).__name__}")
    if len(env) > ENV_MAX_NAMES:
        raise TooLarge(f"env has {len(env)} variables: at most {ENV_MAX_NAMES} are allowed; use the input instead")
    size = sum(_size_of_variable(name, value) for name, value in env.items())
    if size > ENV_MAX_BYTES:
        raise TooLarge(f"env has {size} bytes: at most {ENV_MAX_BYTES} are allowed; use the input instead")


def _check_resources(resources: object) -> None:
    if not isinstance(resources, Mapping):
        raise InvalidInput(f"resources must map names to amounts, not be {type(resources).__name__}")
    if len(resources) > RESOURCES_MAX:
        raise TooLarge(f"{len(resources)} resources are named: at most {RESOURCES_MAX} are allowed")
    for name, amount in resources.items():
        if not isinstance(name, str) or not _RESOURCE.match(name):
            raise InvalidInput(f"resource {name!a:.80} is not allowed: use letters, digits and . _ / -")
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount <= AMOUNT_MAX:
            raise InvalidInput(f"{amount!r} of {name} is not allowed: use a number above 0, at most {AMOUNT_MAX:g}")


def _size_of_variable(name: object, value: object) -> int:
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidInput(
            f"env name {name!a:.80} is not allowed: use letters, digits and _, not beginning with a digit"
        )
    if _RESERVED.match(name):
        raise InvalidInput(f"env name {name:.80} is reserved for the runtime: choose another")
    content = encoded(value, f"env value of {name:.80}")
    if b"\0" in content:
        raise InvalidInput(f"env value of {name:.80} holds a NUL character: remove it")
    return len(name) + len(content)


def _check_register(command: messages.RegisterInstance) -> None:
    check_id(command.attempt_id, "attempt id")
    if command.checkpoint_id is not None:
        check_checkpoint_id(command.checkpoint_id)
    _check_flag(command.replace, "replace")


def _check_save(command: messages.SaveCheckpoint) -> None:
    check_checkpoint_id(command.checkpoint_id)
    if command.request is not None:
        _check_request(command.request)


def _check_checkpoint(command: messages.GetCheckpoint | messages.ListRetries) -> None:
    check_checkpoint_id(command.checkpoint_id)


def _check_sleep(command: messages.Sleep) -> None:
    check_checkpoint_id(command.checkpoint_id)
    if command.duration_ms is not None:
        _check_span(command.duration_ms, "duration")
    if command.until is not None:
        check_instant_ms(command.until, "until")
    _check_request(command.request)


def _check_fail(command: messages.FailInstance) -> None:
    check_text(command.error, "error")


def check_rest(command: messages.SuspendInstance | messages.RestInstance) -> None:
    """Raise `InvalidInput` unless until when, and for what, an instance is to rest is good."""
    if command.wake_at is not None:
        check_instant_ms(command.wake_at, "wake_at")
    if len(command.awaits) > AWAITS_MAX:
        raise InvalidInput(f"{len(command.awaits)} awaited signals are too many: at most {AWAITS_MAX} wake an instance")
    for awaited in command.awaits:
        check_checkpoint_id(awaited.name, "signal name")
        check_checkpoint_id(awaited.place, "place")


def _check_event(command: messages.RecordEvent) -> None:
    check_checkpoint_id(command.subtype, "subtype")
    _check_request(command.request)


def _check_take(command: messages.TakeSignal) -> None:
    check_checkpoint_id(command.name, "signal name")
    check_checkpoint_id(command.place, "place")
    if command.timeout_ms is not None:
        _check_span(command.timeout_ms, "timeout")


def _check_acknowledge(command: messages.AcknowledgeSignal) -> None:
    check_id(command.signal_id, "signal id")


def _check_signal(command: messages.SendSignal) -> None:
    check_id(command.signal_id, "signal id")
    if command.kind not in get_args(messages.SignalKind):
        raise InvalidInput(f"signal kind {command.kind!r} is unknown: use {', '.join(get_args(messages.SignalKind))}")
    if (command.kind == "custom") != (command.name is not None):
        raise InvalidInput("a custom signal needs a name, and only a custom signal has one")
    if command.name is not None:
        check_checkpoint_id(command.name, "signal name")
    if command.grace_ms is not None:
        _check_span(command.grace_ms, "grace_ms")


def _check_retry(command: messages.RecordRetry) -> None:
    check_checkpoint_id(command.checkpoint_id)
    _check_attempt(command.attempt)
    if command.error is not None:
        check_text(command.error, "error")
    if command.retry_after_ms is not None:
        _check_span(command.retry_after_ms, "retry_after")


def _check_attempt(attempt: object) -> None:
    if isinstance(attempt, bool) or not isinstance(attempt, int) or not 1 <= attempt < 2**31:
        raise InvalidInput(f"attempt {attempt!r} is not allowed: count from 1")


def check_page(command: Any) -> None:
    """Raise `InvalidInput` unless `limit` and `cursor` of a command are good; Any: many kinds of commands have both."""
    _check_limit(command.limit)
    if command.cursor is not None:
        check_text(command.cursor, "cursor")


def _check_events(command: messages.ListEvents) -> None:
    check_page(command)
    for what, wanted in (("event type", command.event_type), ("subtype", command.subtype)):
        if wanted is not None:
            check_checkpoint_id(wanted, what)
    _check_flag(command.newest_first, "newest_first")


def _check_log(command: messages.ReadLog) -> None:
    if command.stream not in ("stdout", "stderr"):
        raise InvalidInput(f"stream {command.stream!a:.80} is unknown: use stdout or stderr")
    check_integer(command.offset, "offset", -(2**63), 2**63 - 1)
    check_integer(command.limit, "limit", 1, LOG_MAX_BYTES)
    check_integer(command.wait_ms, "wait_ms", 0, LOG_WAIT_MAX_MS)
    check_text(command.node, "node")


def _check_chore(command: messages.RunChore) -> None:
    if command.chore not in get_args(messages.Chore):
        raise InvalidInput(f"chore {command.chore!a:.80} is unknown: use {', '.join(get_args(messages.Chore))}")
    _check_flag(command.dry_run, "dry_run")


def _check_add_key(command: messages.AddKey) -> None:
    if command.role not in get_args(messages.Role):
        raise InvalidInput(f"role {command.role!a:.80} is unknown: use {', '.join(get_args(messages.Role))}")
    if command.expires_at is not None:
        check_instant_ms(command.expires_at, "expires_at")
    check_id(command.request_id, "request id")


def _check_rotate_key(command: messages.RotateKey) -> None:
    check_id(command.key_id, "key id")
    _check_span(command.grace_ms, "grace_ms")
    check_id(command.request_id, "request id")


def _check_revoke_key(command: messages.RevokeKey) -> None:
    check_id(command.key_id, "key id")


CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    messages.StartInstance: check_start,
    messages.ForkInstance: _check_fork,
    messages.RegisterInstance: _check_register,
    messages.SaveCheckpoint: _check_save,
    messages.GetCheckpoint: _check_checkpoint,
    messages.ListRetries: _check_checkpoint,
    messages.Sleep: _check_sleep,
    messages.FailInstance: _check_fail,
    messages.SuspendInstance: check_rest,
    messages.RecordEvent: _check_event,
    messages.TakeSignal: _check_take,
    messages.AcknowledgeSignal: _check_acknowledge,
    messages.SendSignal: _check_signal,
    messages.RecordRetry: _check_retry,
    messages.ListCheckpoints: check_page,
    messages.ListEvents: _check_events,
    messages.ReadLog: _check_log,
    messages.RunChore: _check_chore,
    messages.AddKey: _check_add_key,
    messages.RotateKey: _check_rotate_key,
    messages.RevokeKey: _check_revoke_key,
}
"""What is not here holds nothing that could be wrong."""

PAYLOADS: Final[dict[type, str]] = {
    messages.StartInstance: "input",
    messages.ForkInstance: "input",
    messages.SaveCheckpoint: "state",
    messages.Sleep: "state",
    messages.CompleteInstance: "output",
    messages.RestInstance: "payload",
    messages.FinishInstance: "output",
    messages.RecordEvent: "payload",
    messages.SendSignal: "payload",
    messages.OfferTask: "payload",
    messages.FinishTask: "outcome",
}
"""The field that holds bytes of the user's."""

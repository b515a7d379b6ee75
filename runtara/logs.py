"""The log of a server: events with fields, a line each, and the one door to structlog.

Modules log with `logging`, under names that begin with ``runtara``; a field is what is given as ``extra``. Who embeds a
system keeps a log of his own making: nothing is set up here unless `writing_log` is entered, as a server does. What a
call is about (`about`) is known to every line that is written meanwhile, of whatever library.

No line holds a secret or bytes of a user's, and none can be broken in two: credentials are masked wherever they stand,
bytes are shown by their number, objects by their kind, and what is not printable is spelled out.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, Literal, TextIO

__all__ = ["LOG", "ContextFilter", "Fields", "about", "about_nothing", "fields_in_use", "known", "mask", "writing_log"]

LOG: Final = logging.getLogger("runtara")

_VALUE_MAX_CHARS: Final = 4_096
_ITEMS_MAX: Final = 50
_DEPTH_MAX: Final = 3

# What a call is about -------------------------------------------------------------------------------------------------

Fields = Callable[[], Mapping[str, object]]
"""Tells fields when they are asked for: most calls log nothing, and should not pay for it."""


def _nothing() -> Mapping[str, object]:
    return {}


fields_in_use: Final[ContextVar[Fields]] = ContextVar("runtara_log_fields", default=_nothing)
"""What this task or thread is about; for `about`, and for what is on the way of every call."""


class about:  # noqa: N801 - used as a word in `with about(instance_id=...):`
    """Have every line that is logged in the block, in this task or thread, carry these fields beside those known."""

    __slots__ = ("_fields", "_outer", "_token")

    def __init__(self, **fields: object) -> None:
        self._fields = fields
        self._outer: Fields = _nothing
        self._token: Token[Fields]

    def __enter__(self) -> None:
        self._outer = fields_in_use.get()
        self._token = fields_in_use.set(self._known)

    def __exit__(self, *_: object) -> None:
        fields_in_use.reset(self._token)

    def _known(self) -> Mapping[str, object]:
        return {**self._outer(), **self._fields}


class about_nothing:  # noqa: N801 - likewise
    """Have lines in the block, and in the tasks that it starts, carry nothing of what is known around it."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = fields_in_use.set(_nothing)

    def __exit__(self, *_: object) -> None:
        fields_in_use.reset(self._token)


def known() -> Mapping[str, object]:
    """Return what this task or thread is about."""
    return fields_in_use.get()()


class ContextFilter(logging.Filter):
    """Gives every record the fields that are known, for handlers of somebody who embeds a system."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the record does not have, and let it pass."""
        for name, value in known().items():
            record.__dict__.setdefault(name, value)
        return True


# What is shown --------------------------------------------------------------------------------------------------------

_CREDENTIAL: Final = re.compile(r"(?<![A-Za-z0-9])(?P<kind>rt[kin]_|[Bb]earer\s+)[^\s\"'<>,;]+")
_SECRET: Final = frozenset("authorization cookie credential password secret set_cookie token api_key".split())
"""Names of fields that are never shown."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every record has; the rest are fields."""
_RESERVED: Final = frozenset({"timestamp", "level", "logger", "event", "exception"})


def mask(text: str) -> str:
    """Return a text with every credential in it made unusable."""
    return _CREDENTIAL.sub(r"\g<kind>***", text)


def _shown(name: str, value: object, depth: int = 0) -> Any:
    """Return what is shown of a field; Any: what JSON can hold."""
    if name.lower() in _SECRET:
        return "***"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping | tuple | list | set | frozenset):
        return _shown_inside(value, depth) if depth < _DEPTH_MAX else "..."
    if isinstance(value, str | BaseException | PurePath | Enum):
        return mask(str(value))[:_VALUE_MAX_CHARS]
    return f"<{type(value).__name__}>"


def _shown_inside(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        items = list(value.items())[:_ITEMS_MAX]
        return {mask(str(name)): _shown(str(name), inner, depth + 1) for name, inner in items}
    return [_shown("", inner, depth + 1) for inner in list(value)[:_ITEMS_MAX]]


# How it is written ----------------------------------------------------------------------------------------------------

_Event = MutableMapping[str, Any]  # Any: structlog's own word for it

_WITHOUT_QUOTES: Final = re.compile(r"[^\s\"=\\]+\Z")


def _gather(_logger: object, _method: str, event: _Event) -> _Event:
    """Take the fields of a record, and what is known, into the event; nothing that is not to be shown."""
    record: logging.LogRecord = event["_record"]
    # What begins with an underscore was put there by a library for itself, as Ray does to every record.
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD and name[:1] != "_"}
    fields = {**extra, **{name: value for name, value in known().items() if name not in extra}}
    gathered: dict[str, Any] = {
        "timestamp": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": mask(str(event["event"])),
    }
    for name, value in fields.items():
        shown = _shown(name, value)
        if shown is not None:
            gathered[f"field_{name}" if name in _RESERVED else name] = shown
    if event.get("exception"):
        gathered["exception"] = mask(event["exception"])
    return gathered | {name: event[name] for name in ("_record", "_from_structlog") if name in event}


def _as_line(_logger: object, _method: str, event: _Event) -> str:
    """Return instant, level, event and fields, and below it, indented, the traceback if there is one."""
    instant, level, said = event.pop("timestamp"), event.pop("level"), event.pop("event")
    exception: str = event.pop("exception", "")
    event.pop("logger")
    said = said if said.isprintable() else json.dumps(said)
    line = " ".join(
        [instant.replace("T", " "), level, said, *(f"{name}={_word(value)}" for name, value in event.items())]
    )
    below = (f"  {_spelled_out(text)}" for text in exception.splitlines())
    return "\n".join([line, *below])


def _word(value: object) -> str:
    """Return a value as one word, in quotes as in JSON where it is none."""
    if isinstance(value, dict | list):
        return json.dumps(json.dumps(value))
    text = str(value)
    return text if text.isprintable() and _WITHOUT_QUOTES.match(text) else json.dumps(text)


def _spelled_out(text: str) -> str:
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


@contextmanager
def writing_log(
    format: Literal["text", "json"] = "text", level: str = "info", stream: TextIO | None = None
) -> Iterator[logging.Logger]:
    """Have everything from a level on written to stderr, or to `stream`, within the block.

    Of other libraries, warnings are. `text` is for people, a line each; `json` one object a line.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(format))
    root = logging.getLogger()
    before = LOG.level, LOG.propagate
    for logger in (LOG, root):
        logger.addHandler(handler)
    LOG.setLevel(level.upper())
    LOG.propagate = False
    try:
        yield LOG
    finally:
        for logger in (LOG, root):
            logger.removeHandler(handler)
        LOG.setLevel(before[0])
        LOG.propagate = before[1]


def _formatter(format: Literal["text", "json"]) -> logging.Formatter:
    import structlog

    as_json = structlog.processors.JSONRenderer(default=lambda value: f"<{type(value).__name__}>")
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.processors.format_exc_info, _gather],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _as_line if format == "text" else as_json,
        ],
    )

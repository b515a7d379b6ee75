"""How the command line says things to people: instants, spans, sizes, bytes, and what an event means.

Owns wording only. Nothing that it returns can move a cursor or colour a terminal: what programs and users have written
is shown with its control characters spelled out.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from runtara.clock import INSTANT_MAX_MS
from runtara.lifecycle import Trigger
from runtara.records import Event

__all__ = ["ABSENT", "EVENTS", "UNITS", "instant", "payload", "plain", "size", "span", "tell"]

ABSENT: Final = "-"
"""Stands where there is nothing."""

UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms"))
"""Milliseconds, and what so many of them are called; the largest first."""
_SHOWN_MAX: Final = 2_000
"""Most characters of a payload that are shown."""


def instant(at_ms: int | None) -> str:
    """Return an instant in UTC, to the millisecond."""
    if at_ms is None or not 0 <= at_ms <= INSTANT_MAX_MS:
        return ABSENT
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d}Z"


def span(span_ms: int | None) -> str:
    """Return a span in its two largest units, as in ``2 h 5 min``."""
    if span_ms is None:
        return ABSENT
    for place, (unit, name) in enumerate(UNITS):
        if span_ms >= unit:
            whole, rest = divmod(span_ms, unit)
            finer = UNITS[place + 1] if place + 1 < len(UNITS) else None
            more = f" {rest // finer[0]} {finer[1]}" if finer and rest >= finer[0] else ""
            return f"{whole} {name}{more}"
    return "0 ms"


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def plain(text: str) -> str:
    """Return text with everything that is not printable spelled out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def payload(data: bytes | None) -> str:
    """Return bytes as the text that they are, or else how many there are."""
    if data is None:
        return ABSENT
    if not data:
        return "(empty)"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"({size(len(data))} of binary data)"
    if len(text) > _SHOWN_MAX:
        return f"{plain(text[:_SHOWN_MAX])} … ({size(len(data))})"
    return plain(text)


def tell(event: Event) -> str:
    """Say in a sentence what an event means; the details that it carries come behind."""
    return EVENTS.get(event.type, _unknown)(event)


def _says(text: str) -> Callable[[Event], str]:
    """An event that needs no details but what it carries anyway."""

    def say(event: Event) -> str:
        said = text.format(epoch=event.epoch)
        if event.checkpoint_id is not None:
            said += f", at {plain(event.checkpoint_id)}"
        if event.payload:
            said += f": {_line(event.payload)}"
        return said

    return say


def _line(data: bytes) -> str:
    """Bytes on one line."""
    return payload(data).strip().replace("\n", "⏎ ")


def _created(event: Event) -> str:
    """Whoever goes on from where another instance was says so."""
    if event.subtype == "replaced":
        return "the instance was created in the place of the one that had its id"
    if event.subtype != "forked":
        return "the instance was created"
    try:
        source = str(msgspec.json.decode(event.payload or b"")["source"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        source = "another one"
    at = "" if event.checkpoint_id is None else f", from its checkpoint {plain(event.checkpoint_id)}"
    return f"the instance was created to go on where {plain(source)} was{at}"


def _custom(event: Event) -> str:
    about = f": {_line(event.payload)}" if event.payload else ""
    return f"the program says {plain(event.subtype or '')}{about}"


def _signal_sent(event: Event) -> str:
    _, _, note = (event.payload or b"").partition(b"\n")
    about = f": {_line(note)}" if note else ""
    return f"a {plain(event.subtype or '')} signal was sent{about}"


def _signal_acknowledged(event: Event) -> str:
    return f"the {plain(event.subtype or '')} signal was acted upon"


def _unknown(event: Event) -> str:
    return _custom(event) if event.subtype else _says(event.type)(event)


EVENTS: Final[dict[Any, Callable[[Event], str]]] = {
    "created": _created,
    Trigger.REGISTERED: _says("attempt {epoch} has begun"),
    Trigger.CHECKPOINTED: _says("a checkpoint was saved"),
    Trigger.SLEPT: _says("the program sleeps and has left memory"),
    Trigger.PAUSED: _says("the program was paused"),
    Trigger.SHUT_DOWN: _says("the program was told to make room, and will be launched again"),
    Trigger.SUSPENDED: _says("the program rests"),
    Trigger.WOKEN: _says("it is time: the host launches attempt {epoch}"),
    Trigger.RESUMED: _says("the program was resumed, as attempt {epoch}"),
    Trigger.COMPLETED: _says("the program has completed"),
    Trigger.FAILED: _says("the program has failed"),
    Trigger.TIMED_OUT: _says("the program ran for longer than it may"),
    Trigger.CRASHED: _says("attempt {epoch} died without a report"),
    Trigger.WENT_SILENT: _says("nothing was heard of attempt {epoch} for too long"),
    Trigger.GAVE_UP: _says("it was lost too often without any progress, and is not launched again"),
    Trigger.CANCELLED: _says("the instance was cancelled"),
    "custom": _custom,
    "signal-sent": _signal_sent,
    "signal-acknowledged": _signal_acknowledged,
}
"""Event type to what it says."""

"""Spans and instants as people type them: ``30d``, ``2026-01-31T06:30:00Z``."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from runtara.cli._words import UNITS
from runtara.clock import check_instant_ms, span_ms
from runtara.errors import InvalidInput

__all__ = ["typed_instant", "typed_span"]

_MS: Final = {name: ms for ms, name in UNITS}
_TYPED: Final = re.compile(rf"([0-9]{{1,12}}(?:\.[0-9]{{1,3}})?) ?({'|'.join(_MS)})")


def typed_span(text: str) -> int:
    """Return a span in milliseconds, rounded up. Raises `click.BadParameter`."""
    found = _TYPED.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a span: say a number and one of {', '.join(_MS)}, as in 30d.")
    try:
        return span_ms(float(found[1]) * _MS[found[2]] / 1000, "span")
    except InvalidInput as error:
        raise click.BadParameter(f"{error}.") from None


def typed_instant(text: str) -> int:
    """Return an instant in milliseconds since 1970 UTC; without a zone it is UTC. Raises `click.BadParameter`."""
    try:
        moment = datetime.fromisoformat(text)
        instant = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        return check_instant_ms(instant // timedelta(milliseconds=1), "instant")
    except (ValueError, InvalidInput):
        raise click.BadParameter(f"{text!r} is not an instant: say it as in 2026-01-31T06:30:00Z.") from None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

"""Spans as people type them: a number and a unit, as in ``30d``."""

import re
from typing import Final

import click

from runtara.cli._words import UNITS
from runtara.clock import span_ms
from runtara.errors import InvalidInput

__all__ = ["typed_span"]

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

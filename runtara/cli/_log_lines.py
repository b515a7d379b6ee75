"""The log of a server: events with fields, a line each, on stderr.

Whatever the runtime logs under the name ``runtara`` comes here. A field is what is given as ``extra``; values that hold
more than one word are quoted as in JSON, so that a line can be taken apart again.
"""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from runtara.cli._words import instant

__all__ = ["LOG", "LineFormatter", "log_to_stderr"]

LOG: Final = logging.getLogger("runtara")

_WITHOUT_QUOTES: Final = re.compile(r"[^\s\"=\\]+\Z")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""What every record has; the rest are fields."""


class LineFormatter(logging.Formatter):
    """Writes a record as instant, level, event and fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and below it the traceback if it has one."""
        # What begins with an underscore was put there by a library for itself, as Ray does to every record.
        fields = {
            name: value for name, value in vars(record).items() if name not in _STANDARD and not name.startswith("_")
        }
        words = [instant(int(record.created * 1000)), record.levelname.lower(), record.getMessage()]
        line = " ".join([*words, *(f"{name}={_value(value)}" for name, value in fields.items() if value is not None)])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _value(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and _WITHOUT_QUOTES.match(text) else json.dumps(text)


@contextmanager
def log_to_stderr(quiet: bool) -> Iterator[logging.Logger]:
    """Have everything from warnings on (`quiet`) or from mere events on written to stderr, within the block."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    before = LOG.level, LOG.propagate
    LOG.addHandler(handler)
    LOG.setLevel(logging.WARNING if quiet else logging.INFO)
    LOG.propagate = False
    try:
        yield LOG
    finally:
        LOG.removeHandler(handler)
        LOG.level, LOG.propagate = before

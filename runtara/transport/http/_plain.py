"""The usual answer: all of it at once, and its length is said. No I/O.

It is spelt byte for byte as h11 would spell it, which takes several times as long since it is ready for anything. What
is unusual is left to h11.
"""

import re
from functools import lru_cache
from typing import Final

from runtara.transport.http._head import Fields

__all__ = ["spell_answer"]

_BODY_MAX_BYTES: Final = 64 * 1024
"""Largest body that is copied to travel with its head; two sends cost less than a larger copy."""

_NAME: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_LINES: Final = re.compile(rb"(?:[\t -~\x80-\xff]++\r\n)*+")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_UNUSUAL: Final = frozenset({b"connection", b"host", b"transfer-encoding", b"upgrade"})
"""Fields that h11 does something about."""

_BODILESS: Final = frozenset({204, 304})


def spell_answer(status: int, fields: Fields, body: bytes, *, is_head: bool) -> bytes | None:
    """Return a whole answer, to HEAD if `is_head`; None for one that is unusual, or not in order.

    There must be no space around the values of the fields.
    """
    length = _length_of(fields)
    if status in _BODILESS or (is_head and length is not None and length >= 0):
        body = b""
    elif length != len(body):
        return None
    if length is None or len(body) > _BODY_MAX_BYTES or not 200 <= status < 600:
        return None
    lines = b"".join([b"%s: %s\r\n" % field for field in fields])
    if _LINES.fullmatch(lines) is None or lines.count(b"\n") != len(fields):
        return None  # a value has an end of line in it: what comes behind would be a field of its own
    return b"HTTP/1.1 %d \r\n%s\r\n%s" % (status, lines, body)


def _length_of(fields: Fields) -> int | None:
    """Return the length that a head says, -1 where it says none; None where it is for h11 to say what it means."""
    length = -1
    for name, value in fields:
        small = _small(name)
        if small == b"content-length":
            if length >= 0 or _LENGTH.fullmatch(value) is None:
                return None
            length = int(value)
        elif not small or small in _UNUSUAL:
            return None
    return length


@lru_cache(maxsize=256)
def _small(name: bytes) -> bytes:
    """Return a name in small letters, nothing for what is none."""
    return name.lower() if _NAME.fullmatch(name) else b""

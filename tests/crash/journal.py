"""The journal of a campaign: what its clients meant to do, and what they were told, outside the world that is killed.

Every line is one `write` to a file opened for appending: it survives the process, whatever kills it. A pipe would not
do: a client that waits for somebody to read its pipe is not at work when it is killed.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

__all__ = ["Journal", "Line", "digest", "read_lines"]


class Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One line. `who` is an instance, `what` the thing in it, `value` what was meant or told."""

    mark: str
    """intent, ack, ran, launched, parked, refused, phase or error."""
    op: str
    who: str = ""
    what: str = ""
    value: str = ""
    epoch: int = 0
    at: int = 0
    """Milliseconds since 1970."""


class Journal:
    """Writes the lines of one life of a worker; `told` is called after every line."""

    def __init__(self, path: Path, told: Callable[[Line], None] = lambda line: None) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._told = told

    def write(self, mark: str, op: str, who: str = "", what: str = "", *, value: str = "", epoch: int = 0) -> None:
        line = Line(mark=mark, op=op, who=who, what=what, value=value, epoch=epoch, at=time.time_ns() // 1_000_000)
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")
        self._told(line)


def read_lines(path: Path) -> Iterator[Line]:
    """Every complete line; the last one may have been cut off by the kill."""
    if not path.exists():
        return
    *lines, _rest = path.read_bytes().split(b"\n")
    for line in lines:
        yield msgspec.json.decode(line, type=Line)


def digest(value: bytes) -> str:
    """A short name for `value`: its length and a hash."""
    return f"{len(value)}:{hashlib.blake2b(value, digest_size=8).hexdigest()}"

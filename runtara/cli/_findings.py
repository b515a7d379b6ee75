"""What `runtara doctor` finds: a line for each thing looked at."""

import enum
from typing import Final

import msgspec

from runtara.cli._tables import Column, Table

__all__ = ["FINDINGS", "Finding", "State", "fail", "ok", "warn"]


class State(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and (`advice`) what to do about it."""

    subject: str
    state: State
    text: str
    advice: str | None = None


def ok(subject: str, text: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(subject, State.OK, text)


def warn(subject: str, text: str, advice: str) -> Finding:
    """Return that something works, but could be better."""
    return Finding(subject, State.WARN, text, advice)


def fail(subject: str, text: str, advice: str) -> Finding:
    """Return that a server cannot work like this."""
    return Finding(subject, State.FAIL, text, advice)


FINDINGS: Final = Table(
    Finding,
    (Column("state", "is"), Column("subject", "what"), Column("text", "found"), Column("advice", "try")),
)

"""What is rehearsed: a program, what it is given, what is sent to it, and what of it is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypedDict

import msgspec

from runtara.errors import InvalidInput
from runtara.sdk._types import SignalType

__all__ = ["Options", "Scenario", "SendSignal"]

PARK_AFTER_MAX: Final = 86_400
"""Longest sleep that a program may spend awake: it looks every minute, which would make a wait without end costly."""


class SendSignal(msgspec.Struct, frozen=True):
    """A signal that is sent to the program at one point of every run, once, however often the program crashes.

    A signal with a name is sent when the program waits for that name, one to the whole instance at the start. With
    `after`, either is sent as soon as the first checkpoint is stored whose id contains that text: an id of one's own,
    or the name of a durable function.
    """

    signal: str | SignalType
    """Its name; or cancel, pause or shutdown."""
    payload: bytes = b""
    after: str | None = None

    def __post_init__(self) -> None:
        if self.signal is SignalType.RESUME:
            raise InvalidInput("a resume is not sent by a scenario: what rests is resumed by itself")


class Options(TypedDict, total=False):
    """What may be said of a scenario beside its program; see `Scenario`."""

    input: bytes | None
    signals: tuple[SendSignal, ...]
    seed: int
    world: Callable[[], Any] | None
    idempotent: bool
    library: Literal["trio", "asyncio"]
    park_after: float


class Scenario(msgspec.Struct, frozen=True):
    """A program, and all that its runs have in common.

    The program is a function of its SDK: a plain one gets `RuntaraSdk`, an async one `AsyncRuntaraSdk`. What it returns
    is its output. It must end by itself and may not run threads that outlive it.
    """

    program: Callable[..., Any]
    input: bytes | None = None
    """What `load_input` returns."""
    signals: tuple[SendSignal, ...] = ()
    seed: int = 0
    """Of the module `random`, which gives a durable step the same numbers in every run."""
    world: Callable[[], Any] | None = None
    """Makes, for each run, what lies outside of the program and outlives its crashes; the program's second argument.

    What it has become is compared with ``==``: where a crash came after a change was stored, nothing in it may have
    happened twice.
    """
    idempotent: bool = False
    """Whether steps may be done twice without a trace: then the world is compared where a crash lost a change, too.

    Any step whose result could not be stored is done again; no runtime can know that it was done.
    """
    library: Literal["trio", "asyncio"] = "trio"
    """What runs an async program."""
    park_after: float = 60.0
    """Seconds of sleep from which on the program ends meanwhile and is begun again, as on a host."""

    def __post_init__(self) -> None:
        if not 0 <= self.park_after <= PARK_AFTER_MAX:
            raise InvalidInput(f"park_after of {self.park_after} s is not allowed: use 0 s to {PARK_AFTER_MAX} s")

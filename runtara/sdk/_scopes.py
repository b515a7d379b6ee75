"""Where in the program a call stands: in the program itself, in a durable function, or in an item of a loop.

What is counted (equal calls, signals of one name) is counted within one scope. So a replay that leaves out what is
done finds everything behind it under the same names.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from itertools import count
from typing import Final

from runtara.errors import DeadlineExceeded
from runtara.ids import CHECKPOINT_ID_MAX_BYTES
from runtara.sdk._places import Places

__all__ = ["PROGRAM", "Scope", "scope_in_use"]

PROGRAM: Final = "durable::"
"""The path of steps that the program itself calls."""


class Scope:
    """One part of the program, and how often each step was called in it. A second try of a step has a new one."""

    def __init__(self, owner: object, path: str = PROGRAM, outer: Scope | None = None) -> None:
        self.owner = owner
        """The SDK of the program; the code of another one may run in the middle of a step."""
        self.path = path
        self.outer = outer
        self.is_abandoned = False
        """Whether nobody waits any more for what runs here: its time is over."""
        self.places = Places(self._part)
        self._calls: dict[str, count[int]] = {}

    @property
    def is_program(self) -> bool:
        """Whether it is the program itself."""
        return self.path == PROGRAM

    def _part(self) -> str:
        return "" if self.is_program else _digest(self.path, 12)

    def step(self, name: str, *, counted: bool) -> str:
        """Return the checkpoint id of a call: the same one in every replay; a `counted` one has it for itself."""
        calls = next(self._calls.setdefault(name, count(1))) if counted else 1  # safe among threads
        step = f"{self.path}{name}#{calls}" if calls > 1 else f"{self.path}{name}"
        if len(step.encode()) <= CHECKPOINT_ID_MAX_BYTES:
            return step
        return f"{PROGRAM}{_digest(step, 32)}"

    def inside(self, step: str) -> Scope:
        """Return a new scope for what a step of this scope calls."""
        return Scope(self.owner, f"{step}/", self)

    def check(self) -> None:
        """Raise `DeadlineExceeded` if nobody waits any more for what runs here."""
        scope: Scope | None = self
        while scope is not None:
            if scope.is_abandoned:
                raise DeadlineExceeded(f"the time for {scope.path[:-1]} is over: end, nobody waits for the result")
            scope = scope.outer


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


scope_in_use: ContextVar[Scope | None] = ContextVar("runtara_scope", default=None)
"""The scope of the code that runs, in this task or thread; None in the program itself."""

"""The tenure of this node among those that share a database: its number, its lease, and the time that all agree on.

A tenure begins when the node connects for the first time, and ends when others declare it lost because its lease has
run out. Every commit renews the lease. The writer's thread writes here, everybody else reads; each field is one
assignment, so nobody ever sees half of one.
"""

from math import inf
from typing import Final

import msgspec

from runtara.clock import SharedClock, monotonic
from runtara.ids import new_id

__all__ = ["LEASE_MS", "LOST_KEPT_MS", "NodeSpec", "Tenure"]

LEASE_MS: Final = 10_000
"""How long a node may be out of touch, by default, before others take over."""

LOST_KEPT_MS: Final = 3_600_000
"""How long a lost node is remembered, unless it came back under its name."""


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How this process presents itself to those that it shares a database with."""

    name: str = msgspec.field(default_factory=new_id)
    """Chosen once. Who comes back under the same name within the lease keeps what he owned."""
    address: str | None = None
    """Where its door is, as host:port."""
    fingerprint: str | None = None
    """Of its door's certificate."""
    programs: tuple[str, ...] | None = None
    """The programs that it can launch; None for all."""
    places: int | None = None
    """Most launched programs at a time; None for no limit."""
    lasting: bool = False
    """Whether what it runs outlives it, so that nobody should take over while it is merely restarted."""
    lease_ms: int = LEASE_MS
    soon_ms: int = 5_000
    """Others are told of what is due within this span; what is due later they find by themselves."""


class Tenure:
    """What is known of our own tenure."""

    def __init__(self, spec: NodeSpec) -> None:
        self.spec: Final = spec
        self.fingerprint = spec.fingerprint
        """Of the certificate that the door shows now."""
        self.clock: Final = SharedClock()
        self.number: int | None = None
        self.incarnation = 0
        self.alone = True
        """Whether there was no other node when the store last said something."""
        self.in_use = 0
        """How many places are taken; told to the others with the next commit."""
        self.draining = False
        self.lasting = spec.lasting
        """Whether something may run on when this process ends, so that nobody should take over at once."""
        self.backend = 0
        """The number of the process that serves our writer, so that we do not listen to ourselves."""
        self.was_lost = False
        """Whether others have ended the tenure before this one, in the life of this process."""
        self.displaced = False
        """Whether another process has come as the node that this one was."""
        self.until = -inf
        """When the lease ends, on the monotonic clock of this process: never later than by the database's own."""

    @property
    def left(self) -> float:
        """How many seconds the lease still lasts; negative where it has run out."""
        return self.until - monotonic()

    @property
    def holds(self) -> bool:
        """Whether the lease has not run out; then nobody else owns what this node owns."""
        return monotonic() < self.until

    def begin(self, number: int, incarnation: int, backend: int) -> None:
        """Take note of a tenure, or of a new incarnation of it, and of who serves its writer."""
        self.backend = backend
        self.incarnation = incarnation
        self.number = number

    def renewed(self, now_ms: int, asked_at: float) -> None:
        """Take note that the lease was renewed by a call that began at `asked_at` and found the time to be `now_ms`."""
        self.clock.set(now_ms, monotonic())
        self.until = asked_at + self.spec.lease_ms / 1000

    def ended(self) -> None:
        """Take note that others have ended the tenure: what was this node's is taken over, be it by itself."""
        self.was_lost = True
        self.until = -inf
        self.number = None

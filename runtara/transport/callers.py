"""A client that was let in: who it is, by what it was let in, and the way to its instance."""

from collections.abc import Callable
from typing import Any, Protocol

from runtara.endpoints import Role
from runtara.ids import InstanceKey
from runtara.messages import Request
from runtara.transport.credentials import TenantKey

__all__ = ["Caller", "Line", "Outcome", "Then"]


class Outcome(Protocol):
    """What came of a call: a reply, or the error that stands for it."""

    value: Any
    error: BaseException | None


Then = Callable[[Outcome], None]


class Line(Protocol):
    """The way to one instance."""

    def call_then(self, command: Request[Any], epoch: int | None, then: Then, timeout: float | None = None) -> None:
        """Have `then` called with what came of a command, once. Raises if it is refused at once."""


class Caller:
    """A client that was let in, for as long as it is connected."""

    __slots__ = (
        "door",
        "epoch",
        "good_until",
        "is_node",
        "key",
        "keys_version",
        "line",
        "role",
        "tenant_key",
        "token_only",
        "token_until",
    )

    def __init__(self, key: InstanceKey, epoch: int | None, line: Line) -> None:
        self.key = key
        self.epoch = epoch
        """The attempt that speaks, where one does."""
        self.line = line
        self.door = "other"
        """A word for the way that it comes: ``quic``, ``http``, ``websocket``; whoever let it in says so."""
        self.role: Role | None = None
        """What it may ask of its tenant; None where no role says so: for a token, a node, and where nobody is asked."""
        self.tenant_key: TenantKey | None = None
        """By which it was let in, if by one."""
        self.keys_version = 0
        self.good_until: int | None = None
        """When the key or the certificate ends by which it was let in; None where that has no end."""
        self.token_only = False
        """Whether it was let in by a token, and hence may only do what its own program may."""
        self.is_node = False
        """Whether it is another node of the same store, which asks on behalf of its own callers only."""
        self.token_until: int | None = None
        """When the newest token that it has ends; None where it has none."""

"""What is told to those who watch: the words, and where they wait until a connection takes them.

Doors and actors share it without knowing each other: a door gives an `Outlet` to a `FeedSource`, and sends what comes
out of it. Everything here lives on one loop.
"""

from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec
import trio

__all__ = ["FeedSource", "Heard", "Item", "Outlet", "Refused", "Reset", "Stream", "Wanted", "Watching"]

Stream = Literal["instances", "instance", "tree", "metrics"]
"""What can be watched: a tenant's instances, one of them with its events and output, the tree of actors, and how much a
tenant gets done."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to watch."""

    tenant_id: str
    stream: Stream
    instance_id: str | None = None
    """Of the one instance."""
    after: str | None = None
    """The place where it was before."""


class Item(NamedTuple):
    """Something has happened. `seq` is the place in the stream from which to go on behind it."""

    seq: str
    data: msgspec.Raw
    """JSON."""


class Watching(NamedTuple):
    """The watch has begun: from this place on, nothing is missed."""

    seq: str


class Reset(NamedTuple):
    """What has happened lately is not known any more: read all of it again, then go on from this place."""

    seq: str


class Refused(NamedTuple):
    """There is no such watch, or no longer."""

    code: str
    message: str


Heard: TypeAlias = Item | Watching | Reset | Refused


class Outlet:
    """What waits for one connection, in order, each with the number of its watch: at most `bound`.

    Whoever puts more into it than the connection takes finds it `behind`; what waits is then dropped, and the
    connection is to end. Nobody waits for a slow connection who does not want to.
    """

    def __init__(self, bound: int) -> None:
        self.behind = False
        self.closed = False
        self._bound: Final = bound
        self._waiting: list[tuple[int, Heard]] = []
        self._change = trio.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing more is taken."""
        return self.behind or self.closed

    def put(self, number: int, heard: Heard) -> None:
        """Have a watch told something; where too much waits already, the connection is behind from now on."""
        if self.ended:
            return
        if len(self._waiting) >= self._bound:
            self.behind = True
            self._waiting.clear()
        else:
            self._waiting.append((number, heard))
        self._ring()

    async def put_in_time(self, number: int, heard: Heard) -> bool:
        """Have a watch told something as soon as at most half of the room is taken; False where the outlet has ended.

        For what is stored and can wait: a long history does not push a connection behind.
        """
        while not self.ended and len(self._waiting) * 2 > self._bound:
            await self._change.wait()
        self.put(number, heard)
        return not self.ended

    async def receive(self) -> list[tuple[int, Heard]] | None:
        """Return all that waits, once there is something; None once the connection is behind, or the outlet closed."""
        while not self._waiting and not self.ended:
            await self._change.wait()
        if self.ended:
            return None
        waiting, self._waiting = self._waiting, []
        self._ring()
        return waiting

    def close(self) -> None:
        """Take nothing more; harmless when repeated."""
        self.closed = True
        self._waiting.clear()
        self._ring()

    def _ring(self) -> None:
        change, self._change = self._change, trio.Event()
        change.set()


class FeedSource(Protocol):
    """Where a door has something watched. Who may watch what is the door's business."""

    def watch(self, outlet: Outlet, number: int, wanted: Wanted) -> None:
        """Put into the outlet what happens from now on, or since the place that is wanted, under a number.

        Raises `MailboxFull` or `ActorStopped`: try again.
        """

    def unwatch(self, outlet: Outlet, number: int | None = None) -> None:
        """Put nothing more into the outlet under a number, or under any; harmless when repeated."""

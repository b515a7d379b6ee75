"""What a system is given to launch programs with, and to get on with its neighbours by."""

from collections.abc import Callable, Mapping

import msgspec

from runtara.actors._specs import Child
from runtara.actors.neighbours import Peer, Shared
from runtara.records import Holder
from runtara.store import Tenure

__all__ = ["Launcher", "Neighbours"]


class Launcher(msgspec.Struct, frozen=True, kw_only=True):
    """What launches the programs of a system, and what comes with it."""

    runner: Child
    """The actor at `PROGRAMS`."""
    is_in_process: bool = False
    """Whether the programs live in this process, and end with it."""
    places: int | None = None
    """Most launched programs at a time; None for no limit."""
    keeps_logs: bool = False
    """Whether the runner answers `ReadLog`."""
    check_program: Callable[[str], object] | None = None
    """Raises `NotFound` or `Forbidden` for a program that cannot be launched."""
    images: Child | None = None
    """The actor at `IMAGES`, where programs may be pushed."""
    upkeep: Child | None = None
    """The actor at `UPKEEP`, which removes what is not kept."""
    keys: Child | None = None
    """The actor at `KEYS`, which keeps the keys of tenants, where clients are asked for one."""


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """How this system gets on with the other nodes of its store, where several share one."""

    peer_of: Callable[[Holder], Peer] | None = None
    """The way to another node; None where none can be reached from here."""
    took_documents: Callable[[Mapping[str, bytes]], None] | None = None
    """Called with what all nodes agree on, whenever that may have changed."""

    def seen_from(self, tenure: Tenure | None) -> Shared | None:
        """Return what an actor of the node that has this tenure is told of them; None where it can reach none."""
        return None if tenure is None or self.peer_of is None else Shared(node=tenure.spec.name, peer_of=self.peer_of)

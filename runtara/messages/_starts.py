"""What is said to bring an instance into being: a start, or a fork of another one.

The package offers them.
"""

import msgspec

from runtara.ids import new_id
from runtara.messages._replies import InstanceStarted
from runtara.messages._requests import Request

__all__ = ["ForkInstance", "StartInstance"]


class StartInstance(msgspec.Struct, Request[InstanceStarted], frozen=True, gc=False, tag=True, kw_only=True):
    """Create an instance of a program that this host launches. The same start twice creates one instance."""

    program: str
    image: bool = False
    """Whether the program is an image: one that was pushed, or what a cluster fetches by its reference."""
    input: bytes | None = None
    env: dict[str, str] = {}
    """Environment variables for the program, kept for every launch."""
    timeout_ms: int | None = None
    """How long all attempts together may run; rests do not count."""
    resources: dict[str, float] = {}
    """What each attempt needs, where it is placed by that: ``cpu`` in cores, ``memory`` in bytes, others by the names
    that the place gives them."""
    priority: int = 0
    """From -100 to 100. Among those of its tenant that wait for a place, a higher one is launched first, always."""
    start_at: int | None = None
    """The first launch is not before this instant. It is not compared where the same start is sent again."""
    replace: bool = False
    """Whether whatever has the instance's id is replaced, also where it is finished or runs: it is stopped, all that is
    stored of it goes, and a new instance begins."""
    request_id: str | None = None
    """By what a start that replaces is known where it is sent again: with the same one, it replaces once. Chosen here
    where it is not given; it counts for nothing where nothing is to be replaced."""

    def __post_init__(self) -> None:
        if self.replace and self.request_id is None:
            msgspec.structs.force_setattr(self, "request_id", new_id())


class ForkInstance(msgspec.Struct, Request[InstanceStarted], frozen=True, gc=False, tag=True, kw_only=True):
    """Create an instance that goes on where another one was, with its checkpoints and the signals that it has found.

    Program, environment, time limit, priority and, unless it is given here, input are those of the source, whatever
    became of that; its attempts go on counting. The same fork twice creates one instance.
    """

    source: str
    """Id of the instance to go on from; it is not changed."""
    checkpoint_id: str | None = None
    """The last checkpoint of the source to take along; None for all that it has."""
    input: bytes | None = None

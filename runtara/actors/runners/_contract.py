"""The contract of a runner's engine: what launches programs, finds them again, stops them and keeps what they write.

An engine knows processes (or containers, or jobs); it never knows how an instance stands. The actor `Runner` speaks for
it to the instances. Promises, each with a test in the conformance suite:

1. An attempt that was launched is found by `adopt`, running or ended, until it is forgotten, whoever dies meanwhile.
2. Its end is known once nothing of its whole tree of processes is left.
3. What it wrote is kept up to a cap, and neither the cap nor a full disk ever makes it wait or fail.
4. Nothing but what was launched here is ever signalled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import trio

from runtara.ids import InstanceKey
from runtara.images import Prepared
from runtara.records import ImageKind, ImageOptions

__all__ = ["Attempt", "Ended", "Engine", "HostFailed", "Plan", "PlannedImage", "Prepare", "Prepared"]


class PlannedImage(msgspec.Struct, frozen=True, kw_only=True):
    """The version of an image that an attempt runs."""

    digest: str
    """Of what was pushed."""
    kind: ImageKind
    options: ImageOptions = ImageOptions()


Prepare = Callable[[PlannedImage], Prepared]
"""Makes an image version ready, if it is not yet. Called in a worker thread; raises `NotFound`, `Forbidden`,
`HostFailed` and `OSError`."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to launch."""

    key: InstanceKey
    epoch: int
    program: str
    input: bytes | None = None
    env: Mapping[str, str] = {}
    """Environment variables of the user's."""
    ours: Mapping[str, str] = {}
    """Environment variables of the host's; they win. The engine adds those that name its files."""
    resources: Mapping[str, float] = {}
    """What the attempt needs: ``cpu`` in cores, ``memory`` in bytes, others by the names that the place gives them."""
    image: PlannedImage | None = None
    """What it runs, where that was pushed; then `program` is only the name under which messages speak of it."""
    origin: bytes | None = None
    """By what the instance came into being, where that is known: one that replaces another has an origin of its own."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt has ended."""

    exit_code: int | None
    """Of the program; minus the number of the signal that killed it; None where nobody knows."""
    output: bytes | None = None
    """What it left as its output."""
    error: str = ""
    """The end of what it wrote to stderr, or what is known of its end."""
    counts: bool = True
    """Whether the program may be at fault; False where it was the host."""
    memory_peak: int | None = None
    """Most bytes of memory that it held: a container all together, a process the largest one of its tree."""
    cpu_seconds: float | None = None
    """Processor time of the program, and of those descendants that were waited for."""


class HostFailed(Exception):
    """The host could not do its part of a launch (no memory, no disk …); the program did not run. The text says why."""


class Attempt(Protocol):
    """One launched program."""

    @property
    def key(self) -> InstanceKey:
        """Whose attempt it is."""

    @property
    def epoch(self) -> int:
        """Which one of the instance's attempts."""

    def stop(self, how: Literal["ask", "kill", "destroy"]) -> None:
        """Ask it to end, and see to it when its grace is over; or kill it now; or do so without its help.

        Harmless when repeated, and when it has ended.
        """

    async def wait_ended(self) -> Ended:
        """Wait until it has ended, and nothing is left of it; by one task at a time."""

    async def forget(self) -> None:
        """Let go of what is kept for `adopt`: its end is stored. What it wrote stays."""

    def close(self) -> None:
        """Let go of what is held in memory; the program is not affected."""


class Engine(Protocol):
    """A place where programs run."""

    def check(self, program: str) -> None:
        """Raise `NotFound` or `Forbidden` unless the program may be launched here."""

    async def launch(self, plan: Plan) -> Attempt:
        """Launch a program; no attempt of the same instance may be left.

        Raises what `check` raises, and `HostFailed`.
        """

    async def adopt(self) -> Sequence[Attempt]:
        """Return every attempt that was launched and not forgotten, also by an earlier life of this process."""

    async def read_log(self, key: InstanceKey, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Return what was written from a byte on, and the number of its first byte; nothing where there is no more."""

    def watch_log(self, key: InstanceKey) -> trio.Event:
        """Return an event that is set when the instance's programs write something, or sooner."""

    async def serve(self) -> None:
        """Have the events of `watch_log` set, until cancelled."""

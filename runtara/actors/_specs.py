"""What a supervision tree looks like, as data: children, strategies, budgets. Read by supervisors and by people."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec

from runtara.actors._mailbox import MailboxSpec
from runtara.errors import InvalidInput

__all__ = ["Backoff", "Child", "Intensity", "Restart", "Strategy", "Supervisor", "child", "supervisor"]


class Strategy(Enum):
    """Who is restarted along with a child that failed."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody else."""
    ONE_FOR_ALL = "one_for_all"
    """All its siblings."""
    REST_FOR_ONE = "rest_for_one"
    """The siblings started after it."""


class Restart(Enum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """After a failure."""
    TEMPORARY = "temporary"
    """Never."""


class Intensity(msgspec.Struct, frozen=True):
    """A supervisor gives up, and fails itself, at more than `restarts` within `within` seconds."""

    restarts: int = 3
    within: float = 30.0


class Backoff(msgspec.Struct, frozen=True):
    """Seconds between a failure and the restart: doubling from `first` up to `most`, spread by ±`jitter` of it."""

    first: float = 0.05
    most: float = 5.0
    jitter: float = 0.2

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Return the delay after the `failures`-th failure in a row (from 1); `random` gives numbers in [0, 1)."""
        base = min(self.most, self.first * 2.0 ** min(failures - 1, 30))
        return float(base * (1 + self.jitter * (2 * random() - 1)))


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """One actor: how to make it, and what to do when it ends."""

    name: str
    factory: Callable[..., object]
    """An actor class, or a function that returns an actor; called anew for every start."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    restart: Restart = Restart.PERMANENT
    mailbox: MailboxSpec = MailboxSpec()
    start_timeout: float = 30.0
    """Seconds that `on_start` may take."""
    stop_grace: float = 5.0
    """Seconds from the request to stop until the actor is cut off; its clean-up may take as long again."""

    def __post_init__(self) -> None:
        _check_name(self.name)


class Supervisor(msgspec.Struct, frozen=True, kw_only=True):
    """A group of children and what happens when one of them fails."""

    name: str
    children: "tuple[Child | Supervisor, ...]" = ()
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()
    backoff: Backoff = Backoff()
    restart: Restart = Restart.PERMANENT

    def __post_init__(self) -> None:
        _check_name(self.name)
        names = [spec.name for spec in self.children]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise InvalidInput(f"{self.name} has more than one child called {', '.join(sorted(twice))}: rename one")


def _check_name(name: str) -> None:
    if not name or "/" in name:
        raise InvalidInput(f"{name!r} is no name for an actor: it must not be empty, and / separates names in a path")


def child(name: str, factory: Callable[..., object], *args: Any, **options: Any) -> Child:
    """Return the specification of an actor made by ``factory(*args)``; `options` are fields of `Child`."""
    return Child(name=name, factory=factory, args=args, **options)


def supervisor(name: str, *children: Child | Supervisor, **options: Any) -> Supervisor:
    """Return the specification of a supervisor; `options` are fields of `Supervisor`."""
    return Supervisor(name=name, children=children, **options)

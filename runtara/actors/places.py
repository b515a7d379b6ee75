"""What the wake scheduler and the runner of programs say to each other about the places of a host: who has one.

A launched attempt takes a place from its claim until its process is gone. The scheduler counts them, so that no more
are claimed than fit; the runner knows which processes there are. What workers of a pool run takes no place of the host,
but an idle slot of a worker; the pool knows those.
"""

from collections.abc import Mapping

import msgspec

from runtara.actors._pool_board import Group
from runtara.ids import InstanceKey
from runtara.messages import Request

__all__ = [
    "AwaitEmpty",
    "KillAttempts",
    "ListAttempts",
    "ListIdle",
    "ListPlaces",
    "PlaceFreed",
    "PlacesInUse",
    "PoolBegins",
    "SlotsIdle",
    "StopWaking",
]


# To the scheduler -----------------------------------------------------------------------------------------------------


class PlaceFreed(msgspec.Struct, frozen=True):
    """The process of an instance is gone."""

    key: InstanceKey


class PlacesInUse(msgspec.Struct, frozen=True):
    """From a runner that has just started: these instances have a process, or are about to get one, and no others."""

    programs: Mapping[InstanceKey, str | None]
    """What each of them runs; None where that is not known."""


class StopWaking(msgspec.Struct, Request[None], frozen=True):
    """Wake nobody any more: the host is going down. Answered once the runner was told of all who were being woken."""


# To the runner --------------------------------------------------------------------------------------------------------


class ListPlaces(msgspec.Struct, Request[Mapping[InstanceKey, str | None]], frozen=True):
    """Ask which instances have a process, or are about to get one, and what they run (None where not known)."""


class ListAttempts(msgspec.Struct, Request[tuple[tuple[InstanceKey, int], ...]], frozen=True):
    """Ask which attempts (instance and epoch) have a process."""


class AwaitEmpty(msgspec.Struct, Request[None], frozen=True):
    """Answered as soon as no process is left."""


class KillAttempts(msgspec.Struct, Request[None], frozen=True):
    """Kill every process at once; what becomes of their instances is decided as after any crash that does not count."""


# Between the scheduler and the pool of workers ------------------------------------------------------------------------


class ListIdle(msgspec.Struct, Request[Mapping[Group, int]], frozen=True):
    """Ask the pool how many slots of its workers are idle."""


class SlotsIdle(msgspec.Struct, frozen=True):
    """From the pool: so many slots are idle of those that can run the same."""

    group: Group
    count: int
    arrived: InstanceKey | None = None
    """Who was woken, and is counted no more among those who are on their way to a slot."""


class PoolBegins(msgspec.Struct, frozen=True):
    """From a pool that has just started: it has no workers yet."""

"""The composition root: the supervision tree, wired once, and the way to run it.

root                     rest_for_one: whoever comes later relies on whoever came before
├ store                  writer, readers: all views of one store, restarted together
├ instances              the region of all instances, who listens to them, and who tells of them
├ runner                 programs that live in this process, or on this host, and the pool of workers
├ timers                 wake scheduler, heartbeat monitor, schedules
└ errands                 whoever asks many instances at once

A host has two groups more, `upkeep` and `edges`: see `runtara.host`. Where several nodes share the store, the scheduler
claims what is due (`claimer`), a forwarder stands beside the region, and a keeper of the node's lease among the timers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec

from runtara.actors import (
    Backoff,
    Child,
    Intensity,
    MailboxSpec,
    Policy,
    Strategy,
    Supervisor,
    System,
    child,
    open_system,
    refusing,
)
from runtara.actors import supervisor as group
from runtara.actors.answers import answers_of
from runtara.actors.claimer import DueClaimer
from runtara.actors.dispatch import Dispatch
from runtara.actors.feed import Feed
from runtara.actors.forwarder import Forwarder
from runtara.actors.gauges import Gauges
from runtara.actors.heartbeat import HeartbeatMonitor
from runtara.actors.instance import Arm, Disarm, Effect, Enforce, Launch, Limits, Push, Stop, Track, Untrack
from runtara.actors.instances import Instances
from runtara.actors.launcher import Launcher, Neighbours
from runtara.actors.many import Many
from runtara.actors.nodes import NodeKeeper
from runtara.actors.pool import Pool
from runtara.actors.programs import Program, Programs
from runtara.actors.readiness import Readiness
from runtara.actors.scheduler import WakeScheduler
from runtara.actors.schedules import Schedules
from runtara.actors.sessions import Sessions
from runtara.actors.storage import InlineReader, InlineWriter, StoreReader, StoreWriter
from runtara.actors.vacancies import Vacancies
from runtara.actors.watched import Watched
from runtara.clock import Clock, SystemClock
from runtara.settings import Settings
from runtara.store import NodeSpec, Store, Tenure, open_store
from runtara.traces import tracing

__all__ = [
    "FEED",
    "IMAGES",
    "INSTANCES",
    "KEYS",
    "MANY",
    "PROGRAMS",
    "READER",
    "SCHEDULER",
    "SCHEDULES",
    "SESSIONS",
    "WRITER",
    "Launcher",
    "Neighbours",
    "Runtime",
    "clock_of",
    "in_process",
    "open_runtime",
    "store_of",
    "tree",
]

WRITER: Final = "root/store/writer"
READER: Final = "root/store/reader-1"
INSTANCES: Final = "root/instances/region"
SESSIONS: Final = "root/instances/sessions"
FEED: Final = "root/instances/feed"
FORWARDER: Final = "root/instances/forwarder"
PROGRAMS: Final = "root/runner/programs"
POOL: Final = "root/runner/pool"
IMAGES: Final = "root/upkeep/images"
UPKEEP: Final = "root/upkeep/chores"
KEYS: Final = "root/upkeep/keys"
SCHEDULER: Final = "root/timers/scheduler"
HEARTBEAT: Final = "root/timers/heartbeat"
SCHEDULES: Final = "root/timers/schedules"
MANY: Final = "root/errands/many"

EFFECTS: Final[dict[type[Effect], tuple[str, ...]]] = {
    Arm: (SCHEDULER,),
    Disarm: (SCHEDULER, SESSIONS),
    Track: (HEARTBEAT, SESSIONS),
    Untrack: (HEARTBEAT, SESSIONS, POOL),
    Launch: (PROGRAMS, POOL),
    Stop: (PROGRAMS, POOL),
    Enforce: (PROGRAMS, POOL),
    Push: (SESSIONS,),
}
"""Which actors are told of which effect."""


class Runtime(msgspec.Struct, frozen=True):
    """A running system and the way into it."""

    system: System
    dispatch: Dispatch
    settings: Settings
    clock: Clock
    gauges: Gauges
    """Renders the metrics."""
    readiness: Readiness
    """Says whether it serves."""


def in_process(programs: Mapping[str, Program], *, grace: float = 10.0) -> Launcher:
    """Return the launcher of programs that live in this process; `grace` is how many seconds they have to leave."""
    runner = child(
        "programs",
        Programs,
        kwargs={"instances": INSTANCES, "reader": READER, "programs": programs, "grace": grace},
        mailbox=_BUSY,
    )
    return Launcher(runner=runner, is_in_process=True)


def tree(
    settings: Settings, store: Store, clock: Clock, launcher: Launcher, neighbours: Neighbours | None = None
) -> Supervisor:
    """Return the supervision tree of one system."""
    readers = [f"reader-{number}" for number in range(1, settings.readers + 1)]
    given: dict[str, object] = {"clock": clock, "vacancies": Vacancies()}
    way = {"open_dispatch": partial(_open_dispatch, settings, launcher)}
    return group(
        "root",
        _store(settings, store, readers),
        group(
            "instances",
            *_instances(settings, store.tenure, given, readers, launcher),
            *_forwarder(store.tenure, neighbours),
            strategy=Strategy.ONE_FOR_ALL,
        ),
        group("runner", launcher.runner, _pool(settings, store, clock, launcher, neighbours), intensity=_RUNNERS),
        *_upkeep(launcher),
        group(
            "timers",
            *_schedulers(settings, store, {**_launching(settings, launcher), **given}, neighbours),
            child("heartbeat", HeartbeatMonitor, kwargs=_heartbeat(settings), mailbox=_TIMERS),
            child("schedules", Schedules, kwargs={**way, **_schedules(settings, store, clock)}),
            intensity=Intensity(restarts=5, within=30),
        ),
        group("errands", child("many", Many, kwargs={**way, "reader": READER})),
        strategy=Strategy.REST_FOR_ONE,
        intensity=Intensity(restarts=3, within=30) if store.tenure is None else Intensity(restarts=5, within=30),
        backoff=Backoff() if store.tenure is None else _RETURN,
    )


_RUNNERS: Final = Intensity(restarts=5, within=10)
_RETURN: Final = Backoff(first=0.2, most=5)
"""Between the end of the store's actors and their return."""


def _store(settings: Settings, store: Store, readers: list[str]) -> Supervisor:
    writer = InlineWriter if store.inline else StoreWriter
    reader = InlineReader if store.inline else StoreReader
    limits = () if store.inline else (settings.commit_max_saves, settings.commit_max_bytes)
    options = {"mailbox": MailboxSpec(bound=8192), "stop_grace": settings.stop_grace_ms / 1000}
    return group(
        "store",
        child("writer", writer, store, *limits, **options),
        *(child(name, reader, store, **options) for name in readers),
        strategy=Strategy.ONE_FOR_ALL,
        # A node that was declared lost is a newcomer: whatever it holds in memory goes with the store's actors.
        intensity=Intensity(restarts=3 if store.tenure is None else 0, within=10),
        backoff=_RETURN,
    )


_TIMERS: Final = MailboxSpec(bound=262_144, policy=Policy.REJECT)
_BUSY: Final = MailboxSpec(bound=65_536, policy=Policy.REJECT)


def _instances(
    settings: Settings, tenure: Tenure | None, given: dict[str, object], readers: list[str], launcher: Launcher
) -> Sequence[Child]:
    """Return the actors of instances; `given` is what the region is given beside."""
    grace = settings.stop_grace_ms / 1000
    rows: dict[str, object] = {"roster": {}}
    roster = {**rows, "instances": INSTANCES, "every": settings.heartbeat_interval_ms / 1000}
    watched = {"watched": Watched(), "clock": given["clock"]}
    told = {"feed": FEED, "sessions": SESSIONS}
    region = {**_region(settings, tenure, readers), **given, **watched, **rows, **told}
    runner = PROGRAMS if launcher.keeps_logs else None
    feed = {**watched, "instances": INSTANCES, "reader": READER, "runner": runner, "roster": {}}
    return (
        child("region", Instances, kwargs=region, stop_grace=grace),
        child("sessions", Sessions, kwargs=roster, mailbox=_BUSY),
        child("feed", Feed, kwargs=feed, mailbox=_BUSY),
    )


def _region(settings: Settings, tenure: Tenure | None, readers: list[str]) -> dict[str, object]:
    return {
        "tenure": tenure,
        "forwarder": None if tenure is None else FORWARDER,
        "writer": WRITER,
        "readers": [f"root/store/{name}" for name in readers],
        "effects": EFFECTS,
        "limits": Limits(
            pending_signals_max=settings.pending_signals_max,
            max_auto_restarts=settings.max_auto_restarts,
            relaunch_after_ms=settings.relaunch_after_ms,
            relaunch_after_max_ms=settings.relaunch_after_max_ms,
        ),
        "resident": settings.resident_cells,
        "idle_after": settings.cell_idle_ms / 1000,
        "mailbox": settings.cell_mailbox,
        "batch": settings.commit_max_saves,
    }


def _forwarder(tenure: Tenure | None, neighbours: Neighbours | None) -> Sequence[Child]:
    if tenure is None:
        return ()
    peer_of = None if neighbours is None else neighbours.peer_of
    return (child("forwarder", Forwarder, kwargs={"peer_of": peer_of}, mailbox=_BUSY),)


def _pool(settings: Settings, store: Store, clock: Clock, launcher: Launcher, neighbours: Neighbours | None) -> Child:
    """Return the actor at `POOL`. Where programs live in this process, no worker has survived it."""
    options = {
        "writer": WRITER,
        "tenure": store.tenure,
        "shared": None if neighbours is None else neighbours.seen_from(store.tenure),
        "lease": settings.node_lease_ms / 1000,
        "instances": INSTANCES,
        "reader": READER,
        "scheduler": SCHEDULER,
        "clock": clock,
        "clock_check": settings.clock_check_ms / 1000,
        "patience": 0.0 if launcher.is_in_process else settings.heartbeat_timeout_ms / 1000,
        "grace": settings.cancel_grace_ms / 1000,
    }
    return child("pool", Pool, kwargs=options, mailbox=_BUSY)


def _upkeep(launcher: Launcher) -> Sequence[Supervisor]:
    children = [one for one in (launcher.images, launcher.upkeep, launcher.keys) if one is not None]
    return (group("upkeep", *children, intensity=Intensity(restarts=5, within=30)),) if children else ()


def _schedulers(
    settings: Settings, store: Store, launching: dict[str, object], neighbours: Neighbours | None
) -> Sequence[Child]:
    """Return who wakes what is due: by itself, or in turn with the other nodes of the store."""
    look_every = settings.clock_check_ms / 1000
    if store.tenure is None:
        options = {**launching, "window": settings.wake_window, "clock_check": look_every}
        return (child("scheduler", WakeScheduler, kwargs=options, mailbox=_TIMERS),)
    claimer = {**launching, "writer": WRITER, "tenure": store.tenure, "look_every": look_every}
    keeper = {
        "store": store,
        "tenure": store.tenure,
        "clock": launching["clock"],
        "instances": INSTANCES,
        "writer": WRITER,
        "reader": READER,
        "scheduler": SCHEDULER,
        "sessions": SESSIONS,
        "feed": FEED,
        "pool": POOL,
        "took_documents": None if neighbours is None else neighbours.took_documents,
    }
    return (
        child("scheduler", DueClaimer, kwargs=claimer, mailbox=_TIMERS),
        child("node", NodeKeeper, kwargs=keeper, mailbox=_TIMERS),
    )


def _launching(settings: Settings, launcher: Launcher) -> dict[str, object]:
    return {
        "instances": INSTANCES,
        "reader": READER,
        "in_flight": settings.wakes_in_flight,
        "places": launcher.places,
        "per_tenant": settings.max_concurrent_per_tenant or None,
        "runner": None if launcher.places is None else PROGRAMS,
        "pool": POOL,
    }


def _heartbeat(settings: Settings) -> dict[str, object]:
    return {"instances": INSTANCES, "reader": READER, "writer": WRITER, "timeout": settings.heartbeat_timeout_ms / 1000}


def _schedules(settings: Settings, store: Store, clock: Clock) -> dict[str, object]:
    clock_check = settings.clock_check_ms / 1000
    shared = store.tenure is not None
    return {"reader": READER, "writer": WRITER, "clock": clock, "clock_check": clock_check, "shared": shared}


def _open_dispatch(settings: Settings, launcher: Launcher, system: System, **more: Any) -> Dispatch:
    """Return the way to instances, with `more` that doors offer; Any: arguments of `Dispatch`.

    For the actors of the system itself: what they start goes no other way than what comes through a door.
    """
    return Dispatch(
        system,
        instances=INSTANCES,
        reader=READER,
        payload_max_bytes=settings.state_max_bytes,
        images=None if launcher.images is None else IMAGES,
        check_program=launcher.check_program,
        **more,
    )


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    *,
    programs: Mapping[str, Program] | None = None,
    launcher: Launcher | None = None,
    clock: Clock | None = None,
    is_draining: Callable[[], bool] = lambda: False,
    store: Store | None = None,
    neighbours: Neighbours | None = None,
) -> AsyncIterator[Runtime]:
    """Start a system, give it to the block, and stop it in reverse order when the block ends.

    `launcher` launches programs; by default one that knows the `programs` of this process. `is_draining` is what
    those are told who ask for the system's health. `store` is the settings' own by default, and the time that of the
    store where several nodes share one; `neighbours` says how to get on with them.

    Raises what the store refuses with (`StoreInUse`, `StoreTooNew`, `StoreCorrupt` …), and `SystemFailed` for anything
    else that keeps the system from running.
    """
    if launcher is None:
        launcher = in_process(programs or {}, grace=settings.cancel_grace_ms / 1000)
        store = store or store_of(settings, NodeSpec(programs=tuple(programs or ()), lease_ms=settings.node_lease_ms))
    store = store or store_of(settings)
    clock = clock_of(store, clock)
    with refusing(), tracing(settings.otel) as traces:
        async with open_system(
            tree(settings, store, clock, launcher, neighbours),
            name="runtara",
            ask_timeout=settings.request_timeout_ms / 1000,
            traces=traces,
        ) as system:
            dispatch = _open_dispatch(settings, launcher, system, **_for_doors(launcher, store, system, is_draining))
            readiness = Readiness(system, writer=WRITER, reader=READER, is_draining=is_draining, tenure=store.tenure)
            yield Runtime(system, dispatch, settings, clock, _gauges(system, launcher, store), readiness)


def _for_doors(launcher: Launcher, store: Store, system: System, is_draining: Callable[[], bool]) -> dict[str, Any]:
    """Return what doors offer beside instances; Any: arguments of `Dispatch`."""
    return {
        "runner": PROGRAMS if launcher.keeps_logs else None,
        "pool": POOL,
        "many": MANY,
        "schedules": SCHEDULES,
        "upkeep": None if launcher.upkeep is None else UPKEEP,
        "keys": None if launcher.keys is None else KEYS,
        "answers": answers_of(system, is_draining),
        "ends_with_process": store.ends_with_process,
    }


def _gauges(system: System, launcher: Launcher, store: Store) -> Gauges:
    paths = {"reader": READER, "scheduler": SCHEDULER, "programs": PROGRAMS, "edges": "root/edges"}
    return Gauges(system, **paths, places=launcher.places, store=store.url.partition(":")[0])


def store_of(settings: Settings, node: NodeSpec | None = None) -> Store:
    """Return the store that the settings name. `node` is how this process presents itself, where others share it."""
    return open_store(
        settings.store_url,
        node or NodeSpec(lease_ms=settings.node_lease_ms),
        timeout_ms=settings.database_timeout_ms,
        may_lose_work=settings.database_may_lose_work,
    )


def clock_of(store: Store, given: Clock | None = None) -> Clock:
    """Return the time that counts: the given one, or that of a store which several share, or the system's own."""
    if given is not None:
        return given
    return SystemClock() if store.tenure is None else store.tenure.clock

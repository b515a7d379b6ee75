"""The composition root: the supervision tree, wired once, and the way to run it.

root                     rest_for_one: whoever comes later relies on whoever came before
├ store                  writer, readers: all views of one file, restarted together
├ instances              the region of all instances, and who listens to them
├ runner                 programs that live in this process
└ timers                 wake scheduler, heartbeat monitor
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from runtara.actors import (
    Backoff,
    Intensity,
    MailboxSpec,
    Policy,
    Strategy,
    Supervisor,
    System,
    SystemFailed,
    child,
    open_system,
)
from runtara.actors import supervisor as group
from runtara.actors.dispatch import Dispatch
from runtara.actors.heartbeat import HeartbeatMonitor
from runtara.actors.instance import Arm, Disarm, Effect, Launch, Limits, Push, Stop, Track, Untrack
from runtara.actors.instances import Instances
from runtara.actors.programs import Program, Programs
from runtara.actors.scheduler import WakeScheduler
from runtara.actors.sessions import Sessions
from runtara.actors.storage import InlineReader, InlineWriter, StoreReader, StoreWriter
from runtara.clock import Clock, SystemClock
from runtara.errors import RuntaraError
from runtara.settings import Settings
from runtara.store import Store, open_store

__all__ = ["SESSIONS", "Runtime", "open_runtime", "tree"]

WRITER: Final = "root/store/writer"
READER: Final = "root/store/reader-1"
INSTANCES: Final = "root/instances/region"
SESSIONS: Final = "root/instances/sessions"
PROGRAMS: Final = "root/runner/programs"
SCHEDULER: Final = "root/timers/scheduler"
HEARTBEAT: Final = "root/timers/heartbeat"

EFFECTS: Final[dict[type[Effect], tuple[str, ...]]] = {
    Arm: (SCHEDULER,),
    Disarm: (SCHEDULER, SESSIONS),
    Track: (HEARTBEAT, SESSIONS),
    Untrack: (HEARTBEAT, SESSIONS),
    Launch: (PROGRAMS,),
    Stop: (PROGRAMS,),
    Push: (SESSIONS,),
}
"""Which actors are told of which effect."""


class Runtime(msgspec.Struct, frozen=True):
    """A running system and the way into it."""

    system: System
    dispatch: Dispatch
    settings: Settings
    clock: Clock


def tree(settings: Settings, store: Store, clock: Clock, programs: Mapping[str, Program]) -> Supervisor:
    """Return the supervision tree of one system."""
    readers = [f"reader-{number}" for number in range(1, settings.readers + 1)]
    grace = settings.stop_grace_ms / 1000
    return group(
        "root",
        _store(settings, store, readers),
        group(
            "instances",
            child("region", Instances, kwargs=_region(settings, clock, readers), stop_grace=grace),
            child(
                "sessions",
                Sessions,
                kwargs={"instances": INSTANCES, "every": settings.heartbeat_interval_ms / 1000, "roster": {}},
                mailbox=MailboxSpec(bound=65_536, policy=Policy.REJECT),
            ),
            strategy=Strategy.ONE_FOR_ALL,
        ),
        group(
            "runner",
            child(
                "programs",
                Programs,
                kwargs={"instances": INSTANCES, "reader": READER, "programs": programs},
                mailbox=MailboxSpec(bound=65_536, policy=Policy.REJECT),
            ),
            intensity=Intensity(restarts=5, within=10),
        ),
        group(
            "timers",
            child("scheduler", WakeScheduler, kwargs=_scheduler(settings, clock), mailbox=_TIMERS),
            child("heartbeat", HeartbeatMonitor, kwargs=_heartbeat(settings), mailbox=_TIMERS),
            intensity=Intensity(restarts=5, within=30),
        ),
        strategy=Strategy.REST_FOR_ONE,
        intensity=Intensity(restarts=3, within=30),
    )


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
        intensity=Intensity(restarts=3, within=10),
        backoff=Backoff(first=0.2, most=5),
    )


_TIMERS: Final = MailboxSpec(bound=262_144, policy=Policy.REJECT)


def _region(settings: Settings, clock: Clock, readers: list[str]) -> dict[str, object]:
    return {
        "writer": WRITER,
        "readers": [f"root/store/{name}" for name in readers],
        "effects": EFFECTS,
        "limits": Limits(pending_signals_max=settings.pending_signals_max),
        "resident": settings.resident_cells,
        "idle_after": settings.cell_idle_ms / 1000,
        "mailbox": settings.cell_mailbox,
        "batch": settings.commit_max_saves,
        "clock": clock,
    }


def _scheduler(settings: Settings, clock: Clock) -> dict[str, object]:
    return {
        "instances": INSTANCES,
        "reader": READER,
        "clock": clock,
        "window": settings.wake_window,
        "in_flight": settings.wakes_in_flight,
        "clock_check": settings.clock_check_ms / 1000,
    }


def _heartbeat(settings: Settings) -> dict[str, object]:
    return {
        "instances": INSTANCES,
        "reader": READER,
        "writer": WRITER,
        "timeout": settings.heartbeat_timeout_ms / 1000,
    }


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, programs: Mapping[str, Program] | None = None, clock: Clock | None = None
) -> AsyncIterator[Runtime]:
    """Start a system, give it to the block, and stop it in reverse order when the block ends.

    Raises what the store refuses with (`StoreInUse`, `StoreTooNew`, `StoreCorrupt` …), and `SystemFailed` for anything
    else that keeps the system from running.
    """
    clock = clock or SystemClock()
    store = open_store(settings.store_url)
    try:
        async with open_system(
            tree(settings, store, clock, programs or {}), name="runtara", ask_timeout=settings.request_timeout_ms / 1000
        ) as system:
            dispatch = Dispatch(system, instances=INSTANCES, reader=READER, payload_max_bytes=settings.state_max_bytes)
            yield Runtime(system, dispatch, settings, clock)
    except SystemFailed as failed:
        refusal = _refusal(failed)
        if refusal is not None:
            raise refusal from failed
        raise


def _refusal(error: BaseException | None) -> RuntaraError | None:
    """Return the refusal at the bottom of a failure, if it is one."""
    while error is not None and not isinstance(error, RuntaraError):
        error = error.__cause__
    return error

"""What is read of a running system when its metrics are asked for: its actors, its doors, its places, its instances.

Everything else counts itself. Instances are counted by the store, and the count is kept for a while: the longer, the
longer it took, so that a large store does not spend its time on being looked at.
"""

import platform
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Final

import trio

from runtara import __version__
from runtara.actors._inspect import ActorInfo
from runtara.actors._system import System
from runtara.actors.storage import Query
from runtara.errors import RuntaraError
from runtara.lifecycle import Status
from runtara.metrics import Reading, Sample, render

__all__ = ["Gauges"]

_SAME_FOR: Final = 0.2
"""Seconds in which nobody is told anything newer, so that it costs no more to be asked by many."""

_KEPT: Final = 5.0
"""Seconds that a count of the instances is kept at least."""

_SHARE: Final = 100
"""A count is kept for as many times as long as it took."""

_PATIENCE: Final = 5.0
"""Seconds in which the store must have counted; else nothing is said of the instances."""


class Gauges:
    """Renders the metrics of one system. `reader`, `scheduler` and `programs` are paths of actors, `edges` of a group.

    `places` is the most programs at a time, None for no limit; `store` a word for the kind of store.
    """

    def __init__(
        self, system: System, *, reader: str, scheduler: str, programs: str, edges: str, places: int | None, store: str
    ) -> None:
        self._system: Final = system
        self._reader: Final = reader
        self._scheduler: Final = scheduler
        self._programs: Final = programs
        self._edges: Final = edges
        self._places: Final = places
        self._store: Final = store
        self._actors: Mapping[str, ActorInfo] = {}
        self._instances: dict[tuple[str, ...], float] = {}
        self._counted_until = -inf
        self._counting: Final = trio.Lock()
        self._rendered = b""
        self._rendered_until = -inf
        self._rendering: Final = trio.Lock()
        readings: dict[str, Callable[[], Reading]] = {
            "runtara_build_info": self._build,
            "runtara_instances": lambda: self._instances,
            "runtara_runner_places": lambda: {} if places is None else places,
            "runtara_runner_in_use": self._in_use,
            "runtara_runner_queued": partial(self._fact, scheduler, "queued"),
            "runtara_mailbox_depth": partial(self._of_actors, "mailbox_depth"),
            "runtara_mailbox_refused_total": partial(self._of_actors, "mailbox_refused"),
            "runtara_actor_restarts_total": partial(self._of_actors, "restarts"),
            "runtara_dead_letters_total": self._dead_letters,
            "runtara_door_connections": self._connections,
        }
        for name, reading in readings.items():
            system.metrics.read(name, reading)

    async def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus; on the loop of the system.

        Whoever asks again at once, or at the same time, is given the same.
        """
        async with self._rendering:
            if trio.current_time() >= self._rendered_until:
                samples = await self.collect()
                self._rendered = await trio.to_thread.run_sync(render, samples)  # loading the library takes a while
                self._rendered_until = trio.current_time() + _SAME_FOR
        return self._rendered

    async def collect(self) -> tuple[Sample, ...]:
        """Return all metrics as they stand."""
        async with self._counting:
            if trio.current_time() >= self._counted_until:
                await self._count()
        self._actors = {actor.path: actor for actor in self._system.inspect().walk()}
        return self._system.metrics.collect()

    async def _count(self) -> None:
        began = trio.current_time()
        try:
            found = await self._system.ref(self._reader).ask(Query("count_by_status"), timeout=_PATIENCE)
        except RuntaraError:
            self._instances = {}
        else:
            self._instances = {(status.value,): found.get(status, 0) for status in Status}
        now = trio.current_time()
        self._counted_until = now + max(_KEPT, _SHARE * (now - began))

    # What is read

    def _build(self) -> Reading:
        return {(__version__, platform.python_version(), self._store): 1}

    def _of_actors(self, field: str) -> Reading:
        return {(path,): getattr(actor, field) for path, actor in self._actors.items() if actor.kind != "supervisor"}

    def _in_use(self) -> Reading:
        if self._places is None:
            return self._fact(self._programs, "running")
        return self._fact(self._scheduler, "places_in_use")

    def _fact(self, path: str, name: str) -> Reading:
        actor = self._actors.get(path)
        fact: Any = None if actor is None else actor.facts.get(name)  # Any: actors say what they like
        return {} if fact is None else fact

    def _dead_letters(self) -> Reading:
        return {(reason,): count for reason, count in self._system.dead_letters.counts.items()}

    def _connections(self) -> Reading:
        found: dict[tuple[str, ...], float] = {}
        for path, actor in self._actors.items():
            above, _, name = path.rpartition("/")
            if above == self._edges and "connections" in actor.facts:
                found[name,] = actor.facts["connections"]
        return found

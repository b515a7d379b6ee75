"""A system in memory in which time is skipped, and the programs that are rehearsed in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from math import inf
from typing import Any, Final, Unpack

from runtara.clock import ManualClock
from runtara.ids import InstanceKey
from runtara.sdk import embedded
from runtara.sdk._base import TENANT
from runtara.sdk.embedded import Embedded
from runtara.sdk.testing._rehearsal import rehearse
from runtara.sdk.testing._report import CrashPoint, Outcome, Report, compare
from runtara.sdk.testing._scenario import Options, Scenario
from runtara.sdk.testing._stage import Stage
from runtara.sdk.testing._time import AsyncSkippingSdk, SkippingSdk, Time

__all__ = ["Laboratory", "assert_survives", "crash_everywhere", "open_laboratory", "run"]

START_MS: Final = 1_750_000_000_000
"""When every run begins: in June 2025."""

NEVER_SILENT: Final = {"heartbeat_timeout_ms": 1_000 * 366 * 86_400_000}
"""Nobody goes silent because the clock has jumped."""


class Laboratory:
    """A system in this process, a clock that is moved, and runs of programs. Use `open_laboratory`."""

    def __init__(self, system: Embedded, clock: ManualClock) -> None:
        self.system: Final = system
        """The embedded system: `status`, `signal`, `custom_signal` and so on."""
        self.clock: Final = clock
        """What the system takes for the time of day."""
        self._time = Time(clock)
        self._runs = count(1)

    def sdk(self, instance_id: str, tenant_id: str = TENANT) -> SkippingSdk:
        """Return the sync SDK for one instance, whose sleeps and waits pass at once; `with` registers it."""
        return SkippingSdk(self.system.open_door(instance_id, tenant_id), self._time, park_after=inf)

    def async_sdk(self, instance_id: str, tenant_id: str = TENANT) -> AsyncSkippingSdk:
        """Return the async SDK for one instance, whose sleeps and waits pass at once; `async with` registers it."""
        return AsyncSkippingSdk(self.system.open_door(instance_id, tenant_id), self._time, park_after=inf)

    def run(self, program: Callable[..., Any], **options: Unpack[Options]) -> Outcome:
        """Run a program to its end, and through all its sleeps; return what came of it."""
        return self._rehearse(Scenario(program, **options))[0]

    def crash_everywhere(self, program: Callable[..., Any], **options: Unpack[Options]) -> Report:
        """Run a program without a crash, then once per moment at which it may crash; compare what comes of it."""
        scenario = Scenario(program, **options)
        unbroken, points = self._rehearse(scenario)
        if unbroken.stuck is not None:
            return Report(unbroken, (), ())
        differences = []
        for point in points:
            crashed, passed = self._rehearse(scenario, point)
            with_world = scenario.idempotent or point.is_stored
            actual = next(
                (one for one in passed if (one.number, one.is_stored) == (point.number, point.is_stored)), point
            )
            difference = compare(unbroken, crashed, actual, with_world=with_world)
            if difference is not None:
                differences.append(difference)
        return Report(unbroken, points, tuple(differences))

    def assert_survives(self, program: Callable[..., Any], **options: Unpack[Options]) -> Report:
        """Like `crash_everywhere`, but raise `AssertionError` with the report unless the program survives."""
        __tracebackhide__ = True  # pytest shows the test, and the report
        report = self.crash_everywhere(program, **options)
        if not report.survived:
            raise AssertionError(str(report))
        return report

    def _rehearse(
        self, scenario: Scenario, crash_at: CrashPoint | None = None
    ) -> tuple[Outcome, tuple[CrashPoint, ...]]:
        """Run a scenario under a tenant of its own, so that the id of its instance is the same in every run."""
        self.clock.jump_ms(START_MS - self.clock.now_ms())
        key = InstanceKey(f"run-{next(self._runs)}", "program")
        stage = Stage(self.system.runtime, key, scenario, Time(self.clock), crash_at)
        kept = random.getstate()
        try:
            return rehearse(stage), tuple(stage.points)
        finally:
            random.setstate(kept)


@contextmanager
def open_laboratory(data_dir: str | None = None, *, url: str | None = None, **settings: Any) -> Iterator[Laboratory]:
    """Open a system in which time is skipped: in memory, unless `data_dir` or `url` say where it keeps its store.

    `settings` are fields of `Settings`.
    """
    clock = ManualClock(START_MS)
    where = url if url is not None or data_dir is not None else "memory://"
    with embedded.open(data_dir, url=where, clock=clock, **NEVER_SILENT | settings) as system:
        yield Laboratory(system, clock)


def run(program: Callable[..., Any], **options: Unpack[Options]) -> Outcome:
    """Run a program to its end in a laboratory of its own; see `Scenario` for what may be said of it."""
    with open_laboratory() as laboratory:
        return laboratory.run(program, **options)


def crash_everywhere(program: Callable[..., Any], **options: Unpack[Options]) -> Report:
    """Crash a program at every change in turn, in a laboratory of its own; see `Scenario` for what may be said of it.

    Raises nothing for a program that does not survive: the report says so.
    """
    with open_laboratory() as laboratory:
        return laboratory.crash_everywhere(program, **options)


def assert_survives(program: Callable[..., Any], **options: Unpack[Options]) -> Report:
    """Like `crash_everywhere`, but raise `AssertionError` with the report unless the program survives."""
    with open_laboratory() as laboratory:
        return laboratory.assert_survives(program, **options)

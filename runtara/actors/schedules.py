"""The actor that keeps to schedules: starts what they say at its time, and notes that it has.

It sleeps until the next start of any schedule, and looks at the wall clock now and then. First the instance is started,
under an id that the instant gives; then the schedule is moved on, by a write that succeeds for one only. So a crash in
between does no harm: whoever comes next starts the same again, which starts nothing, and moves on. Where several nodes
share the store each of them keeps to all schedules, and it is the id that makes it one start.

A start that is refused is noted with its reason, and the schedule goes on. One that could not be made now, because the
store is away or the system busy, is tried again.
"""

import logging
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Final, NamedTuple

import msgspec
import trio

from runtara.actors._deferred import Deferred
from runtara.actors._for_each import for_each
from runtara.actors._ref import Ref
from runtara.actors._schedule_calls import ScheduleCalls
from runtara.actors._schedule_plan import due_between
from runtara.actors._schedule_state import advanced, id_of_start, kept_of
from runtara.actors._service import Actor, hears
from runtara.actors._specs import Backoff
from runtara.actors._system import System
from runtara.actors.dispatch import Dispatch
from runtara.actors.storage import Act, Query
from runtara.clock import Clock
from runtara.errors import Busy, Retry, RuntaraError
from runtara.ids import InstanceKey, is_pooled
from runtara.messages import Call, PutSchedule, StartInstance
from runtara.records import Schedule

__all__ = ["CALLS_MAX", "Schedules"]

CALLS_MAX: Final = 256
"""Most calls that are answered at the same time."""

_PAGE: Final = 1_000
"""Most schedules that are read at once."""

_AT_A_TIME: Final = 16
"""Most schedules, and of each most starts, that are worked on at the same time."""

_AGAIN: Final = Backoff(first=0.5, most=5.0)
"""Between tries while something cannot be done."""

_log: Final = logging.getLogger("runtara.schedules")


class _Look(msgspec.Struct, frozen=True):
    """The first start is due, or the clock is to be looked at again."""


class _Looked(msgspec.Struct, frozen=True):
    """Everything due has been started, or tried."""

    next_at: int | None
    failed: bool
    """Whether something has to be tried again."""


class _Made(NamedTuple):
    """What came of one start."""

    error: str | None
    """Why it was refused."""
    again: bool = False
    """Whether that may be over when it is tried again."""


class Schedules(Actor):
    """Keeps to the schedules of all tenants. `reader` and `writer` are paths of actors; `clock_check` is in seconds.

    `shared` says whether other nodes change schedules, too; then it looks into the store as often as at the clock.
    """

    AT_ONCE = False  # it answers later

    def __init__(
        self,
        *,
        reader: str,
        writer: str,
        clock: Clock,
        clock_check: float,
        shared: bool,
        open_dispatch: Callable[[System], Dispatch],
    ) -> None:
        self._paths: Final = (reader, writer)
        self._clock: Final = clock
        self._clock_check: Final = clock_check
        self._shared: Final = shared
        self._open_dispatch: Final = open_dispatch
        self._next_at: float = inf
        """When the next start is due; infinite where none is known."""
        self._looking = False
        self._failures = 0
        self._timer: trio.CancelScope | None = None
        self._timer_at = inf
        self._answering = 0
        self._started = 0
        self._refused = 0
        self._last_error: str | None = None

    async def on_start(self) -> None:
        """Look what is due, and what was when nobody was there."""
        reader, writer = self._paths
        self._reader: Ref = self.system.ref(reader)
        self._writer: Ref = self.system.ref(writer)
        self._dispatch = self._open_dispatch(self.system)
        self._calls = ScheduleCalls(self._reader, self._writer, self._clock, self._noticed)
        self._next_at = 0
        self._look_in(0)

    def describe(self) -> dict[str, Any]:
        """Return when the next start is due, how many were made and refused, and why the last one was refused."""
        return {
            "next_at": None if self._next_at == inf else self._next_at,
            "started": self._started,
            "refused": self._refused,
            "last_error": self._last_error,
        }

    # Who manages them ------------------------------------------------------------------------------------------------

    @hears(Call)
    def call(self, call: Call) -> Deferred:
        """Begin to answer a call. Raises `Busy`."""
        if self._answering >= CALLS_MAX:
            raise Busy(f"{CALLS_MAX} calls about schedules are being answered, the bound: try again later")
        if isinstance(call.command, PutSchedule):
            self._check_program(call.command.plan.start)
        self._answering += 1
        deferred = Deferred()
        self.start_soon(self._answer, deferred, call)
        return deferred

    def _check_program(self, start: StartInstance) -> None:
        if self._dispatch.check_program is not None and not start.image and not is_pooled(start.program):
            self._dispatch.check_program(start.program)

    async def _answer(self, deferred: Deferred, call: Call) -> None:
        work = partial(self._calls.answer, call.key.tenant_id, call.command)
        try:
            await deferred.answer(work, self._slot.interrupted)
        finally:
            self._answering -= 1

    def _noticed(self, due_at: int) -> None:
        self._next_at = min(self._next_at, due_at)
        self._arm()

    # The time --------------------------------------------------------------------------------------------------------

    @hears(_Look)
    def look(self, _: _Look) -> None:
        """Start what is due; if nothing can be yet, go on waiting."""
        self._timer, self._timer_at = None, inf
        if self._looking:
            return  # and when that is done, it is looked at the clock again
        if self._shared or self._next_at <= self._clock.now_ms():
            self._looking = True
            self._next_at = inf
            self.start_soon(self._start_due)
        else:
            self._arm()

    async def _start_due(self) -> None:
        next_at, failed = None, False
        try:
            failed = await self._start_pages()
            next_at = await self._reader.ask(Query("next_schedule_at"))
        except RuntaraError as error:  # the store is away: what is due comes late, but is not forgotten
            self._last_error, failed = str(error), True
        self._slot.mailbox.put_control(_Looked(next_at, failed))

    @hears(_Looked)
    def looked(self, message: _Looked) -> None:
        """Wait for the next start, or a little before what has failed is tried again."""
        self._looking = False
        if message.failed:
            self._failures += 1
            self._next_at = 0
            self._look_in(_AGAIN.delay(self._failures, self.system.random))
            return
        self._failures = 0
        if message.next_at is not None:
            self._next_at = min(self._next_at, message.next_at)
        self._arm()

    def _arm(self) -> None:
        """Sleep until the next start, but look at the wall clock now and then: it may have been set."""
        if self._looking or (self._next_at == inf and not self._shared):
            return
        self._look_in(min(max(0.0, (self._next_at - self._clock.now_ms()) / 1000), self._clock_check))

    def _look_in(self, delay: float) -> None:
        """Look in so many seconds, if no earlier look is planned."""
        at = trio.current_time() + delay
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.tell_later(delay, _Look())

    # What is due -----------------------------------------------------------------------------------------------------

    async def _start_pages(self) -> bool:
        """Start what is due; return whether something has to be tried again."""
        while True:
            query = Query("list_due_schedules", (self._clock.now_ms(), _PAGE))
            schedules: list[Schedule] = await self._reader.ask(query)
            done = await for_each(schedules, self._keep_to, _AT_A_TIME)
            if not all(done):
                return True
            if len(schedules) < _PAGE:
                return False

    async def _keep_to(self, schedule: Schedule) -> bool:
        """Make the starts of a schedule that are due, and move it on; return whether all is done."""
        names = {"tenant_id": schedule.tenant_id, "schedule": schedule.name}
        try:
            kept, now = kept_of(schedule), self._clock.now_ms()
            first = now if schedule.next_at is None else schedule.next_at
            instants = due_between(kept.plan, first, now, schedule.created_at)
            if not instants:
                _log.warning("schedule-missed", extra=names)
            made = await for_each(instants, partial(self._start, schedule, kept.plan.start), _AT_A_TIME)
            if any(one.again for one in made):
                return False
            # Somebody else may have been quicker: another node, or whoever has just changed the plan.
            after = advanced(schedule, kept, instants, made[-1].error if made else None, now)
            await self._writer.ask(Act("put_schedule", (after,)))
        except RuntaraError as error:
            self._last_error = str(error)
            _log.warning("schedule-delayed", extra=names | {"error": self._last_error})
            return False
        return True

    async def _start(self, schedule: Schedule, start: StartInstance, at_ms: int) -> _Made:
        """Make one start."""
        key = InstanceKey(schedule.tenant_id, id_of_start(schedule.name, at_ms))
        names = {"tenant_id": schedule.tenant_id, "schedule": schedule.name, "instance_id": key.instance_id}
        try:
            started = await self._dispatch.call(key, start)
        except RuntaraError as error:
            self._last_error, again = str(error), error.retry is not Retry.NEVER
            self._refused += not again
            _log.warning("schedule-delayed" if again else "schedule-refused", extra=names | {"error": str(error)})
            return _Made(str(error), again)
        if started.created:
            self._started += 1
            _log.info("schedule-started", extra=names)
        return _Made(None)

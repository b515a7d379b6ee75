"""What is answered to those who manage schedules: reads and conditional writes, and nothing that is kept here.

Two who change the same schedule at the same time both succeed, one after the other; sent again, a call changes nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec.structs import replace

from runtara.actors._ref import Ref
from runtara.actors._schedule_state import changed, created, info_of, kept_of, summary_of
from runtara.actors.storage import Act, Query
from runtara.clock import Clock
from runtara.errors import Busy, NotFound, TooLarge
from runtara.messages import (
    DeleteSchedule,
    GetSchedule,
    ListSchedules,
    PauseSchedule,
    PutSchedule,
    ScheduleDeleted,
    ScheduleInfo,
    SchedulesFound,
)
from runtara.records import Schedule

__all__ = ["SCHEDULES_MAX", "ScheduleCalls"]

SCHEDULES_MAX: Final = 1_000
"""Most schedules of one tenant."""

_TRIES: Final = 5
"""How often a change is tried that somebody else has forestalled."""


class ScheduleCalls:
    """The desk for calls about schedules. `noticed` is told when a schedule is due that was changed here."""

    def __init__(self, reader: Ref, writer: Ref, clock: Clock, noticed: Callable[[int], None]) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._clock: Final = clock
        self._noticed: Final = noticed

    async def answer(self, tenant_id: str, command: Any) -> object:  # Any: each row takes its own command type
        """Return what is answered to a command. Raises what refuses it."""
        return await _ANSWERS[type(command)](self, tenant_id, command)

    async def put(self, tenant_id: str, command: PutSchedule) -> ScheduleInfo:
        """Create a schedule or give it a new plan."""

        def make(schedule: Schedule | None, now: int) -> Schedule | None:
            if schedule is None:
                return created(tenant_id, command.name, command.plan, now)
            kept = kept_of(schedule)
            return None if kept.plan == command.plan else changed(schedule, kept, command.plan, now)

        return await self._change(tenant_id, command.name, make)

    async def pause(self, tenant_id: str, command: PauseSchedule) -> ScheduleInfo:
        """Pause a schedule, or have it go on."""

        def make(schedule: Schedule | None, now: int) -> Schedule | None:
            if schedule is None:
                raise _unknown(command.name)
            kept = kept_of(schedule)
            if kept.plan.paused == command.paused:
                return None
            return changed(schedule, kept, replace(kept.plan, paused=command.paused), now)

        return await self._change(tenant_id, command.name, make)

    async def get(self, tenant_id: str, command: GetSchedule) -> ScheduleInfo:
        """Tell how a schedule stands."""
        schedule = await self._read(tenant_id, command.name)
        if schedule is None:
            raise _unknown(command.name)
        return info_of(schedule)

    async def list(self, tenant_id: str, command: ListSchedules) -> SchedulesFound:
        """Page through the schedules of a tenant."""
        page = await self._reader.ask(Query("list_schedules", (tenant_id, command.limit, command.cursor)))
        return SchedulesFound(schedules=tuple(map(summary_of, page.schedules)), cursor=page.cursor)

    async def delete(self, tenant_id: str, command: DeleteSchedule) -> ScheduleDeleted:
        """Remove a schedule."""
        deleted = await self._writer.ask(Act("delete_schedule", (tenant_id, command.name)))
        return ScheduleDeleted(name=command.name, deleted=deleted)

    async def _change(
        self, tenant_id: str, name: str, make: Callable[[Schedule | None, int], Schedule | None]
    ) -> ScheduleInfo:
        """Store what `make` makes of a schedule (None: nothing), again if somebody else was quicker."""
        for _ in range(_TRIES):
            found = await self._read(tenant_id, name)
            wanted = make(found, self._clock.now_ms())
            if wanted is None:
                assert found is not None, "what does not exist is made or refused"
                return info_of(found)
            if found is None:
                await self._check_room(tenant_id)
            if await self._writer.ask(Act("put_schedule", (wanted,))):
                if wanted.next_at is not None:
                    self._noticed(wanted.next_at)
                return info_of(wanted)
        raise Busy(f"schedule {name!r} is being changed by others: try again")

    async def _read(self, tenant_id: str, name: str) -> Schedule | None:
        found: Schedule | None = await self._reader.ask(Query("read_schedule", (tenant_id, name)))
        return found

    async def _check_room(self, tenant_id: str) -> None:
        page = await self._reader.ask(Query("list_schedules", (tenant_id, SCHEDULES_MAX, None)))
        if len(page.schedules) >= SCHEDULES_MAX:
            raise TooLarge(f"there are {SCHEDULES_MAX} schedules, the bound for one tenant: delete one that is over")


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no schedule {name!r}: look which there are, or put it first")


# Any: each row takes its own command type.
_ANSWERS: Final[dict[type, Callable[[ScheduleCalls, str, Any], Awaitable[object]]]] = {
    PutSchedule: ScheduleCalls.put,
    GetSchedule: ScheduleCalls.get,
    ListSchedules: ScheduleCalls.list,
    DeleteSchedule: ScheduleCalls.delete,
    PauseSchedule: ScheduleCalls.pause,
}

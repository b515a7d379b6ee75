"""A schedule as it is kept, how it is told, and what becomes of it with every change. Pure.

The store keeps a schedule's plan as text that it never looks into; beside the plan lies what came of the last start.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from runtara.actors._schedule_plan import next_after, upcoming_from
from runtara.decoders import decode_json
from runtara.errors import StoreCorrupt
from runtara.messages import ScheduleInfo, SchedulePlan, ScheduleSummary
from runtara.records import Schedule

__all__ = ["Kept", "advanced", "changed", "created", "id_of_start", "info_of", "kept_of", "summary_of"]

_ERROR_MAX_CHARS: Final = 1_000
"""How much is kept of why a start was refused."""


class Kept(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What lies in the `plan` of a stored schedule."""

    plan: SchedulePlan
    last_id: str | None = None
    last_at: int | None = None
    last_error: str | None = None


def kept_of(schedule: Schedule) -> Kept:
    """Return what is kept. Raises `StoreCorrupt` for what this version cannot read."""
    try:
        return decode_json(schedule.plan, Kept)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"the plan of schedule {schedule.name!r} cannot be read ({error}): put it again") from None


def created(tenant_id: str, name: str, plan: SchedulePlan, now: int) -> Schedule:
    """Return a new schedule. Intervals are counted from now."""
    return Schedule(
        tenant_id=tenant_id,
        name=name,
        plan=msgspec.json.encode(Kept(plan=plan)),
        next_at=None if plan.paused else next_after(plan, now, now),
        version=1,
        created_at=now,
        updated_at=now,
    )


def changed(schedule: Schedule, kept: Kept, plan: SchedulePlan, now: int) -> Schedule:
    """Return a schedule with another plan. One that says the same of when does not forget a start that is due."""
    if plan.paused:
        next_at = None
    elif schedule.next_at is not None and _timing(plan) == _timing(kept.plan):
        next_at = schedule.next_at
    else:
        next_at = next_after(plan, now, schedule.created_at)
    content = msgspec.json.encode(replace(kept, plan=plan))
    return replace(schedule, plan=content, next_at=next_at, version=schedule.version + 1, updated_at=now)


def advanced(schedule: Schedule, kept: Kept, started: tuple[int, ...], error: str | None, now: int) -> Schedule:
    """Return a schedule whose starts up to now are made, the last of which may have been refused with an error."""
    if started:
        last = {"last_id": id_of_start(schedule.name, started[-1]), "last_at": started[-1]}
        kept = replace(kept, **last, last_error=None if error is None else error[:_ERROR_MAX_CHARS])
    next_at = next_after(kept.plan, max((now, *started)), schedule.created_at)
    return replace(schedule, plan=msgspec.json.encode(kept), next_at=next_at, version=schedule.version + 1)


def id_of_start(name: str, at_ms: int) -> str:
    """Return the id of the instance that is started for an instant: the same, whoever starts it and however often."""
    return f"{name}.{_EPOCH + timedelta(seconds=at_ms // 1000):%Y%m%dT%H%M%SZ}"


def info_of(schedule: Schedule) -> ScheduleInfo:
    """Return how a schedule stands."""
    kept = kept_of(schedule)
    return ScheduleInfo(
        name=schedule.name,
        plan=kept.plan,
        next_at=schedule.next_at,
        upcoming=upcoming_from(kept.plan, schedule.next_at, schedule.created_at),
        created_at=schedule.created_at,
        updated_at=schedule.updated_at,
        last_id=kept.last_id,
        last_at=kept.last_at,
        last_error=kept.last_error,
    )


def summary_of(schedule: Schedule) -> ScheduleSummary:
    """Return a schedule's line of a list."""
    kept = kept_of(schedule)
    plan = kept.plan
    return ScheduleSummary(
        name=schedule.name,
        program=plan.start.program,
        image=plan.start.image,
        cron=plan.cron,
        every_ms=plan.every_ms,
        timezone=plan.timezone,
        paused=plan.paused,
        next_at=schedule.next_at,
        last_id=kept.last_id,
        last_error=kept.last_error,
    )


def _timing(plan: SchedulePlan) -> tuple[object, ...]:
    return plan.cron, plan.every_ms, plan.timezone, plan.until


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

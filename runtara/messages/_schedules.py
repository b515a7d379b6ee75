"""What is said about schedules, which start instances again and again: commands, and their replies.

Frozen and tagged like all messages; the package offers them. A start that a schedule makes has the id
``<name>.<YYYYMMDDTHHMMSSZ>``: its instant in UTC.
"""

from typing import Literal

import msgspec

from runtara.messages._requests import Request
from runtara.messages._starts import StartInstance

__all__ = [
    "CatchUp",
    "DeleteSchedule",
    "GetSchedule",
    "ListSchedules",
    "PauseSchedule",
    "PutSchedule",
    "ScheduleDeleted",
    "ScheduleInfo",
    "SchedulePlan",
    "ScheduleSummary",
    "SchedulesFound",
]

CatchUp = Literal["skip", "one", "all"]
"""What becomes of the starts that nobody could make in time: none is made, or the newest one, or all."""


class SchedulePlan(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When to start what. Exactly one of `cron` and `every_ms` is given."""

    start: StartInstance
    """Without a `start_at`: that is what the plan says."""
    cron: str | None = None
    """Five fields, as in ``30 6 * * MON-FRI``, or six with the second in front."""
    every_ms: int | None = None
    """At least 1,000, counted from the creation of the schedule."""
    timezone: str = "UTC"
    """By whose clock the fields of `cron` are meant, as in ``Europe/Berlin``."""
    catch_up: CatchUp = "skip"
    """For starts that are more than a minute late; of those that are not, `skip` and `one` make the newest."""
    paused: bool = False
    until: int | None = None
    """Nothing is started after this instant."""


class ScheduleInfo(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """How a schedule stands."""

    name: str
    plan: SchedulePlan
    next_at: int | None
    """The next start; None while it is paused, and where there is none any more."""
    created_at: int
    updated_at: int
    upcoming: tuple[int, ...] = ()
    """The next few starts, that of `next_at` first."""
    last_id: str | None = None
    """The instance that it has started last."""
    last_at: int | None = None
    """The instant that this start was planned for."""
    last_error: str | None = None
    """Why the last start was refused; None where it was not."""


class ScheduleSummary(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One line of a list of schedules."""

    name: str
    program: str
    image: bool
    cron: str | None
    every_ms: int | None
    timezone: str
    paused: bool
    next_at: int | None
    last_id: str | None
    last_error: str | None


class SchedulesFound(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Schedules by name; `cursor` fetches the next page and is None on the last."""

    schedules: tuple[ScheduleSummary, ...]
    cursor: str | None = None


class ScheduleDeleted(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """The schedule is gone; `deleted` is False where there was none. What it has started goes on."""

    name: str
    deleted: bool


class PutSchedule(msgspec.Struct, Request[ScheduleInfo], frozen=True, gc=False, tag=True, kw_only=True):
    """Create a schedule, or give it a new plan."""

    name: str
    plan: SchedulePlan


class GetSchedule(msgspec.Struct, Request[ScheduleInfo], frozen=True, gc=False, tag=True, kw_only=True):
    """Ask how a schedule stands."""

    name: str


class ListSchedules(msgspec.Struct, Request[SchedulesFound], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through a tenant's schedules."""

    limit: int = 100
    cursor: str | None = None


class DeleteSchedule(msgspec.Struct, Request[ScheduleDeleted], frozen=True, gc=False, tag=True, kw_only=True):
    """Remove a schedule."""

    name: str


class PauseSchedule(msgspec.Struct, Request[ScheduleInfo], frozen=True, gc=False, tag=True, kw_only=True):
    """Have a schedule start nothing for now, or (`paused` is False) go on with the next start after now."""

    name: str
    paused: bool = True

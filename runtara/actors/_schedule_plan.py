"""When a schedule starts something: the next instant behind a given one, and those that have come since.

The only door to cronsim. Pure: whoever asks says what time it is. Around a change to summer time and back a plan with
five fields does what Debian's cron does: what falls into the hour that is left out happens right after it, and what
falls into the hour that comes twice happens once, unless the plan is one for every hour or minute.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from runtara.clock import INSTANT_MAX_MS, SPAN_MAX_MS, check_instant_ms
from runtara.errors import InvalidInput
from runtara.messages import CatchUp, SchedulePlan

__all__ = [
    "CAUGHT_UP_MAX",
    "CRON_MAX_CHARS",
    "EVERY_MIN_MS",
    "LATE_MS",
    "UPCOMING",
    "check_timing",
    "due_between",
    "next_after",
    "upcoming_from",
]

CAUGHT_UP_MAX: Final = 1_000
"""Most starts that are made up for; of more than that, the newest."""

CRON_MAX_CHARS: Final = 256
"""Longest cron expression."""

EVERY_MIN_MS: Final = 1_000
"""Shortest interval: ids of instances tell seconds."""

LATE_MS: Final = 60_000
"""A start that comes later than this after its instant was missed."""

UPCOMING: Final = 5
"""Starts that are named before they come."""

_ZONE_MAX_CHARS: Final = 64


def check_timing(plan: SchedulePlan) -> None:
    """Raise `InvalidInput` for a plan whose instants make no sense, and say why."""
    if (plan.cron is None) == (plan.every_ms is None):
        raise InvalidInput("a schedule has either a cron expression or an interval: give one of cron and every_ms")
    if plan.catch_up not in get_args(CatchUp):
        raise InvalidInput(f"catch_up {plan.catch_up!r:.80} is unknown: use {', '.join(get_args(CatchUp))}")
    if plan.until is not None:
        check_instant_ms(plan.until, "until")
    _zone(plan)
    if plan.cron is not None:
        _check_cron(plan, plan.cron)
    elif plan.every_ms is not None:
        _check_interval(plan, plan.every_ms)


def next_after(plan: SchedulePlan, instant_ms: int, created_at: int) -> int | None:
    """Return the first instant behind `instant_ms` at which the plan starts something; None where there is none."""
    found = next(_instants_after(plan, instant_ms, created_at), None)
    latest = INSTANT_MAX_MS if plan.until is None else min(plan.until, INSTANT_MAX_MS)
    return None if found is None or found > latest else found


def upcoming_from(plan: SchedulePlan, first: int | None, created_at: int) -> tuple[int, ...]:
    """Return the next few instants at which the plan starts something, of which the first one is known."""
    found = list[int]()
    while first is not None and len(found) < UPCOMING:
        found.append(first)
        first = next_after(plan, first, created_at)
    return tuple(found)


def due_between(plan: SchedulePlan, first_ms: int, now_ms: int, created_at: int) -> tuple[int, ...]:
    """Return the instants from `first_ms` to `now_ms`, both included, whose starts are to be made now, in order.

    Those that are more than `LATE_MS` late were missed, and `catch_up` says what becomes of them. At most
    `CAUGHT_UP_MAX` are returned: the newest.
    """
    last_ms = now_ms if plan.until is None else min(now_ms, plan.until)
    if last_ms < first_ms:
        return ()
    most = CAUGHT_UP_MAX if plan.catch_up == "all" else 1
    newest = islice(_instants_before(plan, last_ms + 1, created_at), most)
    found = tuple(reversed([at for at in newest if at >= first_ms]))
    if plan.catch_up == "skip":
        return tuple(at for at in found if at >= now_ms - LATE_MS)
    return found


# Both ways -----------------------------------------------------------------------------------------------------------


def _instants_after(plan: SchedulePlan, instant_ms: int, created_at: int) -> Iterator[int]:
    if plan.every_ms is not None:
        nth = max(1, (instant_ms - created_at) // plan.every_ms + 1)
        while True:
            yield created_at + nth * plan.every_ms
            nth += 1
    yield from _cron_instants(plan, instant_ms - instant_ms % 1000, reverse=False)


def _instants_before(plan: SchedulePlan, instant_ms: int, created_at: int) -> Iterator[int]:
    """Yield the instants before a given one, the newest first."""
    if plan.every_ms is not None:
        nth = -((created_at - instant_ms) // plan.every_ms) - 1
        while nth >= 1:
            yield created_at + nth * plan.every_ms
            nth -= 1
        return
    yield from _cron_instants(plan, instant_ms + -instant_ms % 1000, reverse=True)


def _cron_instants(plan: SchedulePlan, instant_ms: int, *, reverse: bool) -> Iterator[int]:
    assert plan.cron is not None, "a plan that was checked has one or the other"
    start = (_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(_zone(plan))
    try:
        for moment in CronSim(plan.cron, start, reverse=reverse):
            yield (moment - _EPOCH) // timedelta(milliseconds=1)
    except OverflowError:
        return  # the calendar of Python ends with the year 9999


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


# Checks --------------------------------------------------------------------------------------------------------------


def _check_cron(plan: SchedulePlan, cron: object) -> None:
    if not isinstance(cron, str) or len(cron) > CRON_MAX_CHARS:
        raise InvalidInput(f"cron must be text of at most {CRON_MAX_CHARS} characters, as in '30 6 * * MON-FRI'")
    try:
        found = next(CronSim(cron, _EPOCH.replace(tzinfo=_zone(plan))), None)
    except (CronSimError, ValueError) as error:
        raise InvalidInput(
            f"cron expression {cron!a} is not one ({str(error).lower()}): give minute, hour, day, month and weekday, "
            "as in '30 6 * * MON-FRI'"
        ) from None
    if found is None:
        raise InvalidInput(f"cron expression {cron!a} names a day that never comes: look at day and month")


def _check_interval(plan: SchedulePlan, every_ms: object) -> None:
    if isinstance(every_ms, bool) or not isinstance(every_ms, int) or not EVERY_MIN_MS <= every_ms <= SPAN_MAX_MS:
        raise InvalidInput(f"every_ms {every_ms!r} is not allowed: use {EVERY_MIN_MS} (a second) to {SPAN_MAX_MS}")
    if plan.timezone != "UTC":
        raise InvalidInput("an interval is the same in every time zone: give a time zone with a cron expression only")


def _zone(plan: SchedulePlan) -> ZoneInfo:
    name: object = plan.timezone
    if isinstance(name, str) and len(name) <= _ZONE_MAX_CHARS:
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # not the name of a zone, or no zone of that name
            pass
    raise InvalidInput(f"time zone {name!a:.80} is unknown: use a name as in Europe/Berlin, or UTC")

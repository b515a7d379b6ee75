"""`runtara schedule`: instances that are started again and again."""

from collections.abc import Callable
from typing import Any, Final, get_args

import click

from runtara.cli._instances import all_option, fetch, limit_option
from runtara.cli._program_options import program_options, wanted
from runtara.cli._reach import Reach, client_options
from runtara.cli._spans import typed_instant, typed_span
from runtara.cli._tables import Column, Table, json_option, print_fields, print_json, print_page
from runtara.cli._words import ABSENT, instant, payload, span
from runtara.errors import NotFound
from runtara.messages import (
    CatchUp,
    DeleteSchedule,
    GetSchedule,
    ListSchedules,
    PauseSchedule,
    PutSchedule,
    ScheduleInfo,
    SchedulePlan,
    ScheduleSummary,
    StartInstance,
)

__all__ = ["SCHEDULES", "schedule"]


def _then(upcoming: tuple[int, ...]) -> str:
    return ", ".join(map(instant, upcoming[1:])) or ABSENT


def _yes(value: bool) -> str:
    return "yes" if value else "no"


SCHEDULES: Final = Table(
    ScheduleSummary,
    (
        Column("name", "schedule"),
        Column("cron", "cron"),
        Column("every_ms", "every", span),
        Column("timezone", "time zone"),
        Column("paused", "paused", _yes),
        Column("next_at", "next", instant),
        Column("last_id", "last start"),
        Column("last_error", "refused"),
        Column("program", "program"),
    ),
)

_INFO: Final = Table(
    ScheduleInfo,
    (
        Column("name", "schedule"),
        Column("next_at", "next", instant),
        Column("upcoming", "then", _then),
        Column("last_id", "last start"),
        Column("last_at", "planned for", instant),
        Column("last_error", "refused", str),
        Column("created_at", "created", instant),
        Column("updated_at", "changed", instant),
    ),
)

_PLAN: Final = Table(
    SchedulePlan,
    (
        Column("cron", "cron"),
        Column("every_ms", "every", span),
        Column("timezone", "time zone"),
        Column("catch_up", "catch up"),
        Column("paused", "paused", _yes),
        Column("until", "until", instant),
    ),
)

_START: Final = Table(
    StartInstance,
    (
        Column("program", "program"),
        Column("image", "image", _yes),
        Column("input", "input", payload),
        Column("priority", "priority"),
        Column("timeout_ms", "may run for", span),
    ),
)

_name = click.argument("name", metavar="NAME")


@click.group()
def schedule() -> None:
    """Start instances again and again."""


@schedule.command()
@_name
@program_options
@click.option("--cron", metavar="EXPRESSION", help="When: minute, hour, day, month, weekday, as in '30 6 * * MON-FRI'.")
@click.option("--every", type=typed_span, metavar="SPAN", help="Instead of --cron: how often, as in 90s or 12h.")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="By whose clock --cron is meant.")
@click.option(
    "--catch-up",
    type=click.Choice(get_args(CatchUp)),
    default="skip",
    show_default=True,
    help="What becomes of starts that nobody could make in time: none is made, the newest one, or all.",
)
@click.option("--until", type=typed_instant, metavar="INSTANT", help="Start nothing after this.")
@click.option("--paused", is_flag=True, help="Start nothing until it is resumed.")
@json_option
@client_options
def put(
    reach: Reach,
    *,
    name: str,
    program: str,
    cron: str | None,
    every: int | None,
    timezone: str,
    catch_up: CatchUp,
    until: int | None,
    paused: bool,
    as_json: bool,
    **description: Any,  # the other program options
) -> None:
    """Create the schedule NAME, or give it a new plan; print when it starts PROGRAM next.

    What it starts is called NAME.YYYYMMDDTHHMMSSZ, after the instant in UTC.
    """
    if description.pop("instance_id") is not None:
        raise click.UsageError("--id is not for schedules: each start has an id of its own, after NAME.")
    plan = SchedulePlan(
        start=wanted(program, instance_id=None, **description).command,
        cron=cron,
        every_ms=every,
        timezone=timezone,
        catch_up=catch_up,
        paused=paused,
        until=until,
    )
    _tell(reach, PutSchedule(name=name, plan=plan), as_json)


@schedule.command("list")
@limit_option
@all_option
@json_option
@client_options
def list_(reach: Reach, limit: int, every: bool, as_json: bool) -> None:
    """List the schedules of a tenant, by name."""
    with reach.door() as door:
        page = fetch(door, ListSchedules(limit=limit), "schedules", every)
    print_page(SCHEDULES, page, "schedules", as_json)


@schedule.command()
@_name
@json_option
@client_options
def show(reach: Reach, name: str, as_json: bool) -> None:
    """Tell how a schedule stands, and what it starts."""
    with reach.door() as door:
        info = door.call_from_thread(GetSchedule(name=name))
    if as_json:
        print_json(info)
        return
    print_fields(_INFO, info)
    print_fields(_PLAN, info.plan)
    print_fields(_START, info.plan.start)


def _pausing(paused: bool, meaning: str) -> Callable[..., Any]:
    def command(reach: Reach, name: str, as_json: bool) -> None:
        _tell(reach, PauseSchedule(name=name, paused=paused), as_json)

    command.__doc__ = meaning
    return _name(json_option(client_options(command)))


schedule.command("pause")(_pausing(True, "Have a schedule start nothing for now."))
schedule.command("resume")(_pausing(False, "Have a schedule go on, with its next start after now."))


@schedule.command()
@_name
@json_option
@client_options
def delete(reach: Reach, name: str, as_json: bool) -> None:
    """Remove a schedule. What it has started goes on."""
    with reach.door() as door:
        deleted = door.call_from_thread(DeleteSchedule(name=name))
    if not deleted.deleted:
        raise NotFound(f"there is no schedule {name!r}: look which there are with `runtara schedule list`")
    if as_json:
        print_json(deleted)


def _tell(reach: Reach, command: PutSchedule | PauseSchedule, as_json: bool) -> None:
    with reach.door() as door:
        info = door.call_from_thread(command)
    if as_json:
        print_json(info)
    else:
        click.echo("no start is planned" if info.next_at is None else f"next start: {instant(info.next_at)}")

"""`runtara ps`, `status` and `checkpoints`: look at instances."""

from typing import Any, Final, get_args

import click
import msgspec
from msgspec.structs import replace

from runtara.cli._completion import instance_argument
from runtara.cli._filters import filter_of, filter_options
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._tables import (
    CHECKPOINTS,
    INSTANCE,
    INSTANCES,
    json_option,
    print_fields,
    print_json,
    print_page,
)
from runtara.decoders import decode_json
from runtara.lifecycle import Status
from runtara.messages import CountInstances, GetStatus, InstanceOrder, ListCheckpoints, ListEvents, ListInstances
from runtara.sdk.progress import PROGRESS, Progress

__all__ = ["all_option", "checkpoints", "fetch", "limit_option", "ps", "status"]

PAGE: Final = 100
"""Rows that are printed unless more are asked for."""

limit_option = click.option(
    "--limit", metavar="N", type=click.IntRange(1, 1000), default=PAGE, show_default=True, help="Most rows to print."
)
all_option = click.option("--all", "every", is_flag=True, help="Print every row, however many.")


@click.command()
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only those that stand so.")
@filter_options
@click.option(
    "--order",
    type=click.Choice(get_args(InstanceOrder)),
    default="id",
    show_default=True,
    help="By what they are listed; with a minus, the last one first. Only finished ones have a place by finished.",
)
@click.option("--count", is_flag=True, help="Only say how many of the tenant's instances stand where.")
@limit_option
@all_option
@json_option
@client_options
def ps(
    reach: Reach,
    *,
    order: InstanceOrder,
    count: bool,
    limit: int,
    every: bool,
    as_json: bool,
    **wanted: Any,  # the filter's options
) -> None:
    """List the instances of a tenant."""
    with reach.door() as door:
        if count:
            _count(door, as_json)
            return
        command = ListInstances(limit=limit, filter=filter_of(door, **wanted), order=order)
        page = fetch(door, command, "instances", every)
    print_page(INSTANCES, page, "instances", as_json)


def _count(door: Door, as_json: bool) -> None:
    counted = door.call_from_thread(CountInstances())
    if as_json:
        print_json(counted)
    else:
        for status in Status:
            click.echo(f"{status:<9} {counted.counts.get(status, 0):,}")


@click.command()
@instance_argument
@limit_option
@all_option
@json_option
@client_options
def checkpoints(reach: Reach, instance_id: str, limit: int, every: bool, as_json: bool) -> None:
    """List the checkpoints of an instance, oldest first."""
    with reach.door(instance_id) as door:
        door.call_from_thread(GetStatus())  # one that is unknown has no checkpoints, but is to be refused
        page = fetch(door, ListCheckpoints(limit=limit), "checkpoints", every)
    print_page(CHECKPOINTS, page, "checkpoints", as_json)


@click.command()
@instance_argument
@click.option("--output", "only_output", is_flag=True, help="Print the output alone, byte for byte.")
@json_option
@client_options
def status(reach: Reach, instance_id: str, only_output: bool, as_json: bool) -> None:
    """Tell how an instance stands."""
    with reach.door(instance_id) as door:
        info = door.call_from_thread(GetStatus())
        progress = None if only_output or as_json else _last_progress(door)
    if only_output:
        click.echo(info.output or b"", nl=False)
    elif as_json:
        print_json(info)
    else:
        print_fields(INSTANCE, info, {} if progress is None else {"progress": progress})


def _last_progress(door: Door) -> str | None:
    """Return how far the program has come, if it has said so."""
    told = fetch(door, ListEvents(event_type="custom", subtype=PROGRESS, limit=1000), "events", every=True).events
    try:
        return str(decode_json(told[-1].payload or b"", Progress)) if told else None
    except msgspec.MsgspecError:  # an event of the program's own making that happens to be called so
        return None


def fetch(door: Door, command: Any, rows: str, every: bool) -> Any:
    """Return the page that a command asks for; with `every`, all pages joined into one. `rows` names its field."""
    page = door.call_from_thread(command)
    found = [*getattr(page, rows)]
    while every and page.cursor is not None:
        page = door.call_from_thread(replace(command, cursor=page.cursor))
        found += getattr(page, rows)
    return replace(page, **{rows: tuple(found)})

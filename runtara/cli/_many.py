"""`runtara cancel`: say the same to many instances."""

from typing import Any

import click
from msgspec.structs import replace

from runtara.cli._instances import fetch
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._spans import typed_instant
from runtara.cli._tables import INSTANCES, Column, Table, json_option, print_json, print_rows
from runtara.clock import span_ms
from runtara.ids import new_id
from runtara.lifecycle import FINAL, Status
from runtara.messages import GetImage, InstanceFilter, ListInstances, ManySignaled, SignalMany, SignalOutcome

__all__ = ["cancel"]

_PAGE = 1_000

_OUTCOMES = Table(
    SignalOutcome,
    (Column("instance_id", "instance"), Column("status", "status"), Column("error", "refused")),
)


@click.command()
@click.option("--all", "every", is_flag=True, help="Mean all instances that the other options let through.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in Status if status not in FINAL]),
    help="Only those that stand so.",
)
@click.option("--prefix", default="", metavar="TEXT", help="Only those whose id begins so.")
@click.option("--program", metavar="PATH|NAME", help="Only those of this program.")
@click.option("--image", metavar="NAME", help="Only those of any version of this image.")
@click.option("--created-from", type=typed_instant, metavar="INSTANT", help="Only those created then or later.")
@click.option("--created-before", type=typed_instant, metavar="INSTANT", help="Only those created earlier.")
@click.option("--grace", type=float, metavar="SECONDS", help="How long each program may take to clean up and end.")
@click.option("--dry-run", is_flag=True, help="Only list whom it would concern.")
@json_option
@client_options
def cancel(
    reach: Reach, *, every: bool, grace: float | None, dry_run: bool, as_json: bool, image: str | None, **given: Any
) -> None:
    """Cancel many instances: all of a tenant that are not finished, or those that the options let through.

    For a single one there is `runtara stop`. The exit code is 1 where an instance could not be cancelled.
    """
    if not every:
        raise click.UsageError("say --all, and narrow it with the other options; for one instance use `runtara stop`.")
    with reach.door() as door:
        wanted = _filter(door, image, given)
        if dry_run:
            _list(door, wanted, as_json)
            return
        grace_ms = None if grace is None else span_ms(grace, "grace")
        command = SignalMany(kind="cancel", signal_id=new_id(), filter=wanted, grace_ms=grace_ms, limit=_PAGE)
        done: ManySignaled = fetch(door, command, "outcomes", every=True)
    if as_json:
        print_json(done)
    else:
        print_rows(_OUTCOMES, done.outcomes)
    if any(outcome.error is not None for outcome in done.outcomes):
        click.get_current_context().exit(1)


def _filter(door: Door, image: str | None, given: dict[str, Any]) -> InstanceFilter:
    status = given.pop("status")
    image_id = None if image is None else door.call_from_thread(GetImage(image=image)).image_id
    return InstanceFilter(status=None if status is None else Status(status), image_id=image_id, **given)


def _list(door: Door, wanted: InstanceFilter, as_json: bool) -> None:
    page = fetch(door, ListInstances(limit=_PAGE, filter=wanted), "instances", every=True)
    page = replace(page, instances=tuple(row for row in page.instances if row.status not in FINAL))
    if as_json:
        print_json(page)
    else:
        print_rows(INSTANCES, page.instances)

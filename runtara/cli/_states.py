"""`runtara input`, `checkpoint` and `retries`: what an instance was given, has saved, and has failed at."""

from typing import Final

import click

from runtara.cli._completion import instance_argument
from runtara.cli._reach import Reach, client_options
from runtara.cli._tables import Column, Table, json_option, print_json, print_rows
from runtara.cli._words import instant
from runtara.errors import NotFound
from runtara.messages import GetCheckpoint, GetInput, GetStatus, ListRetries
from runtara.records import Retry

__all__ = ["RETRIES", "checkpoint", "input", "retries"]

RETRIES: Final = Table(
    Retry,
    (
        Column("attempt", "try"),
        Column("recorded_at", "failed", instant),
        Column("retry_at", "next", instant),
        Column("error", "error"),
    ),
)

_checkpoint = click.argument("checkpoint_id", metavar="CHECKPOINT")


@click.command("input")
@instance_argument
@json_option
@client_options
def input(reach: Reach, instance_id: str, as_json: bool) -> None:
    """Print what an instance was started with, byte for byte."""
    with reach.door(instance_id) as door:
        found = door.call_from_thread(GetInput())
    if as_json:
        print_json(found)
    else:
        click.echo(found.input or b"", nl=False)


@click.command()
@instance_argument
@_checkpoint
@json_option
@client_options
def checkpoint(reach: Reach, instance_id: str, checkpoint_id: str, as_json: bool) -> None:
    """Print the state that an instance has saved as CHECKPOINT, byte for byte."""
    with reach.door(instance_id) as door:
        found = door.call_from_thread(GetCheckpoint(checkpoint_id=checkpoint_id))
    if not found.found:
        raise NotFound(f"instance {instance_id!r} has no checkpoint {checkpoint_id!r}: see `runtara checkpoints`")
    if as_json:
        print_json(found)
    else:
        click.echo(found.state or b"", nl=False)


@click.command()
@instance_argument
@_checkpoint
@json_option
@client_options
def retries(reach: Reach, instance_id: str, checkpoint_id: str, as_json: bool) -> None:
    """List the failed tries of the step that is saved as CHECKPOINT, oldest first."""
    with reach.door(instance_id) as door:
        door.call_from_thread(GetStatus())  # one that is unknown has no retries, but is to be refused
        found = door.call_from_thread(ListRetries(checkpoint_id=checkpoint_id))
    if as_json:
        print_json(found)
    else:
        print_rows(RETRIES, found.retries)

"""`runtara steps`: what an instance has done, and how long it took."""

from typing import Final, get_args

import click

from runtara.cli._completion import instance_argument
from runtara.cli._instances import all_option, fetch, limit_option
from runtara.cli._reach import Reach, client_options
from runtara.cli._tables import Column, Table, json_option, print_page
from runtara.cli._words import instant, span
from runtara.messages import GetStatus, ListSteps, Step, StepStatus

__all__ = ["STEPS", "steps"]

STEPS: Final = Table(
    Step,
    (
        Column("started_at", "begun", instant),
        Column("epoch", "attempt"),
        Column("type", "what"),
        Column("step_id", "step"),
        Column("name", "name"),
        Column("status", "status"),
        Column("duration_ms", "took", span),
        Column("error", "error"),
    ),
)


@click.command()
@instance_argument
@click.option("--status", type=click.Choice(get_args(StepStatus)), help="Only those that stand so.")
@click.option("--type", "step_type", metavar="TYPE", help="Only those: checkpoint, sleep, signal, retry, or your own.")
@limit_option
@all_option
@json_option
@client_options
def steps(
    reach: Reach,
    *,
    instance_id: str,
    status: StepStatus | None,
    step_type: str | None,
    limit: int,
    every: bool,
    as_json: bool,
) -> None:
    """List what an instance has done: checkpoints, sleeps, waits for signals, failed tries, and steps of its own."""
    with reach.door(instance_id) as door:
        door.call_from_thread(GetStatus())  # one that is unknown has no steps, but is to be refused
        page = fetch(door, ListSteps(status=status, step_type=step_type, limit=limit), "steps", every)
    print_page(STEPS, page, "steps", as_json)

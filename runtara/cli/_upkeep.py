"""`runtara upkeep`: have a server remove at once what its settings do not keep."""

from typing import Final, get_args

import click

from runtara.cli._reach import Reach, client_options
from runtara.cli._tables import Column, Table, json_option, print_json, print_rows
from runtara.messages import Chore, ChoreDone, RunChore

__all__ = ["CHORES", "upkeep"]

CHORES: Final = Table(
    ChoreDone,
    (
        Column("chore", "chore"),
        Column("removed", "removed"),
        Column("names", "of this tenant", lambda names: " ".join(names) or "nothing"),
    ),
)


@click.command()
@click.argument("chores", metavar="[CHORE]...", nargs=-1, type=click.Choice(get_args(Chore)))
@click.option("--dry-run", is_flag=True, help="Remove nothing, only say what would be removed.")
@json_option
@client_options
def upkeep(reach: Reach, chores: tuple[Chore, ...], dry_run: bool, as_json: bool) -> None:
    """Have the server remove what its settings do not keep: all of it, or that of each CHORE.

    instances: those that have finished longer than RUNTARA_KEEP_INSTANCES_MS ago. runs: the folders in which programs
    ran, and their logs, after RUNTARA_KEEP_RUNS_MS. images: what nothing uses of what was pushed, after
    RUNTARA_KEEP_IMAGES_MS. A server does so by itself, too, when it starts and then every RUNTARA_UPKEEP_EVERY_MS.
    """
    with reach.door() as door:
        done = [door.call_from_thread(RunChore(chore=chore, dry_run=dry_run)) for chore in chores or get_args(Chore)]
    if as_json:
        print_json(done)
    else:
        print_rows(CHORES, done)

"""`runtara fork` and `retry`: go on from where an instance was, as another one."""

import click
import trio

from runtara.cli._completion import complete_instances, instance_argument
from runtara.cli._follow import conclude, wait_for_end
from runtara.cli._program_options import read_input
from runtara.cli._reach import Reach, client_options
from runtara.cli._start import print_started, start_by
from runtara.cli._tables import json_option
from runtara.messages import ForkInstance
from runtara.sdk.management import Management

__all__ = ["fork", "retry"]

_wait_option = click.option(
    "--wait", is_flag=True, help="Wait for the end, print the output, and exit like `runtara run`."
)


@click.command()
@click.argument("source", metavar="SOURCE", shell_complete=complete_instances)
@click.argument("new", metavar="NEW")
@click.option("--checkpoint", "checkpoint_id", metavar="ID", help="The last one to take along; by default all.")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Another input than that of SOURCE.")
@_wait_option
@json_option
@client_options
def fork(
    reach: Reach,
    *,
    source: str,
    new: str,
    checkpoint_id: str | None,
    input_: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Start an instance NEW that goes on from where SOURCE was, with its checkpoints; print its id.

    SOURCE is not changed, whether it runs, rests or is finished. The same fork again starts nothing new.
    """
    content = None if input_ is None else read_input(input_)
    command = ForkInstance(source=source, checkpoint_id=checkpoint_id, input=content)
    start_by(reach, new, command, wait=wait, as_json=as_json)


@click.command()
@instance_argument
@_wait_option
@json_option
@client_options
def retry(reach: Reach, instance_id: str, wait: bool, as_json: bool) -> None:
    """Go on from the last checkpoint of an instance that has failed or was cancelled; print the new id.

    The new instance is called ID.r1, that for ID.r1 is called ID.r2, and so on. Retrying the same again starts nothing
    new.
    """
    with reach.door() as door:
        started = Management(door).retry(instance_id)
    if not wait:
        print_started(started, as_json)
        return
    click.echo(started.instance_id, err=True)
    with reach.door(started.instance_id, watch=True) as door:
        info = trio.run(wait_for_end, door)
    conclude(info, as_json)

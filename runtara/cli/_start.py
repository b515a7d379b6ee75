"""`runtara start`: hand a program to a running server."""

from typing import Any

import click
import trio
from msgspec.structs import replace as with_more

from runtara.cli._follow import conclude, wait_for_end
from runtara.cli._program_options import program_options, wanted
from runtara.cli._reach import Reach, client_options
from runtara.cli._spans import typed_instant
from runtara.cli._tables import json_option, print_json
from runtara.messages import ForkInstance, InstanceStarted, StartInstance

__all__ = ["print_started", "start", "start_by"]

Starting = StartInstance | ForkInstance


@click.command()
@program_options
@click.option("--at", "start_at", type=typed_instant, metavar="INSTANT", help="Launch it then, not before.")
@click.option(
    "--replace",
    is_flag=True,
    help="Stop and forget whatever has the id, also where it is finished, and begin a new instance.",
)
@click.option("--wait", is_flag=True, help="Wait for the end, print the output, and exit like `runtara run`.")
@json_option
@client_options
def start(
    reach: Reach,
    *,
    program: str,
    start_at: int | None,
    replace: bool,
    wait: bool,
    as_json: bool,
    **description: Any,  # the other program options
) -> None:
    """Have the server run PROGRAM as a new instance; print its id.

    PROGRAM is a path on the server's machine: a .py or .pyz file or an executable, below one of the folders of
    RUNTARA_PROGRAMS; or, with --image, the name of an image that was pushed (report, or report@3 for one of its
    versions), or what a server that runs programs on Kubernetes is to fetch. Starting the same under the same id again
    starts nothing new; with --replace it begins anew.
    """
    asked = wanted(program, **description)
    command = with_more(asked.command, start_at=start_at, replace=replace)
    start_by(reach, asked.instance_id, command, wait=wait, as_json=as_json)


def start_by(reach: Reach, instance_id: str, command: Starting, *, wait: bool, as_json: bool) -> None:
    """Start an instance by a command; print its id, or wait for its end and exit as it does."""
    with reach.door(instance_id, watch=wait) as door:
        started = door.call_from_thread(command)
        if not wait:
            print_started(started, as_json)
            return
        click.echo(started.instance_id, err=True)
        info = trio.run(wait_for_end, door)
    conclude(info, as_json)


def print_started(started: InstanceStarted, as_json: bool) -> None:
    """Print the id of an instance that was started, or all that is known of it."""
    if as_json:
        print_json(started)
    else:
        click.echo(started.instance_id)

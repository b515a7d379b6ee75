"""`runtara signal`, `stop`, `pause` and `resume`: say something to an instance."""

from typing import Final

import click
import trio

from runtara.cli._completion import instance_argument
from runtara.cli._follow import conclude, wait_for_end
from runtara.cli._payloads import read_payload
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._tables import json_option, print_json
from runtara.clock import span_ms
from runtara.ids import new_id
from runtara.messages import SendSignal, SignalAccepted, SignalKind

__all__ = ["pause", "resume", "signal", "stop"]

KINDS: Final[dict[str, SignalKind]] = {"cancel": "cancel", "pause": "pause", "resume": "resume", "shutdown": "shutdown"}
"""Words that mean a signal to the instance as a whole; every other word is the name of a custom signal."""


@click.command()
@instance_argument
@click.argument("name", metavar="KIND|NAME")
@click.option("--payload", metavar="TEXT|@FILE|-", help="What a custom signal carries.")
@click.option("--custom", is_flag=True, help="NAME is that of a custom signal, even if it is also a kind.")
@click.option("--wait", is_flag=True, help="Wait for the end, print the output, and exit like `runtara run`.")
@json_option
@client_options
def signal(
    reach: Reach, *, instance_id: str, name: str, payload: str | None, custom: bool, wait: bool, as_json: bool
) -> None:
    """Send a signal to an instance; print what it is now.

    KIND is cancel, pause, resume or shutdown. Anything else is the NAME of a custom signal, for which the program
    waits.
    """
    kind = None if custom else KINDS.get(name)
    data = b"" if payload is None else read_payload(payload, "payload")
    with reach.door(instance_id, watch=wait) as door:
        accepted = _send(door, kind or "custom", None if kind else name, data)
        _conclude(door, accepted, wait, as_json)


@click.command()
@instance_argument
@click.option("--grace", type=float, metavar="SECONDS", help="How long the program may take to clean up and end.")
@click.option("--wait", is_flag=True, help="Wait for the end.")
@json_option
@client_options
def stop(reach: Reach, instance_id: str, grace: float | None, wait: bool, as_json: bool) -> None:
    """Cancel an instance: its program may clean up, and is then stopped.

    With --wait the exit code is that of the end: 5 once it is cancelled, 0 or 1 if it completed or failed before that.
    """
    grace_ms = None if grace is None else span_ms(grace, "grace")
    with reach.door(instance_id, watch=wait) as door:
        accepted = _send(door, "cancel", grace_ms=grace_ms)
        _conclude(door, accepted, wait, as_json)


@click.command()
@instance_argument
@json_option
@client_options
def pause(reach: Reach, instance_id: str, as_json: bool) -> None:
    """Have an instance rest until it is resumed: its program is told to end for now."""
    _tell(reach, instance_id, "pause", as_json)


@click.command()
@instance_argument
@json_option
@client_options
def resume(reach: Reach, instance_id: str, as_json: bool) -> None:
    """Have an instance that rests go on now."""
    _tell(reach, instance_id, "resume", as_json)


def _tell(reach: Reach, instance_id: str, kind: SignalKind, as_json: bool) -> None:
    with reach.door(instance_id) as door:
        accepted = _send(door, kind)
        _conclude(door, accepted, wait=False, as_json=as_json)


def _send(
    door: Door, kind: SignalKind, name: str | None = None, payload: bytes = b"", grace_ms: int | None = None
) -> SignalAccepted:
    return door.call_from_thread(
        SendSignal(kind=kind, signal_id=new_id(), name=name, payload=payload, grace_ms=grace_ms)
    )


def _conclude(door: Door, accepted: SignalAccepted, wait: bool, as_json: bool) -> None:
    """Print what the instance is now, or wait for its end and exit with that."""
    if wait:
        conclude(trio.run(wait_for_end, door), as_json)
    elif as_json:
        print_json(accepted)
    else:
        click.echo(accepted.status.value)

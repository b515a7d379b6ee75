"""Waiting for something to happen to an instance, and what its end means for whoever waited.

A server that goes away meanwhile is waited for, too: what it answers once it is back is as good.
"""

import sys
from contextlib import suppress
from typing import Final, NoReturn, TypeVar

import click
import trio

from runtara.cli._reach import Door
from runtara.cli._tables import print_json
from runtara.cli._words import plain
from runtara.errors import Retry, RuntaraError
from runtara.lifecycle import FINAL, Status
from runtara.messages import GetStatus, InstanceInfo, Request
from runtara.transport import Session

__all__ = ["BREATH", "ENDS", "RECHECK", "ask_patiently", "conclude", "wait_for_end", "wait_for_push"]

R = TypeVar("R")

ENDS: Final = {Status.COMPLETED: 0, Status.FAILED: 1, Status.CANCELLED: 5}
"""How an instance ended, and the exit code of the command that waited for it."""

RECHECK: Final = 60.0
"""Seconds after which a wait looks for itself, because a push may have been lost."""

BREATH: Final = 1.0
"""Seconds between two tries to reach a server that is away."""


async def wait_for_end(door: Door) -> InstanceInfo:
    """Wait until the instance of a door has ended; return how."""
    while True:
        since = door.session.pushes
        info = await ask_patiently(door, GetStatus())
        if info.status in FINAL:
            return info
        await wait_for_push(door.session, since)


async def ask_patiently(door: Door, command: Request[R]) -> R:
    """Have a command answered that may be asked any number of times, however long the server is away."""
    said = False
    while True:
        try:
            return await door.call(command)
        except RuntaraError as error:
            if error.retry is Retry.NEVER:
                raise
            if not said:
                click.echo(f"runtara: {error} [{error.code.wire}]; still waiting", err=True)
                said = True
        await trio.sleep(BREATH)


async def wait_for_push(session: Session, since: int, seconds: float = RECHECK) -> None:
    """Wait until more than `since` things were pushed, at most so many seconds."""
    token, pushed = trio.lowlevel.current_trio_token(), trio.Event()

    def wake() -> None:  # on whatever thread the push came
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(pushed.set)

    session.on_push(since, wake)
    try:
        with trio.move_on_after(seconds):
            await pushed.wait()
    finally:
        session.forget(wake)


def conclude(info: InstanceInfo, as_json: bool) -> NoReturn:
    """Print what came of an instance that has ended, and exit with the code of its end."""
    if as_json:
        print_json(info)
    elif info.status is Status.COMPLETED:
        _print_output(info.output)
    else:
        why = f": {plain(info.error)}" if info.error else ""
        click.echo(f"runtara: instance {info.instance_id} is {info.status} ({info.termination_reason}){why}", err=True)
    sys.exit(ENDS[info.status])


def _print_output(output: bytes | None) -> None:
    """Print an output as it is; with a line end where a terminal, or whatever reads lines, would miss one."""
    if output:
        click.echo(output, nl=not output.endswith(b"\n"))

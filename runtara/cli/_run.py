"""`runtara run`: one program in a host of its own, from start to end, in the foreground."""

import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio
from click.core import ParameterSource
from msgspec.structs import replace

from runtara.actors import SystemFailed
from runtara.actors.sessions import Attach, Detach
from runtara.cli._follow import conclude, wait_for_end
from runtara.cli._hosting import STOPPING, Signals, drain_at_leisure, open_announced_host
from runtara.cli._logs import STREAMS, LogCopy
from runtara.cli._main import INTERRUPTED
from runtara.cli._program_options import Wanted, program_options, wanted
from runtara.cli._progress import Progress
from runtara.cli._reach import data_dir_option, load_given, tenant_option
from runtara.cli._tables import json_option
from runtara.errors import AlreadyExists, Code, InstanceNotFound, StoreInUse
from runtara.host import Host
from runtara.ids import InstanceKey, new_id
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.logs import writing_log
from runtara.messages import GetStatus, InstanceInfo, SendSignal
from runtara.settings import Settings
from runtara.system import SESSIONS
from runtara.transport import EmbeddedDoor, Session

__all__ = ["run"]


@click.command()
@program_options
@data_dir_option
@tenant_option
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    program: str,
    data_dir: str | None,
    tenant: str,
    as_json: bool,
    **description: Any,  # the other program options
) -> None:
    """Run PROGRAM to its end in a host of its own; print its output.

    What it writes is passed through. The exit code is 0 if it completed, 1 if it failed, 5 if it was cancelled.
    With the same --id, a program that was interrupted continues where it was. Ctrl-C once has it shut down, twice kills
    it.
    """
    asked = wanted(program, **description)
    settings = _settings(asked, data_dir)
    try:
        with writing_log(settings.log_format, settings.log_level or "warning"):
            info = trio.run(_run, settings, asked, tenant)
    except StoreInUse as error:
        raise StoreInUse(f"{error}; if that is a server, use `runtara start --wait`") from error
    except SystemFailed as failed:
        click.echo(f"runtara: the host has failed: {failed.__cause__ or failed} [{Code.INTERNAL.wire}]", err=True)
        sys.exit(Code.INTERNAL.exit_code)
    if info.status in FINAL:
        conclude(info, as_json)
    click.echo(f"runtara: it is {info.status}; to continue: {_again(ctx, asked)}", err=True)
    sys.exit(INTERRUPTED)


def _settings(asked: Wanted, data_dir: str | None) -> Settings:
    """Return the settings of a host that listens to nobody but this machine, and may launch this program, too."""
    settings = load_given(data_dir=data_dir, host="127.0.0.1", quic_port=0, env_http_port=0)
    folder = Path(asked.command.program).resolve().parent
    return replace(settings, programs=f"{settings.programs}:{folder}")


def _again(ctx: click.Context, asked: Wanted) -> str:
    """Return the command line that continues an instance. What it was started with, the store knows."""
    words = ["runtara", "run", ctx.params["program"], "--id", asked.instance_id]
    for name, option in (("data_dir", "--data-dir"), ("tenant", "--tenant")):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += [option, ctx.params[name]]
    return shlex.join(words)


async def _run(settings: Settings, asked: Wanted, tenant: str) -> InstanceInfo:
    """Start the instance, or continue it, and stay with it until it has ended, or rests because of an interrupt."""
    with trio.open_signal_receiver(*STOPPING) as signals:
        async with open_announced_host(settings) as host:
            door = _open_door(host, InstanceKey(tenant, asked.instance_id))
            progress = Progress(door)
            copies = [LogCopy(door, stream, progress.hidden) for stream in STREAMS["both"]]
            if not await _begin(door, asked):
                for copy in copies:
                    await copy.skip()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_first, nursery, partial(_stay, door, copies, progress))
                nursery.start_soon(_first, nursery, partial(_drain_when_told, host, signals, progress))
            for copy in copies:
                await copy.rest()
            info = await door.call(GetStatus())
            await drain_at_leisure(host, signals, lambda _: None)  # the other instances of this folder
            return info


async def _first(race: trio.Nursery, runner: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, and end everything else in the nursery with it."""
    await runner()
    race.cancel_scope.cancel()


async def _stay(door: EmbeddedDoor, copies: Sequence[LogCopy], progress: Progress) -> None:
    """Pass through what the program writes and show how it gets on, until the instance has ended."""
    async with trio.open_nursery() as pictures:
        pictures.start_soon(progress.draw)
        async with trio.open_nursery() as nursery:
            for copy in copies:
                nursery.start_soon(copy.follow)
            await wait_for_end(door)
        pictures.cancel_scope.cancel()


async def _drain_when_told(host: Host, signals: Signals, progress: Progress) -> None:
    def say(text: str) -> None:
        with progress.hidden(b"\n"):
            click.echo(f"runtara: {text}", err=True)

    await anext(signals)
    say("shutting down; once more kills the program")
    await drain_at_leisure(host, signals, lambda _: say("killing"))


async def _begin(door: EmbeddedDoor, asked: Wanted) -> bool:
    """Start the instance or have it go on; return whether it is a new one. Raises `AlreadyExists`."""
    info = await _find(door)
    if info is None or asked.says_more:
        started = await door.call(asked.command)
        if started.created:
            return True
        info = await door.call(GetStatus())
    if info.program != asked.command.program:
        raise AlreadyExists(f"instance {asked.instance_id} is one of {info.program}: use another id")
    if info.status is Status.SUSPENDED and info.termination_reason is TerminationReason.PAUSED:
        await door.call(SendSignal(kind="resume", signal_id=new_id()))
    return False


async def _find(door: EmbeddedDoor) -> InstanceInfo | None:
    try:
        return await door.call(GetStatus())
    except InstanceNotFound:
        return None


def _open_door(host: Host, key: InstanceKey) -> EmbeddedDoor:
    """Return a door to an instance of the host in this process, which hears when something happens to it."""
    sessions = host.runtime.system.ref(SESSIONS)
    return EmbeddedDoor(
        Session(key),
        host.runtime.dispatch.line,
        attach=lambda session: sessions.tell_nowait(Attach(session)),
        detach=lambda session: sessions.tell_nowait(Detach(session)),
    )

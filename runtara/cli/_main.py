"""The command `runtara` itself: its subcommands, and what becomes of a refusal.

The subcommands are imported when they are used or listed, so that `runtara ps` does not load a server.
"""

import importlib
import sys
from difflib import get_close_matches
from typing import Final

import click

from runtara import __version__
from runtara.errors import Code, RuntaraError

__all__ = ["COMMANDS", "INTERRUPTED", "main"]

COMMANDS: Final = {
    "run": "_run",
    "serve": "_serve",
    "start": "_start",
    "start-many": "_many",
    "fork": "_forks",
    "retry": "_forks",
    "schedule": "_schedules",
    "image": "_images",
    "ps": "_instances",
    "watch": "_watch",
    "status": "_instances",
    "logs": "_logs",
    "events": "_events",
    "steps": "_steps",
    "flow": "_flow",
    "input": "_states",
    "checkpoints": "_instances",
    "checkpoint": "_states",
    "retries": "_states",
    "signal": "_signals",
    "stop": "_signals",
    "pause": "_signals",
    "resume": "_signals",
    "cancel": "_many",
    "signal-many": "_many",
    "login": "_login",
    "logout": "_login",
    "contexts": "_contexts",
    "metrics": "_metrics",
    "health": "_health",
    "nodes": "_nodes",
    "tree": "_tree",
    "keys": "_keys",
    "upkeep": "_upkeep",
    "db": "_db",
    "doctor": "_doctor",
    "completion": "_completion",
}
"""Command to the module that defines it, in the order in which `--help` lists them."""

_ELSEWHERE: Final = {
    "list": ("ps",),
    "ls": ("ps",),
    "instances": ("ps",),
    "show": ("status", "flow show"),
    "describe": ("status",),
    "kill": ("stop",),
    "server": ("serve",),
    "up": ("serve",),
    "push": ("image push",),
    "images": ("image list",),
    "cron": ("schedule",),
    "workflow": ("flow",),
}
"""What other tools call a command, to the one of ours."""

INTERRUPTED: Final = 130
"""Exit code of a command that was interrupted from the keyboard: 128 and the number of SIGINT, as in a shell."""


class _Commands(click.Group):
    """Finds the commands, and turns refusals into one line on stderr and the exit code of their row."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        found: click.Command = getattr(importlib.import_module(f"runtara.cli.{home}"), cmd_name.replace("-", "_"))
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = _ELSEWHERE.get(name) or get_close_matches(name, COMMANDS)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (RuntaraError, KeyboardInterrupt, BaseExceptionGroup) as raised:
            decides = _deciding(raised)
            if isinstance(decides, KeyboardInterrupt):
                sys.exit(INTERRUPTED)
            if not isinstance(decides, RuntaraError):
                raise
            hint = "" if ctx.invoked_subcommand in _SERVERS else _HINTS.get(decides.code, "")
            click.echo(f"runtara: {decides}{hint} [{decides.code.wire}]", err=True)
            sys.exit(decides.code.exit_code)


_HINTS: Final = {
    Code.UNREACHABLE: "; start a server with `runtara serve`, or say where it is with --server or --data-dir",
}
"""What only somebody at a command line can try."""

_SERVERS: Final = frozenset({"run", "serve"})
"""Commands that are a server themselves, and look for none."""


def _deciding(raised: BaseException) -> BaseException:
    """Return what decides how a command ends, of all that has gone wrong in its tasks: a bug, if there is any."""
    if not isinstance(raised, BaseExceptionGroup):
        return raised
    inner = [_deciding(one) for one in raised.exceptions]
    bugs = [one for one in inner if not isinstance(one, RuntaraError | KeyboardInterrupt)]
    interrupts = [one for one in inner if isinstance(one, KeyboardInterrupt)]
    return [*bugs, *interrupts, *inner][0]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="runtara")
def main() -> None:
    """Durable execution built of actors: programs that survive the death of process, server and machine."""

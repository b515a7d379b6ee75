"""`runtara completion`, and what a shell is offered beside commands and options: the ids of instances.

A shell waits while it is offered something, so a server that does not answer at once is not waited for.
"""

from typing import Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class
from msgspec.structs import replace

from runtara.cli._reach import OpenDoor, open_door, where_of
from runtara.errors import RuntaraError
from runtara.messages import InstanceFilter, ListInstances

__all__ = ["complete_instances", "completion", "instance_argument"]

SHELLS: Final = ("bash", "zsh", "fish")
PATIENCE_MS: Final = 500
"""How long a shell waits for ids."""
MOST: Final = 50
"""Ids that are offered."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that has SHELL complete commands, options and ids of instances.

    For bash: eval "$(runtara completion bash)" in ~/.bashrc; for zsh the same in ~/.zshrc; for fish: runtara completion
    fish > ~/.config/fish/completions/runtara.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows all of SHELLS"
    script = kind(ctx.find_root().command, {}, "runtara", "_RUNTARA_COMPLETE")
    click.echo(script.source_template % script.source_vars())


def complete_instances(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return instances whose id begins so, the newest first; none where no server says so at once."""
    try:
        found = _ask(ctx, incomplete)
    except (RuntaraError, click.ClickException):
        return []
    return [CompletionItem(row.instance_id, help=row.status) for row in found]


def _ask(ctx: click.Context, incomplete: str) -> Any:
    opened: OpenDoor = ctx.obj or open_door
    door = opened(replace(where_of(ctx, dict(ctx.params)), connect_timeout_ms=PATIENCE_MS))
    try:
        command = ListInstances(limit=MOST, filter=InstanceFilter(prefix=incomplete), order="-created")
        return door.call_from_thread(command, timeout=PATIENCE_MS / 1000).instances
    finally:
        door.close()


instance_argument = click.argument("instance_id", metavar="ID", shell_complete=complete_instances)

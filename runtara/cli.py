"""The command line: `runtara …`."""

import sys

import click
import msgspec

from runtara import __version__
from runtara.errors import RuntaraError

__all__ = ["main"]


class _Commands(click.Group):
    """Turns refusals into one line on stderr and the exit code of their row."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except RuntaraError as error:
            click.echo(f"runtara: {error} [{error.code.wire}]", err=True)
            sys.exit(error.code.exit_code)


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="runtara")
def main() -> None:
    """Durable execution built of actors."""


@main.command()
@click.option("--data-dir", metavar="DIR", help="Where instances are kept (default: RUNTARA_DATA_DIR, or .data).")
@click.option("--url", metavar="URL", help="The store's URL, as in sqlite:///runtara.db or memory://.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a picture.")
def tree(data_dir: str | None, url: str | None, as_json: bool) -> None:
    """Start a system and print its actors: kind, state, mail, restarts, and what each has to say."""
    from runtara.actors import draw_tree
    from runtara.sdk import embedded

    with embedded.open(data_dir, url=url) as system:
        info = system.tree()
        click.echo(msgspec.json.encode(info).decode() if as_json else draw_tree(info))

"""`runtara tree`: what every actor is doing."""

from typing import TYPE_CHECKING

import click
import msgspec

from runtara.cli._reach import Reach, client_options
from runtara.cli._tables import json_option
from runtara.decoders import decode_json
from runtara.messages import GetTree

if TYPE_CHECKING:
    from runtara.actors import ActorInfo

__all__ = ["tree"]


@click.command()
@click.option("--embedded", is_flag=True, help="Start a system in this process instead of asking the server.")
@click.option("--url", metavar="URL", help="The store of --embedded, as in sqlite:///runtara.db or memory://.")
@json_option
@client_options
def tree(reach: Reach, embedded: bool, url: str | None, as_json: bool) -> None:
    """Print the actors of the server: kind, state, mail, restarts, and what each has to say."""
    from runtara.actors import ActorInfo, draw_tree

    if embedded:
        info = _embedded_tree(reach.where.data_dir, url)
    else:
        with reach.door() as door:
            info = decode_json(door.call_from_thread(GetTree()).tree, ActorInfo)
    click.echo(msgspec.json.encode(info).decode() if as_json else draw_tree(info))


def _embedded_tree(data_dir: str | None, url: str | None) -> "ActorInfo":
    from runtara.sdk import embedded

    with embedded.open(data_dir, url=url) as system:
        return system.tree()

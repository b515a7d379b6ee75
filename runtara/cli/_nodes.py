"""`runtara nodes`: which servers share the database, and how they stand."""

from typing import Any, Final

import click

from runtara.cli._reach import Reach, client_options
from runtara.cli._tables import Column, Table, json_option, print_json, print_rows
from runtara.cli._words import ABSENT, instant, span
from runtara.messages import ListNodes, NodeInfo

__all__ = ["NODES", "nodes"]


def _state(node: NodeInfo) -> str:
    if node.lost_at is not None:
        return "gone"
    if node.lease_ms < 0:
        return "silent"
    return "draining" if node.draining else "alive"


class _Row:
    """A node, and how it stands."""

    def __init__(self, node: NodeInfo) -> None:
        self.state = _state(node)
        self.places_taken = f"{node.in_use}/{ABSENT if node.places is None else node.places}"
        self._node = node

    def __getattr__(self, name: str) -> Any:  # of any type, as the node's fields are
        return getattr(self._node, name)


NODES: Final = Table(
    NodeInfo,
    (
        Column("name", "node"),
        Column("address", "address"),
        Column("state", "state"),
        Column("places_taken", "places"),
        Column("owned", "instances"),
        Column("lease_ms", "lease", lambda left: span(max(0, left))),
        Column("opened_at", "since", instant),
        Column("version", "version"),
    ),
)


@click.command()
@json_option
@client_options
def nodes(reach: Reach, as_json: bool) -> None:
    """List the nodes that share the server's database: the servers, and whoever embeds the runtime.

    A node is silent when its lease has run out, and gone when others have taken over what it owned, or it has ended.
    """
    with reach.door() as door:
        found = door.call_from_thread(ListNodes()).nodes
    if as_json:
        print_json(found)
    elif found:
        print_rows(NODES, map(_Row, found))
    else:
        click.echo("this server keeps everything by itself: with RUNTARA_DATABASE_URL=postgresql://… several share it")

"""`runtara health`: whether a server serves."""

from typing import Final

import click

from runtara.cli._reach import Reach, client_options
from runtara.cli._tables import Column, Table, json_option, print_fields, print_json
from runtara.cli._words import span
from runtara.messages import GetHealth, HealthFound

__all__ = ["HEALTH", "health"]

HEALTH: Final = Table(
    HealthFound,
    (
        Column("version", "version"),
        Column("uptime_ms", "serves for", span),
        Column("draining", "goes down", lambda draining: "yes" if draining else "no"),
    ),
)


@click.command()
@json_option
@client_options
def health(reach: Reach, as_json: bool) -> None:
    """Tell whether the server serves; the exit code is 6 where none answers."""
    with reach.door() as door:
        found = door.call_from_thread(GetHealth())
    if as_json:
        print_json(found)
    else:
        print_fields(HEALTH, found)

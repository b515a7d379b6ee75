"""`runtara events`: the whole story of an instance, a line for each event."""

import sys
from collections.abc import Iterable
from typing import Final

import click
import trio
from msgspec.structs import replace

from runtara.cli._completion import instance_argument
from runtara.cli._follow import ask_patiently, wait_for_push
from runtara.cli._instances import fetch
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._tables import json_option, print_json
from runtara.cli._words import EVENTS, instant, plain, tell
from runtara.lifecycle import FINAL
from runtara.messages import EventPage, GetStatus, ListEvents
from runtara.records import Event

__all__ = ["events"]

PAGE: Final = 1000
LOOK_EVERY: Final = 2.0
"""Seconds after which a follower looks for what is not pushed: events that the program itself has written."""

_TYPE_WIDTH: Final = max(map(len, EVENTS))


@click.command()
@instance_argument
@click.option("-f", "--follow", is_flag=True, help="Wait for further events until the instance has ended.")
@click.option("--type", "type_", metavar="TYPE", help="Only events of this type, as in the third column.")
@json_option
@client_options
def events(reach: Reach, instance_id: str, follow: bool, type_: str | None, as_json: bool) -> None:
    """Tell what happened to an instance: when, in which attempt, and what.

    With --json one document; with --json --follow one for each event, on a line of its own.
    """
    with reach.door(instance_id, watch=follow) as door:
        door.call_from_thread(GetStatus())  # an instance that is unknown has no events, but should be refused
        command = ListEvents(event_type=type_, limit=PAGE)
        if follow:
            trio.run(_follow, door, command, as_json)
            return
        page = fetch(door, command, "events", every=True)
    if as_json:
        print_json(page)
    else:
        _print(page.events)


async def _follow(door: Door, command: ListEvents, as_json: bool) -> None:
    """Print events as they come, until the instance has ended and all of them are printed."""
    printed = 0
    while True:
        since = door.session.pushes
        ended = (await ask_patiently(door, GetStatus())).status in FINAL
        page: EventPage = await ask_patiently(door, command)
        news = [event for event in page.events if event.seq > printed]
        printed = max([printed, *(event.seq for event in page.events)])
        if as_json:
            for event in news:
                print_json(event)
        else:
            _print(news)
        sys.stdout.flush()
        if page.cursor is not None:
            command = replace(command, cursor=page.cursor)
        elif ended:
            return
        else:
            await wait_for_push(door.session, since, LOOK_EVERY)


def _print(events: Iterable[Event]) -> None:
    for event in events:
        type_ = f"{plain(event.type):<{_TYPE_WIDTH}}"
        click.echo(f"{instant(event.created_at)}  #{event.epoch:<3} {type_}  {tell(event)}")

"""Which command fetches a page of each list."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from runtara import messages
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import ask
from runtara.transport import Door

__all__ = ["instances", "of_instance", "of_tenant"]

AskPage = Callable[[str | None], Flow[Any]]
"""Asks for the page at a cursor."""


def of_tenant(door: Door, command: Any) -> AskPage:
    """Return what asks for the pages of a list of the tenant's."""
    return lambda cursor: ask(door, replace(command, cursor=cursor))


def of_instance(door: Door, command: Any) -> AskPage:
    """Return what asks for the pages of a list of an instance's, which must be there.

    Of one that is unknown, a list would be empty.
    """

    def ask_page(cursor: str | None) -> Flow[Any]:
        if cursor is None:
            yield from ask(door, messages.GetStatus())
        return (yield from ask(door, replace(command, cursor=cursor)))

    return ask_page


def instances(door: Door, wanted: Callable[[], Flow[messages.InstanceFilter]], limit: int) -> AskPage:
    """Return what asks for the pages of the instances that are wanted; who that is, is found out once."""
    found: list[messages.InstanceFilter] = []

    def ask_page(cursor: str | None) -> Flow[messages.InstancePage]:
        if not found:
            found.append((yield from wanted()))
        return (yield from ask(door, messages.ListInstances(filter=found[0], limit=limit, cursor=cursor)))

    return ask_page

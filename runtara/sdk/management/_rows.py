"""Lists that are read page by page: all their rows one after the other, or a page at a time."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Generic, TypeVar

from msgspec.structs import replace

from runtara import messages
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import AsyncStream, Emit, Stream, ask, perform, perform_blocking
from runtara.transport import Door

__all__ = ["AsyncRows", "Rows", "instances", "of_instance", "of_tenant"]

R = TypeVar("R")
P = TypeVar("P")

AskPage = Callable[[str | None], Flow[P]]
"""Asks for the page at a cursor."""


class _Pages(Generic[R, P]):
    """A list, of which nothing is read before it is looked at."""

    def __init__(self, ask_page: AskPage[P], rows: str) -> None:
        self._ask: Final = ask_page
        self._rows: Final = rows
        """The field of a page that holds its rows."""

    def _emit_pages(self) -> Flow[None]:
        cursor: str | None = None
        while True:
            page: Any = yield from self._ask(cursor)
            yield Emit(page)
            if page.cursor is None:
                return
            cursor = page.cursor

    def _emit_rows(self) -> Flow[None]:
        cursor: str | None = None
        while True:
            page: Any = yield from self._ask(cursor)
            for row in getattr(page, self._rows):
                yield Emit(row)
            if page.cursor is None:
                return
            cursor = page.cursor


class Rows(_Pages[R, P]):
    """A list on the server. Iterating over it reads page after page, until there is no more.

    It may be iterated over again, and is then read anew.
    """

    def __iter__(self) -> Iterator[R]:
        return Stream[R](self._emit_rows())

    def page(self, cursor: str | None = None) -> P:
        """Return one page: the first, or the one that the `cursor` of another page leads to."""
        return drive_blocking(self._ask(cursor), perform_blocking)

    def pages(self) -> Iterator[P]:
        """Return page after page."""
        return Stream[P](self._emit_pages())


class AsyncRows(_Pages[R, P]):
    """A list on the server. Iterating over it with `async for` reads page after page, until there is no more.

    It may be iterated over again, and is then read anew.
    """

    def __aiter__(self) -> AsyncIterator[R]:
        return AsyncStream[R](self._emit_rows())

    async def page(self, cursor: str | None = None) -> P:
        """Return one page: the first, or the one that the `cursor` of another page leads to."""
        return await drive(self._ask(cursor), perform)

    def pages(self) -> AsyncIterator[P]:
        """Return page after page."""
        return AsyncStream[P](self._emit_pages())


# Which command fetches a page ----------------------------------------------------------------------------------------


def of_tenant(door: Door, command: Any) -> AskPage[Any]:
    """Return what asks for the pages of a list of the tenant's."""
    return lambda cursor: ask(door, replace(command, cursor=cursor))


def of_instance(door: Door, command: Any) -> AskPage[Any]:
    """Return what asks for the pages of a list of an instance's, which must be there.

    Of one that is unknown, a list would be empty.
    """

    def ask_page(cursor: str | None) -> Flow[Any]:
        if cursor is None:
            yield from ask(door, messages.GetStatus())
        return (yield from ask(door, replace(command, cursor=cursor)))

    return ask_page


def instances(
    door: Door, wanted: Callable[[], Flow[messages.InstanceFilter]], command: messages.ListInstances
) -> AskPage[Any]:
    """Return what asks for the pages of the instances that are wanted; who that is, is found out once."""
    found: list[messages.InstanceFilter] = []

    def ask_page(cursor: str | None) -> Flow[messages.InstancePage]:
        if not found:
            found.append((yield from wanted()))
        return (yield from ask(door, replace(command, filter=found[0], cursor=cursor)))

    return ask_page

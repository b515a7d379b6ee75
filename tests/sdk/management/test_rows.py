"""Lists that are read page by page."""

from typing import Any

import msgspec
import pytest

from runtara.sdk._flows import Flow
from runtara.sdk.management import AsyncRows, Rows


class Page(msgspec.Struct):
    rows: tuple[int, ...]
    cursor: str | None


def pages_of(asked: list[str | None]) -> Any:
    """Three pages, the middle one empty, as a filter may leave it."""
    found = {None: Page((1, 2), "b"), "b": Page((), "c"), "c": Page((3,), None)}

    def ask_page(cursor: str | None) -> Flow[Page]:
        yield from ()
        asked.append(cursor)
        return found[cursor]

    return ask_page


def test_nothing_is_read_before_it_is_looked_at() -> None:
    asked: list[str | None] = []
    rows = Rows[int, Page](pages_of(asked), "rows")

    assert asked == []
    assert [next(iter(rows)), asked] == [1, [None]]


def test_all_rows_of_all_pages_come_also_a_second_time() -> None:
    asked: list[str | None] = []
    rows = Rows[int, Page](pages_of(asked), "rows")

    assert (list(rows), list(rows)) == ([1, 2, 3], [1, 2, 3])
    assert asked == [None, "b", "c"] * 2
    assert [len(page.rows) for page in rows.pages()] == [2, 0, 1]
    assert rows.page("c").rows == (3,)


@pytest.mark.trio
async def test_the_same_awaited() -> None:
    rows = AsyncRows[int, Page](pages_of([]), "rows")

    assert [row async for row in rows] == [1, 2, 3]
    assert [len(page.rows) async for page in rows.pages()] == [2, 0, 1]
    assert (await rows.page()).cursor == "b"

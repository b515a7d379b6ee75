import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from runtara.actors import Ref, child, open_system, supervisor
from runtara.actors import _instance_scan as instance_scan
from runtara.actors._instance_scan import matches, scan
from runtara.actors.storage import InlineReader
from runtara.lifecycle import Status
from runtara.messages import InstanceFilter, InstanceSummary
from runtara.store._memory import MemoryStore
from tests.actors.stage import NOW, sleeper

IMAGE = "a" * 32


def row(**fields: Any) -> InstanceSummary:
    return InstanceSummary(**{"instance_id": "i", "status": Status.RUNNING, "epoch": 1, "created_at": NOW, **fields})


@pytest.mark.parametrize(
    ("wanted", "yes", "no"),
    [
        (InstanceFilter(status=Status.FAILED), row(status=Status.FAILED), row()),
        (InstanceFilter(program="ship"), row(program="ship"), row(program="shi")),
        (InstanceFilter(image_id=IMAGE), row(program=f"image:{IMAGE}@7"), row(program=f"image:{'b' * 32}@7")),
        (InstanceFilter(image_id=IMAGE), row(program=f"image:{IMAGE}@1"), row()),
        (InstanceFilter(prefix="or"), row(instance_id="order"), row(instance_id="o")),
        (InstanceFilter(created_from=NOW), row(), row(created_at=NOW - 1)),
        (InstanceFilter(created_before=NOW), row(created_at=NOW - 1), row()),
    ],
    ids=["status", "program", "image", "no image", "prefix", "from", "before"],
)
def test_a_filter_lets_through_what_all_of_it_is_true_of(
    wanted: InstanceFilter, yes: InstanceSummary, no: InstanceSummary
) -> None:
    assert (matches(wanted, yes), matches(wanted, no)) == (True, False)
    assert matches(InstanceFilter(), no)


@asynccontextmanager
async def reader_of(*names: str) -> AsyncIterator[Ref]:
    store = MemoryStore()
    writer = store.open_writer()
    assert all(writer.commit([sleeper(name, NOW) for name in names]))
    async with open_system(supervisor("root", child("reader", InlineReader, store))) as system:
        yield system.ref("root/reader")


async def every(reader: Ref, wanted: InstanceFilter, limit: int) -> tuple[list[str], int]:
    """All ids that a scan finds, and in how many pages."""
    found, cursor, pages = list[str](), None, 0
    while True:
        page = await scan(reader, "acme", wanted, limit=limit, cursor=cursor)
        found += [row.instance_id for row in page.rows]
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            return found, pages


@pytest.fixture(params=[1, 2, 1_000])
def small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_scan, "_PAGE", request.param)
    monkeypatch.setattr(instance_scan, "SCANNED_MAX", 3 * request.param)


@pytest.mark.parametrize("prefix", ["", "b", "b.", "b-", "A", "z", "a+", "bb", "0"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_scan_finds_each_once_in_the_order_of_their_ids_whatever_the_pages(
    prefix: str, limit: int, small_pages: None, autojump_clock: MockClock
) -> None:
    names = "0 9 A B Z a a+ a-z ab b b- b.1 b.2 b: b@ bZ b_ bb z".split()
    async with reader_of(*names) as reader:
        found, _ = await every(reader, InstanceFilter(prefix=prefix), limit)

    assert found == sorted(name for name in names if name.startswith(prefix))


async def test_a_scan_that_has_looked_at_its_share_of_rows_goes_on_with_the_next_call(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(instance_scan, "_PAGE", 10)
    monkeypatch.setattr(instance_scan, "SCANNED_MAX", 20)
    names = [f"i{number:03}" for number in range(100)]
    async with reader_of(*names) as reader:
        first = await scan(reader, "acme", InstanceFilter(program="other"), limit=5, cursor=None)
        found, pages = await every(reader, InstanceFilter(program="other"), 5)

    assert (first.rows, first.cursor is None) == ((), False)
    assert (found, pages) == ([], 5)


IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,4}\Z")


@given(IDS, IDS)
def test_the_place_before_a_prefix_lies_between_all_ids_that_begin_so_and_all_others(prefix: str, other: str) -> None:
    cursor = instance_scan._before(prefix)
    assert cursor is not None
    before = base64.urlsafe_b64decode(cursor).decode().removeprefix("id:")

    assert before < prefix
    assert not before < other < prefix

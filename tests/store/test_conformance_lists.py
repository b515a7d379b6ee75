"""Lists of instances in every order and with every filter, and counts of them; the same from every store."""

import random

import pytest

from runtara.errors import InvalidInput
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.messages import InstanceFilter, InstanceOrder, InstanceSummary
from runtara.records import Instance
from runtara.store import Reader, Save, Writer, _sql_lists
from runtara.store._finding import ORDERS
from tests.store.samples import NOW, pages_of, put, save

IMAGE = "a" * 32
NAMES = ["a", "a.b", "ab", "b", "b-1", "b-2", "c", "order-1", "order-2", "z"]
PROGRAMS = [None, "ship", "shipping", f"image:{IMAGE}@1", f"image:{IMAGE}@2", f"image:{'b' * 32}@1"]


def crowd() -> list[Save]:
    """Instances that differ in everything, several of which were created, or have finished, at the same instant."""
    dice = random.Random(7)
    saves = [save(InstanceKey("globex", "a"), created_at=NOW)]
    for number in range(60):
        status = dice.choice(list(Status))
        created = NOW + dice.randrange(6)
        saves.append(
            save(
                InstanceKey("acme", f"{NAMES[number % len(NAMES)]}{number // len(NAMES) or ''}"),
                status=status,
                created_at=created,
                program=dice.choice(PROGRAMS),
                finished_at=created + dice.randrange(8) if status in FINAL else None,
            )
        )
    return saves


@pytest.fixture(scope="module")
def rows() -> list[Instance]:
    return [one.instance for one in crowd() if one.instance.tenant_id == "acme"]


@pytest.fixture
def filled(writer: Writer) -> None:
    put(writer, *crowd())


FILTERS = [
    InstanceFilter(),
    InstanceFilter(status=Status.FAILED),
    InstanceFilter(statuses=(Status.FAILED, Status.RUNNING)),
    InstanceFilter(statuses=(Status.RUNNING, Status.RUNNING)),
    InstanceFilter(status=Status.FAILED, statuses=(Status.RUNNING,)),
    InstanceFilter(program="ship"),
    InstanceFilter(image_id=IMAGE),
    InstanceFilter(prefix="b"),
    InstanceFilter(prefix="order-", statuses=(Status.COMPLETED,)),
    InstanceFilter(created_from=NOW + 2),
    InstanceFilter(created_from=NOW + 1, created_before=NOW + 4),
    InstanceFilter(finished_from=NOW + 3),
    InstanceFilter(finished_from=NOW + 3, finished_before=NOW + 6, search="a"),
    InstanceFilter(search="ship"),
    InstanceFilter(search="der-"),
    InstanceFilter(search="nowhere"),
    InstanceFilter(search="%"),
]


def wanted_of(rows: list[Instance], wanted: InstanceFilter, order: InstanceOrder) -> list[str]:
    """What a list is to hold, found out without a thought of how."""
    found = [row for row in rows if _is_wanted(row, wanted)]
    if order == "id":
        return sorted(row.instance_id for row in found)
    column = f"{order.lstrip('-')}_at"
    placed = [(getattr(row, column), row.instance_id) for row in found if getattr(row, column) is not None]
    return [name for _, name in sorted(placed, reverse=order.startswith("-"))]


def _is_wanted(row: Instance, wanted: InstanceFilter) -> bool:
    program, ended = row.program or "", row.finished_at
    return all(
        (
            wanted.status in (None, row.status),
            not wanted.statuses or row.status in wanted.statuses,
            wanted.program in (None, row.program),
            wanted.image_id is None or program.startswith(f"image:{wanted.image_id}@"),
            row.instance_id.startswith(wanted.prefix),
            wanted.created_from is None or row.created_at >= wanted.created_from,
            wanted.created_before is None or row.created_at < wanted.created_before,
            wanted.finished_from is None or (ended is not None and ended >= wanted.finished_from),
            wanted.finished_before is None or (ended is not None and ended < wanted.finished_before),
            wanted.search in row.instance_id or wanted.search in program,
        )
    )


@pytest.fixture(params=[10_000, 7])
def scanned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a page may look at all rows, or at few."""
    monkeypatch.setattr(_sql_lists, "SCANNED_MAX", request.param)


@pytest.mark.usefixtures("filled", "scanned")
@pytest.mark.parametrize("order", ORDERS)
def test_a_list_holds_what_its_filter_lets_through_in_order_whatever_the_pages(
    reader: Reader, rows: list[Instance], order: InstanceOrder
) -> None:
    differing = []

    for wanted in FILTERS:
        for limit in (1, 4, 100):
            pages = pages_of(lambda cursor: reader.find_instances("acme", wanted, order, limit, cursor), "instances")  # noqa: B023 - called at once
            found = [row.instance_id for page in pages for row in page]
            if found != wanted_of(rows, wanted, order):
                differing.append((wanted, limit, found))

    assert differing == []


def test_a_line_of_a_list_in_order_says_what_is_stored(writer: Writer, reader: Reader) -> None:
    put(writer, save(status=Status.COMPLETED, program="p", finished_at=NOW + 9, started_at=NOW + 1))

    (found,) = reader.find_instances("acme", InstanceFilter(search="order"), "-finished", 5, None).instances

    assert found == InstanceSummary(
        instance_id="order-1",
        status=Status.COMPLETED,
        epoch=1,
        created_at=NOW,
        program="p",
        started_at=NOW + 1,
        finished_at=NOW + 9,
    )


@pytest.mark.parametrize("order", ["created", "-created", "finished", "-finished"])
def test_what_comes_between_two_pages_moves_none_of_them(writer: Writer, reader: Reader, order: InstanceOrder) -> None:
    def done(name: str, at: int) -> Save:
        return save(InstanceKey("acme", name), status=Status.COMPLETED, created_at=at, finished_at=at)

    put(writer, *(done(f"i{number}", NOW + number) for number in range(6)))
    first = reader.find_instances("acme", InstanceFilter(), order, 3, None)
    put(writer, done("before", NOW - 1), done("behind", NOW + 9), done("amid", NOW + 2), done("i2a", NOW + 2))

    second = reader.find_instances("acme", InstanceFilter(), order, 10, first.cursor)

    seen = [row.instance_id for row in (*first.instances, *second.instances)]
    assert [name for name in seen if name in {f"i{number}" for number in range(6)}] == (
        ["i5", "i4", "i3", "i2", "i1", "i0"] if order.startswith("-") else ["i0", "i1", "i2", "i3", "i4", "i5"]
    )


@pytest.mark.parametrize("cursor", ["", "x", "aWQ6YQ==", "Y3JlYXRlZDp4OmE=", "Y3JlYXRlZDox", "c2VxOjE="])
def test_a_cursor_of_another_order_is_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        reader.find_instances("acme", InstanceFilter(), "created", 1, cursor)


def test_a_page_in_order_has_at_least_one_row(reader: Reader) -> None:
    for order in ORDERS:
        with pytest.raises(InvalidInput):
            reader.find_instances("acme", InstanceFilter(search="a"), order, 0, None)


def test_a_list_looks_at_its_share_of_rows_and_goes_on_behind_them(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sql_lists, "SCANNED_MAX", 5)
    put(writer, *(save(InstanceKey("acme", f"i{number:02}"), created_at=NOW + number) for number in range(20)))

    pages = pages_of(
        lambda cursor: reader.find_instances("acme", InstanceFilter(search="i07"), "created", 2, cursor), "instances"
    )

    assert [row.instance_id for page in pages for row in page] == ["i07"]
    assert len(pages) <= 5


# Counts ---------------------------------------------------------------------------------------------------------------


def test_a_tenants_instances_are_counted_by_status(reader: Reader, filled: None, rows: list[Instance]) -> None:
    counts = reader.count_instances("acme")

    assert counts == {status: sum(row.status is status for row in rows) for status in Status if status in counts}
    assert sum(counts.values()) == 60
    assert reader.count_instances("nobody") == {}

"""Which instances a filter lets through, in which order, and where a page of them begins and ends.

An order is a column and the id behind it, so that every instance has a place of its own, which no other one that comes
or goes can move. A store looks at so many rows for a page and no more, unless an index alone can say what is wanted;
the cursor then goes on behind the last one that it has looked at.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from runtara.ids import ImageRef
from runtara.lifecycle import Status
from runtara.messages import InstanceFilter, InstanceOrder, InstanceSummary
from runtara.store import _cursors

__all__ = [
    "ORDERS",
    "SCANNED_MAX",
    "Order",
    "Place",
    "first_place",
    "id_bounds",
    "is_in_index",
    "last_place",
    "matches",
    "nearest_place",
    "place_of",
    "statuses_of",
]

SCANNED_MAX: Final = 10_000
"""Most rows that are looked at for one page."""

_BEFORE_ALL: Final = -(2**62)
_BEHIND_ALL: Final = 2**62
_LAST_CHARACTER: Final = "\x7f"
"""Comes behind all that ids are made of."""


class Order(NamedTuple):
    """By which column the instances stand, before their ids."""

    name: InstanceOrder
    column: Literal["created_at", "finished_at"] | None
    """None: by the ids alone."""
    falling: bool = False


class Place(NamedTuple):
    """Where an instance stands in an order, or a page begins."""

    at: int
    """What the order's column holds; 0 where there is none."""
    instance_id: str


ORDERS: Final[dict[InstanceOrder, Order]] = {
    order.name: order
    for order in (
        Order("id", None),
        Order("created", "created_at"),
        Order("-created", "created_at", falling=True),
        Order("finished", "finished_at"),
        Order("-finished", "finished_at", falling=True),
    )
}


def first_place(order: Order, wanted: InstanceFilter, cursor: str | None) -> Place:
    """Return the place right before the first instance of a page. Raises `InvalidInput` for a bad cursor."""
    if cursor is not None:
        return Place(*_cursors.place_of_cursor(cursor, order.name))
    return _ends(order, wanted)[0]


def last_place(order: Order, wanted: InstanceFilter) -> Place:
    """Return the place right behind the last instance that can be wanted."""
    return _ends(order, wanted)[1]


def nearest_place(order: Order, places: Iterable[Place]) -> Place:
    """Return the first of some places in an order."""
    return max(places) if order.falling else min(places)


def _ends(order: Order, wanted: InstanceFilter) -> tuple[Place, Place]:
    if order.column is None:
        low, high = id_bounds(wanted.prefix)
        return Place(0, low), Place(0, high)
    earliest, latest = (
        (wanted.created_from, wanted.created_before)
        if order.column == "created_at"
        else (wanted.finished_from, wanted.finished_before)
    )
    ends = (
        Place(_BEFORE_ALL if earliest is None else earliest, ""),
        Place(_BEHIND_ALL if latest is None else latest, ""),
    )
    return ends[::-1] if order.falling else ends


def place_of(order: Order, row: InstanceSummary) -> Place:
    """Return where an instance stands."""
    return Place(getattr(row, order.column) if order.column else 0, row.instance_id)


def id_bounds(prefix: str) -> tuple[str, str]:
    """Return texts right before and right behind all ids that begin so; ids are ASCII without DEL."""
    if not prefix:
        return "", _LAST_CHARACTER
    return prefix[:-1] + chr(ord(prefix[-1]) - 1) + _LAST_CHARACTER, prefix[:-1] + chr(ord(prefix[-1]) + 1)


def statuses_of(wanted: InstanceFilter) -> tuple[Status, ...] | None:
    """Return the statuses that a filter lets through; None for all."""
    if wanted.status is None:
        return wanted.statuses or None
    return (wanted.status,) if wanted.status in (wanted.statuses or (wanted.status,)) else ()


def is_in_index(order: Order, wanted: InstanceFilter) -> bool:
    """Whether all that a filter asks about, but for the status, is where the order begins and ends."""
    of_order = {None: {"prefix"}, "created_at": {"created_from", "created_before"}}
    within = of_order.get(order.column, {"finished_from", "finished_before"})
    empty = InstanceFilter()
    return not any(
        getattr(wanted, name) != getattr(empty, name)
        for name in InstanceFilter.__struct_fields__
        if name not in {"status", "statuses"} | within
    )


def matches(wanted: InstanceFilter, row: InstanceSummary) -> bool:
    """Return whether a filter lets an instance through."""
    statuses, image = statuses_of(wanted), ImageRef.of_program(row.program)
    return (
        (statuses is None or row.status in statuses)
        and wanted.program in (None, row.program)
        and (wanted.image_id is None or (image is not None and image.image_id == wanted.image_id))
        and row.instance_id.startswith(wanted.prefix)
        and _is_between(wanted.created_from, row.created_at, wanted.created_before)
        and _is_between(wanted.finished_from, row.finished_at, wanted.finished_before)
        and (wanted.search in row.instance_id or wanted.search in (row.program or ""))
    )


def _is_between(earliest: int | None, at: int | None, before: int | None) -> bool:
    if at is None:
        return earliest is None and before is None
    return (earliest is None or at >= earliest) and (before is None or at < before)

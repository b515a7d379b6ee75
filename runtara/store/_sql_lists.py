"""Lists and counts of a tenant's instances in a database: which statements, filled in how, and where pages end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec

from runtara.errors import StoreCorrupt
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Granularity, InstanceFilter, InstanceOrder, InstancePage, InstanceSummary, TenantMetrics
from runtara.records import Retry, Wait
from runtara.store import _cursors
from runtara.store._finding import (
    ORDERS,
    SCANNED_MAX,
    Order,
    Place,
    first_place,
    is_in_index,
    last_place,
    nearest_place,
    place_of,
    statuses_of,
)
from runtara.store._metrics import WIDTHS, check_spans, metrics_of

__all__ = ["Row", "SqlLists", "filling_of"]

Record = TypeVar("Record", bound=msgspec.Struct)
Row = tuple[Any, ...]
"""What a database returns. Any, because the database decides what lies in a column; `decode_row` checks it."""


class SqlLists:
    """Part of the reader of a database."""

    PARAMETER: ClassVar[str]
    """How its statements name a parameter, with braces for the name."""

    def _rows(self, statement: str, parameters: Mapping[str, object], **filling: str) -> Sequence[Row]:
        """Return all rows of a named statement, which is filled in where it has braces."""
        raise AssertionError(f"{type(self).__name__} cannot run {statement}")

    def _decode(self, kind: type[Record], row: Row) -> Record:
        raise AssertionError(f"{type(self).__name__} cannot read a {kind.__name__}")

    def _corrupt(self, error: Exception) -> StoreCorrupt:
        """Return the error that says that the store holds what nobody can have written."""
        raise AssertionError(f"{type(self).__name__} cannot name {error}")

    def list_instances(self, tenant_id: str, status: Status | None, limit: int, cursor: str | None) -> InstancePage:
        """Page through one tenant's instances by id."""
        after, more = _cursors.id_of_cursor(cursor), _cursors.check_limit(limit) + 1
        return _page(ORDERS["id"], self._by_id(tenant_id, status, after, more), limit)

    def find_instances(
        self, tenant_id: str, wanted: InstanceFilter, order: InstanceOrder, limit: int, cursor: str | None
    ) -> InstancePage:
        """Page through those of a tenant's instances that a filter lets through."""
        stands, more = ORDERS[order], _cursors.check_limit(limit) + 1
        first, filling = first_place(stands, wanted, cursor), filling_of(stands, self.PARAMETER)
        names = _conditions(tenant_id, wanted) | {"first_at": first.at, "first_id": first.instance_id}
        statuses = tuple(Status) if (given := statuses_of(wanted)) is None else tuple(dict.fromkeys(given))
        easy = is_in_index(stands, wanted)
        end = None if easy else self._end(stands, statuses, names, filling)
        last = end or last_place(stands, wanted)
        names |= {"last_at": last.at, "last_id": last.instance_id}
        names |= {"limit": more, "looked_at": more if easy else SCANNED_MAX}
        found = [
            self._decode(InstanceSummary, row)
            for status in statuses
            for row in self._rows("find_instances", names | {"status": status}, **filling)
        ]
        page = _page(stands, sorted(found, key=lambda row: place_of(stands, row), reverse=stands.falling), limit)
        if page.cursor is None and end is not None:
            return InstancePage(instances=page.instances, cursor=_cursors.cursor_of_place(*end, order))
        return page

    def count_instances(self, tenant_id: str) -> dict[Status, int]:
        """Return how many of a tenant's instances stand where; statuses without any are left out."""
        return self._counted("count_instances", {"tenant_id": tenant_id})

    def count_by_status(self) -> dict[Status, int]:
        """Return how many instances of all tenants stand where; statuses without any are left out."""
        return self._counted("count_by_status", {})

    def measure_tenant(self, tenant_id: str, from_ms: int, to_ms: int, granularity: Granularity) -> TenantMetrics:
        """Return how many of a tenant's instances were created and have ended in each span of time."""
        spans = check_spans(from_ms, to_ms, granularity)
        names = {"tenant_id": tenant_id, "from_ms": from_ms, "to_ms": to_ms, "width": WIDTHS[granularity]}
        created, ended = self._rows("count_created", names), self._rows("count_ended", names)
        try:
            return metrics_of(spans, granularity, created, ended)
        except ValueError as error:
            raise self._corrupt(error) from None

    def list_waits(self, key: InstanceKey, limit: int, after: int) -> list[tuple[int, Wait]]:
        """Return an instance's waits behind the `after`-th row, each with its row's number."""
        rows = self._rows("list_waits", key._asdict() | {"after": after, "limit": _cursors.check_limit(limit)})
        return [(row[0], self._decode(Wait, row[1:])) for row in rows]

    def list_retries(self, key: InstanceKey, limit: int, skipped: int) -> list[Retry]:
        """Return an instance's failed tries as they were recorded, without the first `skipped`."""
        rows = self._rows("list_retries", key._asdict() | {"skipped": skipped, "limit": _cursors.check_limit(limit)})
        return [self._decode(Retry, row) for row in rows]

    def _by_id(self, tenant_id: str, status: Status | None, after: str, limit: int) -> list[InstanceSummary]:
        statement = "list_instances_by_status" if status else "list_instances"
        rows = self._rows(statement, {"tenant_id": tenant_id, "status": status, "after": after, "limit": limit})
        return [self._decode(InstanceSummary, row) for row in rows]

    def _end(
        self, order: Order, statuses: Iterable[Status], names: Mapping[str, object], filling: Mapping[str, str]
    ) -> Place | None:
        """Return the last place that is looked at for one page; None where that is the end."""
        ends = [
            Place(0, row[0]) if order.column is None else Place(*row)
            for status in statuses
            for row in self._rows("find_place", {**names, "status": status, "skipped": SCANNED_MAX - 1}, **filling)
        ]
        return nearest_place(order, ends) if ends else None

    def _counted(self, statement: str, names: Mapping[str, object]) -> dict[Status, int]:
        try:
            return {Status(status): count for status, count in self._rows(statement, names)}
        except ValueError as error:
            raise self._corrupt(error) from None


def _page(order: Order, rows: Sequence[InstanceSummary], limit: int) -> InstancePage:
    page, more = _cursors.page_of(rows, limit)
    cursor = _cursors.cursor_of_place(*place_of(order, page[-1]), order.name) if more else None
    return InstancePage(instances=page, cursor=cursor)


def _conditions(tenant_id: str, wanted: InstanceFilter) -> dict[str, object]:
    """Return what a filter asks about, as statements know it."""
    return {
        "tenant_id": tenant_id,
        "prefix": wanted.prefix,
        "created_from": wanted.created_from,
        "created_before": wanted.created_before,
        "finished_from": wanted.finished_from,
        "finished_before": wanted.finished_before,
        "program": wanted.program,
        "image": None if wanted.image_id is None else f"image:{wanted.image_id}@",
        "search": wanted.search,
    }


def filling_of(order: Order, parameter: str) -> dict[str, str]:
    """Return what the statements lack: the columns of an order, in its direction. Nothing of it comes from a caller."""
    columns = (order.column, "instance_id") if order.column else ("instance_id",)
    places = ("at", "id") if order.column else ("id",)
    return {
        "place": ", ".join(columns),
        "sorted": ", ".join(f"{column} DESC" if order.falling else column for column in columns),
        "has_place": "finished_at IS NOT NULL" if order.column == "finished_at" else "true",
        "beyond": "<" if order.falling else ">",
        "within": ">=" if order.falling else "<=",
        "first": ", ".join(parameter.format(f"first_{place}") for place in places),
        "last": ", ".join(parameter.format(f"last_{place}") for place in places),
    }

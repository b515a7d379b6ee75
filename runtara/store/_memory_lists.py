"""Lists and counts of a tenant's instances in a store in memory."""

import heapq
from collections import Counter
from collections.abc import Iterator

from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Granularity, InstanceFilter, InstanceOrder, InstancePage, InstanceSummary, TenantMetrics
from runtara.records import Instance, Retry, Wait
from runtara.store import _cursors
from runtara.store._finding import ORDERS, first_place, matches, place_of
from runtara.store._memory_tables import Tables
from runtara.store._metrics import WIDTHS, check_spans, metrics_of
from runtara.store._steps import StepsReader

__all__ = ["MemoryLists"]


class MemoryLists(StepsReader):
    """Part of the reader of a store in memory."""

    _tables: Tables

    def list_instances(self, tenant_id: str, status: Status | None, limit: int, cursor: str | None) -> InstancePage:
        """Page through one tenant's instances by id."""
        return self.find_instances(tenant_id, InstanceFilter(status=status), "id", limit, cursor)

    def find_instances(
        self, tenant_id: str, wanted: InstanceFilter, order: InstanceOrder, limit: int, cursor: str | None
    ) -> InstancePage:
        """Page through those of a tenant's instances that a filter lets through."""
        stands = ORDERS[order]
        first = first_place(stands, wanted, cursor)
        found = [row for row in map(_summary, self._of_tenant(tenant_id)) if matches(wanted, row)]
        if stands.column == "finished_at":
            found = [row for row in found if row.finished_at is not None]
        behind = [
            row for row in found if (place_of(stands, row) < first if stands.falling else place_of(stands, row) > first)
        ]
        pick = heapq.nlargest if stands.falling else heapq.nsmallest
        rows = pick(_cursors.check_limit(limit) + 1, behind, key=lambda row: place_of(stands, row))
        page, more = _cursors.page_of(rows, limit)
        cursor = _cursors.cursor_of_place(*place_of(stands, page[-1]), order) if more else None
        return InstancePage(instances=page, cursor=cursor)

    def count_instances(self, tenant_id: str) -> dict[Status, int]:
        """Return how many of a tenant's instances stand where; statuses without any are left out."""
        return dict(Counter(row.status for row in self._of_tenant(tenant_id)))

    def count_by_status(self) -> dict[Status, int]:
        """Return how many instances of all tenants stand where; statuses without any are left out."""
        return dict(Counter(row.status for row in self._tables.instances()))

    def measure_tenant(self, tenant_id: str, from_ms: int, to_ms: int, granularity: Granularity) -> TenantMetrics:
        """Return how many of a tenant's instances were created and have ended in each span of time."""
        spans, width = check_spans(from_ms, to_ms, granularity), WIDTHS[granularity]
        rows = list(self._of_tenant(tenant_id))
        created = Counter(row.created_at // width for row in rows if from_ms <= row.created_at < to_ms)
        times: dict[tuple[int, str], list[int]] = {}
        for row in rows:
            if row.finished_at is not None and from_ms <= row.finished_at < to_ms:
                began = row.created_at if row.started_at is None else row.started_at
                took = max(row.finished_at - began, 0)
                times.setdefault((row.finished_at // width, row.status), []).append(took)
        ended = [(*which, len(took), sum(took), max(took)) for which, took in times.items()]
        return metrics_of(spans, granularity, created.items(), ended)

    def list_waits(self, key: InstanceKey, limit: int, after: int) -> list[tuple[int, Wait]]:
        """Return an instance's waits behind the `after`-th one, each with its number."""
        history = self._tables.histories.get(key)
        waits = list(enumerate(history.waits.values(), 1)) if history else []
        return waits[after : after + _cursors.check_limit(limit)]

    def list_retries(self, key: InstanceKey, limit: int, skipped: int) -> list[Retry]:
        """Return an instance's failed tries as they were recorded, without the first `skipped`."""
        history = self._tables.histories.get(key)
        retries = list(history.retries.values()) if history else []
        retries.sort(key=lambda retry: (retry.recorded_at, retry.checkpoint_id, retry.attempt))
        return retries[skipped : skipped + _cursors.check_limit(limit)]

    def _of_tenant(self, tenant_id: str) -> Iterator[Instance]:
        return (row for row in self._tables.instances() if row.tenant_id == tenant_id)


def _summary(instance: Instance) -> InstanceSummary:
    return InstanceSummary(**{name: getattr(instance, name) for name in InstanceSummary.__struct_fields__})

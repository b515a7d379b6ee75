"""How many instances began and ended in each span of time: what stores count, made into spans without gaps."""

from collections.abc import Iterable
from typing import Final

from runtara.errors import InvalidInput
from runtara.lifecycle import Status
from runtara.messages import Granularity, MetricsBucket, TenantMetrics

__all__ = ["BUCKETS_MAX", "WIDTHS", "Ended", "check_spans", "metrics_of"]

WIDTHS: Final[dict[Granularity, int]] = {"minutely": 60_000, "hourly": 3_600_000, "daily": 86_400_000}
"""Milliseconds of a span."""

BUCKETS_MAX: Final = 1_500
"""Most spans that are asked for at once; a day has 1,440 minutes."""

Ended = tuple[int, str, int, int, int]
"""Instances that have ended in a span with one status: the span's number, the status, how many, and how many
milliseconds all of them together and the longest one took."""


def check_spans(from_ms: int, to_ms: int, granularity: Granularity) -> range:
    """Return the numbers of the spans that are asked for. Raises `InvalidInput` where they are none, or too many."""
    width = WIDTHS[granularity]
    spans = range(from_ms // width, -(-to_ms // width) if from_ms < to_ms else 0)
    if not 1 <= len(spans) <= BUCKETS_MAX:
        raise InvalidInput(
            f"there are {len(spans)} spans of time from {from_ms} to {to_ms}: ask for 1 to {BUCKETS_MAX}, "
            "or for longer ones"
        )
    return spans


def metrics_of(
    spans: range, granularity: Granularity, created: Iterable[tuple[int, int]], ended: Iterable[Ended]
) -> TenantMetrics:
    """Return what has happened in each span. `created` has the numbers of spans, and how many began in them."""
    started = dict(created)
    counts: dict[tuple[int, str], int] = {}
    times: dict[int, tuple[int, int, int]] = {}
    for span, status, count, total, longest in ended:
        counts[span, Status(status)] = count
        before = times.get(span, (0, 0, 0))
        times[span] = before[0] + count, before[1] + total, max(before[2], longest)

    def bucket(span: int) -> MetricsBucket:
        ends, total, longest = times.get(span, (0, 0, 0))
        return MetricsBucket(
            at=span * WIDTHS[granularity],
            started=started.get(span, 0),
            completed=counts.get((span, Status.COMPLETED), 0),
            failed=counts.get((span, Status.FAILED), 0),
            cancelled=counts.get((span, Status.CANCELLED), 0),
            average_ms=total // ends if ends else None,
            max_ms=longest if ends else None,
        )

    return TenantMetrics(buckets=tuple(map(bucket, spans)))

"""What began and ended in each span of time; the same from every store."""

from typing import Any

import pytest

from runtara.errors import InvalidInput
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import MetricsBucket
from runtara.store import Reader, Save, Writer
from tests.store.samples import NOW, put, save


def ended(name: str, status: Status, **instants: Any) -> Save:
    return save(InstanceKey("acme", name), status=status, **instants)


def test_spans_of_time_tell_what_began_and_ended_in_them_without_a_gap(writer: Writer, reader: Reader) -> None:
    hour = 3_600_000
    start = NOW // hour * hour
    put(
        writer,
        ended("a", Status.COMPLETED, created_at=start + 5, started_at=start + 10, finished_at=start + 30),
        ended("b", Status.COMPLETED, created_at=start + 5, started_at=start + 10, finished_at=start + 50),
        ended("c", Status.FAILED, created_at=start + 5, finished_at=start + 2 * hour + 6),
        ended("d", Status.CANCELLED, created_at=start + 2 * hour, finished_at=start + 2 * hour),
        ended("e", Status.RUNNING, created_at=start + 3 * hour),
        ended("f", Status.COMPLETED, created_at=start - 1, started_at=start + 9, finished_at=start + 4 * hour),
        save(InstanceKey("globex", "a"), created_at=start),
    )

    found = reader.measure_tenant("acme", start, start + 4 * hour, "hourly").buckets

    assert found == (
        MetricsBucket(at=start, started=3, completed=2, average_ms=30, max_ms=40),
        MetricsBucket(at=start + hour),
        MetricsBucket(at=start + 2 * hour, started=1, failed=1, cancelled=1, average_ms=hour, max_ms=2 * hour + 1),
        MetricsBucket(at=start + 3 * hour, started=1),
    )


@pytest.mark.parametrize(("granularity", "count"), [("minutely", 1440), ("hourly", 24), ("daily", 1)])
def test_a_day_has_its_spans(reader: Reader, granularity: Any, count: int) -> None:
    day = 86_400_000
    start = NOW // day * day

    found = reader.measure_tenant("acme", start, start + day, granularity).buckets

    assert [len(found), found[0].at] == [count, start]


@pytest.mark.parametrize("span", [0, -1, 1_501 * 60_000])
def test_no_spans_or_too_many_are_refused(reader: Reader, span: int) -> None:
    with pytest.raises(InvalidInput, match="spans of time"):
        reader.measure_tenant("acme", NOW // 60_000 * 60_000, NOW // 60_000 * 60_000 + span, "minutely")

"""Values as bytes, and back; spans and instants."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from runtara.errors import InstanceCancelled, InvalidInput, InvalidState
from runtara.lifecycle import Status
from runtara.messages import InstanceInfo, StartInstance
from runtara.sdk.management import new_start, output_of
from runtara.sdk.management._values import bytes_of, instant_of, ms_of, seconds_of, value_of


class Point(msgspec.Struct):
    x: int


def info(status: Status, **fields: Any) -> InstanceInfo:
    return InstanceInfo(tenant_id="t", instance_id="i", status=status, epoch=1, created_at=0, **fields)


@pytest.mark.parametrize(
    ("value", "data"),
    [(b"\xff", b"\xff"), ({"a": [1]}, b'{"a":[1]}'), ("text", b'"text"'), (Point(1), b'{"x":1}'), (False, b"false")],
)
def test_bytes_go_as_they_are_and_anything_else_as_json(value: Any, data: bytes) -> None:
    assert bytes_of(value, "input") == data


@pytest.mark.parametrize("value", [object(), {1, object()}, float("nan").__class__, lambda: None])
def test_what_json_cannot_express_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="input cannot be expressed in JSON"):
        bytes_of(value, "input")


@pytest.mark.parametrize(
    ("data", "kind", "value"),
    [(b"[1]", Any, [1]), (b'{"x":1}', Point, Point(1)), (b"", Point, None), (None, Point, None), (b"null", Any, None)],
)
def test_json_comes_back_as_the_value_that_was_asked_for(data: bytes | None, kind: Any, value: Any) -> None:
    assert value_of(data, kind, "it") == value


@pytest.mark.parametrize(("data", "kind"), [(b"\xff", Any), (b"{", Any), (b'{"x":"1"}', Point), (b"1", str)])
def test_what_is_no_such_json_is_refused(data: bytes, kind: Any) -> None:
    with pytest.raises(InvalidInput, match="the output is not JSON of the type that was asked for"):
        value_of(data, kind, "the output")


def test_only_what_has_completed_has_an_output() -> None:
    assert output_of(info(Status.COMPLETED, output=b"[1]"), list[int]) == [1]
    assert output_of(info(Status.COMPLETED)) is None
    with pytest.raises(InstanceCancelled):
        output_of(info(Status.CANCELLED))
    with pytest.raises(InvalidState, match="it is failed: no paper"):
        output_of(info(Status.FAILED, error="no paper"))
    with pytest.raises(InvalidState, match=r"has no output, it is running$"):
        output_of(info(Status.RUNNING))


def test_a_start_says_no_more_than_it_is_told() -> None:
    assert new_start("a") == StartInstance(program="a")
    told = new_start(
        "a",
        0,
        image=True,
        env={"A": "1"},
        timeout=timedelta(minutes=1),
        resources={"cpu": 2},
        priority=-1,
        start_at=datetime(1970, 1, 2, tzinfo=UTC),
    )
    replacing = new_start("a", replace=True)
    assert told == StartInstance(
        program="a",
        image=True,
        input=b"0",
        env={"A": "1"},
        timeout_ms=60_000,
        resources={"cpu": 2},
        priority=-1,
        start_at=86_400_000,
    )
    assert (replacing.replace, told.request_id) == (True, None)
    assert replacing.request_id != new_start("a", replace=True).request_id


def test_spans_are_seconds_or_differences() -> None:
    assert (ms_of(1.5, "x"), ms_of(timedelta(seconds=2), "x"), ms_of(None, "x")) == (1500, 2000, None)
    assert (seconds_of(0, "x"), seconds_of(None, "x")) == (0, None)
    assert instant_of(None) is None
    for wrong in (-1, float("nan"), "1", True):
        with pytest.raises(InvalidInput, match="grace"):
            ms_of(wrong, "grace")  # type: ignore[arg-type]  # which is what is refused

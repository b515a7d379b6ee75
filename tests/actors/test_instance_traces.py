"""How long traced changes were on their way to the store."""

from typing import Any

import pytest
from opentelemetry import trace

from runtara.actors._cell import Cell, Write
from runtara.actors._instance_traces import TRACED_MAX, Persisting, deciding
from runtara.errors import InvalidState, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.messages import Call, Heartbeat
from runtara.traces import Traces
from tests.actors.stage import key_of
from tests.spans import Spans

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def write(name: str, *traces: str | None) -> Write[InstanceKey, Any]:
    found: Write[InstanceKey, Any] = Write(key_of(name), Cell(), None)
    found.burst = [(Call(key_of(name), Heartbeat(), trace=trace), None) for trace in traces]
    return found


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def traces(spans: Spans) -> Traces:
    return Traces(trace.get_tracer_provider())


def test_a_decision_is_a_part_of_its_call_with_what_it_refuses(traces: Traces, spans: Spans) -> None:
    with deciding(traces, PARENT):
        pass
    with pytest.raises(InvalidState), deciding(traces, PARENT):
        raise InvalidState("it has ended")

    made = spans.named("decide")
    assert [dict(span.attributes or {}).get("error.type") for span in made] == [None, "InvalidState"]
    assert {span.parent.span_id for span in made if span.parent is not None} == {int(PARENT.split("-")[2], 16)}


def test_each_traced_change_of_a_batch_has_a_span_of_its_own(traces: Traces, spans: Spans) -> None:
    persisting = Persisting(traces, [write("a", None, PARENT), write("b", None), write("c", PARENT)])

    persisting.end(None)

    made = spans.named("persist")
    assert [dict(span.attributes or {}) for span in made] == [{"runtara.batch": 3}] * 2
    assert persisting.parents == tuple(
        f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01" for span in made if span.context is not None
    )
    assert persisting.trace_of(key_of("a")) == persisting.parents[0]
    assert persisting.trace_of(key_of("b")) is None


def test_a_batch_that_was_not_stored_says_so(traces: Traces, spans: Spans) -> None:
    persisting = Persisting(traces, [write("a", PARENT)])

    persisting.end(StoreUnavailable("it is away"))

    assert dict(spans.only("persist").attributes or {})["error.type"] == "StoreUnavailable"


def test_however_many_are_traced_a_commit_has_a_few_spans_only(traces: Traces, spans: Spans) -> None:
    persisting = Persisting(traces, [write(f"w-{number}", PARENT) for number in range(TRACED_MAX + 5)])

    assert len(persisting.parents) == TRACED_MAX

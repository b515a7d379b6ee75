"""A door and a line with a span around each call."""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace

from runtara.errors import MailboxFull
from runtara.ids import InstanceKey
from runtara.messages import GetStatus, Heartbeat, RegisterInstance
from runtara.traces import Traces, current_trace
from runtara.transport import EmbeddedDoor, Session
from runtara.transport.traced import TracedDoor, TracedLine
from tests.spans import Spans
from tests.transport.test_embedded import Line

KEY = InstanceKey("t", "i")


class Noting(Line):
    """A way to an instance that notes under which span it is asked."""

    def __init__(self, key: InstanceKey) -> None:
        super().__init__(key)
        self.under: list[str | None] = []

    def call_from_thread(self, command: Any, epoch: int | None = None, *, timeout: float | None = None) -> Any:
        self.under.append(current_trace())
        return super().call_from_thread(command, epoch, timeout=timeout)


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def line() -> Noting:
    return Noting(KEY)


@pytest.fixture
def traces(spans: Spans) -> Traces:
    return Traces(trace.get_tracer_provider())


@pytest.fixture(params=["call", "call_from_thread"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    async def awaited(asked: Any, *arguments: Any, **options: Any) -> Any:
        return await asked.call(*arguments, **options)

    async def blocking(asked: Any, *arguments: Any, **options: Any) -> Any:
        return asked.call_from_thread(*arguments, **options)

    return awaited if request.param == "call" else blocking


async def test_a_call_on_a_line_is_made_under_its_span(call: Any, line: Noting, traces: Traces, spans: Spans) -> None:
    reply = await call(TracedLine(line, traces), Heartbeat(), 3, timeout=1.5)

    span = spans.only("Heartbeat")
    assert reply is line.replies[Heartbeat]
    assert line.said == [(Heartbeat(), 3, 1.5)]
    assert span.kind is trace.SpanKind.CLIENT
    assert span.context is not None
    assert [str(text)[:-3] for text in line.under] == [f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}"]
    assert current_trace() is None


async def test_what_a_call_fails_with_is_raised_and_noted(
    call: Any, line: Noting, traces: Traces, spans: Spans
) -> None:
    line.replies[GetStatus] = MailboxFull("later")

    with pytest.raises(MailboxFull):
        await call(TracedLine(line, traces), GetStatus())

    assert dict(spans.only("GetStatus").attributes or {}) == {"error.type": "MailboxFull"}


async def test_a_door_is_what_it_was_and_each_call_traced(
    call: Any, line: Noting, traces: Traces, spans: Spans
) -> None:
    attached: list[Session] = []
    inner = EmbeddedDoor(Session(KEY), lambda _: line, attached.append, attached.remove)
    door = TracedDoor(inner, traces)

    await door.connect()
    door.connect_from_thread()
    await call(door, RegisterInstance(attempt_id="a"), timeout=2.0)
    await call(door.beside("other"), Heartbeat())

    assert door.session is inner.session
    assert door.is_connected
    assert (door.session.epoch, attached) == (7, [door.session])
    assert line.said == [(RegisterInstance(attempt_id="a"), None, 2.0), (Heartbeat(), None, None)]
    assert len(spans.named("RegisterInstance")) == len(spans.named("Heartbeat")) == 1
    door.stop_heartbeat()
    door.close()
    assert attached == []

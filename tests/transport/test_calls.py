"""What is noted of every call at the gate."""

import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from trio.testing import MockClock

from runtara import messages
from runtara.errors import Busy, Internal
from runtara.ids import InstanceKey
from runtara.logs import about, known
from runtara.metrics import Metrics
from runtara.traces import Traces, current_trace
from runtara.transport.calls import Calls
from runtara.transport.frames import Ask, OnBehalf
from tests.spans import Spans
from tests.transport.lobby import open_lobby

KEY = InstanceKey("acme", "one")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Outcome:
    """What came of a call."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.value = None
        self.error = error


class Said:
    """Calls, and what was handed on."""

    def __init__(self, traces: Traces | None = None) -> None:
        self.metrics = Metrics()
        self.calls = Calls(self.metrics, traces)
        self.heard: list[Any] = []

    def ask(self, outcome: Outcome, **fields: object) -> None:
        ask = Ask(id=1, command=messages.GetStatus(), **fields)  # type: ignore[arg-type]  # some of its fields
        with self.calls.follow("quic", KEY, 3, ask, self.heard.append) as followed:
            pass
        followed(outcome)

    @property
    def counted(self) -> dict[tuple[str, ...], int]:
        return self.metrics.counts("runtara_door_calls_total").values


@pytest.fixture
def said() -> Said:
    return Said()


def test_a_call_is_counted_by_its_door_and_what_came_of_it_and_handed_on(said: Said) -> None:
    outcomes = [Outcome(), Outcome(Busy("later")), Outcome(ZeroDivisionError())]

    for outcome in outcomes:
        said.ask(outcome)

    assert said.counted == {("quic", "ok"): 1, ("quic", "busy"): 1, ("quic", "internal"): 1}
    assert sum(said.metrics.tallies("runtara_door_call_seconds").of("quic").counts) == 3
    assert said.heard == outcomes


def test_a_call_that_is_refused_at_once_is_counted_too(said: Said) -> None:
    ask = Ask(id=1, command=messages.GetStatus())

    with pytest.raises(Internal), said.calls.follow("quic", KEY, None, ask, said.heard.append):
        raise Internal("a bug")

    assert said.counted == {("quic", "internal"): 1}
    assert said.heard == []


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ("acme", "one", 3)),
        ({"instance_id": "two"}, ("acme", "two", None)),
        ({"instance_id": "two", "on_behalf": OnBehalf(tenant_id="other", epoch=5)}, ("other", "two", 5)),
    ],
)
def test_what_is_logged_meanwhile_says_whom_the_call_is_about(
    said: Said, fields: dict[str, object], names: tuple[object, ...]
) -> None:
    ask = Ask(id=1, command=messages.GetStatus(), **fields)  # type: ignore[arg-type]  # some of its fields

    with said.calls.follow("quic", KEY, 3, ask, said.heard.append):
        found = known()

    assert tuple(found[name] for name in ("tenant_id", "instance_id", "epoch")) == names
    assert known() == {}


def test_a_bug_of_ours_is_logged_with_all_that_is_known_and_a_refusal_is_not(
    said: Said, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), about(request_id="r"):
        said.ask(Outcome(Busy("later")))
        said.ask(Outcome(Internal("it broke")))

    (record,) = caplog.records
    fields = record.__dict__
    assert (record.message, record.levelname) == ("call-failed", "ERROR")
    assert (fields["request_id"], fields["tenant_id"], fields["instance_id"], fields["epoch"]) == (
        "r",
        "acme",
        "one",
        3,
    )
    assert (fields["door"], fields["command"], fields["code"]) == ("quic", "GetStatus", "internal")
    assert fields["error"] == "it broke"


def test_whoever_wants_to_know_everything_gets_a_line_for_each_call(
    said: Said, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "runtara.calls"):
        said.ask(Outcome())

    (record,) = caplog.records
    assert (record.message, record.__dict__["code"]) == ("call", "ok")
    assert record.__dict__["took_ms"] >= 0


def test_a_call_is_a_part_of_the_trace_that_its_client_names() -> None:
    spans, said = Spans(), Said(Traces(trace.get_tracer_provider()))
    ask = Ask(id=1, command=messages.GetStatus(), trace=PARENT)

    with said.calls.follow("quic", KEY, 3, ask, said.heard.append) as followed:
        within = current_trace()
    followed(Outcome())

    span = spans.only("GetStatus")
    assert span.parent is not None
    assert span.parent.span_id == 0xB7AD6B7169203331
    assert within is not None
    assert span.context is not None
    assert f"{span.context.span_id:016x}" in within
    assert current_trace() is None


async def test_every_call_through_a_gate_is_followed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_lobby(tmp_path, require_credentials=False) as lobby:
        guest = lobby.meet()
        await guest.ask(messages.GetHealth())
        await guest.ask(messages.GetStatus())

        assert lobby.metrics.counts("runtara_door_calls_total").values == {
            ("quic", "ok"): 1,
            ("quic", "instance-not-found"): 1,
        }

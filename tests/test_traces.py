"""Traces: one call, from the SDK to the commit, whatever lies between."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
from opentelemetry import trace

from runtara.errors import ConfigError, InstanceNotFound
from runtara.messages import GetStatus, StartInstance
from runtara.sdk import AsyncRuntaraSdk, SdkConfig, SignalType, embedded
from runtara.traces import Traces, current_trace, open_traces, under
from tests.house.source import ROOT, run_python
from tests.spans import Spans
from tests.test_host import ended, opened, script

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PATIENCE_S = 100.0


@pytest.fixture
def spans() -> Spans:
    return Spans()


# One call -------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_an_embedded_program_is_traced_to_the_commit(spans: Spans, tmp_path: Path) -> None:
    with embedded.open(str(tmp_path), otel=True) as system, system.sdk("one") as sdk:
        sdk.checkpoint("c", b"state")

    (call,) = spans.named("SaveCheckpoint")
    (commit,) = [span for span in spans.named("commit") if "SaveCheckpoint:client" in spans.line(span)]
    assert spans.line(commit) == ["SaveCheckpoint:client", "persist:internal", "commit:internal"]
    assert call.start_time is not None
    assert commit.start_time is not None
    assert commit.end_time is not None
    assert call.end_time is not None
    assert call.start_time <= commit.start_time <= commit.end_time <= call.end_time


@pytest.mark.parametrize("door", ["quic", "websocket", "http"])
async def test_a_checkpoint_through_a_door_is_traced_to_the_commit(spans: Spans, tmp_path: Path, door: str) -> None:
    async with opened(tmp_path, otel=True) as host:
        http = host.http_address
        address = {"quic": host.address, "websocket": http.replace("http", "ws"), "http": http}[door]
        ca_file = str(host.identity.ca_file) if door == "quic" else None
        async with AsyncRuntaraSdk.new(SdkConfig("one", server_addr=address, ca_file=ca_file, otel=True)) as sdk:
            await sdk.checkpoint("c", b"state")

    (commit,) = [span for span in spans.named("commit") if "SaveCheckpoint:client" in spans.line(span)]
    server = next(span for span in spans.named("SaveCheckpoint") if span.kind is trace.SpanKind.SERVER)
    assert spans.line(commit) == [
        "SaveCheckpoint:client",
        "SaveCheckpoint:server",
        "persist:internal",
        "commit:internal",
    ]
    assert dict(server.attributes or {}) == {"runtara.door": door}


def test_what_a_program_does_is_a_part_of_its_launch_and_that_of_its_start(spans: Spans, tmp_path: Path) -> None:
    def program(sdk: Any) -> bytes:
        sdk.checkpoint("c", b"state")
        return b"done"

    with embedded.open(str(tmp_path), programs={"job": program}, otel=True) as system:
        system.start("job", "one")
        system.wait("one", PATIENCE_S)

    (commit,) = [span for span in spans.named("commit") if "SaveCheckpoint:client" in spans.line(span)]
    line = spans.line(commit)
    assert line[0] == "StartInstance:client"
    assert line[-4:] == ["launch:internal", "SaveCheckpoint:client", "persist:internal", "commit:internal"]


async def test_a_program_of_a_host_is_launched_as_a_part_of_its_start(spans: Spans, tmp_path: Path) -> None:
    async with opened(tmp_path, otel=True) as host:
        program = script(tmp_path, 'printf %s "$RUNTARA_TRACE" > "$RUNTARA_OUTPUT_FILE"')
        door = SdkConfig("one", server_addr=host.address, ca_file=str(host.identity.ca_file), otel=True).open_door()
        await door.call(StartInstance(program=program))
        info = await ended(host)
        door.close()

    launch = spans.only("launch")
    line = spans.line(launch)
    assert line[:2] == ["StartInstance:client", "StartInstance:server"]
    assert line[-1] == "launch:internal"
    assert dict(launch.attributes or {}) == {"runtara.program": program, "runtara.epoch": 1}
    assert launch.context is not None
    assert info.output is not None
    assert f"{launch.context.trace_id:032x}-{launch.context.span_id:016x}" in info.output.decode()


def test_a_call_that_is_refused_says_with_what_but_not_why(spans: Spans, tmp_path: Path) -> None:
    with embedded.open(str(tmp_path), otel=True) as system, pytest.raises(InstanceNotFound):
        system.signal("nobody", SignalType.CANCEL)

    failed = spans.only("SendSignal")
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert failed.status.description is None
    assert dict(failed.attributes or {}) == {"error.type": "InstanceNotFound"}
    assert not failed.events


def test_the_spans_of_a_program_and_ours_are_one_trace(spans: Spans, tmp_path: Path) -> None:
    mine = trace.get_tracer("mine")

    with (
        embedded.open(str(tmp_path), otel=True) as system,
        system.sdk("one") as sdk,
        mine.start_as_current_span("mine"),
    ):
        sdk.checkpoint("c", b"state")

    (commit,) = [span for span in spans.named("commit") if "mine:internal" in spans.line(span)]
    assert spans.line(commit)[:2] == ["mine:internal", "SaveCheckpoint:client"]


async def test_the_calls_of_a_launched_program_are_a_part_of_its_launch(spans: Spans, tmp_path: Path) -> None:
    async with opened(tmp_path, otel=True) as host:
        config = SdkConfig("one", server_addr=host.address, ca_file=str(host.identity.ca_file), otel=True, trace=PARENT)
        async with AsyncRuntaraSdk.new(config) as sdk:
            await sdk.checkpoint("c", b"state")
            with trace.get_tracer("mine").start_as_current_span("mine"):
                await sdk.checkpoint("d", b"state")

    first, second = [span for span in spans.named("SaveCheckpoint") if span.kind is trace.SpanKind.CLIENT]
    assert first.parent is not None
    assert second.parent is not None
    assert f"{first.parent.span_id:016x}" in PARENT
    assert f"{second.parent.span_id:016x}" not in PARENT


async def test_without_being_asked_nothing_is_traced(spans: Spans) -> None:
    async with embedded.open(url="memory://") as system, system.sdk("one") as sdk:
        await sdk.checkpoint("c", b"state")
        await system.open_door("one", "default").call(GetStatus())

        assert system.runtime.system.traces is None

    assert spans.named("commit") == spans.named("GetStatus") == spans.named("decide") == []


# The parts ------------------------------------------------------------------------------------------------------------


def test_a_span_is_a_part_of_what_the_text_says(spans: Spans) -> None:
    traces = Traces(trace.get_tracer_provider())

    span = traces.begin("part", PARENT)
    span.end()

    made = spans.only("part")
    assert made.context is not None
    assert made.parent is not None
    assert f"{made.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{made.parent.span_id:016x}" == "b7ad6b7169203331"
    assert span.trace == f"00-{made.context.trace_id:032x}-{made.context.span_id:016x}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PARENT + "0",
        PARENT.upper(),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        PARENT.replace("b7", "é7"),
        "a" * 9_999,
    ],
)
def test_what_is_no_parent_begins_a_trace_of_its_own(spans: Spans, text: str) -> None:
    Traces(trace.get_tracer_provider()).begin("root", text).end()

    assert spans.only("root").parent is None


async def test_each_task_is_under_its_own_span() -> None:
    seen: dict[str, str | None] = {}

    async def task(name: str) -> None:
        with under(name):
            await trio.lowlevel.checkpoint()
            seen[name] = current_trace()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, "a")
        nursery.start_soon(task, "b")

    assert seen == {"a": "a", "b": "b"}
    assert current_trace() is None


# The library ----------------------------------------------------------------------------------------------------------


def test_spans_go_where_the_librarys_own_variables_say(tmp_path: Path) -> None:
    posted: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name is the library's
            posted.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    code = (
        "from runtara.sdk import embedded\n"
        "with embedded.open(url='memory://') as system, system.sdk('one') as sdk: sdk.checkpoint('c', b's')"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
        environment = {
            "RUNTARA_OTEL": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_SERVICE_NAME": "my-service",
            "PYTHONPATH": str(ROOT),
        }
        try:
            subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment, cwd=tmp_path)
        finally:
            collector.shutdown()
            thread.join()

    paths, bodies = zip(*posted, strict=True)
    assert set(paths) == {"/v1/traces"}
    assert all(word in b"".join(bodies) for word in (b"SaveCheckpoint", b"commit", b"my-service"))


def test_a_process_that_has_a_provider_keeps_it(spans: Spans) -> None:
    traces = open_traces()

    traces.begin("still").end()
    traces.close()
    traces.begin("and again").end()

    assert [len(spans.named(name)) for name in ("still", "and again")] == [1, 1]


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(ConfigError, match=r"pip install 'runtara\[otel\]'"):
        open_traces()


def test_the_library_is_loaded_only_where_it_is_wanted(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom runtara.sdk import embedded\nwith embedded.open(url='memory://'): pass\n"
        "assert 'opentelemetry' not in sys.modules"
    )

    assert run_python("-c", code, cwd=tmp_path).returncode == 0

"""`init_tracing` has backends traced to where OpenTelemetry's variables say, and `shutdown_tracing` sends the rest."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtara.errors import ConfigError
from runtara.sdk.flow import Flow, InMemoryBackend, init_tracing, run_durable_workflow, shutdown_tracing
from runtara.sdk.flow.tracing import is_tracing
from tests.house.source import ROOT
from tests.spans import Spans

RUN = """
from runtara.sdk.flow import Flow, InMemoryBackend, init_tracing, run_durable_workflow, shutdown_tracing
import os

init_tracing()
init_tracing()
with InMemoryBackend() as backend:
    run_durable_workflow(Flow("traced").then(len).build(), "run-1", "abc", backend)
    shutdown_tracing()
    os._exit(0)
"""
"""Ends without the library being able to send anything else."""


def test_what_is_done_is_sent_to_the_collector_before_the_process_ends(tmp_path: Path) -> None:
    posted: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name is the library's
            posted.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT)}
        try:
            subprocess.run([sys.executable, "-c", RUN], check=True, timeout=60, env=environment, cwd=tmp_path)
        finally:
            collector.shutdown()
            thread.join()

    assert b"SaveCheckpoint" in b"".join(posted)


def test_without_a_collector_nothing_happens_and_nothing_is_loaded(tmp_path: Path) -> None:
    code = f"import sys\n{RUN}".replace("os._exit(0)", "assert 'opentelemetry' not in sys.modules")

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)


def test_backends_that_are_opened_in_between_are_traced_by_the_provider_of_the_process() -> None:
    spans, workflow = Spans(), Flow("traced").then(len).build()

    init_tracing()
    try:
        with InMemoryBackend() as backend:
            run_durable_workflow(workflow, "run-1", "abc", backend)
    finally:
        shutdown_tracing()
    traced = len(spans.named("SaveCheckpoint"))
    with InMemoryBackend() as backend:
        run_durable_workflow(workflow, "run-1", "abc", backend)

    assert traced > 0
    assert len(spans.named("SaveCheckpoint")) == traced


def test_where_the_library_is_wanted_and_missing_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(ConfigError, match=r"pip install 'runtara\[otel\]'"):
        init_tracing()
    assert not is_tracing()
    shutdown_tracing()

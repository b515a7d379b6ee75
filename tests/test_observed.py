"""A host as those see it who watch over it: what it shows of itself, and what it never shows."""

import base64
import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.host import Host
from runtara.ids import InstanceKey
from runtara.logs import writing_log
from runtara.metrics import METRICS
from runtara.sdk import AsyncRuntaraSdk, SdkConfig
from runtara.transport.credentials import KeyRing
from tests.test_host import ended, opened, script, start
from tests.test_metrics import values

CANARY = "canary-c0ffee"
BOUNDED = {
    "actor",
    "code",
    "door",
    "method",
    "outcome",
    "python",
    "reason",
    "route",
    "status",
    "store",
    "version",
    "le",
}


class Answer:
    """What a host has answered."""

    def __init__(self, status: int, body: bytes, headers: Any) -> None:
        self.status = status
        self.body = body
        self.headers = headers


async def ask(host: Host, path: str, body: object = None, **headers: str) -> Answer:
    """Ask a host over HTTP, whatever it answers."""
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"content-type": "application/json"}
    request = urllib.request.Request(host.http_address + path, data, named)

    def send() -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=100) as answer:
                return Answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), error.headers)

    return await trio.to_thread.run_sync(send)


async def test_work_of_every_kind_is_seen_at_the_door(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        await start(host, script(tmp_path, "exit 0"))
        await ended(host)
        config = SdkConfig("two", server_addr=host.address, ca_file=str(host.identity.ca_file))
        async with AsyncRuntaraSdk.new(config) as sdk:
            await sdk.checkpoint("c", b"state")
            await ask(host, "/api/v1/instances")
            answer = await ask(host, "/metrics")

    seen = values(answer.body)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert seen["runtara_instances", ("completed",)] == seen["runtara_launches_total", ("launched",)] == 1
    assert seen["runtara_checkpoints_total", ()] == 1
    assert seen["runtara_wake_lateness_seconds_count", ()] == 1
    assert seen["runtara_door_connections", ("quic",)] == 1
    assert seen["runtara_door_calls_total", ("ok", "quic")] >= 2
    assert seen["runtara_door_calls_total", ("ok", "http")] == 1
    assert seen["runtara_http_requests_total", ("GET", "/api/v1/instances", "200")] == 1
    assert seen["runtara_runner_places", ()] == 32
    assert seen["runtara_runner_in_use", ()] == seen["runtara_runner_queued", ()] == 0
    assert seen["runtara_loop_turn_seconds_count", ()] > 0


async def test_what_is_shown_is_what_is_documented_and_has_an_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        for name in ("one", "two", CANARY):
            await ask(host, f"/api/v1/instances/{name}", runtara_tenant_id="acme")
            await ask(host, f"/api/v1/{name}")
        text = (await ask(host, "/metrics")).body.decode()

    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == set(METRICS)
    assert CANARY not in text
    assert "acme" not in text
    assert {name for metric in METRICS.values() for name in metric.labels} <= BOUNDED


async def test_it_is_alive_and_ready_until_it_goes_down(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        alive, ready = await ask(host, "/healthz"), await ask(host, "/readyz")
        host.gate.drain()
        still, leaving = await ask(host, "/healthz"), await ask(host, "/readyz")

    assert (alive.status, ready.status, still.status, leaving.status) == (200, 200, 200, 503)
    assert json.loads(ready.body)["checks"]["write"] == "ok"
    assert json.loads(leaving.body)["checks"]["draining"] == "the host is going down"


async def test_a_line_of_the_log_says_which_request_and_which_instance_it_is_about(tmp_path: Path) -> None:
    stream = io.StringIO()
    with writing_log("json", "debug", stream):
        async with opened(tmp_path) as host:
            await ask(host, "/api/v1/instances/nobody", runtara_request_id="request-7", runtara_tenant_id="acme")

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (call,) = [line for line in lines if line["event"] == "call" and line["door"] == "http"]
    assert (call["request_id"], call["tenant_id"], call["instance_id"]) == ("request-7", "acme", "nobody")
    assert (call["command"], call["code"]) == ("GetStatus", "instance-not-found")


@pytest.mark.parametrize("format", ["text", "json"])
async def test_neither_credentials_nor_what_users_send_is_in_the_log(tmp_path: Path, format: Any) -> None:
    stream, secret = io.StringIO(), base64.b64encode(CANARY.encode()).decode()
    with writing_log(format, "debug", stream):
        async with opened(tmp_path, require_credentials=True) as host:
            key = KeyRing(tmp_path / "data" / "keys.json").add("acme")
            bearer = f"Bearer {key}"
            program = script(tmp_path, f"echo {CANARY}; echo {CANARY} >&2; echo $RUNTARA_TOKEN; exit 3")
            body = {"program": program, "input": secret, "env": {"SECRET": CANARY}, "instance_id": "one"}
            started = await ask(host, "/api/v1/instances", body, authorization=bearer)
            await ask(host, "/api/v1/instances", {"program": CANARY, "input": 7}, authorization=bearer)
            await ask(host, "/api/v1/instances", authorization=f"Bearer {key[:-4]}beef")
            await ask(host, f"/api/v1/instances?x={CANARY}", authorization=f"Basic {CANARY}", cookie=f"runtara={key}")
            await ask(host, "/api/v1/login", {"key": key}, origin=host.http_address)
            config = SdkConfig(
                "two", "acme", server_addr=host.address, ca_file=str(host.identity.ca_file), credential=key
            )
            async with AsyncRuntaraSdk.new(config) as sdk:
                await sdk.checkpoint("c", CANARY.encode())
            await ended(host, InstanceKey("acme", "one"))

    text = stream.getvalue()
    assert started.status in (200, 201)
    assert "credential-refused" in text
    assert "SaveCheckpoint" in text
    for leak in (CANARY, secret, key, key[4:], key[-20:], "rti_"):
        assert leak not in text, leak

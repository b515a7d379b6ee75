"""schemathesis against a host of its own, by the description that the host publishes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from runtara.transport.http._openapi import document

__all__ = ["Report", "fuzz"]

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


class Report(msgspec.Struct):
    """What was found."""

    requests: int
    failures: list[str]
    output: str


def fuzz(folder: Path, address: str, *, examples: int, seed: int, timeout: float) -> Report:
    """Send requests made from the description: valid ones, and such as are wrong in one place."""
    description = folder / "openapi.json"
    description.write_bytes(_patient())
    log = folder / "requests.ndjson"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(description), "--url", address),
        *("--max-examples", str(examples), "--seed", str(seed), "--checks", ",".join(_CHECKS)),
        *("--phases", "examples,coverage,fuzzing", "--workers", "1", "--continue-on-failure", "--no-color"),
        *("--exclude-operation-id", "RunChore", "--report", "ndjson", "--report-ndjson-path", str(log)),
        *("--suppress-health-check", "all", "--generation-database", "none", "--request-timeout", "100"),
    ]
    environment = {"PATH": "/usr/bin:/bin", "NO_PROXY": "*"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    return _read(log, done.stdout + done.stderr)


def _patient() -> bytes:
    """Return the description without what says how long to wait: a call that nobody answers would take that long."""
    found = document()
    for verbs in found["paths"].values():
        for row in verbs.values():
            row["parameters"] = [part for part in row.get("parameters", []) if not _waits(part)]
    for schema in found["components"]["schemas"].values():
        schema.get("properties", {}).pop("wait_ms", None)
    return msgspec.json.encode(found)


def _waits(parameter: dict[str, Any]) -> bool:
    return parameter.get("name") == "wait_ms" or parameter.get("$ref", "").endswith("TimeoutMs")


def _read(log: Path, output: str) -> Report:
    requests, failures = 0, list[str]()
    for line in log.read_text().splitlines() if log.exists() else ():
        event: dict[str, Any] = json.loads(line)
        recorder = event.get("ScenarioFinished", {}).get("recorder", {})
        requests += len(recorder.get("interactions", {}))
        for case, checks in recorder.get("checks", {}).items():
            failures += [f"{case}: {check}" for check in checks if check.get("status") == "failure"]
    return Report(requests, failures, output)

"""The harness: runs each side of each comparison in a process of its own, in turns, and prints medians and ratios.

    python -m benchmarks [--rounds N] [NAME ...]

A figure is a ratio of two sides measured in the same run, or an absolute bound where there is nobody to compare with.
Machines drift: A B A B … keeps the ratio honest, and the median of the rounds is what counts.
"""

import argparse
import json
import platform
import sqlite3
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple


class Figure(NamedTuple):
    """One line of the results: ours against a peer (`at_least` times as fast), or ours against a bound (`at_most`)."""

    name: str
    ours: str
    unit: str
    peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    goal: float | None = None
    """Without a peer: at least so much."""


def _against_sayiir() -> tuple[Figure, ...]:
    """Workflows, beside a Rust core with a Python binding."""
    rows = (
        ("workflow of four tasks, kept nowhere, against sayiir", "in_process", "/s", None),
        ("the same, kept in memory, one after the other", "in_memory", "/s", 0.33),
        ("tasks kept in memory, beyond what a workflow costs", "tasks_in_memory", "/s", 0.33),
        ("workflow of four tasks on PostgreSQL, at once, against sayiir", "postgres_at_once", "/s", 10),
        ("fan-out of 16 branches on PostgreSQL, at once, against sayiir", "postgres_fan_out", "/s", 10),
        ("pickup, signal, emit on PostgreSQL, at once, against sayiir", "postgres_signalled", "/s", 10),
        ("signal sent until the next task runs, p50, against sayiir", "postgres_resume", "ms", None),
        ("submitted to four workers on PostgreSQL, against sayiir", "postgres_pooled", "/s", 10),
        ("sleeping workflows woken and ended, against sayiir", "postgres_sleepers", "/s", 10),
        ("the same: the database grows by, for each, against sayiir", "postgres_sleeper_store", "KiB", None),
        ("the same: the process grows by, for each, against sayiir", "postgres_sleeper_memory", "KiB", None),
    )
    return tuple(
        Figure(name, f"flows.{side}", unit, f"sayiir_flows.{side}", at_least=at_least)
        for name, side, unit, at_least in rows
    )


def _against_dbos() -> tuple[Figure, ...]:
    """Workflows, beside a library that keeps steps in the same databases."""
    rows = (
        ("workflow of four tasks on PostgreSQL, 100 at once, against DBOS", "postgres_at_once", "/s", 10),
        ("workflow of four tasks on SQLite, 100 at once, against DBOS", "sqlite_at_once", "/s", 10),
        ("fan-out of 16 branches on PostgreSQL, 20 at once, against DBOS", "postgres_fan_out", "/s", 10),
        ("fan-out of 16 branches on SQLite, 20 at once, against DBOS", "sqlite_fan_out", "/s", 10),
        ("pickup, signal, emit on PostgreSQL, 50 at once, against DBOS", "postgres_signalled", "/s", 10),
        ("pickup, signal, emit on SQLite, 50 at once, against DBOS", "sqlite_signalled", "/s", 10),
        ("signal sent until the next task runs, p50, against DBOS", "postgres_resume", "ms", None),
        ("sleeping workflows woken and ended, against DBOS", "postgres_sleepers", "/s", 10),
    )
    return tuple(
        Figure(name, f"flows.{side}", unit, f"dbos_flows.{side}", at_least=at_least)
        for name, side, unit, at_least in rows
    )


FIGURES = (
    Figure("tell, service actor against pykka", "actors.tell_ours", "/s", "actors.tell_pykka", at_least=5),
    Figure("ask, service actor against pykka", "actors.ask_ours", "/s", "actors.ask_pykka", at_least=4),
    Figure("ask, against a pair of trio channels", "actors.ask_ours", "/s", "actors.ask_channel"),
    Figure("tell, against a trio channel", "actors.tell_ours", "/s", "actors.tell_channel"),
    Figure("idle cell", "actors.idle_cell", "B", at_most=250),
    Figure("persisted transitions, 256 concurrent", "commits.grouped", "/s", "commits.one_each", at_least=8),
    Figure("the same against a bare pykka writer", "commits.grouped", "/s", "commits.one_each_pykka"),
    Figure(
        "durable step, one after the other, trio", "steps.ours_sequential", "/s", "dbos_steps.sequential", at_least=5
    ),
    Figure("durable step, one after the other, sync", "steps.ours_sync", "/s", "dbos_steps.sequential"),
    Figure("durable step, 100 at once, trio", "steps.ours_concurrent", "/s", "dbos_steps.concurrent", at_least=20),
    Figure("100,000 suspended: ready after restart", "restart.ready", "s", at_most=5),
    Figure("100,000 suspended: resident memory", "restart.resident", "MiB", at_most=300),
    Figure("wake lateness when idle, p99", "wakes.idle_p99", "ms", at_most=50),
    Figure("10,000 due in one second: late, p99", "wakes.storm_p99", "ms", at_most=2000),
    Figure("signal sent until seen, p50", "wakes.signal_p50", "ms", at_most=5),
    Figure("checkpoint over QUIC, 64 clients, against an echo", "quic.checkpoints", "/s", "quic.echo", at_least=0.6),
    Figure("the same: until the answer, p99", "quic.checkpoints_p99", "ms", at_most=50),
    Figure("64 clients: stream per call against one stream", "quic.checkpoints_stream_each", "/s", "quic.checkpoints"),
    Figure("8 clients: stream per call against one stream", "quic.eight_stream_each", "/s", "quic.eight"),
    Figure("1 client: stream per call against one stream", "quic.one_stream_each", "/s", "quic.one"),
    Figure(
        "PostgreSQL: persisted transitions, 256 concurrent", "postgres.grouped", "/s", "postgres.one_each", at_least=10
    ),
    Figure(
        "three nodes, two clients each, against one node",
        "postgres.three_nodes",
        "/s",
        "postgres.one_node",
        at_least=0.9,
    ),
    Figure("due instances claimed", "postgres.due_claims", "/s", goal=20_000),
    Figure("takeover of 1,000 instances, beyond the lease", "postgres.takeover", "s", at_most=5),
    Figure("host: serves after its start", "host.ready", "s", at_most=1),
    Figure("host: kill -9 of a program until it runs again", "host.running_again", "s", at_most=2),
    Figure("host: signal sent until seen by a launched program, p50", "host.signal_p50", "ms", at_most=5),
    Figure("host: checkpoint by our own client, one after the other, p50", "host.checkpoint_p50", "ms", at_most=1),
    Figure(
        "container: launch until its first instruction, against a bare `runc run`",
        "containers.first_instruction",
        "ms",
        "containers.bare_runc",
    ),
    Figure("container: the same, beyond a bare `runc run`", "containers.over_runc", "ms", at_most=100),
    Figure("image pushed in the same process, against the disk", "images.embedded", "MB/s", "images.disk"),
    Figure("the same: memory it grows by", "images.embedded_growth", "MiB", at_most=64),
    Figure("image pushed over QUIC, to a process of its own", "images.quic_apart", "MB/s", goal=200),
    Figure("image pushed over QUIC, within one process", "images.quic", "MB/s", goal=200),
    Figure("the same: memory it grows by", "images.quic_growth", "MiB", at_most=64),
    Figure("status over HTTP, 64 clients", "http.status", "/s", goal=1_500),
    Figure("the same at 1,500/s: until the answer, p99", "http.status_p99", "ms", at_most=50),
    Figure("the same: by the server's own processor time", "http.status_per_core", "/s", goal=1_500),
    Figure("image pushed over HTTP, to a process of its own", "http.upload", "MB/s", goal=200),
    Figure("the same: memory it grows by", "http.upload_growth", "MiB", at_most=64),
    *_against_sayiir(),
    *_against_dbos(),
    Figure("console: until its first paint", "console.first_paint", "ms", at_most=1000),
    Figure("console: until the first instances are listed", "console.first_rows", "ms", at_most=1000),
    Figure("console: from a change until it is in the document, p99", "console.commit_to_console", "ms", at_most=100),
)


def main() -> None:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help="parts of the names of the figures to measure; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is run (default 5)")
    options = parser.parse_args()
    print(_machine())
    print("| figure | ours | peer | ratio | goal | |\n|---|---|---|---|---|---|")
    for figure in FIGURES:
        if not options.names or any(name in f"{figure.name} {figure.ours}" for name in options.names):
            print(_measure(figure, options.rounds), flush=True)


def _machine() -> str:
    named = ("pykka", "trio", "dbos", "sayiir", "msgspec", "aioquic", "qh3")
    libraries = ", ".join(f"{name} {_version(name)}" for name in named)
    return f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {libraries}\n"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "missing"


def _measure(figure: Figure, rounds: int) -> str:
    ours: list[float] = []
    peers: list[float] = []
    for _ in range(rounds):
        ours.append(_run(figure.ours))
        if figure.peer is not None:
            peers.append(_run(figure.peer))
    mine = statistics.median(ours)
    shown = f"{_number(mine)} {figure.unit} ({_number(min(ours))} to {_number(max(ours))})"
    if figure.goal is not None:
        met = "met" if mine >= figure.goal else "missed"
        return f"| {figure.name} | {shown} | | | ≥ {figure.goal:,.0f} {figure.unit} | {met} |"
    if figure.peer is None:
        assert figure.at_most is not None, "a figure has a peer or a bound"
        met = "met" if mine <= figure.at_most else "missed"
        return f"| {figure.name} | {shown} | | | ≤ {figure.at_most:g} {figure.unit} | {met} |"
    peer = statistics.median(peers)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, peers, strict=True))
    goal, met = "", ""
    if figure.at_least is not None:
        goal, met = f"≥ {figure.at_least:g}×", "met" if ratio >= figure.at_least else "missed"
    return f"| {figure.name} | {shown} | {_number(peer)} {figure.unit} | {ratio:.1f}× | {goal} | {met} |"


def _run(side: str) -> float:
    """Run one side in a process of its own; it prints its figure as the last line."""
    module, function = side.split(".")
    code = f"import json; from benchmarks import {module}; print(json.dumps({module}.{function}()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"{side} has failed:\n{done.stderr}")
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()

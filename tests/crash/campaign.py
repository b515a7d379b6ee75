"""A campaign: life after life of a worker is killed, and after each of them the auditor looks.

A round is one store: some lives that are killed at moments drawn from a seed, spread over opening, working and closing,
and a calm one at the end in which everything that was begun must come to its end.
"""

import os
import random
import select
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from tests.crash.audit import Audit
from tests.crash.journal import read_lines
from tests.crash.worker import LIMIT_S, Event, Life

__all__ = ["PHASES", "Campaign", "open_campaign"]

ROOT = Path(__file__).parents[2]

PHASES = ("opening", "working", "closing", "edge")
"""When a kill can hit; the edges are those of a COMMIT, where the worker kills itself."""


class Moment(NamedTuple):
    """When to kill: so many seconds after the `number`-th event of a kind, if the worker does not kill itself."""

    event: bytes
    number: int = 1
    after: float = 0.0
    edge: tuple[str, int] | None = None


def moments(rng: random.Random) -> Iterator[Moment]:
    """Moments without end, of every kind in turn. The squares favour early moments."""
    while True:
        yield Moment(Event.ACKNOWLEDGED, rng.randint(1, 250), rng.random() ** 2 * 0.01)
        yield Moment(Event.OPENING, after=rng.random() ** 2 * 0.02)
        yield Moment(Event.CLOSED, edge=("before", rng.randint(1, 20)))
        yield Moment(Event.ACKNOWLEDGED, rng.randint(1, 250))
        yield Moment(Event.CLOSED, edge=("after", rng.randint(1, 20)))
        yield Moment(Event.OPENING, after=rng.random() ** 2 * 0.02)
        yield Moment(Event.CLOSING, after=rng.random() ** 2 * 0.01)
        yield Moment(Event.ACKNOWLEDGED, rng.randint(1, 250), rng.random() ** 2 * 0.05)
        yield Moment(Event.CLOSING, after=rng.random() ** 2 * 0.002)


class Campaign:
    """Runs lives in a worker and counts what came of them."""

    def __init__(self, worker: "subprocess.Popen[bytes]", events: int) -> None:
        self._worker = worker
        self._events = events
        self.kills: Counter[str] = Counter()
        """By the phase in which they hit."""
        self.acks: Counter[str] = Counter()
        self.problems: list[str] = []
        self.promises: set[str] = set()
        """Those that were broken."""

    def run_round(self, folder: Path, seed: int, cycles: int, planted: str | None = None) -> None:
        """Kill `cycles` lives on one store, then let everything come to its end; audit after each life."""
        folder.mkdir()
        rng = random.Random(seed)
        audit = Audit()
        for number, moment in zip(range(cycles), moments(rng), strict=False):
            acks = rng.randint(1, 250) if moment.event == Event.CLOSING else 1_000
            life = Life(folder=str(folder), number=number, acks=acks, edge=moment.edge, planted=planted)
            killed = self._live(life, moment)
            phase = audit.read(read_lines(life.journal))
            if killed:
                self.kills["edge" if moment.edge else phase] += 1
            audit.look(life.data_dir)
        calm = Life(folder=str(folder), number=cycles, acks=10**9, calm=True)
        self._live(calm, Moment(Event.CLOSED, number=2))
        audit.read(read_lines(calm.journal))
        audit.look(calm.data_dir)
        audit.settle(calm.data_dir)
        shutil.rmtree(folder)
        self.acks += audit.acks
        self.problems += audit.problems
        self.promises |= audit.promises

    def _live(self, life: Life, moment: Moment) -> bool:
        """Have a life lived and killed; return whether the kill came before its end."""
        self._command(msgspec.json.encode(life))
        left, kill_at = moment.number, float("inf")
        give_up_at = monotonic() + LIMIT_S + 10
        while True:
            wait = min(kill_at, give_up_at) - monotonic()
            ready, _, _ = select.select([self._events], [], [], max(0.0, wait))
            if not ready and kill_at <= monotonic():
                self._command(b"kill")
                kill_at = float("inf")
            elif not ready:
                raise TimeoutError(f"life {life} hangs")
            for event in map(_byte, os.read(self._events, 65536) if ready else b""):
                left -= event == moment.event
                if event == moment.event and left == 0:
                    kill_at = monotonic() + moment.after
                if event in (Event.KILLED, Event.ENDED):
                    return event == Event.KILLED
                if event == Event.FAILED:
                    raise RuntimeError(f"life {life} failed by itself; its traceback is on the standard error output")

    def _command(self, line: bytes) -> None:
        assert self._worker.stdin is not None
        self._worker.stdin.write(line + b"\n")
        self._worker.stdin.flush()


def _byte(value: int) -> bytes:
    return bytes([value])


@contextmanager
def open_campaign() -> Iterator[Campaign]:
    """Start a worker for the length of the block."""
    ours, theirs = os.pipe()
    environment: dict[str, Any] = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    command = [sys.executable, "-m", "tests.crash.worker", str(theirs)]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[theirs], cwd=ROOT, env=environment) as worker:
            os.close(theirs)
            try:
                yield Campaign(worker, ours)
            finally:
                assert worker.stdin is not None
                worker.stdin.close()
    finally:
        os.close(ours)

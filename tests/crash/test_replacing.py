"""Whoever is killed while he replaces an instance leaves the old one or the new one, and nothing of the other."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.records import Snapshot
from runtara.store import Reader, open_store
from tests.house.source import ROOT, environment


def said(url: str, folder: Path, instance_id: str, until: int) -> Iterator[list[str]]:
    """Yield what the process says, word by word, up to the line at which it is killed."""
    command = [sys.executable, "-m", "tests.crash.replacing", url, str(folder), instance_id]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            for _ in range(until):
                yield program.stdout.readline().split()
        finally:
            program.kill()
        yield from (line.split() for line in program.stdout if line.endswith("\n"))  # it was quicker


def check(reader: Reader, key: InstanceKey, told: list[list[str]]) -> int:
    """Hold what is stored to what was told; return the number of the life that is stored."""
    snapshot = reader.load([key])[key]
    assert isinstance(snapshot, Snapshot)
    events = reader.list_events(key, None, None, 99, None).events
    origin, row = events[0], snapshot.instance
    life = row.epoch  # one attempt each
    known = [words for words in told if int(words[1]) == life]

    assert life - int(told[-1][1]) in (0, 1), "the last one that was acknowledged, or the next one"
    assert (origin.type, origin.subtype) == ("created", "replaced" if life > 1 else None)
    assert {one.epoch for one in events[1:]} == {life}
    assert {one.subtype for one in events if one.type == "custom"} <= {f"{life}"}
    assert {name.partition(".")[0] for name in snapshot.checkpoint_ids} <= {f"{life}"}
    assert set(snapshot.signal_ids) <= {f"{life}"}
    assert set(snapshot.checkpoint_ids) >= {f"{life}.{words[2]}" for words in known if words[0] == "saved"}
    assert reader.read_output(key) in ([None] if row.status is Status.RUNNING else [b"%d" % life])
    assert row.status is Status.COMPLETED or not any(words[0] == "ended" for words in known)
    assert reader.verify() == []
    return life


def kill_everywhere(url: str, folder: Path, lines: range) -> list[int]:
    """Kill a process at each of these lines, and hold it to its words; return which lives were left."""
    lives = []
    for until in lines:
        key = InstanceKey("default", f"i-{until}")
        own = folder / f"{until}"
        own.mkdir()
        at = url or f"sqlite:///{own / 'runtara.db'}"
        told = [words for words in said(at, own, key.instance_id, until) if words]
        with contextlib.closing(open_store(at).open_reader()) as reader:
            lives.append(check(reader, key, told))
    return lives


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Any:
    """Of one database for all, or nothing for a file of each process's own."""
    return request.getfixturevalue("database") if request.param == "postgres" else ""


def test_who_is_killed_while_he_replaces_leaves_one_life(url: str, tmp_path: Path) -> None:
    lives = kill_everywhere(url, tmp_path, range(5, 22, 8))

    assert lives == sorted(lives)
    assert lives[-1] > 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_who_is_killed_at_any_line_leaves_one_life(url: str, tmp_path: Path) -> None:
    lives = kill_everywhere(url, tmp_path, range(1, 60, 2))

    assert lives[-1] >= 10

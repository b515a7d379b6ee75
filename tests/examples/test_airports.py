"""The first example: killed anywhere, it goes on where it was, and its report is that of a run that nobody killed.

It runs as a program of its own, under a driver that kills it with SIGKILL at one exact point: before or after the
runtime has answered the n-th call of a kind. Nothing here depends on how fast anything is.
"""

import importlib.util
import json
import re
import signal
import subprocess
from itertools import combinations
from math import atan2, cos, hypot, pi, sin
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tests.house.source import ROOT, run_python

EXAMPLES = ROOT / "examples"
STATES = 56

KILL = """
import os, runpy, signal, sys
from runtara.sdk import RuntaraSdk

method, number, when, program = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
call = getattr(RuntaraSdk, method)
calls = 0

def die_in_call(*args):
    global calls
    calls += 1
    if (calls, when) == (number, "before"):
        os.kill(os.getpid(), signal.SIGKILL)
    reply = call(*args)
    if (calls, when) == (number, "after"):
        os.kill(os.getpid(), signal.SIGKILL)
    return reply

setattr(RuntaraSdk, method, die_in_call)
sys.argv[:] = sys.argv[4:]
sys.path.insert(0, os.path.dirname(program))
runpy.run_path(program, run_name="__main__")
"""
"""Runs a program, and kills it right before or right after the n-th call of a method of the SDK."""


class Death(NamedTuple):
    """Where a run is killed, and how many states are saved by then."""

    method: str
    number: int
    when: str
    saved: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.when}-{self.method}-{self.number}"


def slow(*death: Any) -> Any:
    return pytest.param(Death(*death), marks=pytest.mark.slow)


DEATHS = [
    Death("checkpoint", STATES // 2, "before", STATES // 2 - 1),
    Death("completed", 1, "before", STATES),
    slow("checkpoint", 1, "before", 0),
    slow("checkpoint", 1, "after", 1),
    slow("checkpoint", STATES // 2, "after", STATES // 2),
    slow("checkpoint", STATES - 1, "after", STATES - 1),
    slow("checkpoint", STATES, "after", STATES),
    slow("completed", 1, "after", STATES),
]


def load(name: str) -> ModuleType:
    """Import a module of the examples."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


airports = load("airports")


def run(folder: Path, death: Death | None = None) -> subprocess.CompletedProcess[str]:
    """Run the example in `folder`, until it ends or dies."""
    driver = ["-c", KILL, death.method, str(death.number), death.when] if death else []
    return run_python(*driver, str(EXAMPLES / "01_airports.py"), cwd=folder)


def computed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Which states a run began to compute."""
    return re.findall(r"(?m)^computing (\w+)$", done.stdout)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("whole")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def report(whole: Path) -> bytes:
    """What a run that nobody killed reports."""
    return (whole / "airports.json").read_bytes()


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.name)
def test_a_killed_run_goes_on_where_it_was(death: Death, report: bytes, tmp_path: Path) -> None:
    killed = run(tmp_path, death)
    left = (tmp_path / "airports.json").exists()
    resumed = run(tmp_path)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not left
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "airports.json").read_bytes() == report
    assert computed(killed)[: death.saved] + computed(resumed) == list(json.loads(report)["states"])


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_computes_no_saved_state_twice(report: bytes, tmp_path: Path) -> None:
    named: list[str] = []
    while (killed := run(tmp_path, Death("checkpoint", 15, "after", 15))).returncode:
        named += computed(killed)

    assert len(named) == STATES // 15 * 15
    assert named + computed(killed) == list(json.loads(report)["states"])
    assert (tmp_path / "airports.json").read_bytes() == report


def test_a_run_after_the_end_computes_nothing_and_writes_the_same_report(whole: Path, report: bytes) -> None:
    (whole / "airports.json").unlink()

    again = run(whole)

    assert again.stdout.startswith("an earlier run has completed: nothing is left to compute\n")
    assert computed(again) == []
    assert (whole / "airports.json").read_bytes() == report


def test_the_report_is_complete(report: bytes) -> None:
    found = json.loads(report)
    states = airports.airports_by_state()

    assert {state: row["airports"] for state, row in found["states"].items()} == {
        state: len(places) for state, places in states.items()
    }
    assert (len(found["states"]), found["airports"]) == (STATES, 3364)
    assert found["km"] == pytest.approx(sum(row["km"] for row in found["states"].values()))
    assert found["states"]["DC"] == {"airports": 1, "km": 0, "longest": None}


def test_a_quarter_of_a_meridian_has_the_known_length() -> None:
    pole, equator = airports.Airport("POL", pi / 2, 1.0), airports.Airport("EQU", 0.0, 2.0)

    assert airports.distance_km(pole, equator) == pytest.approx(10_007.557, abs=0.001)
    assert airports.distance_km(pole, pole) == 0


def angle(a: Any, b: Any) -> float:
    """The angle between two places, seen from the centre of the earth: not by the formula of the example."""
    x1, y1, z1 = cos(a.latitude) * cos(a.longitude), cos(a.latitude) * sin(a.longitude), sin(a.latitude)
    x2, y2, z2 = cos(b.latitude) * cos(b.longitude), cos(b.latitude) * sin(b.longitude), sin(b.latitude)
    cross = hypot(y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)
    return atan2(cross, x1 * x2 + y1 * y2 + z1 * z2)


def parts(edges: Any, places: list[Any]) -> int:
    """How many parts a network falls into."""
    group = {place: frozenset([place]) for place in places}
    for one, other in edges:
        merged = group[one] | group[other]
        group |= dict.fromkeys(merged, merged)
    return len(set(group.values()))


def kruskal(places: list[Any]) -> float:
    """The length of the shortest network, not by the algorithm of the example."""
    group = {place: {place} for place in places}
    km = 0.0
    for one, other in sorted(combinations(places, 2), key=lambda pair: angle(*pair)):
        if group[one] is not group[other]:
            km += angle(one, other) * airports.EARTH_KM
            group[one] |= group[other]
            group |= dict.fromkeys(group[other], group[one])
    return km


@pytest.mark.parametrize("state", ["RI", "DE", "VI", "CQ", "AS", "GU"])
def test_no_network_of_a_small_state_is_shorter(state: str) -> None:
    places = airports.airports_by_state()[state]
    trees = combinations(combinations(places, 2), len(places) - 1)

    shortest = min(sum(angle(*edge) for edge in edges) for edges in trees if parts(edges, places) == 1)

    assert sum(km for km, _, _ in airports.shortest_network(places)) == pytest.approx(shortest * airports.EARTH_KM)


@pytest.mark.parametrize("state", ["HI", "NY"])
def test_the_network_of_a_large_state_is_as_long_as_kruskals(state: str) -> None:
    places = airports.airports_by_state()[state]

    edges = airports.shortest_network(places)

    codes = {place.code: place for place in places}
    assert parts([(codes[one], codes[other]) for _, one, other in edges], places) == 1
    assert sum(km for km, _, _ in edges) == pytest.approx(kruskal(places))

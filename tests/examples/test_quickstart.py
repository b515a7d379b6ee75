"""The quick start, line by line, on every way: killed at every checkpoint it ends with the same output.

That it prints what it says, with a server in a process of its own, is seen where every example is run.
"""

import json
import signal
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runtara.errors import InstanceCancelled
from runtara.ids import new_id
from runtara.sdk import InstanceStatus, RuntaraSdk, SignalType, embedded
from tests.doors.matrix import DOORS, FACES, Way
from tests.examples.quickstart import EXAMPLE, INSTANCE, Watched, config_of, work_of
from tests.house.source import ROOT, environment
from tests.transport.quic.serving import Serving

SOURCE = EXAMPLE.read_text(encoding="utf-8")
work = work_of(SOURCE)

ITEMS = ["apples", "bread", "coffee", "dates"]
OUTPUT = {"apples": 120, "bread": 320, "coffee": 1100, "dates": 300, "total": 1840}

CALLS = ["register", *(["checkpoint"] * len(ITEMS)), "completed"]
"""What the program stores, in order."""


class Died(BaseException):
    """The program ends here, as if it had been killed."""


def dying_at(point: int, when: str) -> Any:
    """Return a hook by which the program dies at its `point`-th call that stores something."""
    calls = []

    def hook(now: str, name: str) -> None:
        calls.append((now, name))
        if now == when and len([call for call in calls if call[0] == when]) == point + 1:
            raise Died

    return hook


def never(_when: str, _name: str) -> None:
    """Nothing happens to the program."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_wherever_it_dies_it_ends_with_the_same_output(way: Way, when: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def conversation(system: Any) -> list[Any]:
        outputs = []
        for point in range(len(CALLS)):
            who = f"i{point}"
            with pytest.raises(Died):
                await work(Watched(system.sdk(who), dying_at(point, when)))
            if (await system.status(who)).status is not InstanceStatus.COMPLETED:
                await work(system.sdk(who))
            outputs.append(json.loads((await system.status(who)).output))
        return outputs

    assert way.hold(conversation) == [OUTPUT] * len(CALLS)

    printed = capsys.readouterr().out.splitlines()
    again = printed.count("processing apples") - len(CALLS)
    assert again == (when == "before"), "only who dies before the first checkpoint is saved begins anew"


def test_a_cancel_and_a_pause_are_seen_at_the_next_checkpoint(way: Way) -> None:
    async def conversation(system: Any) -> None:
        for kind in (SignalType.CANCEL, SignalType.PAUSE):
            sdk = system.sdk(kind.value)
            await sdk.register()
            await system.signal(kind.value, kind)

        with pytest.raises(InstanceCancelled):
            await work(system.sdk("cancel"))
        await work(system.sdk("pause"))

        assert (await system.status("cancel")).status is InstanceStatus.CANCELLED
        paused = await system.status("pause")
        assert (paused.status, paused.checkpoint_count) == (InstanceStatus.SUSPENDED, 1)
        await system.signal("pause", SignalType.RESUME)
        await work(system.sdk("pause"))
        assert json.loads((await system.status("pause")).output) == OUTPUT

    way.hold(conversation)


def test_who_saves_an_item_before_it_is_processed_skips_it_when_killed_in_between(way: Way) -> None:
    """Why one line of the reference's page stands elsewhere in the example."""
    done: list[str] = []

    async def as_on_the_page(sdk: Any) -> None:
        await sdk.register()
        for number, item in enumerate(ITEMS):
            result = await sdk.checkpoint(f"item-{number}", b"state")
            if result.existing_state is not None:
                continue
            done.append(item)
        await sdk.completed(b"result data")

    async def conversation(system: Any) -> None:
        with pytest.raises(Died):
            await as_on_the_page(Watched(system.sdk("i"), dying_at(2, "after")))
        await as_on_the_page(system.sdk("i"))
        assert (await system.status("i")).output == b"result data"

    way.hold(conversation)

    assert done == ["apples", "coffee", "dates"]


# Processes that are killed --------------------------------------------------------------------------------------------

FAST = ("quic", "sync")
"""The one that is not slow: as the example itself does it."""

PLACES = [
    pytest.param(door, face, marks=[] if (door, face) == FAST else [pytest.mark.slow])
    for door in DOORS
    for face in FACES
]


@pytest.mark.parametrize(("door", "face"), PLACES)
def test_a_process_that_is_killed_after_every_checkpoint_does_nothing_twice(
    door: str, face: str, tmp_path: Path, sqlite_quic_server: Serving
) -> None:
    runs = _Runs(door, face, tmp_path, sqlite_quic_server)

    for name in ITEMS:
        assert runs.run("after 1") == (-signal.SIGKILL, [name])
    assert runs.run("never") == (0, [])

    assert runs.output() == OUTPUT


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("door", DOORS)
def test_a_process_that_is_killed_before_every_checkpoint_does_one_item_twice(
    door: str, face: str, tmp_path: Path, sqlite_quic_server: Serving
) -> None:
    runs = _Runs(door, face, tmp_path, sqlite_quic_server)

    assert runs.run("before 1") == (-signal.SIGKILL, ITEMS[:1])
    for pair in pairwise(ITEMS):
        assert runs.run("before 2") == (-signal.SIGKILL, list(pair))
    assert runs.run("never") == (0, ITEMS[-1:])

    assert runs.output() == OUTPUT


class _Runs:
    """Processes that are the same instance, one after the other."""

    def __init__(self, door: str, face: str, folder: Path, server: Serving) -> None:
        self._face = face
        self._tenant = new_id()
        self._folder = str(folder / "data")
        self._is_embedded = door == "embedded"
        self._server = (server.address, str(server.identity.ca_file))

    def run(self, kill: str) -> tuple[int, list[str]]:
        """Run the program; return how it has ended, and what it has processed."""
        place = [self._folder] if self._is_embedded else self._server
        command = [sys.executable, "-m", "tests.examples.quickstart", self._face, kill, self._tenant, *place]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stderr == ""
        return done.returncode, [line.removeprefix("processing ") for line in done.stdout.splitlines()]

    def output(self) -> Any:
        """Return with what the instance has ended."""
        if self._is_embedded:
            with embedded.open(self._folder) as system:
                return json.loads(system.status(INSTANCE, self._tenant).output or b"")
        with closing(RuntaraSdk.new(config_of(self._tenant, *self._server))) as sdk:
            return json.loads(sdk.get_instance_status(INSTANCE).output or b"")

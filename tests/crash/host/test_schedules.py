"""Schedules of a server that is killed again and again, between a start and the note that it was made."""

import signal
from datetime import UTC, datetime

import pytest

from runtara.lifecycle import Status
from runtara.messages import (
    DeleteSchedule,
    GetSchedule,
    ListEvents,
    ListInstances,
    PutSchedule,
    ScheduleInfo,
    SchedulePlan,
    StartInstance,
)
from tests.crash.host.scene import Scene

pytestmark = pytest.mark.slow

WITHIN_S = 100.0


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_server_that_dies_between_a_start_and_its_note_starts_each_instant_once(scene: Scene, where: str) -> None:
    program = scene.site.path / "programs" / "brief.py"
    program.write_text("")
    plan = SchedulePlan(start=StartInstance(program=str(program)), every_ms=1_000, catch_up="all")
    healthy, mortal = scene.server.main, ["-m", "tests.crash.host.mortal", where]

    scene.server.start()
    put = scene.ask("cli", PutSchedule(name="beat", plan=plan))
    scene.server.kill()
    scene.server.main = mortal
    for _ in range(4):
        scene.server.launch()  # which may die before it says that it serves
        assert scene.server.wait(WITHIN_S) == -signal.SIGKILL
    scene.server.main = healthy
    scene.server.start()
    last = _await_starts(scene, 6)
    scene.ask("cli", DeleteSchedule(name="beat"))
    page = scene.ask("cli", ListInstances(limit=1000))
    names = [row.instance_id for row in page.instances]
    ends = {scene.await_end(name).status for name in names}
    created = [len(scene.ask(name, ListEvents(event_type="created")).events) for name in names]

    began = put.created_at // 1000
    expected = [f"beat.{datetime.fromtimestamp(began + nth, UTC):%Y%m%dT%H%M%SZ}" for nth in range(1, len(names) + 1)]
    assert names == expected, "none is missing, and none is there that should not be"
    assert names[-1] >= (last.last_id or "")
    assert ends == {Status.COMPLETED}
    assert created == [1] * len(names)


def _await_starts(scene: Scene, count: int) -> ScheduleInfo:
    """Wait until so many starts were made since now, and noted."""
    first: ScheduleInfo = scene.ask("cli", GetSchedule(name="beat"))
    name = f"beat.{datetime.fromtimestamp(first.created_at // 1000 + count, UTC):%Y%m%dT%H%M%SZ}"
    while True:
        info: ScheduleInfo = scene.ask("cli", GetSchedule(name="beat"))
        if (info.last_id or "") > max(name, first.last_id or ""):
            return info

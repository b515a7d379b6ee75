from typing import Any

import msgspec
import pytest

from runtara import __version__
from runtara.actors.answers import answers_of
from runtara.messages import GetHealth, GetTree
from tests.actors.stage import open_stage


@pytest.mark.parametrize("draining", [True, False])
async def test_a_system_tells_what_its_actors_do_and_whether_it_goes_down(draining: bool) -> None:
    async with open_stage() as stage:
        answers: dict[type, Any] = answers_of(stage.system, lambda: draining)

        tree, health = msgspec.json.decode(answers[GetTree]().tree), answers[GetHealth]()

    assert tree["path"] == "root"
    assert {child["path"] for child in tree["children"]} >= {"root/store", "root/timers"}
    assert (health.version, health.draining) == (__version__, draining)
    assert 0 <= health.uptime_ms < 60_000

from pathlib import Path
from queue import Empty

import pytest

from runtara.errors import RuntaraError
from tests.crash import checks
from tests.crash.campaign import open_campaign
from tests.crash.checks import CHECKS
from tests.crash.planted import PLANTED, planting

BY_CHECK = {name: bug for name, bug in PLANTED.items() if bug.check != "campaign"}
BY_CAMPAIGN = {name: bug for name, bug in PLANTED.items() if bug.check == "campaign"}


def test_every_check_is_needed_by_some_planted_bug() -> None:
    assert {bug.check for bug in PLANTED.values()} == {*CHECKS, "campaign"}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_passes_where_no_bug_is_planted(name: str, tmp_path: Path) -> None:
    CHECKS[name](tmp_path)


@pytest.mark.parametrize("name", BY_CHECK)
def test_a_planted_bug_is_caught_by_its_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = PLANTED[name]
    monkeypatch.setattr(checks, "LIMIT_S", 0.5)

    with planting(bug), pytest.raises((AssertionError, Empty, pytest.fail.Exception, RuntaraError)):
        CHECKS[bug.check](tmp_path)


@pytest.mark.parametrize("name", BY_CAMPAIGN)
def test_a_planted_bug_is_caught_by_the_campaign(name: str, tmp_path: Path) -> None:
    with open_campaign() as campaign:
        campaign.run_round(tmp_path / "round", seed=1, cycles=4, planted=name)

    assert "nothing acknowledged is lost" in campaign.promises
    assert len(campaign.problems) >= 100

from contextlib import suppress
from pathlib import Path

import pytest

from runtara.errors import RuntaraError
from tests.crash.host import checks
from tests.crash.host.campaign import Campaign
from tests.crash.host.checks import CHECKS
from tests.crash.host.planted import PLANTED
from tests.crash.host.site import open_site
from tests.crash.planted import planting


def test_every_check_is_needed_by_some_planted_bug() -> None:
    assert {bug.check for bug in PLANTED.values()} == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_passes_where_no_bug_is_planted(name: str, tmp_path: Path) -> None:
    CHECKS[name](tmp_path)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught_by_its_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = PLANTED[name]
    monkeypatch.setattr(checks, "LIMIT_S", 1.0)

    with planting(bug), pytest.raises((AssertionError, pytest.fail.Exception, RuntaraError)):
        CHECKS[bug.check](tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_that_acknowledges_too_early_is_caught_by_the_campaign(tmp_path: Path) -> None:
    campaign = Campaign()

    with suppress(AssertionError):  # what such a server has lost may keep the others from their work
        campaign.run_round_at(open_site(tmp_path / "site"), 1, cycles=8, work=60, planted="reply-before-commit")

    assert "nothing acknowledged is lost" in campaign.promises, campaign.problems

from pathlib import Path

import pytest

from tests.crash.host.campaign import BLOWS, Campaign

SEED = 20_261_121

OPERATIONS = ("checkpoint", "step", "send", "take", "slept", "retry", "register", "complete", "start")


def check(campaign: Campaign, *, cycles: int, acks: int) -> None:
    assert campaign.problems == []
    assert campaign.blows.total() >= cycles, campaign.blows
    assert min(campaign.blows[blow] for blow in BLOWS) >= cycles // 30, campaign.blows
    assert campaign.acks.total() >= acks, campaign.acks
    assert min(campaign.acks[operation] for operation in OPERATIONS) >= acks / 500, campaign.acks


@pytest.mark.timeout(300)
def test_a_whole_system_loses_nothing_whatever_is_killed(tmp_path: Path) -> None:
    campaign = Campaign()

    campaign.run_round(tmp_path / "round", SEED, cycles=22, work=40)

    check(campaign, cycles=20, acks=500)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_a_whole_system_loses_nothing_in_five_hundred_cycles(tmp_path: Path) -> None:
    campaign = Campaign()

    for number in range(21):
        campaign.run_round(tmp_path / str(number), SEED + 1 + number, cycles=25, work=400)

    check(campaign, cycles=500, acks=100_000)

from pathlib import Path

import pytest

from tests.crash.campaign import PHASES, Campaign, open_campaign

SEED = 20_261_120
CYCLES = 9
"""Lives that are killed in a round; the history of their store grows from one to the next."""

OPERATIONS = ("checkpoint", "step", "send", "take", "slept", "retry", "register", "complete", "start")


def check(campaign: Campaign, *, kills: int) -> None:
    assert campaign.problems == []
    assert campaign.kills.total() >= kills, "lives ended before they were killed"
    assert min(campaign.kills[phase] for phase in PHASES) >= kills / 20, campaign.kills
    assert campaign.acks.total() >= 20 * kills, campaign.acks
    assert min(campaign.acks[operation] for operation in OPERATIONS) >= kills, campaign.acks


@pytest.mark.timeout(400)
def test_nothing_acknowledged_is_lost_by_a_process_that_is_killed_again_and_again(tmp_path: Path) -> None:
    with open_campaign() as campaign:
        for number in range(6):
            campaign.run_round(tmp_path / str(number), SEED + number, CYCLES)

    check(campaign, kills=50)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_acknowledged_is_lost_in_a_thousand_kills(tmp_path: Path) -> None:
    with open_campaign() as campaign:
        for number in range(125):
            campaign.run_round(tmp_path / str(number), SEED + 1_000 + number, CYCLES)

    check(campaign, kills=1_000)

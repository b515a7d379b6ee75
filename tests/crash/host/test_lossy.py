from pathlib import Path

import pytest

from tests.crash.host.campaign import Campaign
from tests.crash.host.site import open_site
from tests.ports import free_port
from tests.transport.udp_proxy import STORM, UdpProxy

SEED = 20_261_122


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_whole_system_loses_nothing_over_a_bad_network(tmp_path: Path) -> None:
    campaign, port = Campaign(), free_port()

    with UdpProxy(port, STORM, SEED) as proxy:
        site = open_site(tmp_path / "site", port, proxy.port)
        campaign.run_round_at(site, SEED, cycles=12, work=40)

    assert campaign.problems == []
    assert campaign.blows.total() >= 10
    assert campaign.acks.total() >= 500
    assert proxy.rebound > 0

"""A fleet for a test; at its end nothing is left running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.host.site import leave_nothing_running, open_site
from tests.crash.nodes.fleet import Fleet, open_fleet
from tests.postgres import Cluster


@pytest.fixture
def fleet(tmp_path: Path, cluster: Cluster, database: str) -> Iterator[Fleet]:
    """A fleet on a database of the shared server, without nodes yet."""
    site = open_site(tmp_path / "site")
    try:
        with open_fleet(site, cluster, database) as fleet:
            yield fleet
    finally:
        leave_nothing_running(site)

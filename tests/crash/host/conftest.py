"""A site with a server for a test of a whole system; at its end nothing is left running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.host.scene import Scene
from tests.crash.host.site import leave_nothing_running, open_site


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A site with a server that is not started yet."""
    site = open_site(tmp_path / "site")
    scene = Scene(site)
    try:
        yield scene
    finally:
        scene.close()
        leave_nothing_running(site)

"""The console when the server is away, or refuses: it says so once, stays usable, and goes on by itself."""

from pathlib import Path

import pytest

from tests.console.cable import open_cable
from tests.console.world import open_world


@pytest.mark.slow
async def test_a_list_that_could_not_be_read_is_read_when_the_server_is_back(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world, open_cable(int(world.url.rpartition(":")[2])) as cable:
        await world.start("one", ["save", 1])
        await world.wait_until("one", "completed")
        page = await world.visit("#/nodes", url=f"http://127.0.0.1:{cable.port}")
        await page.wait_for(".lead", "version")

        cable.cut()
        await page.evaluate("location.hash = '#/instances'")
        await page.wait_for(".over", "could not be read")
        await page.wait_for(".toast", "cannot be reached")
        assert await page.evaluate("document.querySelectorAll('.toast').length") == 1
        cable.mend()
        await page.wait_for("[data-id=one] .badge", "completed")

    assert page.complaints == []


@pytest.mark.slow
async def test_a_page_that_is_open_while_the_server_is_away_shows_what_was_missed(
    tmp_path: Path, chromium: str
) -> None:
    async with open_world(tmp_path, chromium) as world, open_cable(int(world.url.rpartition(":")[2])) as cable:
        await world.start("one", ["say", "before"], ["wait", "go"], ["say", "after"])
        page = await world.visit("#/instances/one?tab=logs", url=f"http://127.0.0.1:{cable.port}")
        await page.wait_for("pre.log", "before")

        cable.cut()
        await page.wait_for("#connection", "Not connected")
        await world.signal("one", "go", 1)
        await world.wait_until("one", "completed")
        cable.mend()
        await page.wait_for(".head .badge", "completed")
        await page.wait_for("pre.log", "after")
        await page.wait("document.querySelector('.timeline .bar.good')")

        text = await page.text("pre.log")
        assert text.count("after") == 1, "nothing is told twice"
    assert page.complaints == []

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


async def test_a_refusal_that_comes_after_signing_in_signs_nobody_out(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.browser.open_page()
        await page.go(f"{world.url}/#/overview")
        await page.wait_for("#key")
        # What was asked without a key, and is answered when somebody has signed in meanwhile.
        await page.evaluate(
            """
            window.fetched = window.fetch;
            window.held = new Promise((resolve) => { window.release = resolve; });
            new Promise((arrived) => {
              const hold = (answer) => { arrived(answer.status); return window.held.then(() => answer); };
              window.fetch = (...asked) => window.fetched(...asked).then(hold);
              window.late = import("/ui/api.js").then((api) => api.get("/me")).catch((refusal) => refusal.status);
            })
            """
        )
        await page.evaluate("window.fetch = window.fetched; 0")
        await page.fill("#key", world.key)
        await page.press("Enter")
        await page.wait("!document.querySelector('#key') && document.querySelector('#main h1')")

        status = await page.evaluate("window.release(), window.late")

        assert status == 401
        assert not await page.evaluate("Boolean(document.querySelector('#key'))")

"""The other places of the console: images, schedules, nodes, the supervision tree and the overview."""

from pathlib import Path

import pytest

from tests.console.world import PROGRAM, open_world, quiet

SCRIPT = b"import os, pathlib\npathlib.Path(os.environ['RUNTARA_OUTPUT_FILE']).write_text('made')\n"


@pytest.mark.slow
async def test_an_image_is_uploaded_started_pushed_again_and_rolled_back(tmp_path: Path, chromium: str) -> None:
    file = tmp_path / "report.py"
    file.write_bytes(SCRIPT)
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit("#/images")
        await page.wait_for(".empty", "No images yet")

        await page.click(".head button", "Upload")
        await page.attach("dialog input[type=file]", file)
        await page.fill("dialog input[name=name]", "report")
        await page.fill("dialog input[name=description]", "<b>monthly</b>")
        await page.click("dialog button", "Upload")
        await page.wait_for("[data-image=report]", "<b>monthly</b>")
        file.write_bytes(SCRIPT + b"# again\n")
        await page.click("[data-image=report] a")
        await page.click(".head button", "Upload a version")
        await page.attach("dialog input[type=file]", file)
        await page.click("dialog button", "Upload")
        await page.wait("document.querySelectorAll('tbody tr').length === 2")
        await page.click("tbody button", "Use this one")
        await page.wait_for("tbody tr:last-child .badge", "in use")
        await page.click(".head button", "Start")
        await page.fill("dialog input[name=instance_id]", "from-image")
        await page.click("dialog .dialog-foot button", "Start")
        await page.wait_for(".head .badge", "completed")

        assert (await world.status("from-image")).output == b"made"
    assert quiet(page)


@pytest.mark.slow
async def test_a_schedule_is_made_paused_changed_and_deleted(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit("#/schedules")
        await page.call("Emulation.setTimezoneOverride", timezoneId="Europe/Berlin")
        await page.wait_for(".empty", "No schedules yet")

        await page.click(".head button", "New schedule")
        await page.fill("dialog input[name=name]", "nightly")
        await page.fill("dialog input[name=program]", PROGRAM)
        await page.click("dialog button", "Create")
        await page.wait_for("dialog .problem", "one of the two")
        await page.fill("dialog input[name=cron]", "30 6 * * MON-FRI")
        await page.fill("dialog input[name=timezone]", "Europe/Berlin")
        await page.click("dialog button", "Create")
        await page.wait_for("[data-schedule=nightly]", "30 6 * * MON-FRI")
        await page.click("[data-schedule=nightly] button", "Pause")
        await page.wait_for("[data-schedule=nightly] .badge", "paused")
        await page.click("[data-schedule=nightly] button", "Go on")
        await page.wait_for("[data-schedule=nightly] [data-at]")
        await page.click("[data-schedule=nightly] [aria-label^=Starts]")
        await page.wait_for("[data-schedule=nightly] .later li:nth-child(4)", "06:30:00")
        await page.click("[data-schedule=nightly] [aria-label^=Change]")
        await page.fill("dialog input[name=cron]", "0 7 * * *")
        await page.click("dialog button", "Change")
        await page.wait_for("[data-schedule=nightly]", "0 7 * * *")
        await page.click("[data-schedule=nightly] [aria-label^=Delete]")
        await page.click("dialog button", "Delete")
        await page.wait_for(".empty", "No schedules yet")

    assert quiet(page)


@pytest.mark.slow
async def test_the_supervision_tree_is_live_and_opens_and_closes_by_keys(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit("#/tree")
        await page.wait_for("[data-path='root/store/writer']")
        handled = "Number(document.querySelector(\"[data-path='root/store/writer'] > :nth-child(4)\").textContent)"
        before = await page.evaluate(handled)

        await world.start("one", ["save", 5])
        await page.wait(f"{handled} > {before}")
        await page.click("[data-path='root/store']")
        await page.press("ArrowLeft")
        await page.wait("!document.querySelector(\"[data-path='root/store/writer']\")")
        await page.press("ArrowRight")
        await page.press("ArrowRight")
        await page.wait_for(".details", "root/store/writer")

        assert await page.evaluate("document.activeElement.dataset.path") == "root/store/writer"
    assert quiet(page)


@pytest.mark.slow
async def test_the_overview_counts_and_draws_what_has_ended(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit("#/overview")
        await page.wait_for("[data-tile=completed] strong", "0")

        await world.start("one", ["save", 1])
        await page.wait_for("[data-tile=completed] strong", "1")
        await page.wait("document.querySelector('.column.completed')")
        await page.click(".chip", "Day")
        await page.wait("document.querySelector('.column.completed')")
        await page.click("[data-tile=completed]")
        await page.wait_for("[data-id=one] .badge", "completed")

    assert quiet(page)


@pytest.mark.slow
async def test_a_single_node_says_so(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit("#/nodes")

        await page.wait_for(".lead", "This server is version")
        await page.wait_for(".empty", "One node, by itself")

    assert quiet(page)

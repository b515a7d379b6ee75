"""What a person does in the console, click by click, before a real host: programs are launched, crash and end."""

import json
import os
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.console.cable import open_cable
from tests.console.cdp import Page
from tests.console.world import PROGRAM, World, open_world, quiet

BADGE: Final = ".head .badge"


async def start_by_dialog(page: Page, instance_id: str, *steps: list[Any]) -> None:
    """Start an instance in the dialog for that."""
    await page.click(".head button", "Start an instance")
    await page.fill("dialog input[name=program]", PROGRAM)
    await page.fill("dialog input[name=instance_id]", instance_id)
    await page.fill("dialog textarea[name=input]", json.dumps({"steps": steps}))
    await page.click("dialog button", "Start")
    await page.wait_for("h1", instance_id)


async def see(world: World, instance_id: str) -> Page:
    """Open the page of an instance."""
    page = await world.visit(f"#/instances/{instance_id}")
    await page.wait_for(BADGE)
    return page


async def test_a_key_that_is_wrong_is_refused_and_the_right_one_lets_in(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.browser.open_page()
        await page.go(world.url)

        await page.fill("#key", "rtk_wrong")
        await page.press("Enter")
        await page.wait_for(".login .problem")
        await page.fill("#key", world.key)
        await page.click(".login button", "Sign in")
        await page.wait_for("h1", "Instances")
        await page.wait_for("#tenant", "acme")
        assert world.key not in await page.evaluate(
            "document.cookie + JSON.stringify(localStorage) + document.body.innerHTML"
        )
        await page.click("#logout")
        await page.wait_for("#key")
        await page.reload()
        await page.wait_for("#key")


async def test_an_instance_is_started_in_the_dialog_and_seen_to_its_end(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        await page.wait_for(".over", "No instances yet")

        await start_by_dialog(page, "order-7", ["say", "hello"], ["save", 3], ["wait", "go"], ["save", {"done": True}])
        await page.wait_for("pre.log", "hello")
        await page.wait_for("[data-tab=checkpoints] .count", "3")
        await world.signal("order-7", "go", 1)
        await page.wait_for(BADGE, "completed")
        await page.click("[data-tab=output]")
        await page.wait_for("pre.payload", '"done": true')
        await page.click("[data-tab=input]")
        await page.wait_for("pre.payload", '"say"')
        await page.click("[data-tab=checkpoints]")
        await page.wait_for(".panel th", "3 {'done'")  # the list is read a little after the end is told
        await page.click(".panel tr button", "State")
        await page.wait_for(".opened pre", '"done": true')
        await page.click("[data-tab=events]")
        await page.wait_for(".panel th", "completed")

    assert quiet(page)


async def go_on(world: World, page: Page) -> None:
    """Have an instance that waits go on to its end, and wait until the page shows all of it."""
    await world.signal("one", "go", 1)
    await page.wait_for(BADGE, "completed")
    await page.wait_for("[data-tab=steps] .count", "3")


async def test_what_is_pressed_while_the_list_changes_is_opened(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium, park_after_ms=60_000) as world:
        await world.start("one", ["save", 1], ["wait", "go"], ["save", 1])
        page = await see(world, "one")

        await page.click("[data-tab=checkpoints]")
        await page.click(".panel tr button", "State", meanwhile=lambda: go_on(world, page))
        await page.wait_for(".opened pre")

    assert quiet(page)


async def test_what_changed_while_a_key_was_held_is_shown_when_the_focus_has_gone(
    tmp_path: Path, chromium: str
) -> None:
    button = "document.querySelector('.panel tr button')"
    async with open_world(tmp_path, chromium, park_after_ms=60_000) as world:
        await world.start("one", ["save", 1], ["wait", "go"], ["save", 1])
        page = await see(world, "one")

        async def let_go() -> None:
            await go_on(world, page)
            assert await page.evaluate(f"{button}.matches(':active')")
            await page.evaluate(f"{button}.blur()")

        await page.click("[data-tab=checkpoints]")
        await page.wait_for("[data-tab=steps] .count", "2")  # each step has the list drawn again
        await page.wait_for(".panel tr button")
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as of the window in front
        await page.evaluate(f"{button}.focus()")
        await page.press(" ", meanwhile=let_go)
        await page.wait("document.querySelectorAll('.panel tr button').length > 1")

    assert quiet(page)


async def test_the_list_shows_live_what_becomes_of_instances(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        await page.wait_for("#connection", "Live")

        await world.start("one", ["wait", "go"])
        await page.wait_for("[data-id=one] .badge", "running")
        await world.signal("one", "go", 1)
        await page.wait_for("[data-id=one] .badge", "completed")
        await page.wait_for("[data-filter=completed] .count", "1")

    assert quiet(page)


@pytest.mark.slow
async def test_a_waiting_one_is_sent_its_signal(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.start("one", ["wait", "approval"])
        await world.wait_until("one", "suspended")
        page = await see(world, "one")
        await page.wait_for(BADGE, "waiting for a signal")

        await page.click("[data-deed=signal]")
        await page.fill("dialog input[name=name]", "approval")
        await page.fill("dialog textarea[name=payload]", '{"approved": ')
        await page.click("dialog button", "Send")
        await page.wait_for("dialog .wrong", "not JSON")
        await page.fill("dialog textarea[name=payload]", '{"approved": true}')
        await page.click("dialog button", "Send")
        await page.wait_for(BADGE, "completed")
        await page.wait_for(".timeline .mark.sent")

        info = await world.status("one")
    assert json.loads(info.output or b"") == {"approved": True}


@pytest.mark.slow
async def test_one_is_paused_and_resumed(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium, park_after_ms=60_000) as world:
        await world.start("one", ["say", "here"], ["wait", "go"])
        page = await see(world, "one")
        await page.wait_for("pre.log", "here")

        await page.click("[data-deed=pause]")
        await page.wait_for(BADGE, "paused")
        await page.click("[data-deed=resume]")
        await page.wait_for(BADGE, "running")
        await world.signal("one", "go", "went")
        await page.wait_for(BADGE, "completed")
        await page.wait_for(".timeline .bar.rest")


@pytest.mark.slow
async def test_one_is_cancelled_after_a_question(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.start("one", ["wait", "go"])
        page = await see(world, "one")

        await page.click("[data-deed=cancel]")
        await page.click("dialog button", "Keep as it is")
        await page.wait("!document.querySelector('dialog')")
        assert (await world.status("one")).status != "cancelled"
        await page.click("[data-deed=cancel]")
        await page.click("dialog button", "Cancel the instance")
        await page.wait_for(BADGE, "cancelled")


@pytest.mark.slow
async def test_a_failed_one_says_why_and_is_retried(tmp_path: Path, chromium: str) -> None:
    paper = tmp_path / "paper"
    async with open_world(tmp_path, chromium, max_auto_restarts=0) as world:
        await world.start("one", ["save", 2], ["give_up", ["the printer is out of paper", str(paper)]])
        await world.wait_until("one", "failed")
        page = await see(world, "one")
        await page.wait_for(".trouble", "the printer is out of paper")

        paper.touch()
        await page.click("[data-deed=retry]")
        await page.wait_for("dialog", "one.r1")
        await page.click("dialog button", "Retry")
        await page.wait_for("h1", "one.r1")
        await page.wait_for(BADGE, "completed")

    assert quiet(page)


@pytest.mark.slow
async def test_one_is_forked_from_an_earlier_checkpoint_with_another_input(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.start("one", ["save", 3])
        await world.wait_until("one", "completed")
        page = await see(world, "one")
        await page.wait_for("[data-tab=checkpoints] .count", "3")
        await page.wait_for("[data-tab=steps] .count", "3")

        await page.click("[data-deed=fork]")
        await page.fill("dialog input[name=instance_id]", "two")
        await page.choose("dialog select[name=checkpoint_id]", "0 part 1")
        await page.fill("dialog textarea[name=input]", '{"steps": [["say", "another way"]]}')
        await page.click("dialog button", "Fork")
        await page.wait_for("h1", "two")
        await page.wait_for(BADGE, "completed")

        info = await world.status("two")
    assert (info.output, info.checkpoint_count) == (b"another way", 1)


async def test_a_crash_is_seen_live_and_the_next_attempt_too(tmp_path: Path, chromium: str, pictures: Path) -> None:
    told = tmp_path / "pids"
    async with open_world(tmp_path, chromium, park_after_ms=60_000) as world:
        await world.start("one", ["save", 2], ["tell_pid", str(told)], ["say", "here"], ["wait", "go"])
        page = await see(world, "one")
        await page.wait_for("pre.log", "here")
        await page.wait("document.querySelectorAll('.timeline .bar.run').length === 1")

        os.kill(int(told.read_text().split()[0]), signal.SIGKILL)
        await page.wait("document.querySelectorAll('.timeline .bar.bad').length === 1")
        await page.wait("document.querySelectorAll('.timeline .bar.run').length === 1")
        await page.wait("document.querySelector('pre.log').textContent.split('here').length === 3")
        await page.screenshot(pictures / "crash.png")
        await world.signal("one", "go", 1)
        await page.wait_for(BADGE, "completed")
        await page.wait("document.querySelectorAll('.timeline .bar.good').length === 1")

        assert (await world.status("one")).epoch > 1
    assert quiet(page)


@pytest.mark.slow
async def test_logs_come_as_they_are_written_without_orders_to_a_terminal(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium, park_after_ms=60_000) as world:
        page = await world.visit()
        await start_by_dialog(page, "one", ["say", "\x1b[31mred\x1b[0m alert"], ["wait", "go"], ["say", "the end"])

        await page.wait_for("pre.log", "red alert")
        await page.click("[data-stream=stderr]")
        await page.wait_for("pre.log", "(to stderr) red alert")
        await world.signal("one", "go", 1)
        await page.wait_for("pre.log", "(to stderr) the end")

        assert "\x1b" not in await page.text("pre.log")
        assert "[31m" not in await page.text("pre.log")


@pytest.mark.slow
async def test_what_the_server_refuses_is_shown_with_code_and_request(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        await page.wait_for(".over", "No instances yet")

        await page.click(".head button", "Start an instance")
        await page.fill("dialog input[name=program]", "no/such.py")
        await page.click("dialog button", "Start")
        await page.wait_for("dialog .problem", "not-found")
        await page.press("Escape")
        await page.evaluate("location.hash = '#/instances/nobody'")
        await page.wait_for(".empty", "There is no such instance")

        assert page.complaints == []


@pytest.mark.slow
async def test_a_lost_connection_is_said_made_again_and_gone_on_from(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world, open_cable(int(world.url.rpartition(":")[2])) as cable:
        await world.start("one", ["wait", "go"])
        page = await world.visit(url=f"http://127.0.0.1:{cable.port}")
        await page.wait_for("#connection", "Live")
        await page.wait_for("[data-watched] [data-id=one]")
        lists = [url for url in page.asked if "/instances?" in url]

        cable.cut()
        await page.wait_for("#connection", "Not connected")
        await world.signal("one", "go", 1)
        await world.start("two", ["say", "hello"])
        await world.wait_until("two", "completed")
        cable.mend()
        await page.wait_for("#connection", "Live")
        await page.wait_for("[data-id=one] .badge", "completed")
        await page.wait_for("[data-id=two] .badge", "completed")

        assert [url for url in page.asked if "/instances?" in url] == lists, "what was missed is told, not read again"

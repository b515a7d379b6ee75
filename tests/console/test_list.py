"""The list of instances: ten thousand of them, searched, filtered, scrolled, selected."""

from pathlib import Path
from typing import Final

import pytest
import trio

from runtara.clock import SystemClock
from runtara.ids import InstanceKey
from runtara.messages import InstanceFilter, NamedStart, SignalMany, StartInstance, StartMany
from tests.console.cdp import Page
from tests.console.world import PROGRAM, TENANT, World, open_world, quiet

MANY: Final = 10_000
LONG_TASK_MS: Final = 200
ROUNDS: Final = 3
"""How often is tried what must be quick: a task is long, too, when other programs of the machine have come between."""
DAY_MS: Final = 86_400_000

SCROLL: Final = """
(async () => {
  const tasks = [];
  const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
  observer.observe({ type: "longtask" });
  const view = document.querySelector(".list-view");
  const frame = () => new Promise(requestAnimationFrame);
  const frames = [], holes = [];
  let last = await frame();
  for (let i = 0; i < 120; i++) {
    view.scrollTop = (view.scrollHeight * ((i * 37) %% 100)) / 100 + i;
    const now = await frame();
    frames.push(now - last);
    last = now;
    const box = view.getBoundingClientRect();
    const hit = document.elementFromPoint(box.x + 200, box.y + box.height / 2);
    if (!hit || !hit.closest(".row")) holes.push(i);
  }
  await new Promise((resolve) => setTimeout(resolve));
  observer.disconnect();
  return { frames, tasks, holes, rows: document.querySelectorAll(".row").length };
})()
""".replace("%%", "%")


async def start_many(world: World, count: int, prefix: str = "order") -> None:
    """Create instances that are not launched before tomorrow."""
    tomorrow = SystemClock().now_ms() + DAY_MS
    for first in range(0, count, 1000):
        starts = tuple(
            NamedStart(instance_id=f"{prefix}-{number:05}", start=StartInstance(program=PROGRAM, start_at=tomorrow))
            for number in range(first, min(first + 1000, count))
        )
        await world.host.runtime.dispatch.call(InstanceKey(TENANT, "many"), StartMany(starts=starts), timeout=120)


async def scroll_to_the_end(page: Page) -> None:
    """Scroll down until nothing more is read."""
    await page.wait(
        "(() => { const view = document.querySelector('.list-view'); view.scrollTop = view.scrollHeight;"
        f"return document.querySelector('.list').getAttribute('aria-rowcount') === '{MANY + 1}' }})()",
        seconds=90,
    )


@pytest.mark.slow
async def test_ten_thousand_instances_scroll_without_a_long_task(tmp_path: Path, chromium: str, pictures: Path) -> None:
    async with open_world(tmp_path, chromium) as world:
        await start_many(world, MANY)
        page = await world.visit()
        await page.wait_for(".row", "order-0")
        await page.wait_for("[data-filter=all] .count", "10,000")
        await scroll_to_the_end(page)

        rounds = [await page.evaluate(SCROLL) for _ in range(ROUNDS)]
        await page.screenshot(pictures / "ten-thousand.png")

    assert all(seen["rows"] < 60 for seen in rounds), "rows are drawn again, not added"
    assert [seen["holes"] for seen in rounds] == [[]] * ROUNDS, "rows are wherever one scrolls to, in the same frame"
    assert min(max(seen["tasks"], default=0) for seen in rounds) <= LONG_TASK_MS
    assert quiet(page)


FLOOD: Final = """
new Promise((done) => {
  const tasks = [];
  const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
  observer.observe({ type: "longtask" });
  const look = () => {
    if (document.querySelector("[data-filter=cancelled] .count").textContent !== "%s") return;
    changes.disconnect();
    setTimeout(() => { observer.disconnect(); done(tasks); });
  };
  const changes = new MutationObserver(look);
  changes.observe(document, { subtree: true, childList: true, characterData: true });
})
"""
"""Long tasks until so many changes were told."""


@pytest.mark.slow
async def test_a_thousand_changes_at_once_keep_a_long_list_quick(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await start_many(world, MANY)
        page = await world.visit("#/instances?order=id")
        await page.wait_for(".row", "order-00000")
        await scroll_to_the_end(page)
        await page.wait_for("#connection", "Live")

        longest = []
        for number in range(ROUNDS):
            some = InstanceFilter(prefix=f"order-0{9 - number}")
            cancel = SignalMany(kind="cancel", signal_id="enough", filter=some, limit=1000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.ask, "many", cancel)
                longest.append(max(await page.evaluate(FLOOD % f"{number + 1},000"), default=0))
        await page.evaluate("document.querySelector('.list-view').scrollTop = 9500 * 44")
        await page.wait_for("[data-id=order-09500] .badge", "cancelled")

    assert min(longest) <= LONG_TASK_MS
    assert quiet(page)


@pytest.mark.slow
async def test_a_search_asks_the_server_and_stays_in_the_address(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await start_many(world, 300)
        await start_many(world, 2, "invoice")
        page = await world.visit()
        await page.wait_for(".row", "order-")

        await page.fill(".search input", "voice-0000")
        await page.wait("document.querySelectorAll('.row:not([hidden])').length === 2")
        await page.reload()
        await page.wait("document.querySelectorAll('.row:not([hidden])').length === 2")
        await page.fill(".search input", "nothing like that")
        await page.wait_for(".over", "Nothing fits")
        await page.click(".over button", "Show all")
        await page.wait_for(".row", "order-")

    assert quiet(page)


@pytest.mark.slow
async def test_filters_count_and_show_only_what_fits(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await start_many(world, 20)
        await world.start("one", ["say", "hello"])
        await world.wait_until("one", "completed")
        page = await world.visit()
        await page.wait_for("[data-filter=pending] .count", "20")

        await page.click("[data-filter=completed]")
        await page.wait("document.querySelectorAll('.row:not([hidden])').length === 1")
        await page.wait_for(".row .badge", "completed")

        assert await page.evaluate("document.querySelector('[data-filter=completed]').ariaPressed") == "true"


@pytest.mark.slow
async def test_orders_are_those_of_the_server(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        for name in ("b", "c", "a"):
            await start_many(world, 1, name)
        page = await world.visit()

        for order, wanted in (("id", "a b c"), ("created", "b c a"), ("-created", "a c b")):
            await page.choose(".order", order)
            await page.wait(
                "[...document.querySelectorAll('.row:not([hidden])')].sort((x, y) => x.ariaRowIndex - y.ariaRowIndex)"
                f".map((row) => row.dataset.id[0]).join(' ') === {wanted!r}"
            )


@pytest.mark.slow
async def test_many_are_cancelled_at_once_also_those_that_are_not_listed(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await start_many(world, 620)
        page = await world.visit()
        await page.wait_for(".row", "order-")

        await page.click(".list-head [data-select]")
        await page.wait_for(".bulk", "500 selected")
        await page.click(".bulk button", "Cancel")
        await page.wait_for("dialog", "Cancel 500 instances?")
        await page.click("dialog input[name=everything]")
        await page.click("dialog button", "Cancel")
        await page.wait_for(".toast", "620 instances were asked to cancel")
        await page.wait_for("[data-filter=cancelled] .count", "620")

        assert (await world.status("order-00619")).status == "cancelled"


@pytest.mark.slow
async def test_some_are_chosen_one_by_one_and_by_range(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await start_many(world, 12)
        page = await world.visit("#/instances?order=id")
        await page.wait_for(".row", "order-00011")

        await page.click("[data-id=order-00002] [data-select]")
        await page.wait_for(".bulk", "1 selected")
        await page.evaluate(
            "document.querySelector('[data-id=order-00006] [data-select]')"
            ".dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true, shiftKey: true }))"
        )
        await page.wait_for(".bulk", "5 selected")
        await page.click(".bulk button", "Cancel")
        await page.click("dialog button.danger")
        await page.wait_for(".toast", "5 instances were asked to cancel")

        assert (await world.status("order-00006")).status == "cancelled"
        assert (await world.status("order-00007")).status == "pending"

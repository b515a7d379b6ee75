"""Pictures of every place of the console in both themes, kept to be looked at; those of the pages are small."""

import json
import struct
from pathlib import Path
from typing import Any, Final

import pytest

from runtara.messages import PutSchedule, SchedulePlan, StartInstance
from tests.console.cdp import Page
from tests.console.world import PROGRAM, World, open_world, quiet
from tests.house.source import ROOT

SHOWN: Final = ROOT / "docs" / "how-to" / "pictures"
WIDTH, HEIGHT = 1280, 800

PLACES: Final = {
    "instances": ("#/instances", "document.querySelectorAll('.row:not([hidden])').length > 9"),
    "instance": ("#/instances/order-2041", "document.querySelector('.timeline .mark.taken')"),
    "failed": ("#/instances/import-weekly", "document.querySelector('.trouble pre')"),
    "overview": ("#/overview", "document.querySelector('.column.completed')"),
    "images": ("#/images", "document.querySelector('.empty')"),
    "schedules": ("#/schedules", "document.querySelector('[data-schedule] [data-at]')"),
    "nodes": ("#/nodes", "document.querySelector('.empty')"),
    "supervision": ("#/tree", "document.querySelector('.tree-row')"),
}

ORDER: Final[list[list[Any]]] = [
    ["say", "loading the order"],
    ["save", 4],
    ["note", ["priced", '{"total": 950}']],
    ["stumble", 2],
    ["crash_once", "/never"],
    ["save", 3],
    ["rest", 0.9],
    ["save", "reserve the stock"],
    ["wait", "approval"],
    ["save", {"receipt": "2026-7", "total": 950.0}],
]


async def live_through(world: World) -> None:
    """Have something happen that is worth a picture."""
    steps = [["crash_once", str(world.folder / "crashed")] if step[0] == "crash_once" else step for step in ORDER]
    await world.start("import-weekly", ["save", 1], ["give_up", ["no customer 88: ask sales", "/nowhere"]])
    await world.start("order-2041", *steps)
    for number in range(1930, 1941):
        await world.start(f"order-{number}", ["say", f"order {number}"], ["save", number % 7])
    await world.start("invoice-88", ["wait", "approval"])
    await world.start("nightly-report", ["rest", 86_400])
    plan = SchedulePlan(start=StartInstance(program=PROGRAM), cron="30 2 * * *", timezone="Europe/Berlin")
    await world.ask("schedules", PutSchedule(name="nightly", plan=plan))
    await world.wait_until("import-weekly", "failed")
    await world.wait_until("order-2041", "suspended")
    await world.signal("order-2041", "approval", {"approved": True, "by": "Kim"})
    await world.wait_until("order-2041", "completed")
    for name in ("nightly-report", "invoice-88"):
        await world.wait_until(name, "suspended")


async def look_at(page: Page, place: str, condition: str) -> None:
    """Go to a place, and wait until it is drawn."""
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=4, y=HEIGHT - 4)
    await page.evaluate(f"location.hash = {json.dumps(place)}")
    await page.wait(condition)
    await page.wait("!document.querySelector('.bone') && !document.querySelector('.toast')")
    await page.wait_for("#connection", "Live")


@pytest.mark.slow  # takes a picture of everything, twice
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_place_is_photographed(dark: bool, tmp_path: Path, chromium: str, pictures: Path) -> None:
    theme = "dark" if dark else "light"
    async with open_world(tmp_path, chromium, max_auto_restarts=1, park_after_ms=1500) as world:
        await live_through(world)
        page = await world.visit(dark=dark, width=WIDTH, height=HEIGHT)

        for name, (place, condition) in PLACES.items():
            await look_at(page, place, condition)
            content = (await page.screenshot(pictures / f"{name}-{theme}.png")).read_bytes()
            assert struct.unpack(">II", content[16:24]) == (WIDTH, HEIGHT)
            assert len(content) > 15_000, f"{name} is nearly empty"

    assert quiet(page)


@pytest.mark.parametrize("picture", sorted(SHOWN.glob("*.png")), ids=lambda path: path.name)
def test_the_pictures_of_the_pages_are_small(picture: Path) -> None:
    content = picture.read_bytes()

    assert content.startswith(b"\x89PNG")
    assert len(content) < 150_000

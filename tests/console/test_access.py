"""The console for those who use a keyboard, a screen reader, large contrast, or none of that."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.console.cdp import Page
from tests.console.world import PROGRAM, open_world, quiet
from tests.house.source import ROOT

STYLE: Final = ROOT / "runtara" / "transport" / "http" / "ui" / "style.css"

PLACES: Final = (
    "#/instances",
    "#/instances/one",
    "#/instances/one?tab=checkpoints",
    "#/instances/one?tab=events",
    "#/overview",
    "#/images",
    "#/schedules",
    "#/nodes",
    "#/tree",
)

CHECKS: Final = (Path(__file__).parent / "access.js").read_text(encoding="utf-8")
"""An expression: what on the page is not as it should be."""


STICKS_OUT: Final = """
document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth).map((one) => one.outerHTML.slice(0, 100))
"""
"""An expression: what makes the page wider than its window."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.slow
async def test_everything_has_a_name_and_a_place(place: str, tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.start("one", ["save", 2], ["note", ["told", "x"]])
        await world.wait_until("one", "completed")
        page = await world.visit(place)
        await page.wait("!document.querySelector('.bone')")

        assert await page.evaluate(CHECKS) == []
        assert await page.evaluate("document.title.endsWith(' · Runtara')")
        assert await page.evaluate(STICKS_OUT) == []
        await page.resize(400, 800)
        assert await page.evaluate(STICKS_OUT) == [], "nor on a telephone"
    assert quiet(page)


async def focused(page: Page) -> str:
    """Return the name of what has the focus."""
    name = "one.getAttribute('aria-label') || one.id || one.name || one.textContent.trim()"
    return str(await page.evaluate(f"((one) => {name})(document.activeElement)"))


async def tab_to(page: Page, name: str, *, most: int = 40) -> None:
    """Press Tab until the focus is there."""
    seen = []
    for _ in range(most):
        await page.press("Tab")
        seen.append(await focused(page))
        if seen[-1] == name:
            return
    raise AssertionError(f"{name!r} is not reached: {seen}")


@pytest.mark.slow
async def test_one_can_do_it_all_by_keyboard(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.start("a", ["wait", "go"])
        await world.start("b", ["wait", "go"])
        page = await world.browser.open_page()
        await page.go(world.url)
        await page.wait("document.activeElement.id === 'key'")
        await page.write(world.key)
        await page.press("Enter")
        await page.wait_for("[data-id=a]")
        await page.reload()
        await page.wait_for("[data-id=a]")

        await page.press("Tab")
        assert await focused(page) == "Skip to the content"
        await page.press("Enter")
        await page.wait("document.activeElement.id === 'main'")
        assert await page.evaluate("location.hash") in ("", "#/instances")
        await tab_to(page, "Start an instance")
        await page.press("Enter")
        await page.wait("document.activeElement.name === 'kind'")
        await page.press("Tab")
        await page.write(PROGRAM)
        await page.press("Tab")
        await page.write("c")
        await page.press("Enter")
        await page.wait_for("h1", "c")
        await page.wait_for(".head .badge", "completed")
        await page.evaluate("location.hash = '#/instances?order=id'")
        await page.wait_for("[data-id=c]")
        await tab_to(page, "Instances")
        assert await page.evaluate("document.activeElement.getAttribute('role')") == "grid"
        await page.press("ArrowDown")
        await page.press(" ")
        await page.wait_for(".bulk", "1 selected")
        await page.press("Enter")
        await page.wait_for("h1", "b")
        await tab_to(page, "Cancel")
        await page.press("Enter")
        await page.wait_for("dialog", "Cancel b?")
        assert await focused(page) == "Keep as it is"
        await page.press("Tab")
        await page.press("Enter")
        await page.wait_for(".head .badge", "cancelled")
        await page.wait_for(".timeline .bar")
        await tab_to(page, "Fit")
        await page.press("Tab")
        first = await focused(page)
        await page.press("ArrowRight")
        await page.wait_for(".tip")

        assert await focused(page) != first, "the arrows move along the timeline"
    assert quiet(page)


@pytest.mark.slow
async def test_news_are_told_to_those_who_listen(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.start("one", ["wait", "go"])
        page = await world.visit()
        await page.wait_for("#connection", "Live")

        await world.signal("one", "go", 1)
        await page.wait("document.getElementById('announcer').textContent.includes('one is completed')")

        live = "[...document.querySelectorAll('[aria-live], [role=status]')].map((one) => one.id)"
        assert {"announcer", "toasts", "connection"} <= set(await page.evaluate(live))


@pytest.mark.slow
async def test_colours_follow_the_system_until_somebody_chooses(tmp_path: Path, chromium: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        light = await page.evaluate(background)
        await page.prefer(dark=True)
        dark = await page.evaluate(background)
        await page.click("#theme")
        chosen = await page.evaluate(background)
        await page.reload()
        kept = await page.evaluate(background)

    assert light != dark
    assert chosen == kept == light


# The palette, computed ------------------------------------------------------------------------------------------------


def palettes() -> Iterator[tuple[str, dict[str, str]]]:
    """The colours of both themes, by name."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE.read_text(encoding="utf-8"))
    for at, theme in enumerate(("light", "dark")):
        yield theme, {name: colours[at] for name, *colours in pairs}


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG defines it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


STATUSES: Final = ("pending", "running", "suspended", "completed", "failed", "cancelled")
TEXT_ON: Final = [
    *((text, ground) for text in ("text", "soft", "accent", "danger") for ground in ("page", "card", "sunk")),
    *((status, f"{status}-wash") for status in STATUSES),
    *((status, ground) for status in STATUSES for ground in ("card", "sunk")),
    ("accent", "accent-wash"),
    ("text", "accent-wash"),
    ("soft", "accent-wash"),
    ("accent-text", "accent-fill"),
    ("accent-text", "danger-fill"),
    ("danger", "failed-wash"),
]


@pytest.mark.parametrize("theme", list(palettes()), ids=lambda found: found[0])
def test_all_texts_can_be_read(theme: tuple[str, dict[str, str]]) -> None:
    colours: dict[str, Any] = theme[1]
    low = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in TEXT_ON}

    assert {pair: value for pair, value in low.items() if value < 4.5} == {}
    assert contrast(colours["edge"], colours["card"]) >= 3, "the border of a field is seen"

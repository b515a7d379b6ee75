"""What a program writes is only ever text, and the console asks nobody but its own server."""

import hashlib
import json
import re
from pathlib import Path
from typing import Final

import pytest

from runtara.ids import InstanceKey
from runtara.messages import PushImage, WriteImage
from tests.console.test_places import SCRIPT
from tests.console.world import TENANT, World, open_world, quiet
from tests.house.source import ROOT

EVIL: Final = (
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=1><svg onload=window.pwned=1>"
    "\"'><iframe srcdoc='<script>parent.pwned=1</script>'></iframe><a href=javascript:window.pwned=1>x</a>"
)
UI: Final = ROOT / "runtara" / "transport" / "http" / "ui"
SCRIPTS: Final = sorted(UI.rglob("*.js"))


BANNED: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function"
    r"|setAttribute\(\"style|https?://(?!www\.w3\.org/2000/svg)"
)
"""What parses HTML, runs text, or leads elsewhere; the one address is the name of a kind of element."""

ADD_SCRIPT: Final = """
new Promise((told) => {
  document.addEventListener("securitypolicyviolation", (event) => told(event.violatedDirective), { once: true });
  const script = document.createElement("script");
  script.textContent = "window.pwned = 1";
  document.body.append(script);
})
"""


OFFERED: Final = """
[...document.querySelectorAll("[data-deed], [data-needs]")].filter((one) => one.getClientRects().length).length
"""

CANCEL: Final = """
fetch("/api/v1/instances/one/signals", {
  method: "POST",
  headers: { "Runtara-Csrf": "1", "Content-Type": "application/json" },
  body: JSON.stringify({ kind: "cancel" }),
}).then((answer) => answer.status)
"""


async def push_evil_image(world: World) -> None:
    """Push an image with a description that would like to be a program."""
    digest = hashlib.sha256(SCRIPT).hexdigest()
    push = PushImage(name="evil", kind="python", digest=digest, size=len(SCRIPT), description=EVIL)
    for command in (push, WriteImage(digest=digest, offset=0, data=SCRIPT), push):
        await world.host.runtime.dispatch.call(InstanceKey(TENANT, "images"), command)


async def test_nothing_that_a_program_says_becomes_part_of_the_page(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium, max_auto_restarts=0, park_after_ms=60_000) as world:
        await push_evil_image(world)
        steps: list[list[object]] = [
            ["say", EVIL],
            ["save", EVIL],
            ["note", [EVIL, EVIL]],
            ["give_up", [EVIL, "/nowhere"]],
        ]
        await world.start("bad", *steps)
        await world.start("good", ["save", EVIL])
        await world.start("waits", ["wait", EVIL])
        await world.wait_until("bad", "failed")
        await world.wait_until("good", "completed")
        page = await world.visit("#/instances/bad")
        await page.wait_for(".trouble", "<script>")
        await page.wait_for("[data-tab=events] .count")
        await page.wait_for("[data-tab=steps] .count")

        for tab, shown in (
            ("logs", "pre.log"),
            ("checkpoints", ".panel th"),
            ("steps", ".panel th"),
            ("events", ".panel th"),
        ):
            await page.click(f"[data-tab={tab}]")
            await page.wait_for(shown, "<script>")
        await page.click("[data-tab=checkpoints]")
        await page.click(".panel tr button", "State")
        await page.wait_for(".opened pre", "onerror")
        await page.click(".as-table summary")
        await page.wait_for(".as-table td", "<script>")
        await page.evaluate("document.querySelectorAll('.timeline .mark').forEach((mark) => mark.focus())")
        await page.wait_for(".tip", "<")
        for place, where in (("#/instances/good", "pre.payload"), ("#/images", "tbody th"), ("#/images/evil", ".lead")):
            await page.evaluate(f"location.hash = {json.dumps(place)}")
            await page.wait_for(where, "<script>")
        await page.evaluate("location.hash = '#/instances/waits?tab=steps'")
        await page.wait_for(".panel th", "<script>")

        assert await page.evaluate("window.pwned") is None
        assert await page.evaluate("document.querySelectorAll('main img, main iframe, main script').length") == 0
    assert quiet(page)


async def test_an_address_cannot_bring_a_program_either(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()

        for place in ("instances", "images", "nowhere"):
            await page.evaluate(f"location.hash = '#/{place}/' + encodeURIComponent({json.dumps(EVIL)})")
            await page.wait("document.querySelector('#main h1')")
        await page.evaluate(
            "location.hash = '#/instances?search=' + encodeURIComponent('<img src=x onerror=window.pwned=1>')"
        )
        await page.wait_for(".over", "Nothing fits")

        assert await page.evaluate("window.pwned") is None
        assert await page.evaluate("document.querySelectorAll('main img, main iframe, main script').length") == 0
    assert page.complaints == []


async def test_the_policy_lets_no_inline_program_run(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()

        violated = await page.evaluate(ADD_SCRIPT)

        assert violated == "script-src-elem"
        assert await page.evaluate("window.pwned") is None
        assert await page.evaluate("fetch('http://example.org/').then(() => 'went', () => 'refused')") == "refused"


async def test_a_key_that_is_revoked_ends_what_is_on_show(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        await world.start("one", ["wait", "go"])
        page = await world.visit()
        await page.wait_for("[data-id=one]")
        await page.wait_for("#connection", "Live")

        (mine,) = [row for row in world.keys.list() if row.tenant_id == TENANT]
        world.keys.revoke(mine.key_id)
        await page.wait_for("#key")

        assert await page.evaluate("document.querySelector('[data-id=one]')") is None


async def test_a_key_to_read_with_is_offered_nothing_to_change(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium, role="read-only") as world:
        await world.start("one", ["wait", "go"])
        page = await world.visit("#/instances/one")
        await page.wait_for("#tenant", TENANT)
        await page.wait_for(".head .badge")

        assert await page.evaluate(OFFERED) == 0
        assert await page.evaluate(CANCEL) == 403


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(UI)))
def test_no_script_parses_html_or_runs_text(script: Path) -> None:
    text = script.read_text(encoding="utf-8")

    assert BANNED.findall(text) == []
    assert len(text.splitlines()) <= 400


def test_the_page_names_nothing_but_its_own_files() -> None:
    page = (UI / "index.html").read_text(encoding="utf-8")
    named = re.findall(r"(?:src|href)=\"([^\"#]+)\"", page)

    assert all(name.startswith("/ui/") and (UI / name.removeprefix("/ui/")).is_file() for name in named)
    assert {UI / name.removeprefix("/ui/") for name in named} >= {*SCRIPTS} - {UI / "docs.js"}, (
        "all are fetched at once"
    )
    assert not re.search(r"\sstyle=|\son\w+=|<script>|<style", page)

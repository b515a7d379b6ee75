"""The story of an instance as spans and marks, and the other pure parts of the console, asked in the browser itself."""

import json
from pathlib import Path
from typing import Any

from tests.console.cdp import Page
from tests.console.world import open_world


def event(type_: str, at: int, epoch: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "type": type_,
        "epoch": epoch,
        "created_at": at,
        "subtype": None,
        "payload": None,
        "checkpoint_id": None,
    } | more


async def told(page: Page, script: str, **given: Any) -> Any:
    """Return what a function of a module makes of what is given."""
    names = "; ".join(f"const {name} = {json.dumps(value)}" for name, value in given.items())
    return await page.evaluate(f"(async () => {{ {names}; {script} }})()")


STORY = "const { story } = await import('/ui/timeline.js'); return story({ info, events, steps }, now);"


async def test_a_story_has_attempts_rests_and_marks_in_their_lanes(tmp_path: Path, chromium: str) -> None:
    events = [
        event("created", 0),
        event("woken", 10),
        event("registered", 12),
        event("crashed", 40, payload="Ym9vbQ=="),
        event("woken", 50, epoch=3),
        event("registered", 52, epoch=3),
        event("signal-sent", 55, epoch=3, subtype="custom"),
        event("suspended", 60, epoch=3),
        event("woken", 80, epoch=4),
        event("completed", 90, epoch=4),
    ]
    steps = [
        {"type": "checkpoint", "step_id": "a", "status": "completed", "started_at": 20, "completed_at": 20},
        {"type": "retry", "step_id": "b", "status": "failed", "started_at": 22, "completed_at": 22, "attempt": 1},
        {"type": "sleep", "step_id": "c", "status": "completed", "started_at": 53, "completed_at": 54},
    ]
    info = {"created_at": 0, "finished_at": 90, "program": "x"}
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        found = await told(page, STORY, info=info, events=events, steps=steps, now=1000)

    drawn = [(one["lane"], one["kind"], one["from"], one["to"]) for one in found["items"]]
    assert (found["from"], found["to"]) == (0, 90)
    assert sorted(drawn, key=str) == sorted(
        [
            ("waits", "rest", 0, 10),
            ("attempts", "bad", 10, 40),
            ("waits", "rest", 40, 50),
            ("attempts", "run", 50, 60),
            ("waits", "rest", 60, 80),
            ("attempts", "good", 80, 90),
            ("steps", "checkpoint", 20, None),
            ("steps", "retry", 22, None),
            ("steps", "sleep", 53, 54),
            ("signals", "sent", 55, None),
            ("events", "created", 0, None),
        ],
        key=str,
    )
    crash = next(one for one in found["items"] if one["kind"] == "bad")
    assert (crash["title"], crash["text"], crash["label"]) == ("Attempt 1 (epoch 1): crashed", "boom", "1")


async def test_what_still_goes_on_ends_now(tmp_path: Path, chromium: str) -> None:
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        info = {"created_at": 0, "finished_at": None, "program": "x"}
        runs = await told(page, STORY, info=info, events=[event("woken", 5)], steps=[], now=70)
        rests = await told(page, STORY, info=info, events=[], steps=[], now=70)

    assert [(one["lane"], one["to"], one["open"]) for one in runs["items"] if one["lane"] == "attempts"] == [
        ("attempts", 70, True)
    ]
    assert [(one["lane"], one["to"], one["open"]) for one in rests["items"]] == [("waits", 70, True)]


async def test_marks_that_would_lie_on_each_other_become_one(tmp_path: Path, chromium: str) -> None:
    script = (
        "const { clusters } = await import('/ui/timeline.js');"
        "const items = Array.from({ length: 1000 }, (_, at) => ({ from: at, kind: 'checkpoint', title: String(at) }));"
        "return clusters(items, (at) => at / 10, 7).map((one) => one.members.length);"
    )
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        found = await told(page, script)

    assert sum(found) == 1000
    assert len(found) <= 3


async def test_words_for_bytes_spans_and_colours_of_terminals(tmp_path: Path, chromium: str) -> None:
    script = (
        "const t = await import('/ui/text.js'); const { ticks } = await import('/ui/timeline.js');"
        "const { ceiling } = await import('/ui/charts.js'); const { retryId } = await import('/ui/status.js');"
        "return [t.span(820), t.span(4200), t.span(185000), t.span(187200000), t.size(3481), t.size(12),"
        "t.plain('\\u001b[1;31mred\\u001b[0m\\u0007 \\u001b]0;title\\u0007x'), t.readable('/w==').kind,"
        "t.readable(t.base64Of('{\"ä\":1}')).text,"
        "t.programName('image:0123456789abcdef0123456789abcdef@3'), ticks(0, 0, 1000, 5).map((one) => one.text),"
        "ceiling(0), ceiling(7), ceiling(130), retryId('order'), retryId('order.r9')];"
    )
    async with open_world(tmp_path, chromium) as world:
        page = await world.visit()
        found = await told(page, script)

    assert found == [
        *("820 ms", "4.2 s", "3 min 5 s", "2 d 4 h", "3.4 KiB", "12 B"),
        *("red x", "binary", '{\n  "ä": 1\n}', "image 01234567 v3"),
        ["0", "+200 ms", "+400 ms", "+600 ms", "+800 ms", "+1.0 s"],
        *(1, 10, 200, "order.r1", "order.r10"),
    ]

"""What is sent as it is: the content of images, whole and in part, and what programs have written."""

import hashlib
from pathlib import Path

from tests.transport.http.house import open_house

SCRIPT = b"#!/bin/sh\n" + bytes(range(256)) * 8_192
DIGEST = hashlib.sha256(SCRIPT).hexdigest()


async def test_an_image_comes_back_as_it_was_pushed_whole_or_in_part(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.push("tool", SCRIPT, DIGEST)
        whole = await house.ask("GET", "/images/tool/content")
        part = await house.ask("GET", "/images/tool/content", headers={"Range": "bytes=2-5"})
        rest = await house.ask("GET", "/images/tool/content", headers={"Range": f"bytes={len(SCRIPT) - 3}-"})
        none = await house.refused("GET", "/images/tool/content", headers={"Range": f"bytes={len(SCRIPT)}-"})
        some = await house.ask("GET", "/images/tool/content", params={"offset": 1, "limit": 4})
        head = await house.ask("HEAD", "/images/tool/content")
        known = await house.ask("GET", "/images/tool/content", headers={"If-None-Match": f'"{DIGEST}"'})
        as_json = await house.ask("GET", "/images/tool/content?limit=3", headers={"Accept": "application/json"})

    assert (whole.content == SCRIPT, whole.headers["etag"]) == (True, f'"{DIGEST}"')
    assert whole.headers["content-disposition"] == "attachment"
    assert (part.status_code, part.content) == (206, SCRIPT[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(SCRIPT)}"
    assert rest.content == SCRIPT[-3:]
    assert none[0] == 416
    assert some.content == SCRIPT[1:5]
    assert (head.content, head.headers["content-length"]) == (b"", str(len(SCRIPT)))
    assert (known.status_code, known.content) == (304, b"")
    assert as_json.json()["size"] == len(SCRIPT)


async def test_what_a_program_writes_is_text_for_who_asks_for_text_until_it_ends(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        house.write_program("talker", "echo one; echo '<b>two</b>'")
        body = {"program": "talker", "instance_id": "a"}
        await house.ask("POST", "/instances", json=body)
        text = await house.ask("GET", "/instances/a/log", params={"wait_ms": 10_000}, headers={"Accept": "text/plain"})
        later = await house.ask("GET", "/instances/a/log?offset=4", headers={"Accept": "text/plain"})
        as_json = await house.ask("GET", "/instances/a/log")
        nobody = await house.refused("GET", "/instances/b/log", headers={"Accept": "text/plain"})

    assert text.text == "one\n<b>two</b>\n"
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert (later.text, later.headers["runtara-log-offset"]) == ("<b>two</b>\n", "4")
    assert as_json.json()["type"] == "LogRead"
    assert nobody[0] == 404

"""Images in one request: raw and as a form, interrupted and resumed, and never held as a whole."""

import hashlib
from pathlib import Path

import httpx
import pytest
import trio

from tests.transport.http.house import House, open_house

SCRIPT = b"#!/bin/sh\necho hello\n"
DIGEST = hashlib.sha256(SCRIPT).hexdigest()
QUERY = {"name": "tool", "kind": "executable", "digest": DIGEST}


async def content_of(house: House, name: str) -> bytes:
    answer = await house.ask("GET", f"/images/{name}/content")
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_the_body_is_the_image_and_the_same_upload_again_changes_nothing(tmp_path: Path) -> None:
    query = {**QUERY, "description": "says hello", "metadata": '{"team": "a"}', "options": '{"env": {"A": "1"}}'}
    async with open_house(tmp_path) as house:
        first = await house.ask("POST", "/images/upload", params=query, content=SCRIPT)
        again = await house.ask("POST", "/images/upload", params=query, content=SCRIPT)
        found = await content_of(house, "tool")

    image = first.json()
    assert (first.status_code, again.status_code, found) == (201, 200, SCRIPT)
    assert (image["name"], image["size"], image["options"]["env"]) == ("tool", len(SCRIPT), {"A": "1"})
    assert first.headers["location"] == f"/api/v1/images/{image['image_id']}"
    assert again.json()["version"] == image["version"] == 1


async def test_a_form_as_older_clients_send_it_is_an_upload_too(tmp_path: Path) -> None:
    fields = {
        "tenant_id": "default",
        "name": "tool",
        "runner_type": "native",
        "sha256": DIGEST.upper(),
        "metadata": "{}",
    }
    async with open_house(tmp_path) as house:
        answer = await house.ask("POST", "/images/upload", data=fields, files={"binary": ("tool", SCRIPT)})
        again = await house.ask("POST", "/images/upload", data=fields, files={"binary": ("tool", SCRIPT)})
        found = await content_of(house, "tool")

    assert (answer.status_code, answer.json()["kind"], found) == (201, "executable", SCRIPT)
    assert (again.status_code, again.json()["size"]) == (200, len(SCRIPT))


BINARY = ("binary", ("tool", SCRIPT))


@pytest.mark.parametrize(
    ("fields", "files", "status", "said"),
    [
        ({"name": "tool", "runner_type": "native"}, [BINARY], 400, "sha256"),
        ({"name": "tool", "sha256": DIGEST, "kind": "riddle"}, [BINARY], 400, "kind"),
        ({"name": "tool", "sha256": DIGEST, "colour": "red"}, [BINARY], 400, "colour"),
        ({"name": "tool", "sha256": DIGEST, "tenant_id": "other"}, [BINARY], 404, "other"),
        ({"name": "tool", "sha256": DIGEST}, [("more", ("x", b"y"))], 400, "no file"),
        ({"name": "tool", "sha256": DIGEST}, [BINARY, ("more", ("x", b"y"))], 400, "behind the file"),
        ({"name": "tool", "sha256": "0" * 64, "runner_type": "native"}, [BINARY], 400, "hash the file again"),
    ],
)
async def test_a_form_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, fields: dict[str, str], files: list[tuple[str, tuple[str, bytes]]], status: int, said: str
) -> None:
    async with open_house(tmp_path) as house:
        found, _, text = await house.refused("POST", "/images/upload", data=fields, files=files)

    assert (found, said in text) == (status, True), text


async def test_an_upload_that_was_cut_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    content = SCRIPT + bytes(3 * 1024 * 1024)
    query = {**QUERY, "digest": hashlib.sha256(content).hexdigest()}
    async with open_house(tmp_path) as house:
        target = httpx.URL(house.client.base_url, path="/api/v1/images/upload", params=query).raw_path
        stream = await trio.open_tcp_stream("127.0.0.1", house.client.base_url.port or 0)
        async with stream:
            head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (target, len(content))
            await stream.send_all(head + content[: 2 * 1024 * 1024 + 5])
        begun = {**query, "size": len(content)}
        while (await house.ask("POST", "/images", json=begun)).json()["offset"] < 1024 * 1024:
            await trio.lowlevel.checkpoint()  # what was sent before the end still arrives
        whole = await house.ask("POST", "/images/upload", params=query, content=content)

    assert (whole.status_code, whole.json()["size"]) == (201, len(content))


async def test_what_is_too_large_for_an_image_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with open_house(tmp_path, image_max_bytes=100) as house:
        status, code, _ = await house.refused("POST", "/images/upload", params=QUERY, content=bytes(101))

    assert (status, code) == (413, "too-large")


async def test_an_upload_whose_length_nobody_knows_arrives_as_well(tmp_path: Path) -> None:
    async def pieces() -> object:
        yield SCRIPT[:5]
        yield SCRIPT[5:]

    async with open_house(tmp_path) as house:
        answer = await house.ask("POST", "/images/upload", params=QUERY, content=pieces())

    assert (answer.status_code, answer.json()["size"]) == (201, len(SCRIPT))

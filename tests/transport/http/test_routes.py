"""Every operation over HTTP: the same rules as at every door, and what HTTP adds to them."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.endpoints import ENDPOINTS
from runtara.messages import GetCheckpoint, GetImage, GetSchedule, GetStatus
from tests.transport.http.house import open_house

FIRST = {"Runtara-Epoch": "1"}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_program_lives_over_http_from_its_registration_to_its_end(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        registered = await house.register("one")
        program = {"Authorization": f"Bearer {registered['token']}"}

        saved = await house.ask(
            "POST",
            "/instances/one/checkpoint",
            json={"checkpoint_id": "a/b c", "state": encoded(b"x")},
            headers=program,
        )
        again = await house.ask(
            "POST",
            "/instances/one/checkpoint",
            json={"checkpoint_id": "a/b c", "state": encoded(b"other")},
            headers=program,
        )
        found = await house.ask("GET", "/instances/one/checkpoints/a%2Fb%20c")
        ended = await house.ask("POST", "/instances/one/completed", json={"output": encoded(b"done")}, headers=program)
        status = await house.ask("GET", "/instances/one")

    assert (saved.json()["found"], again.json()["found"], again.json()["state"]) == (False, True, encoded(b"x"))
    assert found.json()["state"] == encoded(b"x")
    assert ended.json()["status"] == "completed"
    assert status.json()["output"] == encoded(b"done")


async def test_an_older_attempt_is_fenced_off_by_its_epoch(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.register("one")
        await house.register("one", "second")
        save = {"checkpoint_id": "a", "state": ""}

        late = await house.refused("POST", "/instances/one/checkpoint", json=save, headers={"Runtara-Epoch": "1"})
        now = await house.ask("POST", "/instances/one/checkpoint", json=save, headers={"Runtara-Epoch": "2"})

    assert late[:2] == (409, "fenced")
    assert now.status_code == 200


async def test_what_comes_into_being_is_201_and_says_where_it_is_and_the_same_again_is_200(tmp_path: Path) -> None:
    body = {"program": "later", "instance_id": "a+b", "start_at": 4_000_000_000_000}
    async with open_house(tmp_path) as house:
        house.write_program("later")
        first = await house.ask("POST", "/instances", json=body)
        again = await house.ask("POST", "/instances", json=body)
        other = await house.refused("POST", "/instances", json={**body, "priority": 3})
        signal = await house.ask("POST", "/instances/a%2Bb/signals", json={"kind": "cancel", "signal_id": "s"})
        signal_again = await house.ask("POST", "/instances/a+b/signals", json={"kind": "cancel", "signal_id": "s"})

    assert (first.status_code, first.headers["location"]) == (201, "/api/v1/instances/a%2Bb")
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert other[:2] == (409, "already-exists")
    assert (signal.status_code, signal_again.status_code) == (201, 200)


async def test_the_same_idempotency_key_means_the_same_instance_and_another_one_another(tmp_path: Path) -> None:
    body = {"program": "later", "start_at": 4_000_000_000_000}
    async with open_house(tmp_path) as house:
        house.write_program("later")
        first, again, other = [
            (await house.ask("POST", "/instances", json=body, headers={"Idempotency-Key": key})).json()
            for key in ("one", "one", "two")
        ]
        bad = await house.refused("POST", "/instances", json=body, headers={"Idempotency-Key": "a b"})

    assert first["instance_id"] == again["instance_id"] != other["instance_id"]
    assert (first["created"], again["created"], other["created"]) == (True, False, True)
    assert bad[:2] == (400, "invalid-input")


JSON = {"content-type": "application/json"}

WRONG: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/instances/nobody", {}, 404, "nobody"),
    ("GET", "/instances/%FF", {}, 400, "UTF-8"),
    ("GET", "/instances/a%20b", {}, 400, "instance id"),
    ("GET", "/instances?limit=0", {}, 400, "limit"),
    ("GET", "/instances?limit=x", {}, 400, "$.limit"),
    ("GET", "/instances?limit=1&limit=2", {}, 400, "twice"),
    ("GET", "/instances?colour=red", {}, 400, "colour"),
    ("GET", "/tree?deep=1", {}, 400, "no query"),
    ("POST", "/instances", {"json": {}}, 400, "program"),
    ("POST", "/instances", {"json": {"program": 1}}, 400, "$.program"),
    ("POST", "/instances", {"json": {"program": "a", "owner": "me"}}, 400, "owner"),
    ("POST", "/instances", {"json": {"program": "a", "input": "?"}}, 400, "base64"),
    ("POST", "/instances", {"content": b"program=a"}, 415, "application/json"),
    (
        "POST",
        "/instances",
        {"content": b'{"program":', "headers": {"content-type": "application/json"}},
        400,
        "truncated",
    ),
    (
        "POST",
        "/bulk/starts",
        {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
        400,
        "",
    ),
    ("DELETE", "/schedules/a", {"headers": {"accept": "text/html"}}, 406, "application/json"),
    ("DELETE", "/instances", {}, 405, "Allow"),
    ("GET", "/nothing/here", {}, 404, "/docs"),
    ("GET", "/instances/a/checkpoints/", {}, 404, ""),
    ("GET", "/instances/a", {"headers": {"runtara-timeout-ms": "soon"}}, 400, "Timeout"),
    ("POST", "/chores/dusting", {}, 400, "chore"),
]


async def test_what_is_wrong_with_a_request_is_said(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        for verb, path, options, status, said in WRONG:
            found, _, text = await house.refused(verb, path, **options)

            assert (found, said in text) == (status, True), f"{verb} {path}: {found} {text}"


async def test_a_body_over_the_bound_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with open_house(tmp_path, state_max_bytes=1_000) as house:
        async with await trio.open_tcp_stream("127.0.0.1", house.client.base_url.port or 0) as stream:
            head = b"POST /api/v1/instances HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            await stream.send_all(head + b"Content-Length: 100000000\r\n\r\n")
            answer = await stream.receive_some()
        inside = await house.refused(
            "POST", "/instances", json={"program": "a", "input": encoded(bytes(1_001)), "instance_id": "a"}
        )

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert inside[:2] == (413, "too-large")


@pytest.mark.parametrize("kind", [GetStatus, GetImage, GetSchedule, GetCheckpoint])
async def test_what_has_not_changed_is_not_sent_again(tmp_path: Path, kind: type) -> None:
    async with open_house(tmp_path) as house:
        await house.register("one")
        await house.ask("POST", "/instances/one/checkpoint", json={"checkpoint_id": "c", "state": ""}, headers=FIRST)
        house.write_program("p")
        plan = {"every_ms": 1_000_000, "start": {"type": "StartInstance", "program": "p"}, "paused": True}
        await house.ask("PUT", "/schedules/nightly", json={"plan": plan})
        text = b"#!/bin/sh\n"
        await house.push("tool", text, hashlib.sha256(text).hexdigest())
        path = (
            ENDPOINTS[kind]
            .path.removeprefix("/api/v1")
            .format(instance_id="one", image="tool", name="nightly", checkpoint_id="c")
        )
        first = await house.ask("GET", path)
        again = await house.ask("GET", path, headers={"If-None-Match": first.headers["etag"]})
        changed = await house.ask("GET", path, headers={"If-None-Match": '"another"'})

    assert (first.status_code, again.status_code, changed.status_code) == (200, 304, 200)
    assert (again.content, again.headers["etag"]) == (b"", first.headers["etag"])
    assert "content-type" not in again.headers


async def test_pages_follow_each_other_by_cursor_and_by_link(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        for number in range(5):
            await house.register(f"n{number}")
        path, seen = "/instances?limit=2&prefix=n", list[str]()
        while path:
            answer = await house.ask("GET", path)
            seen += [row["instance_id"] for row in answer.json()["instances"]]
            link = answer.links.get("next", {}).get("url")
            path = "" if link is None else link.removeprefix("/api/v1")
        running = await house.ask("GET", "/instances", params={"status": "running"})
        failed = await house.ask("GET", "/instances", params={"status": "failed"})

    assert seen == [f"n{number}" for number in range(5)]
    assert (len(running.json()["instances"]), failed.json()["instances"]) == (5, [])


async def test_head_says_what_get_would_and_options_says_what_there_is(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.register("one")
        got = await house.ask("GET", "/instances/one/input")
        head = await house.ask("HEAD", "/instances/one/input")
        options = await house.ask("OPTIONS", "/instances/one/signals")
        schedules = await house.ask("OPTIONS", "/schedules/x")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert schedules.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


async def test_a_key_speaks_for_its_own_tenant_only(tmp_path: Path) -> None:
    async with open_house(tmp_path, require_credentials=True) as house:
        acme = {"Authorization": f"Bearer {house.keys.add('acme')}"}
        other = {"Authorization": f"Bearer {house.keys.add('other')}"}
        await house.ask("POST", "/instances/one/register", json={"attempt_id": "a"}, headers=acme)

        own = await house.ask("GET", "/instances/one", headers=acme)
        foreign = await house.refused("GET", "/instances/one", headers=other)
        claimed = await house.refused("GET", "/instances/one", headers={**other, "Runtara-Tenant-Id": "acme"})
        nobody = await house.ask("GET", "/instances/one")
        wrong = await house.refused("GET", "/instances/one", headers={"Authorization": "Basic abc"})

    assert own.json()["tenant_id"] == "acme"
    assert foreign[:2] == (404, "instance-not-found")
    assert claimed[:2] == (401, "unauthenticated")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="runtara"')
    assert wrong[:2] == (401, "unauthenticated")


async def test_a_token_opens_its_own_instance_only_and_nothing_of_a_manager(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        token = (await house.register("one"))["token"]
        await house.register("two")
        head = {"Authorization": f"Bearer {token}", "Runtara-Instance-Id": "one"}

        other = await house.refused("GET", "/instances/two", headers=head)
        manager = await house.refused("GET", "/instances", headers=head)
        alive = await house.ask("POST", "/instances/one/heartbeat", headers=head)

    assert other[:2] == (404, "instance-not-found")
    assert manager[:2] == (403, "forbidden")
    assert alive.json()["status"] == "running"


async def test_a_checkpoint_that_is_not_there_is_not_found_and_no_input_is_null(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.register("one")
        missing = await house.refused("GET", "/instances/one/checkpoints/none")
        nothing = await house.ask("GET", "/instances/one/input")

    assert missing[:2] == (404, "not-found")
    assert (nothing.status_code, nothing.json()["input"]) == (200, None)


async def test_the_tree_is_json_and_not_a_text_that_holds_json(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        tree = (await house.ask("GET", "/tree")).json()

    assert tree["path"] == "root"
    assert "root/edges/http" in {child["path"] for part in tree["children"] for child in part["children"]}


async def test_a_host_that_goes_down_says_when_to_come_back(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        house.host.gate.drain()

        answer = await house.ask("POST", "/instances", json={"program": "p", "instance_id": "new"})

    assert (answer.status_code, answer.json()["code"], answer.json()["retry"]) == (503, "draining", "safe")
    assert int(answer.headers["retry-after"]) >= 1

"""What is true of every request and every WebSocket: origins, errors, and that each is counted."""

from pathlib import Path

import trio

from tests.transport.http.house import House, open_house


async def test_a_page_of_somebody_else_changes_nothing_even_where_no_credential_is_asked_for(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        body = {"attempt_id": "a"}
        foreign = await house.refused(
            "POST", "/instances/one/register", json=body, headers={"Origin": "https://evil.example"}
        )
        cross = await house.refused(
            "POST", "/instances/one/register", json=body, headers={"Sec-Fetch-Site": "cross-site"}
        )
        after = await house.refused("GET", "/instances/one")

    assert (foreign[0], cross[0], after[0]) == (403, 403, 404)


async def upgraded(house: House, path: str, *more: bytes) -> bytes:
    """Ask for a WebSocket, and return the answer."""
    lines = [
        f"GET {path} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *more,
        b"",
        b"",
    ]
    async with await trio.open_tcp_stream("127.0.0.1", house.client.base_url.port or 0) as stream:
        await stream.send_all(b"\r\n".join(lines))
        answer = bytes(await stream.receive_some())
        while b"101" not in answer[:12] and not answer.endswith(b"}"):  # the problem that says why not
            answer += await stream.receive_some()
    return answer


async def test_a_page_of_somebody_else_opens_no_websocket(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        evil = b"Origin: https://evil.example"
        foreign = [await upgraded(house, f"/api/v1/{name}", evil) for name in ("live", "session")]
        nowhere = await upgraded(house, "/api/v1/nothing")
        ours = await upgraded(house, "/api/v1/live", b"Origin: http://localhost")

    assert [line[:12] for line in foreign] == [b"HTTP/1.1 403"] * 2
    assert all(b"name their origin in RUNTARA_HTTP_ORIGINS" in answer for answer in foreign)
    assert (nowhere[:12], b"there is no WebSocket here" in nowhere) == (b"HTTP/1.1 404", True)
    assert ours[:12] == b"HTTP/1.1 101"


async def test_whoever_asks_for_a_websocket_in_another_way_is_told_how(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        silent = await upgraded(house, "/api/v1/session")
        other = await upgraded(house, "/api/v1/session", b"Sec-WebSocket-Protocol: chat")
        right = await upgraded(house, "/api/v1/session", b"Sec-WebSocket-Protocol: chat, runtara.2")
        plain = await house.ask("GET", "/live")

    for answer in (silent, other):
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"content-type: application/problem+json" in answer
        assert b"held in the sub-protocol runtara.2: offer that" in answer
    assert right.startswith(b"HTTP/1.1 101")
    assert (plain.status_code, plain.headers["upgrade"]) == (426, "websocket")
    assert plain.json()["detail"] == "/api/v1/live is a WebSocket: ask for an upgrade to one"


async def test_there_is_no_cross_origin_answer_for_anybody(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        preflight = await house.ask(
            "OPTIONS",
            "/instances",
            headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        )
        read = await house.ask("GET", "/health", headers={"Origin": "https://evil.example"})

    for answer in (preflight, read):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_every_request_is_counted_under_the_pattern_of_its_path(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.ask("GET", "/instances/nobody")
        await house.ask("GET", "/no/such/path")
        metrics = (await house.client.get("/metrics")).text

    assert (
        'runtara_http_requests_total{method="GET",route="/api/v1/instances/{instance_id}",status="404"} 1.0' in metrics
    )
    assert 'runtara_http_requests_total{method="GET",route="other",status="404"} 1.0' in metrics
    assert "nobody" not in metrics


async def test_many_ask_at_once_and_one_who_goes_away_disturbs_nobody(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.register("one")
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await house.ask("GET", "/instances/one")).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        async with await trio.open_tcp_stream("127.0.0.1", house.client.base_url.port or 0) as stream:
            await stream.send_all(b"GET /api/v1/instances/one HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await ask()

    assert statuses == [200] * 21

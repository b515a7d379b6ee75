"""Hostile bytes and slow crowds at a live server: each is answered as it should be, and nobody else is disturbed."""

import random
import re
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

from tests.house.source import ROOT
from tests.requirements import require
from tests.transport.http.hostile import BODIES, HEADS, WEBSOCKET, get, post
from tests.transport.http.serving import Serving, echo, open_server

P99_S = 0.25


async def said_to(serving: Serving, sent: bytes) -> bytes:
    """Say something, and return what the server says until it closes."""
    async with serving.client() as client:
        with suppress(trio.BrokenResourceError):  # it may be answered before it was all said
            await client.say(sent)
        return await client.rest()


async def test_every_hostile_request_is_answered_with_its_status_and_the_connection_closed() -> None:
    told: dict[str, tuple[bytes, int]] = {}
    async with open_server() as serving:
        for name, (sent, status) in (HEADS | BODIES).items():
            with trio.fail_after(60):
                told[name] = (await said_to(serving, sent), status)
        async with serving.client() as honest:
            assert await honest.get() == b""
        facts = serving.facts

    last = {name: re.findall(rb"HTTP/1\.1 ([0-9]{3})", heard)[-1] for name, (heard, _) in told.items()}
    assert last == {name: b"%d" % status for name, (_, status) in told.items()}
    assert all(heard.count(b"application/problem+json") == 1 for heard, _ in told.values())
    assert all(heard.count(b"Connection: close") == 1 for heard, _ in told.values())
    assert facts.get("failures") is None


def mutant(chance: random.Random) -> bytes:
    """Something that was a request once, or never."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.randint(0, 300))
    seeds = [get(), get(*WEBSOCKET) + b"\x81\x85abcdhello", post(b"Content-Length: 5", body=b"hello")]
    seeds += [post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), get(b"Connection: close")]
    seeds += [sent for sent, _ in (HEADS | BODIES).values()]
    data = bytearray(chance.choice(seeds) + chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.choice((0, 0, 1, 4))] = chance.choice(
            (b"", b"\r\n", b"\n", b"\r", b" ", b":", b"\x00", b"\xff", b"0", b"GET / HTTP/1.1\r\n", chance.randbytes(3))
        )
    return bytes(data)


async def bombard(serving: Serving, count: int, seed: int) -> None:
    chance = random.Random(seed)
    limit = trio.CapacityLimiter(32)

    async def one(sent: bytes) -> None:
        async with limit, serving.client() as client:
            for piece in (sent[: len(sent) // 2], sent[len(sent) // 2 :]):
                try:
                    await client.say(piece)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            try:
                await client.stream.send_eof()
            except (trio.BrokenResourceError, OSError):
                return
            await client.rest()
            assert b"HTTP/1.1 500" not in client.heard

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one, mutant(chance))


async def test_noise_is_never_a_failure() -> None:
    async with open_server(http_idle_timeout_ms=500, http_head_timeout_ms=500) as serving:
        await bombard(serving, 150, seed=1)
        async with serving.client() as honest:
            assert await honest.get() == b""
        facts = serving.facts

    assert facts.get("failures") is None


@pytest.mark.slow
async def test_much_noise_is_never_a_failure() -> None:
    async with open_server(http_idle_timeout_ms=500, http_head_timeout_ms=500) as serving:
        await bombard(serving, 2_000, seed=2)
        async with serving.client() as honest:
            assert await honest.get() == b""
        facts = serving.facts

    assert facts.get("failures") is None


async def test_frames_of_noise_are_never_a_failure() -> None:
    chance = random.Random(3)
    async with open_server() as serving:
        for number in range(100):
            async with serving.client() as client:
                await client.say(get(*WEBSOCKET))
                await client.until(b"\r\n\r\n")
                frame = bytes([0x80 | number % 16 if number % 3 else number, 0x80 | chance.randint(0, 127)])
                try:
                    await client.say(frame + chance.randbytes(chance.randint(0, 300)))
                    await client.stream.send_eof()
                except trio.BrokenResourceError:
                    continue
                await client.rest()
        facts = serving.facts

    assert facts.get("failures") is None
    assert facts["websocket"] == 100


async def much(scope: Any, receive: Any, send: Any) -> None:
    """The echo, and a path with an answer that fills every buffer."""
    if scope.get("path") != "/much":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})


@asynccontextmanager
async def crowded(serving: Serving, count: int) -> AsyncIterator[None]:
    """Have so many slow clients there."""
    command = [sys.executable, "-m", "tests.transport.http.crowd", str(serving.host), str(serving.port), str(count)]
    async with trio.open_nursery() as nursery:
        start: Any = trio.run_process
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": ROOT}
        crowd: trio.Process = await nursery.start(
            lambda task_status: start(command, task_status=task_status, **options)
        )
        assert crowd.stdout is not None
        assert crowd.stdin is not None
        assert await crowd.stdout.receive_some() == b"ready\n"
        yield
        await crowd.stdin.aclose()


async def waits(serving: Serving, count: int) -> list[float]:
    """How long an honest client waits for answers, in seconds, the shortest first."""
    found = []
    async with serving.client() as client:
        for _ in range(count):
            began = trio.current_time()
            await client.get(b"/", b"Content-Length: 5", method=b"POST", body=b"hello")
            found.append(trio.current_time() - began)
    return sorted(found)


async def test_an_honest_client_is_served_beside_hundreds_of_slow_ones() -> None:
    async with open_server(much, http_head_timeout_ms=300, http_write_timeout_ms=300) as serving:
        async with crowded(serving, 300):
            found = await waits(serving, 50)
            connections = serving.facts["connections"]
        facts = serving.facts

    assert connections > 100
    assert found[49] < 2
    assert facts.get("failures") is None


@pytest.mark.slow
async def test_an_honest_client_is_served_at_once_beside_thousands_of_slow_ones(record_property: Any) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    require("a limit of 6,000 open files", "5,000 connections are to be open at once", found=hard >= 6_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(6_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), hard))
    patient: Any = {"http_head_timeout_ms": 60_000, "http_idle_timeout_ms": 60_000, "http_write_timeout_ms": 60_000}
    async with open_server(much, **patient) as serving, crowded(serving, 5_000):
        await waits(serving, 50)  # until what the deaf have asked for fills their buffers
        found = await waits(serving, 1_000)
        facts = serving.facts
    p99 = found[989]
    figures = f"p50 {found[499] * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms; {facts}"

    assert facts["connections"] > 4_000, figures
    assert facts.get("failures") is None, figures
    assert p99 <= P99_S, figures
    record_property("slow connections", figures)


async def test_a_client_that_does_not_read_is_let_go_in_time() -> None:
    ended = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await much(scope, receive, send)
        finally:
            ended.set()

    async with open_server(app, http_write_timeout_ms=100) as serving, serving.client() as client:
        await client.say(b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with trio.fail_after(60):
            await ended.wait()
            while serving.facts["connections"]:
                await serving.server._left.wait()
        facts = serving.facts

    assert facts.get("failures") is None


async def test_slow_heads_and_idle_connections_are_closed_in_time() -> None:
    async with (
        open_server(http_head_timeout_ms=300, http_idle_timeout_ms=1_500) as serving,
        serving.client() as slow,
        serving.client() as idle,
    ):
        await slow.say(b"GET / HTTP/1.1\r\nHost:")
        told = await slow.rest()
        silent = await idle.rest()

    assert told.startswith(b"HTTP/1.1 408")
    assert silent == b""

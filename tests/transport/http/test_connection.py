"""What becomes of a connection whose application or peer does not do what one would expect."""

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from runtara.clock import ManualClock
from runtara.transport.http._connection import House
from runtara.transport.http._guard import Broken
from tests.transport.http.hostile import WEBSOCKET, get, post
from tests.transport.http.serving import echo, open_server

UNAUTHORIZED = {"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]}


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers without reading."""
    await send(UNAUTHORIZED)
    await send({"type": "http.response.body", "body": b"no"})


@pytest.mark.parametrize("size", [100, 100_000, 20_000_000])
async def test_an_answer_is_heard_although_nobody_reads_the_body(size: int) -> None:
    async with open_server(refuse) as serving, serving.client() as client:
        await client.say(post(b"Content-Length: %d" % size))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_say_much, client, size)
            heard = await client.rest()

    assert heard.startswith(b"HTTP/1.1 401")
    assert heard.endswith(b"no")


async def _say_much(client: Any, size: int) -> None:
    try:
        await client.say(bytes(size))
    except trio.BrokenResourceError:
        return


async def test_a_small_body_that_nobody_reads_does_not_end_the_connection() -> None:
    async with open_server(refuse) as serving, serving.client() as client:
        for _ in range(3):
            assert await client.get(b"/", b"Content-Length: 5", method=b"POST", body=b"hello") == b"no"
        facts = serving.facts

    assert facts["accepted"] == 1


async def test_a_client_that_says_nothing_more_still_hears_its_answer() -> None:
    go = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        await client.say(post(b"Content-Length: 5", body=b"hello"))
        await client.stream.send_eof()
        await wait_all_tasks_blocked()
        go.set()
        heard = await client.rest()

    assert heard.endswith(b"\r\n\r\nhello")


async def test_an_application_hears_that_its_client_has_gone_and_cannot_speak_to_it() -> None:
    ended = trio.Event()
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())
        heard.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        except OSError as error:
            heard.append(error)
            raise
        finally:
            ended.set()

    async with open_server(app) as serving:
        async with serving.client() as client:
            await client.say(get())
        await ended.wait()
        while serving.facts["connections"]:
            await serving.server._left.wait()
        facts = serving.facts

    assert [message["type"] for message in heard[:2]] == ["http.request", "http.disconnect"]
    assert isinstance(heard[2], Broken)
    assert facts.get("failures") is None


async def test_a_client_that_goes_in_the_middle_of_a_nursery_is_no_failure() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pour, send)

    async with open_server(app) as serving:
        async with serving.client() as client:
            await client.say(get())
            await client.until(b"xxx")
        while serving.facts["connections"]:
            await serving.server._left.wait()
        facts = serving.facts

    assert facts.get("failures") is None


async def _pour(send: Any) -> None:
    while True:
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})


async def test_a_body_that_breaks_off_in_disorder_is_refused_before_the_application_answers() -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            heard.append(message)
        heard.append(message)
        await refuse(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        await client.say(post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
        await wait_all_tasks_blocked()
        await client.say(b"nonsense\r\n")
        said = await client.rest()
        facts = serving.facts

    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1 ") == 1
    assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]
    assert facts.get("failures") is None


async def test_a_body_in_disorder_breaks_off_an_answer_that_has_begun() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] == "http.request":
            pass
        await send({"type": "http.response.body", "body": b"ended"})

    async with open_server(app) as serving, serving.client() as client:
        await client.say(post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
        await client.until(b"begun")
        await client.say(b"nonsense\r\n")
        rest = await client.rest()

    assert b"HTTP/1.1" not in rest
    assert not rest.endswith(b"0\r\n\r\n")


async def test_frames_before_a_websocket_is_open_are_refused() -> None:
    go = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        await client.say(get(*WEBSOCKET))
        await wait_all_tasks_blocked()
        await client.say(b"\x81\x80\x00\x00\x00\x00")
        await client.until(b"before the WebSocket was open")
        go.set()
        rest = await client.rest()
        facts = serving.facts

    assert b"101" not in rest
    assert facts.get("failures") is None


async def test_an_answer_that_promises_more_than_it_holds_closes_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"short"})

    async with open_server(app) as serving, serving.client() as client:
        await client.say(get())
        heard = await client.rest()
        facts = serving.facts

    assert heard.endswith(b"\r\n\r\nshort")
    assert facts["failures"] == 1


async def test_an_application_that_does_not_answer_is_a_failure_that_is_said() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async with open_server(app) as serving, serving.client() as client:
        await client.say(get())
        heard = await client.rest()

    assert heard.startswith(b"HTTP/1.1 500")


def test_every_answer_says_when_it_was_given() -> None:
    clock = ManualClock(1_700_000_000_000)
    house = House(echo, clock)
    first = house.response_headers("h11")
    clock.jump_ms(1_000)
    second = house.response_headers("h11")

    assert first == [(b"date", b"Tue, 14 Nov 2023 22:13:20 GMT")]
    assert second == [(b"date", b"Tue, 14 Nov 2023 22:13:21 GMT")]

"""WebSockets: sizes, ends, and nothing packed."""

import struct
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed

from runtara.transport.http.peer import GREETING_MAX_BYTES, peer_of
from tests.transport.http.hostile import WEBSOCKET, get
from tests.transport.http.serving import Client, open_server, open_websocket


def frame(payload: bytes, opcode: int = 2, *, final: bool = True) -> bytes:
    """A frame of a client, masked with zeros."""
    size, first = len(payload), bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        return first + bytes([0x80 | size]) + bytes(4) + payload
    if size < 65_536:
        return first + b"\xfe" + struct.pack(">H", size) + bytes(4) + payload
    return first + b"\xff" + struct.pack(">Q", size) + bytes(4) + payload


async def upgrade(client: Client, *lines: bytes) -> bytes:
    await client.say(get(*WEBSOCKET, *lines))
    return await client.until(b"\r\n\r\n")


def closing(code: int) -> bytes:
    return struct.pack(">H", code)


async def test_nothing_is_packed_although_it_is_offered() -> None:
    async with open_server() as serving, serving.client() as client:
        head = await upgrade(client, b"Sec-WebSocket-Extensions: permessage-deflate")

    assert head.startswith(b"HTTP/1.1 101")
    assert b"extensions" not in head.lower()


async def test_a_message_that_is_too_large_ends_the_connection() -> None:
    async with open_server() as serving, open_websocket(f"ws://{serving.authority}/") as socket:
        await socket.send_message(bytes(GREETING_MAX_BYTES))
        echo = await socket.get_message()
        await socket.send_message(bytes(GREETING_MAX_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()

    assert len(echo) == GREETING_MAX_BYTES
    assert closed.value.reason is not None
    assert closed.value.reason.code == 1009


async def test_a_message_without_an_end_is_not_kept() -> None:
    async with open_server() as serving, serving.client() as client:
        await upgrade(client)
        await client.say(frame(b"x" * 1_000, final=False))
        with pytest.raises(trio.BrokenResourceError):
            await client.say(frame(b"x" * 60_000, 0, final=False) * 1_000)
        heard = await client.rest()

    assert closing(1009) in heard


async def test_the_application_may_allow_larger_ones() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        peer_of(scope).message_max_bytes = 1_000_000
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": str(len(message["bytes"]))})
        await receive()

    async with open_server(app) as serving, open_websocket(f"ws://{serving.authority}/") as socket:
        await socket.send_message(bytes(1_000_000))
        said = await socket.get_message()

    assert said == "1000000"


async def test_what_is_no_frame_ends_the_connection_with_a_word() -> None:
    async with open_server() as serving, serving.client() as client:
        await upgrade(client)
        await client.say(b"\xff" * 20)
        heard = await client.rest()

    assert heard[:1] == b"\x88"
    assert closing(1002) in heard


async def test_a_text_that_is_no_text_ends_the_connection_with_a_word() -> None:
    async with open_server() as serving, serving.client() as client:
        await upgrade(client)
        await client.say(frame(b"\xff\xfe", 1))
        heard = await client.rest()

    assert closing(1007) in heard


async def test_the_application_hears_with_what_code_the_peer_has_closed() -> None:
    ends: list[Any] = []
    ended = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        ends.extend([await receive(), await receive()])
        ended.set()

    async with open_server(app) as serving, serving.client() as client:
        await upgrade(client)
        await client.say(frame(closing(4001) + b"bye", 8))
        heard = await client.rest()
        await ended.wait()

    assert closing(4001) in heard
    assert [(end["type"], end["code"]) for end in ends] == [("websocket.disconnect", 4001)] * 2


async def test_pings_are_answered() -> None:
    async with open_server() as serving, serving.client() as client:
        await upgrade(client)
        await client.say(frame(b"there?", 9))
        heard = await client.until(b"there?")

    assert heard == b"\x8a\x06there?"


async def test_an_application_may_refuse_a_websocket() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    async with open_server(app) as serving, serving.client() as client:
        await client.say(get(*WEBSOCKET))
        heard = await client.rest()

    assert heard.startswith(b"HTTP/1.1 401")
    assert heard.endswith(b"\r\n\r\nno")


async def test_one_that_is_closed_before_it_was_open_is_forbidden() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 1000})

    async with open_server(app) as serving, serving.client() as client:
        await client.say(get(*WEBSOCKET))
        heard = await client.rest()

    assert heard.startswith(b"HTTP/1.1 403")


async def test_a_bug_of_the_application_closes_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError("a bug")

    async with open_server(app) as serving, serving.client() as client:
        await upgrade(client)
        heard = await client.rest()
        facts = serving.facts

    assert closing(1011) in heard
    assert facts["failures"] == 1
    assert "a bug" in caplog.text

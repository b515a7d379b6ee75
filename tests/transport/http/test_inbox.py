"""An application's inbox: bounded, in order, and never in the way of the end."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from runtara.transport.http._inbox import INBOX_MAX_BYTES, Inbox

GONE = {"type": "http.disconnect"}


def piece(body: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_messages_are_received_in_their_order() -> None:
    inbox = Inbox()
    for number in range(3):
        await inbox.put(piece(b"%d" % number))

    assert [(await inbox.receive())["body"] for _ in range(3)] == [b"0", b"1", b"2"]


async def test_a_last_piece_without_content_says_so_on_the_one_before() -> None:
    inbox = Inbox()
    await inbox.put(piece(b"all of it"))
    await inbox.put(piece(b"", more=False))

    assert await inbox.receive() == piece(b"all of it", more=False)


async def test_a_last_piece_comes_alone_where_the_one_before_was_received() -> None:
    inbox = Inbox()
    await inbox.put(piece(b"a"))
    await inbox.receive()
    await inbox.put(piece(b"", more=False))

    assert await inbox.receive() == piece(b"", more=False)


async def test_who_sends_faster_than_it_is_received_waits() -> None:
    inbox, put = Inbox(), 0

    async def send() -> None:
        nonlocal put
        for _ in range(10):
            await inbox.put(piece(bytes(INBOX_MAX_BYTES // 4)))
            put += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        held = put
        for _ in range(10):
            await inbox.receive()

    assert held == 3
    assert put == 10


async def test_one_message_may_be_of_any_size() -> None:
    inbox = Inbox()

    with trio.fail_after(60):
        await inbox.put({"type": "websocket.receive", "bytes": bytes(2 * INBOX_MAX_BYTES), "text": None})

    assert len((await inbox.receive())["bytes"]) == 2 * INBOX_MAX_BYTES


async def test_that_the_peer_has_gone_is_heard_behind_the_rest_and_as_often_as_one_asks() -> None:
    inbox = Inbox()
    await inbox.put(piece(b"a", more=False))
    await inbox.put(GONE)

    assert [await inbox.receive() for _ in range(3)] == [piece(b"a", more=False), GONE, GONE]


async def test_the_first_end_counts() -> None:
    inbox = Inbox()
    await inbox.put({"type": "websocket.disconnect", "code": 1000})
    await inbox.put({"type": "websocket.disconnect", "code": 1006})

    assert (await inbox.receive())["code"] == 1000


@pytest.mark.parametrize("waits", [True, False])
async def test_nobody_waits_for_an_application_that_does_not_receive_any_more(waits: bool) -> None:
    inbox = Inbox()
    await inbox.put(piece(bytes(INBOX_MAX_BYTES)))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            if waits:
                nursery.start_soon(inbox.put, piece(b"more"))
                await wait_all_tasks_blocked()
            await inbox.put(GONE)
            await inbox.put(piece(b"too late"))

    assert [len((await inbox.receive()).get("body", b"")) for _ in range(2)] == [INBOX_MAX_BYTES, 0]


async def test_who_waits_to_receive_hears_of_the_end() -> None:
    inbox, heard = Inbox(), []

    async def receive() -> None:
        heard.append(await inbox.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await inbox.put(GONE)

    assert heard == [GONE]

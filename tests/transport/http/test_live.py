import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from trio_websocket import WebSocketConnection

from runtara.host import Host
from runtara.messages import RegisterInstance
from runtara.system import FEED
from runtara.transport.http import _live
from runtara.transport.http._live import MESSAGE_MAX_BYTES, WATCHES_MAX
from tests.actors.operations import running
from tests.actors.stage import key_of
from tests.test_host import opened
from tests.transport.http.serving import Client as RawClient
from tests.transport.http.serving import open_websocket
from tests.transport.http.watching import Gallery, open_gallery


@pytest.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Gallery]:
    async with open_gallery(tmp_path) as gallery:
        yield gallery


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[Gallery]:
    """One that asks for no credentials."""
    async with open_gallery(tmp_path, require_credentials=False) as gallery:
        yield gallery


async def start(gallery: Gallery, *names: str) -> None:
    for name in names:
        await gallery.stage.ask(name, RegisterInstance(attempt_id="a"))


async def test_a_watcher_is_told_what_happens_and_where_it_is(gallery: Gallery) -> None:
    client = gallery.meet(gallery.key())
    client.watch(number=7)
    begun = await client.hear()
    await start(gallery, "one")

    item = await client.hear()

    assert (begun["type"], begun["id"]) == ("watching", 7)
    assert (item["type"], item["id"], item["data"]["instance_id"]) == ("item", 7, "one")
    assert begun["seq"].rpartition("-")[0] == item["seq"].rpartition("-")[0]


async def test_whoever_was_cut_off_goes_on_where_he_was(gallery: Gallery) -> None:
    client = gallery.meet(key := gallery.key())
    client.watch()
    place = (await client.hear())["seq"]
    client.leave()
    await start(gallery, "one")

    again = gallery.meet(key)
    again.watch(after=place)

    assert (await again.hear("item"))["data"]["instance_id"] == "one"
    again.watch(number=2, after="elsewhere-3")
    assert (await again.hear())["type"] == "reset"


async def test_one_instance_the_tree_and_the_metrics_can_be_watched_too(
    gallery: Gallery, autojump_clock: MockClock
) -> None:
    await start(gallery, "one")
    client = gallery.meet(gallery.key())
    for number, stream in enumerate(("tree", "metrics")):
        client.watch(stream, number)
    client.watch("instance", 2, instance_id="one")

    told: dict[int, Any] = {}
    while len(told) < 3:
        item = await client.hear("item")
        told.setdefault(item["id"], item["data"])

    assert told[1]["now"] > 0
    assert told[2]["event"]["type"] == "created"


async def test_an_unwatched_stream_is_silent_and_its_number_free_again(gallery: Gallery) -> None:
    client = gallery.meet(gallery.key())
    client.watch()
    await client.hear()
    client.say(type="unwatch", id=1)
    client.say(type="unwatch", id=5)
    client.watch("instances", 1)

    assert (await client.hear())["type"] == "watching"


# Who may watch --------------------------------------------------------------------------------------------------------


async def test_without_a_credential_nothing_is_told_where_one_is_required(gallery: Gallery) -> None:
    client = gallery.meet()
    client.watch()

    (refused,) = await client.until_closed()

    assert (refused["type"], refused["id"], refused["code"]) == ("refused", 0, "unauthenticated")
    assert client.closed == 1008


async def test_a_wrong_credential_ends_it_before_anything_is_asked(gallery: Gallery) -> None:
    client = gallery.meet("nonsense")

    (refused,) = await client.until_closed()

    assert (refused["code"], client.closed) == ("unauthenticated", 1008)


@pytest.mark.parametrize("header", ["Basic x", "Bearer", "", "Bearer  "])
async def test_a_credential_that_cannot_be_read_ends_it(gallery: Gallery, header: str) -> None:
    client = gallery.meet(authorization=header)

    (refused,) = await client.until_closed()

    assert refused["code"] == "unauthenticated"


async def test_a_browser_shows_its_cookie(gallery: Gallery) -> None:
    client = gallery.meet(cookie=f"other=1; runtara={gallery.key()}")
    client.watch()

    assert (await client.hear())["type"] == "watching"


async def test_the_first_message_may_say_who_watches(gallery: Gallery) -> None:
    client = gallery.meet()
    client.say(type="hello", credential=gallery.key(), tenant_id="acme")
    client.watch()

    assert (await client.hear())["type"] == "watching"


@pytest.mark.parametrize("hello", [{"credential": "é☃"}, {"tenant_id": "globex"}, {"credential": ""}])
async def test_a_hello_that_is_not_believed_ends_it(gallery: Gallery, hello: dict[str, str]) -> None:
    client = gallery.meet()
    client.say(type="hello", **({"credential": gallery.key()} | hello))

    (refused,) = await client.until_closed()

    assert refused["code"] == "unauthenticated"


async def test_whoever_says_nothing_is_let_go(gallery: Gallery, autojump_clock: MockClock) -> None:
    client = gallery.meet()

    assert await client.until_closed() == []
    assert client.closed == 1008


async def test_where_no_credentials_are_asked_for_a_watch_may_come_first(open_house: Gallery) -> None:
    client = open_house.meet(runtara_tenant_id="acme")
    client.watch()
    await client.hear()
    await start(open_house, "one")

    assert (await client.hear())["data"]["instance_id"] == "one"


@pytest.mark.parametrize("stream", ["instances", "tree", "metrics"])
async def test_a_token_is_good_for_its_own_instance_only(gallery: Gallery, stream: str) -> None:
    await running(gallery.stage)
    await start(gallery, "other")
    client = gallery.meet(gallery.lobby.mint.mint(key_of("one"), 1), runtara_instance_id="one")
    client.watch(stream, 1)
    client.watch("instance", 2, instance_id="other")
    client.watch("instance", 3, instance_id="one")

    heard = [await client.hear() for _ in range(3)]

    assert [(one["id"], one.get("code")) for one in heard] == [
        (1, "forbidden"),
        (2, "instance-not-found"),
        (3, None),
    ]


async def test_another_tenants_instance_looks_like_none(gallery: Gallery) -> None:
    await start(gallery, "one")
    client = gallery.meet(gallery.key("globex"))
    client.watch("instance", 1, instance_id="one")
    client.watch("instance", 2, instance_id="nobody")

    theirs, nobodys = await client.hear(), await client.hear()

    assert theirs["code"] == nobodys["code"] == "instance-not-found"
    assert theirs["message"].replace("one", "nobody") == nobodys["message"]


@pytest.mark.parametrize("stream", ["instances", "instance", "tree", "metrics"])
async def test_a_key_that_may_not_read_watches_nothing(gallery: Gallery, stream: str) -> None:
    await start(gallery, "one")
    client = gallery.meet(gallery.key(role="image-push"))

    client.say(type="watch", id=1, stream=stream, instance_id="one" if stream == "instance" else None)

    assert (await client.hear())["code"] == "forbidden"


async def test_a_revoked_key_ends_the_stream_at_once(gallery: Gallery) -> None:
    key = gallery.key()
    busy, idle = gallery.meet(key), gallery.meet(key)
    for client in (busy, idle):
        client.watch()
        await client.hear()
    other = gallery.meet(gallery.key())
    other.watch()
    await other.hear()
    gallery.lobby.keys.revoke(gallery.lobby.keys.check(key).key_id)

    await start(gallery, "one")

    assert [one["code"] for one in await busy.until_closed()] == ["unauthenticated"]
    assert [one["code"] for one in await idle.until_closed()] == ["unauthenticated"]
    assert (busy.closed, idle.closed) == (1008, 1008)
    assert (await other.hear())["data"]["instance_id"] == "one"
    assert len(gallery.lobby.gate.guests) == 1


# What is not understood -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"type":"other"}',
        '{"type":"watch"}',
        '{"type":"watch","id":"1","stream":"tree"}',
        '{"type":"watch","id":1,"stream":"everything"}',
        '{"type":"watch","id":1.5,"stream":"tree"}',
        '{"type":"unwatch","id":null}',
        '{"type":"hello"}',
        '{"type":"watch","id":1,"stream":"instance","instance_id":7}',
        "[" * 10_000,
        '"\ud800"',
    ],
    ids=range(14),
)
async def test_what_nobody_understands_ends_it(gallery: Gallery, text: str) -> None:
    client = gallery.meet(gallery.key())
    client.say_text(text)

    (refused,) = await client.until_closed()

    assert (refused["code"], client.closed) == ("invalid-input", 1008)


async def test_bytes_and_long_messages_end_it_too(gallery: Gallery) -> None:
    one, two = gallery.meet(gallery.key()), gallery.meet(gallery.key())
    one.say_bytes(b"{}")
    two.say_text(" " * (MESSAGE_MAX_BYTES + 1))

    await one.until_closed()
    await two.until_closed()

    assert (one.closed, two.closed) == (1003, 1009)


@pytest.mark.parametrize(
    "fields",
    [
        {"number": -1},
        {"number": 2**53 + 1},
        {"stream": "instance"},
        {"stream": "tree", "instance_id": "one"},
        {"stream": "instance", "instance_id": "../x"},
        {"stream": "instance", "instance_id": ""},
    ],
    ids=str,
)
async def test_a_watch_that_cannot_be_is_refused_and_the_others_go_on(gallery: Gallery, fields: dict[str, Any]) -> None:
    client = gallery.meet(gallery.key())
    client.watch(**fields)
    client.watch(number=9)

    refused, begun = await client.hear(), await client.hear()

    assert refused["type"] == "refused"
    assert refused["code"] == "invalid-input"
    assert (begun["type"], begun["id"]) == ("watching", 9)


async def test_a_number_stands_for_one_watch_and_there_are_so_many(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_live, "WATCHES_MAX", 3)
    client = gallery.meet(gallery.key())
    for number in (1, 1, 2, 3, 4):
        client.watch(number=number)

    heard = [await client.hear() for _ in range(5)]

    assert WATCHES_MAX == 256
    assert sorted((one["id"], one["type"]) for one in heard) == [
        (1, "refused"),
        (1, "watching"),
        (2, "watching"),
        (3, "watching"),
        (4, "refused"),
    ]


# Who leaves, and who does not read ------------------------------------------------------------------------------------


async def test_whoever_leaves_is_forgotten(gallery: Gallery, autojump_clock: MockClock) -> None:
    client = gallery.meet(gallery.key())
    client.watch()
    await client.hear()

    client.leave()
    assert await client.until_closed() == []

    assert client.closed is None
    await trio.sleep(1)
    assert gallery.stage.facts(FEED)["watches"] == 0


async def test_a_watcher_that_takes_its_time_is_told_that_it_is_behind(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_gallery(tmp_path, live_queue=10) as gallery:
        slow, quick = gallery.meet(gallery.key()), gallery.meet(gallery.key())
        for client in (slow, quick):
            client.watch()
            await client.hear()
        slow.takes = trio.Event()
        names = [f"i{number}" for number in range(60)]

        for name in names:
            await start(gallery, name)
            await quick.hear("item")
        slow.takes.set()
        heard = await slow.until_closed()

        assert heard[-1] == {"type": "behind"}
        assert slow.closed == 1013
        assert len(heard) <= 10
        await trio.sleep(1)
        assert gallery.stage.facts(FEED)["watches"] == 1


# Over a real server ---------------------------------------------------------------------------------------------------


class Hall:
    """A real host on loopback, which asks for no credentials."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.authority = (host.http_address or "").partition("://")[2]
        self.url = f"ws://{self.authority}/api/v1/live"
        self.headers = [(b"runtara-tenant-id", b"acme")]

    @property
    def watches(self) -> int:
        """How many there are."""
        found = [info for info in self.host.runtime.system.inspect().walk() if info.path == FEED]
        return int(found[0].facts["watches"])

    async def start(self, name: str) -> None:
        await self.host.runtime.dispatch.call(key_of(name), RegisterInstance(attempt_id="a"))

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[RawClient]:
        host, _, port = self.authority.rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            for name, value in options.items():
                stream.setsockopt(sockets.SOL_SOCKET, getattr(sockets, name), value)
            yield RawClient(stream, self.authority.encode())


@asynccontextmanager
async def open_hall(folder: Path, **settings: Any) -> AsyncIterator[Hall]:
    async with opened(folder, **settings) as host:
        yield Hall(host)


async def test_what_happens_is_heard_over_a_real_connection_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, open_websocket(hall.url, extra_headers=hall.headers) as socket:
        await socket.send_message(json.dumps({"type": "watch", "id": 1, "stream": "instances"}))
        assert json.loads(await socket.get_message())["type"] == "watching"
        delays = []
        for number in range(50):
            began = trio.current_time()
            await hall.start(f"i{number}")
            item = json.loads(await socket.get_message())
            delays.append(trio.current_time() - began)
            assert item["data"]["instance_id"] == f"i{number}"

    assert sorted(delays)[len(delays) // 4] < 0.1, "a machine with much to do is late more often than not"


def handshake(hall: Hall, *lines: bytes) -> bytes:
    """The request that begins a WebSocket."""
    told = (
        b"GET /api/v1/live HTTP/1.1",
        b"Host: " + hall.authority.encode(),
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        b"Sec-WebSocket-Version: 13",
        b"Runtara-Tenant-Id: acme",
    )
    return b"\r\n".join([*told, *lines, b"", b""])


def masked(text: bytes) -> bytes:
    """A text message of a client, with a mask that changes nothing."""
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


async def test_a_page_of_somebody_else_cannot_watch(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.client() as client:
        await client.say(handshake(hall, b"Origin: http://evil.example"))

        assert b" 403 " in await client.until(b"\r\n")


async def test_a_watcher_that_stops_reading_is_let_go_and_slows_nobody(tmp_path: Path) -> None:
    """It watches the same two hundred times and takes nothing from its socket; everybody else goes on as before."""
    async with (
        open_hall(tmp_path, http_write_timeout_ms=2_000) as hall,
        hall.client(SO_RCVBUF=4_096) as stopped,
    ):
        await stopped.say(handshake(hall))
        await stopped.until(b"\r\n\r\n")
        for number in range(200):
            await stopped.say(masked(b'{"type":"watch","id":%d,"stream":"instances"}' % number))
            await stopped.until(b"watching")
        async with open_websocket(hall.url, extra_headers=hall.headers) as quick:
            await quick.send_message(json.dumps({"type": "watch", "id": 1, "stream": "instances"}))
            await quick.get_message()
            times = await _work(hall, quick)

        assert hall.watches <= 1
        assert sorted(times)[len(times) // 2] < 1.0, "far less than whoever had to wait for its socket would wait"


async def _work(hall: Hall, quick: WebSocketConnection) -> list[float]:
    """Start instances until the one who stopped is gone; return how long each took until the other one heard of it."""
    times: list[float] = []
    with trio.fail_after(60):
        while hall.watches > 1:
            began = trio.current_time()
            await hall.start(f"i{len(times)}")
            await quick.get_message()
            times.append(trio.current_time() - began)
    return times

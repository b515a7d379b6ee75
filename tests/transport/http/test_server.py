"""A real server: connections, drain, caps, and what it says of itself."""

import socket as sockets
import ssl
from typing import Any

import httpx
import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from runtara.actors import child, open_system, supervisor
from runtara.actors.edge import Drain, Edge
from runtara.errors import ConfigError, Unreachable
from runtara.settings import Settings
from runtara.transport.http.peer import peer_of
from runtara.transport.http.server import HttpServer, open_tcp_socket
from tests.transport.http.serving import echo, open_server, open_websocket


async def test_requests_are_answered_on_one_connection_after_another() -> None:
    async with open_server() as serving, serving.client() as client:
        bodies = [
            await client.get(b"/", b"Content-Length: 1", method=b"POST", body=b"%d" % number) for number in range(5)
        ]
        facts = serving.facts

    assert bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert (facts["accepted"], facts["http"], facts["connections"]) == (1, 5, 1)


async def test_the_delay_of_small_packets_is_off() -> None:
    async with open_server() as serving, serving.client() as client:
        await client.get()
        (connection,) = serving.server._connections
        nodelay = connection._stream._socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY)

    assert nodelay


async def test_a_body_in_chunks_arrives_as_it_was() -> None:
    pieces = [bytes([number]) * size for number, size in enumerate((1, 100, 100_000, 3))]

    async def body() -> Any:
        for piece in pieces:
            yield piece

    async with open_server() as serving, httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"http://{serving.authority}/", content=body())

    assert answer.content == b"".join(pieces)
    assert "server" not in answer.headers
    assert "date" in answer.headers


async def test_a_large_body_goes_both_ways() -> None:
    body = bytes(range(256)) * 40_000
    async with open_server() as serving, httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"http://{serving.authority}/", content=body)

    assert answer.content == body


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_host_names_and_both_kinds_of_addresses_are_listened_at(host: str) -> None:
    async with open_server(host=host) as serving, serving.client() as client:
        assert await client.get() == b""


async def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    async with open_server(host="::") as serving:
        serving.host = "127.0.0.1"
        async with serving.client() as client:
            assert await client.get() == b""


async def test_an_address_of_another_machine_cannot_be_listened_at() -> None:
    with pytest.raises(ConfigError, match="not an address"):
        await open_tcp_socket(Settings(host="256.256.256.256"))


async def test_a_port_that_is_taken_is_named() -> None:
    with await open_tcp_socket(Settings(env_http_port=0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(Unreachable, match=f"TCP port {port}.*RUNTARA_ENV_HTTP_PORT"):
            await open_tcp_socket(Settings(env_http_port=port))


async def test_a_websocket_says_what_it_hears() -> None:
    async with open_server() as serving, open_websocket(f"ws://{serving.authority}/") as socket:
        await socket.send_message("hällo")
        text = await socket.get_message()
        await socket.send_message(bytes(50_000))
        binary = await socket.get_message()
        facts = serving.facts

    assert text == "hällo"
    assert binary == bytes(50_000)
    assert facts["websockets"] == 1


def certificates(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(*names).configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def test_all_of_it_works_in_tls() -> None:
    server, trusting = certificates("127.0.0.1")
    body = bytes(range(256)) * 4_000
    async with open_server(tls=server) as serving, httpx.AsyncClient(verify=trusting, timeout=60) as client:
        answers = [await client.post(f"https://{serving.authority}/", content=body) for _ in range(3)]
        async with open_websocket(f"wss://{serving.authority}/", ssl_context=trusting) as socket:
            await socket.send_message("hello")
            said = await socket.get_message()
        facts = serving.facts

    assert [answer.content for answer in answers] == [body] * 3
    assert said == "hello"
    assert facts.get("failures") is None


async def test_who_does_not_speak_tls_at_a_door_that_does_is_let_go() -> None:
    server, _ = certificates("127.0.0.1")
    async with open_server(tls=server) as serving, serving.client() as client:
        await client.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heard = await client.rest()

    assert b"HTTP" not in heard
    assert serving.facts["unshaken"] == 1


async def test_a_handshake_that_never_ends_is_ended() -> None:
    server, _ = certificates("127.0.0.1")
    async with open_server(tls=server, http_head_timeout_ms=50) as serving, serving.client() as client:
        await client.say(b"\x16\x03\x01\x02\x00")
        await client.rest()

    assert serving.facts["unshaken"] == 1


async def test_no_more_connections_than_may_be() -> None:
    app = Slow()
    async with open_server(app, http_max_connections=1) as serving, serving.client() as one:
        await one.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await app.began.wait()
        async with serving.client() as two:
            turned_away = await two.rest()
        facts = serving.facts
        app.go.set()
        status, _ = await one.answer()

    assert turned_away.startswith(b"HTTP/1.1 503")
    assert facts["turned_away"] == 1
    assert status == 200


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: ", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_a_connection_without_a_request_makes_room_for_a_newcomer(said: bytes) -> None:
    async with open_server(http_max_connections=1) as serving, serving.client() as one:
        await one.say(said)
        if said.endswith(b"\r\n\r\n"):
            await one.answer()
        await wait_all_tasks_blocked(0.02)
        async with serving.client() as two:
            answered = await two.get()
            facts = serving.facts
        await one.rest()

    assert answered == b""
    assert (facts["connections"], facts["evicted"]) == (1, 1)


async def test_a_handshake_makes_room_for_a_newcomer() -> None:
    server, trusting = certificates("127.0.0.1")
    async with open_server(tls=server, http_max_connections=1) as serving, serving.client() as one:
        await one.say(b"\x16\x03\x01\x02\x00")
        await wait_all_tasks_blocked(0.02)
        async with httpx.AsyncClient(verify=trusting, timeout=60) as client:
            answer = await client.get(f"https://{serving.authority}/")
        await one.rest()

    assert answer.status_code == 200


async def test_no_more_connections_from_one_address_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.transport.http.server.party_of", lambda host: host)
    async with open_server(http_max_per_address=1) as serving, serving.client() as one:
        await one.get()
        async with serving.client() as two:
            turned_away = await two.rest()

    assert b"503" in turned_away.split(b"\r\n")[0]


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.began, self.go = trio.Event(), trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.began.set()
        await self.go.wait()
        await echo(scope, receive, send)


async def test_a_drain_waits_for_what_is_being_answered_and_closes_what_is_not() -> None:
    app = Slow()
    drained = trio.Event()

    async def drain() -> None:
        await serving.server.drain()
        drained.set()

    async with (
        open_server(app) as serving,
        serving.client() as busy,
        serving.client() as idle,
        serving.client() as half,
    ):
        async with trio.open_nursery() as nursery:
            await half.say(b"GET / HT")
            await busy.say(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
            await app.began.wait()
            nursery.start_soon(drain)
            assert await idle.rest() == b""
            assert await half.rest() == b""
            assert not drained.is_set()
            app.go.set()
            answer = await busy.rest()
            await drained.wait()
        facts = serving.facts

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()
    assert answer.endswith(b"\r\n\r\nhi")
    assert facts["connections"] == 0


async def test_a_drain_tells_websockets_to_go() -> None:
    async with open_server() as serving, open_websocket(f"ws://{serving.authority}/") as socket:
        await socket.send_message("hello")
        await socket.get_message()
        with trio.fail_after(60):
            await serving.server.drain()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()

    assert closed.value.reason is not None
    assert closed.value.reason.code == 1001


async def test_an_application_may_say_goodbye_itself() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        peer = peer_of(scope)
        peer.says_goodbye = True
        await send({"type": "websocket.accept"})
        await peer.leaving.wait()
        await send({"type": "websocket.send", "text": f"come again in {peer.retry_after_ms} ms"})
        await send({"type": "websocket.close", "code": 1012, "reason": "restart"})

    async with (
        open_server(app) as serving,
        open_websocket(f"ws://{serving.authority}/") as socket,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(serving.server.drain, 1500)
        said = await socket.get_message()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()

    assert said == "come again in 1500 ms"
    assert closed.value.reason is not None
    assert closed.value.reason.code == 1012


async def test_whoever_comes_while_the_server_drains_is_turned_away() -> None:
    async with open_server() as serving:
        await serving.server.drain()
        async with serving.client() as client:
            heard = await client.rest()

    assert heard.startswith(b"HTTP/1.1 503")


async def test_a_server_that_is_stopped_tells_its_websockets() -> None:
    async with open_server() as serving, open_websocket(f"ws://{serving.authority}/") as socket:
        await socket.send_message("hello")
        await socket.get_message()
        serving.stop.cancel()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()

    assert closed.value.reason is not None
    assert closed.value.reason.code == 1001


async def test_an_edge_runs_and_drains_it() -> None:
    settings = Settings(env_http_port=0)
    with await open_tcp_socket(settings) as socket:
        host, port = socket.getsockname()[:2]
        tree = supervisor("root", child("http", Edge, lambda: HttpServer(settings, socket, echo, None)))
        async with open_system(tree) as system, httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"http://{host}:{port}/", content=b"hello")
            facts = system.inspect().children[0].facts
            await system.ref("root/http").ask(Drain())
            after = system.inspect().children[0].facts

    assert answer.text == "hello"
    assert facts["http"] == 1
    assert after["connections"] == 0


async def test_a_bug_of_the_application_is_answered_logged_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/bug":
            raise ZeroDivisionError("a bug")
        await echo(scope, receive, send)

    async with open_server(app) as serving, serving.client() as client:
        await client.say(b"GET /bug HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, body = await client.answer()
        again = await client.get()
        facts = serving.facts

    assert status == 500
    assert b"a bug in the server" in body
    assert again == b""
    assert facts["failures"] == 1
    assert "a bug" in facts["last_failure"]
    assert "Traceback" in caplog.text


async def test_a_bug_in_one_connection_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    async with open_server() as serving, serving.client() as one, serving.client() as two:
        await one.get()
        await two.get()
        connection = next(iter(serving.server._connections))
        monkeypatch.setattr(connection._protocol, "handle", stumble)
        for client in (one, two):
            await client.say(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        heard = sorted([await one.rest(), await two.rest()])
        facts = serving.facts

    assert heard[0] == b""
    assert heard[1].startswith(b"HTTP/1.1 200")
    assert facts["failures"] == 1


async def test_descriptors_that_have_run_out_only_make_newcomers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.transport.http.server._SCARCE_WAIT", 0.05)
    scarce = [OSError(24, "too many open files"), OSError(24, "too many open files")]

    def accept(self: Any, nursery: trio.Nursery, original: Any = HttpServer._accept) -> None:
        if scarce:
            raise scarce.pop()
        original(self, nursery)

    monkeypatch.setattr(HttpServer, "_accept", accept)
    async with open_server() as serving, serving.client() as client:
        assert await client.get() == b""

    assert serving.facts["scarce"] == 2

"""Clients over TCP on bad networks, and with servers that are none. What every client does: client/test_door.py."""

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import trio

from runtara.errors import DeadlineExceeded, RuntaraError, Unreachable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    CompleteInstance,
    GetCheckpoint,
    GetHealth,
    GetStatus,
    ListEvents,
    RecordEvent,
    SaveCheckpoint,
    SendSignal,
)
from runtara.transport.client.door import RemoteDoor, ServerSpec
from runtara.transport.remote import open_remote_door
from runtara.transport.websocket._client_stream import WatchedStream
from tests.transport.client.door import A_LONG_TIME, pushed, registered, save
from tests.transport.tcp_proxy import TcpProxy
from tests.transport.websocket.serving import TcpServing
from tests.transport.websocket.visitor import BINARY, piece


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServing]:
    with TcpServing(tmp_path_factory.mktemp("data")) as running:
        yield running
        assert running.failures == []


def through(proxy: TcpProxy, name: str, scheme: str = "ws", **options: Any) -> RemoteDoor:
    """Open the door of an instance, by way of the proxy."""
    patience = {"connect_timeout": A_LONG_TIME, "request_timeout": A_LONG_TIME}
    spec = ServerSpec(address=f"{scheme}://127.0.0.1:{proxy.port}", **patience | options)
    return open_remote_door(spec, InstanceKey("default", name))


SCHEMES = pytest.mark.parametrize("scheme", ["ws", "http"])


@SCHEMES
def test_a_server_that_falls_silent_leaves_the_call_in_doubt(server: TcpServing, scheme: str) -> None:
    with TcpProxy(server.port) as proxy:
        door = registered(through(proxy, f"silent-{scheme}", scheme))
        proxy.hold()

        with pytest.raises(DeadlineExceeded, match=r"SaveCheckpoint was sent and not answered within 1 s"):
            door.call_from_thread(SaveCheckpoint(checkpoint_id="c", state=b""), timeout=1)

        proxy.hold(False)
        assert not save(door, "d")
        door.close()


@pytest.mark.slow
@SCHEMES
def test_a_way_that_swallows_everything_is_left_for_a_new_connection(server: TcpServing, scheme: str) -> None:
    with TcpProxy(server.port) as proxy:
        door = registered(through(proxy, f"swallowed-{scheme}", scheme))
        before = proxy.accepted
        proxy.hold()
        freeing = threading.Timer(3.5, proxy.cut)
        freeing.start()
        opening = threading.Timer(3.6, proxy.hold, [False])
        opening.start()

        assert not save(door, "c", request=1)

        assert proxy.accepted > before
        assert not save(door, "c", request=1)
        freeing.join()
        opening.join()
        door.close()


def session_through(proxy: TcpProxy, server: TcpServing, name: str, scheme: str, cuts: int) -> None:
    """Hold a session whose connection is cut again and again, and check at the server itself what came of it."""
    chance = random.Random(name)
    door = registered(through(proxy, name, scheme))
    for n in range(cuts):
        if chance.random() < 0.5:
            proxy.cut_after = chance.randint(0, 2_000)
        proxy.cut()
        assert not save(door, f"c{n}", b"%d" % n, request=2 * n + 1)
        door.call_from_thread(RecordEvent(subtype="step", payload=b"%d" % n, request=2 * n + 2))
    door.call_from_thread(CompleteInstance(output=b"done"))
    door.close()

    info = server.call(name, GetStatus())
    events = server.call(name, ListEvents(event_type="custom", limit=1000)).events
    assert (info.status, info.output, info.epoch, info.checkpoint_count) == (Status.COMPLETED, b"done", 1, cuts)
    assert [event.payload for event in events] == [b"%d" % n for n in range(cuts)]
    for n in range(cuts):
        assert server.call(name, GetCheckpoint(checkpoint_id=f"c{n}")).state == b"%d" % n


@SCHEMES
def test_a_session_that_is_cut_again_and_again_has_right_results(server: TcpServing, scheme: str) -> None:
    with TcpProxy(server.port) as proxy:
        session_through(proxy, server, f"cut-{scheme}", scheme, cuts=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@SCHEMES
def test_sessions_that_are_cut_many_times_have_right_results(server: TcpServing, scheme: str, seed: int) -> None:
    with TcpProxy(server.port) as proxy:
        session_through(proxy, server, f"cut-{scheme}-{seed}", scheme, cuts=40)


def test_pushes_come_again_after_a_cut(server: TcpServing) -> None:
    with TcpProxy(server.port) as proxy:
        door = registered(through(proxy, "pushed"))
        again = pushed(door, door.session.pushes)
        proxy.cut()
        assert again.wait(A_LONG_TIME)  # it was away, and looks

        heard = pushed(door, door.session.pushes)
        server.call("pushed", SendSignal(kind="cancel", signal_id="s"))

        assert heard.wait(A_LONG_TIME)
        door.close()


@pytest.mark.slow
@SCHEMES
def test_a_large_payload_on_a_slow_way_is_not_taken_for_silence(server: TcpServing, scheme: str) -> None:
    state = random.Random(1).randbytes(1_500_000)
    with TcpProxy(server.port, bytes_per_second=300_000) as proxy:
        door = registered(through(proxy, f"slow-{scheme}", scheme))
        before = proxy.accepted

        assert not save(door, "large", state)
        assert door.call_from_thread(GetCheckpoint(checkpoint_id="large")).state == state

        assert proxy.accepted - before < 3
        door.close()


# Servers that are none ------------------------------------------------------------------------------------------------

WELCOME = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: runtara.2\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)

ANSWERS = {
    "nothing": b"",
    "no HTTP": b"\x16\x03\x01\x02\x00",
    "an error page": b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\noops",
    "another place": b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    "no WebSocket": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "a wrong key": WELCOME % b"bm8=",
    "an endless head": b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 20_000,
}


async def _answer(answer: bytes, stream: trio.SocketStream) -> None:
    async with stream:
        head = await stream.receive_some(64 * 1024)
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        with trio.move_on_after(0.2):
            try:
                await stream.send_all(answer.replace(b"%KEY", _accept(key)))
                await stream.receive_some()
            except trio.BrokenResourceError:
                return


def _accept(key: bytes) -> bytes:
    import base64
    import hashlib

    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())


class Impostor:
    """Answers every connection with the same bytes, inside `with`."""

    def __init__(self, answer: bytes) -> None:
        self._handle: Callable[[trio.SocketStream], Any] = partial(_answer, answer)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="impostor")

    def __enter__(self) -> int:
        self._thread.start()
        assert self._ready.wait(60)
        return self._port

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._nursery.cancel_scope.cancel, trio_token=self._token)
        self._thread.join()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        listening = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._port: int = listening[0].socket.getsockname()[1]
        async with trio.open_nursery() as self._nursery:
            self._ready.set()
            await trio.serve_listeners(self._handle, listening)


def asked_of(port: int, scheme: str) -> RuntaraError:
    """Ask whoever is at a port, and return what that leads to; the door itself stays sound."""
    spec = ServerSpec(address=f"{scheme}://127.0.0.1:{port}", connect_timeout=0.4, request_timeout=0.4)
    door = open_remote_door(spec, InstanceKey("default", "i"))
    with pytest.raises(RuntaraError) as raised:
        door.call_from_thread(GetHealth())
    door.close()
    return raised.value


@SCHEMES
@pytest.mark.parametrize("answer", ANSWERS)
def test_whoever_does_not_speak_as_a_server_is_no_server(answer: str, scheme: str) -> None:
    with Impostor(ANSWERS[answer]) as port:
        assert isinstance(asked_of(port, scheme), Unreachable)


def test_what_a_server_says_at_random_ends_the_connection_and_nothing_else() -> None:
    chance = random.Random(7)
    accepted = WELCOME % b"%KEY"
    for _ in range(6):
        noise = chance.choice((chance.randbytes, lambda size: piece(BINARY, chance.randbytes(size), masked=False)))
        with Impostor(accepted + noise(chance.randint(1, 300))) as port:
            error = asked_of(port, "ws")
            assert isinstance(error, Unreachable | DeadlineExceeded), repr(error)


# Bytes ----------------------------------------------------------------------------------------------------------------


async def test_pieces_of_a_long_message_are_signs_of_life_and_its_last_one_is_none() -> None:
    listening = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.open_tcp_stream("127.0.0.1", listening[0].socket.getsockname()[1])
    far = await listening[0].accept()
    moved: list[int] = []
    stopped: list[bool] = []
    async with listening[0], near, far, trio.open_nursery() as nursery:
        stream = WatchedStream(near, moved.append, lambda: stopped.append(True))
        await stream.send_all(b"x")
        assert moved == []

        nursery.start_soon(stream.send_all, bytes(200 * 1024))
        size = 0
        while size < 200 * 1024:
            size += len(await far.receive_some())
        await far.send_all(b"abc")
        assert await stream.receive_some() == b"abc"
        await far.aclose()
        assert await stream.receive_some() == b""

    assert moved == [0, 0, 0, 3]
    assert stopped == [True]

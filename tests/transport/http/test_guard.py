"""Everything has its deadline; nothing is sent after the last word."""

import socket as sockets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock

from runtara.transport.http._filter import RequestFilter
from runtara.transport.http._guard import PING, Broken, GuardedStream, Spans
from runtara.transport.http._head import Head
from runtara.transport.http._refusals import Refused
from tests.transport.http.hostile import WEBSOCKET, get, ours, post

SPANS = Spans(head=5, idle=15, write=20)


@contextmanager
def pair() -> Iterator[tuple[GuardedStream, sockets.socket]]:
    """The server's stream, and the peer's socket."""
    server, peer = sockets.socketpair()
    with server, peer:
        server.setblocking(False)
        peer.setblocking(False)
        yield GuardedStream(server, None, RequestFilter(ours), SPANS), peer


async def test_a_head_that_trickles_in_is_refused_in_time(autojump_clock: MockClock) -> None:
    async def trickle() -> None:
        await trio.sleep(2)
        for byte in get(*[b"X: y"] * 10):
            peer.send(bytes([byte]))
            await trio.sleep(1)

    with pair() as (stream, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            with pytest.raises(Refused) as refused:
                await stream.receive()
            nursery.cancel_scope.cancel()

    assert refused.value.status == 408
    assert trio.current_time() == pytest.approx(7)


async def test_a_connection_without_a_request_ends(autojump_clock: MockClock) -> None:
    with pair() as (stream, _), pytest.raises(Broken):
        await stream.receive()

    assert trio.current_time() == pytest.approx(15)


async def test_a_request_may_be_answered_as_late_as_it_takes_and_then_the_time_runs(autojump_clock: MockClock) -> None:
    async def answer() -> None:
        await trio.sleep(1_000)
        stream.is_busy(False)

    with pair() as (stream, peer):
        peer.send(get())
        await stream.receive()
        stream.is_busy(True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            with pytest.raises(Broken):
                await stream.receive()

    assert trio.current_time() == pytest.approx(1_015)


async def test_the_next_request_is_taken_when_the_last_one_is_answered(autojump_clock: MockClock) -> None:
    async def answer() -> None:
        await trio.sleep(100)
        stream.is_busy(False)

    with pair() as (stream, peer):
        peer.send(get() + get(b"X: second") + b"GET")
        first = await stream.receive()
        stream.is_busy(True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            second = await stream.receive()
        answered_at = trio.current_time()
        with pytest.raises(Refused):
            await stream.receive()

    assert (first, second) == (get(), get(b"X: second"))
    assert answered_at == pytest.approx(100)
    assert trio.current_time() == pytest.approx(105)


async def test_a_bad_request_behind_a_good_one_is_refused_when_that_is_answered(autojump_clock: MockClock) -> None:
    async def answer() -> None:
        await trio.sleep(100)
        stream.is_busy(False)

    with pair() as (stream, peer):
        peer.send(get())
        await stream.receive()
        stream.is_busy(True)
        peer.send(b"nonsense\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            with pytest.raises(Refused):
                await stream.receive()

    assert trio.current_time() == pytest.approx(100)


async def _receive_all(stream: GuardedStream) -> None:
    while await stream.receive():
        pass


async def test_a_body_that_hardly_moves_is_refused(autojump_clock: MockClock) -> None:
    async def trickle() -> None:
        while True:
            await trio.sleep(1)
            peer.send(b"x" * 100)

    with pair() as (stream, peer):
        peer.send(post(b"Content-Length: 1000000"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            with pytest.raises(Refused) as refused:
                await _receive_all(stream)
            nursery.cancel_scope.cancel()

    assert refused.value.status == 408
    assert trio.current_time() <= 12


async def test_a_body_that_moves_may_take_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    async def move() -> None:
        for _ in range(100):
            await trio.sleep(4)
            peer.send(b"x" * 10_000)

    heard = 0
    with pair() as (stream, peer):
        peer.send(post(b"Content-Length: 1000000"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(move)
            while stream.messages.is_in_body or not heard:
                heard += len(await stream.receive())

    assert heard == 1_000_000 + len(post(b"Content-Length: 1000000"))
    assert trio.current_time() == pytest.approx(400)


async def test_an_application_that_is_slow_to_take_a_body_is_not_the_peers_fault(autojump_clock: MockClock) -> None:
    with pair() as (stream, peer):
        peer.send(post(b"Content-Length: 100"))
        heard = await stream.receive()
        for _ in range(100):
            await trio.sleep(60)
            peer.send(b"x")
            heard = await stream.receive()

    assert heard == b"x"


async def test_who_does_not_read_is_let_go(autojump_clock: MockClock) -> None:
    with pair() as (stream, _):
        with pytest.raises(Broken, match="did not read"):
            await stream.send(bytes(50_000_000))
        with pytest.raises(Broken):
            await stream.send(b"more")
        with pytest.raises(Broken):
            await stream.receive()

    assert trio.current_time() == pytest.approx(20)
    assert stream.is_broken


async def test_who_reads_slowly_hears_it_all(autojump_clock: MockClock) -> None:
    sent, heard = bytes(range(256)) * 20_000, b""

    async def hear() -> None:
        nonlocal heard
        while len(heard) < len(sent):
            await trio.lowlevel.wait_readable(peer)
            await trio.sleep(0.5)
            heard += peer.recv(100_000)

    with pair() as (stream, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            await stream.send(sent)

    assert heard == sent
    assert trio.current_time() > 20


async def test_what_several_tasks_say_is_not_mixed(autojump_clock: MockClock) -> None:
    heard = b""

    async def hear() -> None:
        nonlocal heard
        while len(heard) < 6_000_000:
            await trio.lowlevel.wait_readable(peer)
            heard += peer.recv(1_000_000)

    with pair() as (stream, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            for letter in b"abc":
                nursery.start_soon(stream.send, bytes([letter]) * 2_000_000)

    thirds = [heard[start : start + 2_000_000] for start in range(0, 6_000_000, 2_000_000)]
    assert sorted(thirds) == [bytes([letter]) * 2_000_000 for letter in b"abc"]


async def test_who_is_cancelled_in_the_middle_of_a_message_breaks_the_connection(autojump_clock: MockClock) -> None:
    with pair() as (stream, _):
        with trio.move_on_after(1):
            await stream.send(bytes(50_000_000))
        with pytest.raises(Broken):
            await stream.send(b"the rest of something else")


async def test_what_was_given_up_stays_so_although_the_last_message_still_arrives(autojump_clock: MockClock) -> None:
    with pair() as (stream, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send, bytes(1_000_000))
            await trio.testing.wait_all_tasks_blocked()
            stream.abort()
            nursery.start_soon(_hear, peer, 1_000_000)
        with pytest.raises(Broken):
            await stream.send(b"more")

    assert stream.is_broken


async def _hear(peer: sockets.socket, size: int) -> None:
    while size > 0:
        await trio.lowlevel.wait_readable(peer)
        size -= len(peer.recv(1_000_000))


async def test_nothing_is_said_after_the_last_word() -> None:
    with pair() as (stream, peer):
        await stream.send(b"last", is_last=True)
        with pytest.raises(Broken):
            await stream.send(b"more")

        assert peer.recv(100) == b"last"


async def test_a_peer_that_has_gone_is_noticed() -> None:
    with pair() as (stream, peer):
        peer.close()

        assert await stream.receive() == b""
        with pytest.raises(Broken):
            await stream.send(b"is anybody there?")


async def test_who_waits_to_hear_is_told_of_the_end() -> None:
    with pair() as (stream, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end, stream)
            with pytest.raises(Broken):
                await stream.receive()


async def _end(stream: GuardedStream) -> None:
    await trio.testing.wait_all_tasks_blocked()
    stream.end()


async def _open_websocket(stream: GuardedStream, peer: sockets.socket) -> None:
    peer.send(get(*WEBSOCKET))
    await stream.receive()
    stream.is_busy(True)
    stream.upgraded()


async def test_a_websocket_that_is_quiet_is_asked_and_then_ended(autojump_clock: MockClock) -> None:
    with pair() as (stream, peer):
        await _open_websocket(stream, peer)
        with pytest.raises(Broken):
            await stream.receive()

        assert peer.recv(100) == PING
    assert trio.current_time() == pytest.approx(30)


async def test_a_websocket_that_answers_stays(autojump_clock: MockClock) -> None:
    async def pong() -> None:
        for _ in range(5):
            await trio.lowlevel.wait_readable(peer)
            assert peer.recv(100) == PING
            peer.send(b"\x8a\x80\x00\x00\x00\x00")

    with pair() as (stream, peer):
        await _open_websocket(stream, peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pong)
            heard = [await stream.receive() for _ in range(5)]

    assert heard == [b"\x8a\x80\x00\x00\x00\x00"] * 5
    assert trio.current_time() == pytest.approx(75)


async def test_a_peer_that_still_sends_hears_the_last_word(autojump_clock: MockClock) -> None:
    async def send_on() -> None:
        for _ in range(50):
            await trio.sleep(0.01)
            peer.send(b"x" * 1_000)
        heard.append(peer.recv(1_000))
        peer.close()

    heard: list[bytes] = []
    with pair() as (stream, peer):
        peer.send(post(b"Content-Length: 1000000"))
        await stream.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_on)
            await stream.send(b"enough", is_last=True)
            await stream.linger()
            ended_at = trio.current_time()

    assert heard == [b"enough"]
    assert ended_at == pytest.approx(0.5)


async def test_nobody_is_listened_to_for_long_after_the_last_word(autojump_clock: MockClock) -> None:
    with pair() as (stream, peer):
        peer.send(post(b"Content-Length: 1000000"))
        await stream.receive()
        await stream.linger()

    assert trio.current_time() == pytest.approx(1)


async def test_plain_requests_are_taken_while_the_wait_goes_on(autojump_clock: MockClock) -> None:
    taken: list[Head] = []

    async def take(data: bytes, head: Head) -> None:
        taken.append(head)
        stream.is_busy(True)

    async def ask() -> None:
        for _ in range(3):
            await trio.sleep(10)
            peer.send(get())
            await trio.sleep(1)
            stream.is_busy(False)

    with pair() as (stream, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with pytest.raises(Broken):
                await stream.receive(take)

    assert len(taken) == 3
    assert trio.current_time() == pytest.approx(33 + 15)


async def test_what_comes_behind_a_plain_request_waits_for_its_answer(autojump_clock: MockClock) -> None:
    async def take(data: bytes, head: Head) -> None:
        stream.is_busy(True)

    async def answer() -> None:
        await trio.sleep(1)
        peer.send(post(b"Content-Length: 5", body=b"hello"))
        await trio.sleep(1_000)
        stream.is_busy(False)

    with pair() as (stream, peer):
        peer.send(get())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            data = await stream.receive(take)

    assert data == post(b"Content-Length: 5", body=b"hello")
    assert trio.current_time() == pytest.approx(1_001)


async def test_a_head_that_trickles_in_behind_a_plain_request_is_refused_in_time(autojump_clock: MockClock) -> None:
    async def take(data: bytes, head: Head) -> None:
        stream.is_busy(True)
        stream.is_busy(False)

    async def ask() -> None:
        await trio.sleep(10)
        peer.send(b"GET")

    with pair() as (stream, peer):
        peer.send(get())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with pytest.raises(Refused) as refused:
                await stream.receive(take)

    assert refused.value.status == 408
    assert trio.current_time() == pytest.approx(15)


async def test_what_has_come_together_with_a_plain_request_is_not_waited_for(autojump_clock: MockClock) -> None:
    taken: list[Head] = []

    async def take(data: bytes, head: Head) -> None:
        taken.append(head)

    with pair() as (stream, peer):
        peer.send(get() + get(b"X: y") + post(b"Content-Length: 5", body=b"hello"))
        data = await stream.receive(take)
        taken += [stream.messages.head] if stream.messages.head else []
        rest = await stream.receive(take)

    assert (data, rest) == (get(b"X: y"), post(b"Content-Length: 5", body=b"hello"))
    assert len(taken) == 2
    assert trio.current_time() == pytest.approx(0)

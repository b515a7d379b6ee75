import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from runtara.actors.runners._shim_relay import Relay


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bound(sockets: ExitStack) -> socket.socket:
    """A socket on loopback that waits for nobody longer than a test may."""
    one = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    one.bind(("127.0.0.1", 0))
    one.settimeout(60)
    return one


def relay_of(sockets: ExitStack, server: socket.socket, most: int = 64) -> tuple[Relay, socket.socket]:
    door = bound(sockets)
    relay = Relay([door], [list(server.getsockname())], most)
    sockets.callback(relay.close)
    return relay, door


def test_each_sender_has_its_own_way_and_its_own_answers(sockets: ExitStack) -> None:
    server, senders = bound(sockets), [bound(sockets) for _ in range(3)]
    relay, door = relay_of(sockets, server)
    for number, sender in enumerate(senders):
        sender.sendto(b"%d" % number, door.getsockname())
    relay.turn(0)

    asked = [server.recvfrom(100) for _ in senders]
    for data, sender_outside in asked:
        server.sendto(b"re " + data, sender_outside)
    relay.turn(0)

    assert len({address for _, address in asked}) == 3
    assert [sender.recv(100) for sender in senders] == [b"re 0", b"re 1", b"re 2"]


def test_a_sender_keeps_its_way(sockets: ExitStack) -> None:
    server, sender = bound(sockets), bound(sockets)
    relay, door = relay_of(sockets, server)
    for _ in range(2):
        sender.sendto(b"x", door.getsockname())
        relay.turn(0)

    assert server.recvfrom(100)[1] == server.recvfrom(100)[1]


def test_the_sender_that_was_silent_for_the_longest_makes_room(sockets: ExitStack) -> None:
    server, senders = bound(sockets), [bound(sockets) for _ in range(3)]
    relay, door = relay_of(sockets, server, most=2)
    for number in (0, 1, 0, 2):
        senders[number].sendto(b"%d" % number, door.getsockname())
        relay.turn(0)
    ways = dict(server.recvfrom(100) for _ in range(4))

    for data, address in ways.items():
        server.sendto(data, address)
    relay.turn(0)

    assert [senders[0].recv(10), senders[2].recv(10)] == [b"0", b"2"]
    senders[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        senders[1].recv(10)


def test_a_server_that_is_away_costs_datagrams_and_nothing_else(sockets: ExitStack) -> None:
    server, sender = bound(sockets), bound(sockets)
    address = server.getsockname()
    relay, door = relay_of(sockets, server)
    server.close()
    for _ in range(3):
        sender.sendto(b"lost", door.getsockname())
        relay.turn(0)
    back = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    back.bind(address)
    back.settimeout(60)

    for _ in range(2):  # the first may only hear that the others were lost
        sender.sendto(b"found", door.getsockname())
        relay.turn(0)

    assert back.recv(100) == b"found"


def test_an_empty_and_a_large_datagram_are_passed_on_whole(sockets: ExitStack) -> None:
    server, sender = bound(sockets), bound(sockets)
    relay, door = relay_of(sockets, server)

    for data in (b"", bytes(60_000)):
        sender.sendto(data, door.getsockname())
        relay.turn(0)
        assert server.recv(1 << 16) == data

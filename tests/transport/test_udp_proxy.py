"""The proxy does its mischief, and only what it was asked for."""

import socket
from collections.abc import Iterator
from random import Random

import pytest

from tests.transport.udp_proxy import CALM, LOOPBACK, STORM, UdpProxy, Weather, ordeal

DATAGRAM = bytes(range(100))


def pieces(weather: Weather, seed: int = 1, count: int = 2_000) -> list[list[tuple[float, bytes]]]:
    random = Random(seed)
    return [list(ordeal(DATAGRAM, weather, random)) for _ in range(count)]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((LOOPBACK, 0))
        made.settimeout(60)
        yield made


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(60)
        yield made


def test_in_calm_weather_everything_arrives_as_it_was() -> None:
    assert pieces(CALM) == [[(0.0, DATAGRAM)]] * 2_000


@pytest.mark.parametrize("mischief", ["loss", "duplication", "corruption", "reordering"])
def test_each_mischief_is_as_frequent_as_it_was_asked_for(mischief: str) -> None:
    arrived = pieces(Weather(**{mischief: 0.25}))

    happened = {
        "loss": sum(not one for one in arrived),
        "duplication": sum(len(one) == 2 for one in arrived),
        "corruption": sum(any(data != DATAGRAM for _, data in one) for one in arrived),
        "reordering": sum(any(delay > 0 for delay, _ in one[:1]) for one in arrived),
    }
    assert {name for name, count in happened.items() if count} == {mischief}
    assert 400 < happened[mischief] < 600


def test_the_same_seed_does_the_same() -> None:
    assert pieces(STORM, seed=7) == pieces(STORM, seed=7)
    assert pieces(STORM, seed=7) != pieces(STORM, seed=8)


def test_datagrams_pass_both_ways(server: socket.socket, client: socket.socket) -> None:
    with UdpProxy(server.getsockname()[1]) as proxy:
        client.sendto(b"ask", (LOOPBACK, proxy.port))
        asked, seen = server.recvfrom(100)
        server.sendto(b"answer", seen)

        assert (asked, client.recv(100)) == (b"ask", b"answer")


def test_a_client_that_was_rebound_comes_from_another_port(server: socket.socket, client: socket.socket) -> None:
    with UdpProxy(server.getsockname()[1]) as proxy:
        client.sendto(b"1", (LOOPBACK, proxy.port))
        _, before = server.recvfrom(100)
        proxy.rebind()
        client.sendto(b"2", (LOOPBACK, proxy.port))
        _, after = server.recvfrom(100)
        server.sendto(b"answer", after)

        assert before != after
        assert proxy.rebound == 1
        assert client.recv(100) == b"answer"


def test_a_hole_swallows_everything_until_it_is_closed(server: socket.socket, client: socket.socket) -> None:
    with UdpProxy(server.getsockname()[1]) as proxy:
        proxy.swallow()
        for _ in range(3):
            client.sendto(b"lost", (LOOPBACK, proxy.port))
            assert proxy.swallowed.acquire(timeout=60)
        proxy.swallow(False)
        client.sendto(b"arrives", (LOOPBACK, proxy.port))

        assert server.recv(100) == b"arrives"
        assert proxy.passed == 1

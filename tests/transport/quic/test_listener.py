import os
import random

import pytest
from aioquic.quic.packet import QuicErrorCode

from runtara.transport.quic.protocol import Disconnected, StreamData
from tests.transport.quic.fray import AWAY, CLIENT, SERVER, Meeting


def first_datagram(meeting: Meeting) -> bytes:
    """The beginning of a connection, from a client that is forgotten again."""
    meeting.client()
    return meeting.clients.pop(CLIENT).outgoing(0.0)[0][0]  # type: ignore[no-any-return]


def test_many_clients_are_told_apart() -> None:
    meeting = Meeting()
    addresses = [("127.0.0.1", 4000 + number) for number in range(5)]
    clients = [meeting.client(address) for address in addresses]
    meeting.exchange()

    for number, client in enumerate(clients):
        client.send(client.open_stream(), b"%d" % number)
    meeting.exchange()

    assert meeting.listener.total == 5
    assert sorted(events[-1].data for events in meeting.wires.values() if isinstance(events[-1], StreamData)) == [
        b"%d" % number for number in range(5)
    ]


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    meeting = Meeting()
    meeting.client(AWAY)
    meeting.exchange()

    meeting.listener.forget(meeting.wire)
    meeting.listener.forget(meeting.wire)

    listener = meeting.listener
    assert (listener.total, listener.half_open) == (0, 0)
    assert not any((listener._routes, listener._cids, listener._places, listener._crowds))


def test_connection_ids_that_are_issued_later_lead_to_their_connection() -> None:
    meeting = Meeting()
    client = meeting.client()
    meeting.exchange()

    client._connection.change_connection_id()
    client.send(client.open_stream(), b"x")
    meeting.exchange()

    assert meeting.events[-1] == StreamData(0, b"x", False)


@pytest.mark.parametrize("seed", range(5))
def test_noise_begins_nothing(seed: int) -> None:
    meeting, noise = Meeting(), random.Random(seed)
    real = first_datagram(meeting)

    for length in (0, 1, 5, 20, 1199, 1200, 1500, 65_000):
        meeting.hand_in(noise.randbytes(length))
        meeting.hand_in(bytes([0xC0 | noise.randrange(64)]) + noise.randbytes(length))
        meeting.hand_in(real[: min(length, 1199)])
        meeting.hand_in(real[:30] + noise.randbytes(length))

    assert meeting.listener.total == 0
    assert meeting.listener.half_open == 0
    assert sum(meeting.listener.counts.values()) > 20
    for datagram, _ in meeting.listener.outgoing():
        assert len(datagram) < 1200


def test_a_version_that_is_not_known_is_told_those_that_are() -> None:
    meeting = Meeting()
    datagram = bytearray(first_datagram(meeting))
    datagram[1:5] = b"\x0a\x0a\x0a\x0a"

    meeting.hand_in(bytes(datagram))
    meeting.hand_in(bytes(datagram[:600]))

    answers = meeting.listener.outgoing()
    assert [len(answer) < 100 for answer, _ in answers] == [True]
    assert answers[0][0][1:5] == bytes(4)


def test_newcomers_must_prove_their_address_while_many_are_half_way() -> None:
    meeting = Meeting(half_open=8)
    meeting.lose = lambda datagram: True
    for number in range(2):
        meeting.client(("127.0.0.1", 5000 + number))
    first = [client.outgoing(0.0)[0][0] for client in meeting.clients.values()]
    for number, datagram in enumerate(first):
        meeting.hand_in(datagram, ("127.0.0.1", 5000 + number))
    meeting.clients.clear()
    meeting.heard.clear()

    meeting.lose = lambda datagram: False
    client = meeting.client(("127.0.0.1", 6000))
    meeting.exchange()

    assert meeting.listener.counts["retry"] == 1
    assert client.is_connected


def test_a_proof_is_good_for_its_address_only() -> None:
    meeting = Meeting(half_open=0)
    client = meeting.client(CLIENT)
    meeting.hand_in(client.outgoing(0.0)[0][0], CLIENT)
    answer, _ = meeting.listener.outgoing()[0]
    client.receive(answer, SERVER, 0.01)
    with_token = client.outgoing(0.01)[0][0]

    meeting.hand_in(with_token, ("127.0.0.1", 4444))

    assert meeting.listener.counts["token"] == 1
    assert meeting.listener.total == 0


def test_nobody_more_is_let_in_half_way_than_the_cap() -> None:
    meeting = Meeting(half_open=2)
    for number in range(6):
        address = ("127.0.0.1", 5000 + number)
        client = meeting.client(address)
        meeting.hand_in(client.outgoing(0.0)[0][0], address)
        for answer, _ in meeting.listener.outgoing():
            client.receive(answer, SERVER, 0.01)
        for datagram, _ in client.outgoing(0.02):
            meeting.hand_in(datagram, address)

    assert meeting.listener.half_open == 2
    assert meeting.listener.counts["half-open"] >= 4


@pytest.mark.parametrize(
    ("limits", "addresses"),
    [
        ({"total": 2}, [("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 3)]),
        ({"per_address": 2}, [("192.0.2.7", 1), ("192.0.2.7", 2), ("192.0.2.7", 3)]),
        ({"per_address": 2}, [("2001:db8::1", 1), ("2001:db8::2", 2), ("2001:db8::3", 3)]),
        ({"per_address": 2}, [("::ffff:192.0.2.7", 1), ("192.0.2.7", 2), ("::ffff:192.0.2.7", 3)]),
    ],
    ids=["in all", "one address", "one network of IPv6", "one address in two spellings"],
)
def test_one_too_many_is_refused_and_told_so(limits: dict[str, int], addresses: list[tuple[str, int]]) -> None:
    meeting = Meeting(**limits)

    for address in addresses:
        meeting.client(address)
        meeting.exchange()

    refused = meeting.heard[addresses[-1]]
    assert [meeting.clients[address].is_connected for address in addresses] == [True, True, False]
    assert isinstance(refused[-1], Disconnected)
    assert refused[-1].code == QuicErrorCode.CONNECTION_REFUSED


def test_loopback_may_have_more_connections_than_one_address() -> None:
    meeting = Meeting(per_address=1)

    clients = [meeting.client(("127.0.0.1", 4000 + number)) for number in range(3)]
    meeting.exchange()

    assert all(client.is_connected for client in clients)


def test_a_listener_that_closes_lets_nobody_in() -> None:
    meeting = Meeting()
    meeting.listener.is_open = False

    client = meeting.client()
    meeting.exchange()

    assert not client.is_connected
    assert client.is_closed


def test_a_datagram_for_nobody_is_counted() -> None:
    meeting = Meeting()

    meeting.hand_in(b"\x40" + os.urandom(40))

    assert meeting.listener.counts["unknown-connection"] == 1

import socket

import pytest
import trio

from runtara.errors import InvalidInput, Unreachable
from runtara.transport.addresses import DEFAULT_PORT, Address, parse_address, parse_addresses, resolve


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9", "127.0.0.1", 9),
        ("localhost", "localhost", DEFAULT_PORT),
        (" db.example.org:65535 ", "db.example.org", 65_535),
        ("[::1]:9", "::1", 9),
        ("[::1]", "::1", DEFAULT_PORT),
        ("::1", "::1", DEFAULT_PORT),
        ("fe80::1%eth0", "fe80::1%eth0", DEFAULT_PORT),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize("scheme", ["ws", "wss", "http", "https"])
def test_another_way_than_quic_is_named_before_the_address(scheme: str) -> None:
    address = parse_address(f"{scheme}://[::1]:8002/")

    assert address == Address("::1", 8002, scheme)
    assert (str(address), address.authority) == (f"{scheme}://[::1]:8002", "[::1]:8002")
    assert parse_address(str(address)) == address
    assert address.is_secure is (scheme in ("wss", "https"))
    with pytest.raises(InvalidInput, match=f"names no port: write it, as in {scheme}://host:8002"):
        parse_address(f"{scheme}://host")


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.9", True), ("::1", True), ("localhost", True), ("192.0.2.1", False), ("h", False)],
)
def test_an_address_says_whether_it_is_this_machine(host: str, is_loopback: bool) -> None:
    assert Address(host, 1).is_loopback is is_loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://h:1",
        "://h:1",
        "ws://ws://h:1",
        "ws://h:1/path",
        "ws://u@h:1",
        ":",
        ":8001",
        "host:",
        "host:x",
        "host:-1",
        "host:65536",
        "host:1:2]",
        "[::1",
        "[::1]x",
        "[host]:1",
        "a b:1",
        "h/x:1",
        "u@h:1",
        "host:٣",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write host:port"):
        parse_address(text)


@pytest.mark.parametrize("address", [Address("127.0.0.1", 9), Address("::1", 9), Address("localhost", 8001)])
def test_an_address_is_written_as_it_is_read(address: Address) -> None:
    assert parse_address(str(address)) == address


async def test_addresses_of_both_families_are_found() -> None:
    assert await resolve(Address("127.0.0.1", 9)) == [(socket.AF_INET, ("127.0.0.1", 9))]
    assert await resolve(Address("::1", 9)) == [(socket.AF_INET6, ("::1", 9, 0, 0))]


async def test_every_address_of_a_name_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", 9, 0, 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 9)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 9)),
    ]

    async def found(*_: object, **__: object) -> object:
        return rows

    monkeypatch.setattr(trio.socket, "getaddrinfo", found)

    assert [family for family, _ in await resolve(Address("both", 9))] == [socket.AF_INET6, socket.AF_INET]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
async def test_a_name_that_nobody_knows_is_unreachable(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def fails(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(trio.socket, "getaddrinfo", fails)

    with pytest.raises(Unreachable, match=r"'nowhere\.invalid' is not known"):
        await resolve(Address("nowhere.invalid", 9))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one", [("one", DEFAULT_PORT)]),
        ("one:1,two:2", [("one", 1), ("two", 2)]),
        (" one:1 , [::1]:2 ", [("one", 1), ("::1", 2)]),
        ("::1,one", [("::1", DEFAULT_PORT), ("one", DEFAULT_PORT)]),
        ("two:2,one:1,two:2", [("two", 2), ("one", 1)]),
    ],
)
def test_several_addresses_are_read_in_order_each_once(text: str, found: list[tuple[str, int]]) -> None:
    assert [address[:2] for address in parse_addresses(text)] == found


@pytest.mark.parametrize("text", ["", ",", "one,", ",one", "one,,two", "one two", "one:1,two:x"])
def test_what_holds_anything_but_addresses_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_addresses(text)

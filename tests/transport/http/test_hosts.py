"""Under which names the door may be asked for."""

import pytest

from runtara.settings import Settings
from runtara.transport.http._hosts import is_host, names_of, parse_host


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"localhost", "localhost"),
        (b"LocalHost:8002", "localhost"),
        (b"localhost.", "localhost"),
        (b"127.0.0.1:1", "127.0.0.1"),
        (b"[::1]", "::1"),
        (b"[0:0:0:0:0:0:0:1]:8002", "::1"),
        (b"a_b-c.example", "a_b-c.example"),
    ],
)
def test_a_host_is_read_without_its_port(value: bytes, name: str) -> None:
    assert parse_host(value) == name


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"a b",
        b"a:b",
        b"a:",
        b"a:123456",
        b"a/b",
        b"u@a",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[a]",
        b"a,b",
        b"a" * 300,
        "ü".encode(),
        b"a\x00",
        b"[::1%25eth0]",
    ],
)
def test_what_is_no_host_is_none(value: bytes) -> None:
    assert parse_host(value) is None
    assert is_host(value, frozenset(["a", "::1"]), "127.0.0.1") is None


@pytest.mark.parametrize("value", [b"localhost", b"127.0.0.1:9", b"[::1]:8002", b"192.0.2.7", b"192.0.2.7:8002"])
def test_local_names_and_the_address_that_is_listened_at_are_ours(value: bytes) -> None:
    assert is_host(value, names_of(Settings(host="192.0.2.7"), "192.0.2.7"), "127.0.0.1")


def test_so_are_the_names_of_the_settings() -> None:
    names = names_of(Settings(host="node-1.example", http_hosts=" runtara.example , [2001:DB8::1],"), "192.0.2.7")

    for value in (b"node-1.example", b"Runtara.Example:443", b"[2001:db8:0::1]:8002"):
        assert is_host(value, names, "192.0.2.7")
    assert not is_host(b"example", names, "192.0.2.7")


def test_who_listens_at_every_address_is_found_at_that_at_which_one_has_come_in() -> None:
    names = names_of(Settings(host="0.0.0.0"), "0.0.0.0")

    assert is_host(b"192.0.2.9:8002", names, "192.0.2.9")
    assert is_host(b"192.0.2.9", names, "::ffff:192.0.2.9")
    assert is_host(b"[2001:db8::9]", names, "2001:db8:0::9")
    assert not is_host(b"192.0.2.8", names, "192.0.2.9")
    assert not is_host(b"0.0.0.0", names, "192.0.2.9")


@pytest.mark.parametrize("value", [b"evil.example", b"localhost.evil.example", b"xlocalhost", b"10.0.0.1", b"[::2]"])
def test_others_are_not(value: bytes) -> None:
    assert is_host(value, names_of(Settings(), "127.0.0.1"), "127.0.0.1") is False

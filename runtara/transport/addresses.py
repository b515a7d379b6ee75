"""Where a server is: host and port as people write them, and what a socket makes of them."""

import ipaddress
import socket
from typing import Any, Final, NamedTuple

from runtara.errors import InvalidInput, Unreachable

__all__ = ["DEFAULT_PORT", "Address", "parse_address", "parse_addresses", "party_of", "resolve"]

DEFAULT_PORT: Final = 8001
"""UDP port of the QUIC door."""


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 address) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Read ``host``, ``host:port``, ``[::1]:port`` or a bare IPv6 address. Raises `InvalidInput` for anything else."""
    host, port = _split(text.strip())
    if not host or any(char.isspace() or char in "[]/@" for char in host):
        raise _unreadable(text)
    if port is None:
        return Address(host, default_port)
    if not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65_535:
        raise _unreadable(text)
    return Address(host, int(port))


def parse_addresses(text: str, default_port: int = DEFAULT_PORT) -> tuple[Address, ...]:
    """Read addresses with commas between them, those of several servers of which any will do.

    Raises `InvalidInput` for anything else.
    """
    found = tuple(parse_address(part, default_port) for part in text.split(","))
    return tuple(dict.fromkeys(found))


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            return "", None
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _unreadable(text: str) -> InvalidInput:
    return InvalidInput(f"address {text!a} is not readable: write host:port, and an IPv6 address as [::1]:port")


async def resolve(address: Address) -> list[tuple[socket.AddressFamily, Any]]:
    """Return the addresses to which datagrams may be sent, best first, each with its family. Raises `Unreachable`."""
    import trio  # takes 200 ms, and who only reads addresses need not wait for it

    try:
        found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"host {address.host!a} is not known ({error}): check the server's address") from None
    return list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found))


def party_of(host: str) -> str | None:
    """Return what one party is likely to have: an IPv4 address, or 64 bits of an IPv6 one; None for loopback.

    Raises `ValueError` for what is no address.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return None if address.is_loopback else str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)

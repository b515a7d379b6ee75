"""Where a server is: host and port as people write them, and what a socket makes of them."""

import ipaddress
import socket
from typing import Any, Final, NamedTuple

from runtara.errors import InvalidInput, Unreachable

__all__ = [
    "DEFAULT_PORT",
    "HTTP_PORT",
    "SCHEMES",
    "Address",
    "parse_address",
    "parse_addresses",
    "party_of",
    "resolve",
]

DEFAULT_PORT: Final = 8001
"""UDP port of the QUIC door."""

HTTP_PORT: Final = 8002
"""TCP port of the HTTP door."""

SCHEMES: Final = ("quic", "ws", "wss", "http", "https")
"""How to speak to a server. Without any of them, an address is one of QUIC."""

_SECURE: Final = frozenset({"quic", "wss", "https"})


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 address), a port, and how to speak to whoever is there: one of `SCHEMES`."""

    host: str
    port: int
    scheme: str = "quic"

    @property
    def authority(self) -> str:
        """Host and port, as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether the server shows a certificate."""
        return self.scheme in _SECURE

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine itself, by what the address says."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return self.authority if self.scheme == "quic" else f"{self.scheme}://{self.authority}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Read ``host``, ``host:port``, ``[::1]:port`` or a bare IPv6 address. Raises `InvalidInput` for anything else.

    One of the other `SCHEMES` may come first, as in ``wss://host:port``; then the port must be given.
    """
    scheme, separator, rest = text.strip().removesuffix("/").rpartition("://")
    if not separator:
        scheme = "quic"
    host, port = _split(rest)
    if scheme not in SCHEMES or not host or any(char.isspace() or char in "[]/@" for char in host):
        raise _unreadable(text)
    if port is None:
        if separator:
            raise InvalidInput(f"address {text!a} names no port: write it, as in {scheme}://{host}:{HTTP_PORT}")
        return Address(host, default_port)
    if not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65_535:
        raise _unreadable(text)
    return Address(host, int(port), scheme)


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
    return InvalidInput(
        f"address {text!a} is not readable: write host:port, an IPv6 address as [::1]:port, and wss:// or https:// "
        "before it for another way than QUIC"
    )


async def resolve(address: Address) -> list[tuple[socket.AddressFamily, Any]]:
    """Return the addresses of a host, best first, each with its family. Raises `Unreachable`."""
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

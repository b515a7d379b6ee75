"""Under which names the door may be asked for.

A page of a stranger can have its own name resolve to this machine, and would then be at home here as far as a browser
is concerned. But it cannot choose what the browser says the host is: so whoever is asked for under a name of somebody
else does not answer. Ports are not compared, since they are often forwarded.
"""

import ipaddress
import re
from contextlib import suppress
from functools import lru_cache
from typing import Final

from runtara.settings import Settings
from runtara.transport.addresses import parse_address

__all__ = ["is_host", "names_of", "parse_host"]

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")

_NOBODY: Final = frozenset(["", "0.0.0.0", "::"])
"""Who listens at every address is not asked for under this one; browsers take it for the machine itself."""

_HOST: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,255}))(?::[0-9]{1,5})?")


def names_of(settings: Settings, address: str) -> frozenset[str]:
    """Return the names of a door that listens at `address`: that, local ones, and those that the settings say."""
    said = [settings.host, address, *settings.http_hosts.split(",")]
    if settings.core_addr is not None:
        said.append(parse_address(settings.core_addr).host)
    return frozenset([*_LOCAL, *(_plain(name.strip()) for name in said)]) - _NOBODY


@lru_cache(maxsize=256)
def parse_host(value: bytes) -> str | None:
    """Return the name in a Host field, without its port, in one of its spellings; None for what is none."""
    found = _HOST.fullmatch(value)
    if found is None:
        return None
    if found[1] is None:
        return _plain(found[2].decode("ascii"))
    try:
        return str(ipaddress.IPv6Address(found[1].decode("ascii")))
    except ValueError:
        return None


def is_host(value: bytes, names: frozenset[str], address: str) -> bool | None:
    """Whether one of `names` is asked for, or the `address` at which the connection has come in; None for no name."""
    name = parse_host(value)
    return None if name is None else name in names or name == _plain(address)


@lru_cache(maxsize=256)
def _plain(name: str) -> str:
    name = name.lower().strip("[]").removesuffix(".").partition("%")[0]
    with suppress(ValueError):
        address = ipaddress.ip_address(name)
        return str(getattr(address, "ipv4_mapped", None) or address)
    return name

"""Wrong credentials by address, so that whoever tries many has to wait. Of loopback none are counted."""

import ipaddress
from collections import OrderedDict
from typing import Final

from runtara.clock import monotonic
from runtara.errors import Busy

__all__ = ["ADDRESSES_MAX", "FAILURES_MAX", "FAILURE_FORGOTTEN_AFTER", "Failures"]

FAILURES_MAX: Final = 10
"""Wrong credentials from one address after which its next ones are not even looked at for a while."""

FAILURE_FORGOTTEN_AFTER: Final = 1.0
"""Seconds in which one wrong credential is forgotten."""

ADDRESSES_MAX: Final = 4_096
"""Most addresses whose wrong credentials are counted; the one that was heard of longest ago is forgotten first."""


class Failures:
    """Wrong credentials by address. Of loopback none are counted: whoever is there shares it with all others."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, peer: str) -> None:
        """Raise `Busy` if too many were wrong lately."""
        if self._count(_network(peer), monotonic()) > FAILURES_MAX - 1:
            raise Busy("too many wrong credentials came from your address: wait a second and try again")

    def add(self, peer: str) -> None:
        """Count one."""
        network, now = _network(peer), monotonic()
        if network is None:
            return
        self._counts[network] = (self._count(network, now) + 1, now)
        self._counts.move_to_end(network)
        if len(self._counts) > ADDRESSES_MAX:
            self._counts.popitem(last=False)

    def _count(self, network: str | None, now: float) -> float:
        if network is None:
            return 0
        count, at = self._counts.get(network, (0.0, now))
        return max(0.0, count - (now - at) / FAILURE_FORGOTTEN_AFTER)


def _network(peer: str) -> str | None:
    """Return what one party is likely to have: an IPv4 address, or 64 bits of an IPv6 one; None for loopback."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return None if address.is_loopback else str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)

"""The ways to other nodes: one connection to each, over which this node passes on what it was asked.

A node knows the others by what the store says of them: their address and the fingerprint of their certificate. They
know it by a token that only whoever knows the secret of the store can make.
"""

from typing import Final

from runtara.clock import monotonic
from runtara.ids import InstanceKey
from runtara.records import Holder
from runtara.transport.client.door import RemoteDoor, ServerSpec
from runtara.transport.credentials import TokenMint
from runtara.transport.remote import open_remote_door

__all__ = ["PEERS_MAX", "Peers"]

PEERS_MAX: Final = 256
"""Most nodes that are kept connected; the one that was needed longest ago is let go of first."""

CONNECT: Final = 2.0
"""Seconds that connecting to another node may take before somebody looks whether it is still there."""

_SELF: Final = InstanceKey("runtara", "node")
"""What a node says that it is about; whom it asks for is said with each call."""


class Peers:
    """The ways to other nodes, made when they are needed."""

    def __init__(self, name: str, mint: TokenMint) -> None:
        self._name = name
        self._mint = mint
        self._doors: dict[tuple[str, str | None], tuple[float, RemoteDoor]] = {}

    def to(self, holder: Holder) -> RemoteDoor:
        """Return the way to a node that has an address."""
        assert holder.address is not None, "whoever has no address cannot be asked"
        key, now = (holder.address, holder.fingerprint), monotonic()
        made_at, door = self._doors.pop(key, (now, None))
        if door is not None and now - made_at > self._mint.lifetime_ms / 2000:
            door.close()  # its token will be out of date before long
            made_at, door = now, None
        if door is None:
            door = self._open(holder.address, holder.fingerprint)
            self._shrink()
        self._doors[key] = (made_at, door)
        return door

    def close(self) -> None:
        """Let go of all of them."""
        for _, door in self._doors.values():
            door.close()
        self._doors.clear()

    def _open(self, address: str, fingerprint: str | None) -> RemoteDoor:
        server = ServerSpec(address=address, fingerprint=fingerprint, connect_timeout=CONNECT)
        return open_remote_door(server, _SELF, credential=self._mint.mint_for_node(self._name))

    def _shrink(self) -> None:
        if len(self._doors) >= PEERS_MAX:
            _, door = self._doors.pop(next(iter(self._doors)))
            door.close()

"""The other nodes that share the store: who of them is there, and how one is asked in the name of a caller of this one.

It decides nothing: which node is the right one says the store, and what becomes of a refusal whoever has asked.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from runtara.actors._ref import Ref
from runtara.actors.storage import Query
from runtara.errors import Forbidden, Unauthenticated, Unreachable, UntrustedServer
from runtara.ids import InstanceKey
from runtara.messages import Call
from runtara.records import Holder

__all__ = ["Neighbourhood", "Peer", "Shared", "ask_peer"]


class Peer(Protocol):
    """The way to another node."""

    async def pass_on(self, key: InstanceKey, command: Any, epoch: int | None, timeout: float) -> Any:
        """Have a command answered there. Raises what it is refused with, `Unreachable` or `DeadlineExceeded`."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor is told of this node, where others share its store."""

    node: str
    """The name of this one."""
    peer_of: Callable[[Holder], Peer]
    """The way to another one that has an address."""


class Neighbourhood:
    """The other nodes, as an actor of this one sees them. `reader` returns the actor that looks into the store."""

    def __init__(self, shared: Shared, reader: Callable[[], Ref]) -> None:
        self.node: Final = shared.node
        """The name of this one."""
        self._peer_of = shared.peer_of
        self._reader = reader

    async def list_peers(self) -> list[Holder]:
        """Return those that live and can be reached, by name. Raises what the store refuses with."""
        found: list[Holder] = await self._reader().ask(Query("list_peers"))
        return found

    async def find_log_node(self, key: InstanceKey) -> Holder | None:
        """Return the one that keeps what an instance's program wrote; None if that is this one, or nobody."""
        found: Holder | None = await self._reader().ask(Query("find_log_node", (key,)))
        return found

    async def ask(self, holder: Holder, call: Call, timeout: float, where: str) -> Any:
        """Have a call answered by one that has an address; see `ask_peer`."""
        return await ask_peer(self._peer_of(holder), call, timeout, where)


async def ask_peer(peer: Peer, call: Call, timeout: float, where: str) -> Any:
    """Have a call answered by another node; `where` says in words why it is that one.

    Raises what it is refused with there, `DeadlineExceeded`, and `Unreachable`, also where the two nodes are at odds:
    that is about this node, not about whoever has asked it.
    """
    try:
        return await peer.pass_on(call.key, call.command, call.epoch, timeout)
    except (UntrustedServer, Unauthenticated, Forbidden) as error:
        raise Unreachable(
            f"{where}, which is at odds with this one ({error}): look whether both have the same secret and certificate"
        ) from error

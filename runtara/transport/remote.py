"""The way to a server in another process or on another machine, by whatever its address names."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from runtara.ids import InstanceKey, check_id
from runtara.transport.addresses import parse_addresses
from runtara.transport.client.door import RemoteDoor, ServerSpec, Trunk
from runtara.transport.http.client import prepare_http
from runtara.transport.quic.client import prepare_quic
from runtara.transport.session import Session
from runtara.transport.websocket.client import prepare_websocket

if TYPE_CHECKING:
    import socket

    from runtara.transport.addresses import Address
    from runtara.transport.client.calls import Calls
    from runtara.transport.client.connection import Connection, Connector

__all__ = ["open_remote_door"]


def open_remote_door(
    server: ServerSpec, key: InstanceKey, *, credential: str | None = None, epoch: int | None = None
) -> RemoteDoor:
    """Return the door of one instance's program, or of somebody who manages its tenant. It connects when it is used.

    `epoch` is the attempt that a launched program is. Raises `InvalidInput` for malformed ids or a malformed address.
    """
    check_id(key.tenant_id, "tenant id")
    check_id(key.instance_id, "instance id")
    parse_addresses(server.address)
    session = Session(key)
    return RemoteDoor(session, Trunk(server, session, _prepare, credential, epoch))


_WAYS: Final[dict[str, "Callable[[ServerSpec], Connector]"]] = {
    "quic": prepare_quic,
    "ws": prepare_websocket,
    "wss": prepare_websocket,
    "http": prepare_http,
    "https": prepare_http,
}
"""How connections are made to an address of each scheme."""


def _prepare(server: ServerSpec) -> "Connector":
    """Return how a connection is made to whichever of the server's addresses it is to be."""
    ways = {scheme: _WAYS[scheme](server) for scheme in {address.scheme for address in parse_addresses(server.address)}}

    def connect(name: "Address", family: "socket.AddressFamily", address: Any, calls: "Calls") -> "Connection":
        return ways[name.scheme](name, family, address, calls)

    return connect

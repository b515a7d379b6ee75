"""WebSocket, for programs whose network lets nothing but TCP through: how their connections are made."""

from typing import TYPE_CHECKING, Any

from runtara.transport.client.door import ServerSpec

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from runtara.transport.addresses import Address
    from runtara.transport.client.connection import Connection, Talk

__all__ = ["prepare_websocket"]


def prepare_websocket(
    server: ServerSpec,
) -> "Callable[[Address, socket.AddressFamily, Any, Talk], Connection]":
    """Return how a connection to one of a server's addresses is made, with TLS where the address says so."""
    from runtara.transport.websocket._client_connection import Connection

    return lambda name, family, address, calls: Connection(server, name, family, address, calls)

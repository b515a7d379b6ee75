"""WebSocket, for programs whose network lets nothing but TCP through: how their connections are made."""

from typing import TYPE_CHECKING

from runtara.transport.client.door import ServerSpec

if TYPE_CHECKING:
    from runtara.transport.client.connection import Connector

__all__ = ["prepare_websocket"]


def prepare_websocket(server: ServerSpec) -> "Connector":
    """Return how a connection to one of a server's addresses is made, with TLS where the address says so."""
    from runtara.transport.websocket._client_connection import Connection

    return lambda name, family, address, calls: Connection(server, name, family, address, calls)

"""Plain HTTP, for programs and people whose network lets nothing else through: how their connections are made."""

from typing import TYPE_CHECKING

from runtara.transport.client.door import ServerSpec

if TYPE_CHECKING:
    from runtara.transport.client.connection import Connector

__all__ = ["prepare_http"]


def prepare_http(server: ServerSpec) -> "Connector":
    """Return how a connection to one of a server's addresses is made, with TLS where the address says so."""
    from runtara.transport.http._client_connection import Connection

    return lambda name, family, address, calls: Connection(server, name, family, address, calls)

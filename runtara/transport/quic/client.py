"""QUIC, for programs in other processes and on other machines: how their connections are made."""

from typing import TYPE_CHECKING

from runtara.transport.client.door import ServerSpec

if TYPE_CHECKING:
    from runtara.transport.client.connection import Connector

__all__ = ["prepare_quic"]


def prepare_quic(server: ServerSpec) -> "Connector":
    """Return how a connection to one of a server's addresses is made."""
    from runtara.transport.quic._client_connection import Connection
    from runtara.transport.quic.protocol import ClientTls

    tls = ClientTls(
        server_name=server.server_name,
        ca_file=server.ca_file,
        fingerprint=server.fingerprint,
        skip_verification=server.skip_verification,
        cert_file=server.client_cert_file,
        key_file=server.client_key_file,
    )
    return lambda _, family, address, calls: Connection(family, address, tls, calls)

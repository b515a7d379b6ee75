"""Who is at the other end of a connection, as far as an application may need to know beyond what its interface says.

The server lays a `Peer` into the state of every request and WebSocket of the connection.
"""

from collections.abc import Mapping
from typing import Any, Final

import trio

__all__ = ["GREETING_MAX_BYTES", "Peer", "peer_of"]

GREETING_MAX_BYTES: Final = 64 * 1024
"""Largest WebSocket message of somebody whom the application does not know yet."""

_KEY: Final = "peer"


class Peer:
    """The other end of one connection, and what the application agrees with it."""

    def __init__(self, certificate: bytes | None = None) -> None:
        self.certificate: Final = certificate
        """The certificate that the client has shown, as DER; it was checked against the authority that is trusted."""
        self.message_max_bytes = GREETING_MAX_BYTES
        """Largest WebSocket message that is taken; an application that knows its client may raise it."""
        self.says_goodbye = False
        """Whether the application closes its WebSocket itself when it hears that the server leaves."""
        self.leaving = trio.Event()
        """Set when the server goes down, with `retry_after_ms`."""
        self.retry_after_ms = 0


def peer_of(scope: Mapping[str, Any]) -> Peer:
    """Return the peer of a request or WebSocket; one of whom nothing is known where another server serves."""
    found = (scope.get("state") or {}).get(_KEY)
    return found if isinstance(found, Peer) else Peer()

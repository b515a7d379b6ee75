"""A door as an actor: whatever serves a socket, under supervision like everything else.

It knows nothing of protocols. Each life makes a server of its own; when that crashes, clients find the next one at the
same address, because the socket belongs to whoever wired the system.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import trio

from runtara.actors._deferred import Deferred
from runtara.actors._service import Actor, hears
from runtara.errors import ActorStopped

__all__ = ["Drain", "Edge", "Renew", "Server"]


class Server(Protocol):
    """What serves clients."""

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled, and say when it has begun."""

    async def drain(self, retry_after_ms: int = 0) -> None:
        """Answer what is unanswered, take nothing more, and return when every client was told to go."""

    def renew(self) -> None:
        """Show newcomers the certificate that is there now. Raises `ConfigError`; then all stays as it was."""

    def describe(self) -> dict[str, Any]:
        """Return a few facts for people who look at the running system."""


class Drain(msgspec.Struct, frozen=True):
    """Answer what is unanswered and send everybody away. Replied to when that is done."""

    retry_after_ms: int = 0


class Renew(msgspec.Struct, frozen=True):
    """Show newcomers the certificate that is there now; whoever is connected stays so."""


class Edge(Actor):
    """Runs the server that `make` returns, for as long as this incarnation lives."""

    AT_ONCE = False  # it answers later

    def __init__(self, make: Callable[[], Server]) -> None:
        self._server = make()

    async def on_start(self) -> None:
        """Serve; what keeps the server from beginning counts as a crash."""
        await self._nursery.start(self._server.serve)

    @hears(Drain)
    def drain(self, message: Drain) -> Deferred:
        """Send everybody away. Meanwhile it hears on: it can be stopped although a client does not go."""
        gone = Deferred()
        self.start_soon(self._drain, message, gone)
        return gone

    @hears(Renew)
    def renew(self, _: Renew) -> None:
        """Have the server read its certificate again."""
        self._server.renew()

    async def _drain(self, message: Drain, gone: Deferred) -> None:
        try:
            await self._server.drain(message.retry_after_ms)
            gone.settle(None)
        finally:
            gone.fail(ActorStopped(f"{self.ref.path} has stopped before every client was told to go"))

    def describe(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        return self._server.describe()

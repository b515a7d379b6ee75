"""What a link asks of a connection, whatever it is made of; and what its end means to those who ask."""

import socket
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from runtara.errors import Busy, InvalidInput, RuntaraError, TooLarge, Unauthenticated, UntrustedServer
from runtara.transport.addresses import Address
from runtara.transport.client.calls import Calls
from runtara.transport.close_codes import CLOSE_CODES, FLOOD, INVALID_FRAME, TOO_LARGE, UNAUTHENTICATED

__all__ = ["TRY", "Connection", "Connector", "Ending", "Talk", "ended_by_server", "not_trusted", "reason_in"]

TRY: Final = 3.0
"""Seconds that the way to the welcome may take."""


class Talk(Protocol):
    """What a connection asks of the calls that it carries. See `Calls`."""

    @property
    def limit(self) -> int:
        """Longest frame that the server may send now."""

    @property
    def alarm(self) -> float:
        """When `tick` has something to do."""

    @property
    def is_welcome(self) -> bool:
        """Whether the server has let us in."""

    @property
    def is_leaving(self) -> bool:
        """Whether the server has said that it is going down."""

    @property
    def is_owed(self) -> bool:
        """Whether the server has yet to answer something."""

    @property
    def is_ready(self) -> bool:
        """Whether there may be something to send."""

    @property
    def is_done(self) -> bool:
        """Whether the connection is not needed any more."""

    def hello(self) -> bytes:
        """Return the first frame of a new connection."""

    def outgoing(self, now: float) -> list[tuple[bytes, bool]]:
        """Return the frames to send now; each with whether it goes on a stream of its own."""

    def received(self, body: bytes, now: float) -> None:
        """Take in a frame. Raises `InvalidInput` for one that no server should send."""

    def tick(self, now: float) -> None:
        """Do what is due."""

    def blame(self, error: RuntaraError) -> None:
        """The server has closed the connection because of something that was sent: it is not sent again."""


class Connection(Protocol):
    """A connection to one address. `why` says why it is over, and `error` what every asker is told, if that helps."""

    was_welcome: bool
    why: str | None
    error: RuntaraError | None

    async def run(self) -> None:
        """Keep the connection up until it is lost, or not needed any more."""

    def flush(self) -> None:
        """Send what there is to be sent, and look again at what is wanted."""

    def close(self) -> None:
        """Say goodbye to the server at once."""

    def close_socket(self) -> None:
        """Let go of the socket, without a word to the server."""


Connector = Callable[[Address, socket.AddressFamily, Any, Calls], Connection]
"""Prepares a connection: to a server by its name, at one of its socket addresses, for these calls."""


class Ending(NamedTuple):
    """Why a connection is over. `error` is what every asker is told, where trying again would not help."""

    why: str
    error: RuntaraError | None = None


def ended_by_server(code: int, reason: str | None, calls: Talk) -> Ending:
    """Return what it means that the server has closed the connection; what is at fault for it is not sent again."""
    why = reason or CLOSE_CODES.get(code, f"closed with code {code}")
    if code == UNAUTHENTICATED:
        return Ending(why, Unauthenticated(why))
    if code in _BLAMED:
        calls.blame(_BLAMED[code](f"the server has closed the connection: {why}"))
    return Ending(why)


def not_trusted(reason: str) -> Ending:
    """Return what it means that the server's certificate is not the expected one."""
    why = f"the server's certificate is not the expected one ({reason})"
    return Ending(why, UntrustedServer(f"{why}: give its CA file or fingerprint, if you trust it"))


def reason_in(error: BaseException) -> str:
    """Return what the system has said about a connection that has failed."""
    cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    if cause is not None:
        return reason_in(cause)
    found = error.strerror if isinstance(error, OSError) else None
    return (found or str(error) or type(error).__name__).lower()


_BLAMED: Final[dict[int, type[RuntaraError]]] = {INVALID_FRAME: InvalidInput, TOO_LARGE: TooLarge, FLOOD: Busy}
"""Close codes that say that something sent was at fault, and what its askers are told; it is not sent again."""

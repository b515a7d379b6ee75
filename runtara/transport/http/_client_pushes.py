"""What reaches a client whose calls travel by HTTP: a WebSocket session that carries no calls, but all the rest."""

from collections.abc import Callable
from math import inf
from typing import Final

from runtara.errors import RuntaraError
from runtara.transport.client.calls import Calls
from runtara.transport.frames import HELLO_MAX_BYTES, Welcome, decode_server_frame

__all__ = ["Pushes"]


class Pushes:
    """Speaks in the session for the calls of a door. `begun` is called when the server has let us in."""

    limit: Final = HELLO_MAX_BYTES
    alarm: Final = inf
    is_owed: Final = False

    def __init__(self, calls: Calls, begun: Callable[[], None]) -> None:
        self.is_welcome = False
        self._calls = calls
        self._begun = begun
        self._watches: list[bytes] = []

    @property
    def is_leaving(self) -> bool:
        """Whether the server has said that it is going down."""
        return self._calls.is_leaving

    @property
    def is_ready(self) -> bool:
        """Whether there is something to send."""
        return bool(self._watches)

    @property
    def is_done(self) -> bool:
        """Whether nobody wants to hear of anything any more."""
        return not self._calls.wants_pushes

    def say(self, watch: bytes) -> None:
        """Have a `Watch` sent; before the welcome, whatever is watched will be said then."""
        if self.is_welcome:
            self._watches.append(watch)

    def hello(self) -> bytes:
        """Return the first frame."""
        return self._calls.hello()

    def outgoing(self, _now: float) -> list[tuple[bytes, bool]]:
        """Return the frames to send now."""
        watches, self._watches = self._watches, []
        return [(watch, False) for watch in watches]

    def received(self, body: bytes, now: float) -> None:
        """Take in a frame. Raises `InvalidInput` for one that no server should send."""
        frame = decode_server_frame(body)
        if isinstance(frame, Welcome):
            self.is_welcome = True
        self._calls.heard(frame, now)
        if isinstance(frame, Welcome):
            self._begun()

    def tick(self, now: float) -> None:
        """Whoever carries the calls looks after their time."""

    def blame(self, error: RuntaraError) -> None:
        """No call of ours was at fault."""

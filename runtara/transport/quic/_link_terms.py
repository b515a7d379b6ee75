"""What a server grants each of its clients, and what it asks of a conversation with one."""

from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple, Protocol

import msgspec

from runtara.errors import Unauthenticated
from runtara.transport.budget import Budget
from runtara.transport.frames import FrameCutter
from runtara.transport.quic._configuration import SERVER_CONNECTION_WINDOW

__all__ = ["Incoming", "LinkLimits", "Talk", "Terms"]


class Talk(Protocol):
    """What a link asks of a conversation."""

    @property
    def in_flight(self) -> int:
        """How many calls are unanswered."""

    @property
    def is_welcome(self) -> bool:
        """Whether the client is known."""

    @property
    def ended_by(self) -> Unauthenticated | None:
        """Why the connection must be closed, although the client has done nothing."""

    def awaits(self, stream_id: int) -> bool:
        """Whether a call of this stream is unanswered."""

    def received(self, stream_id: int, body: bytes | bytearray) -> None:
        """Take a frame. Raises `InvalidInput`, `TooLarge` or `Unauthenticated`, which end the connection."""

    def outgoing(self) -> list[tuple[int, bytes]]:
        """Return frames to send, each with its stream."""

    def goodbye(self, retry_after_ms: int = 0) -> None:
        """Say that the server is going down."""

    def closed(self) -> None:
        """Take note that nobody listens any more."""


_SMALL_MAX_BYTES: Final = 16 * 1024


class LinkLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may want."""

    frame_max_bytes: int
    calls_in_flight: int
    streams: int
    greeting_timeout: float
    frame_timeout: float

    @property
    def small_bytes(self) -> int:
        """Longest frame that needs no reservation: so many of them fit the window that none waits for another."""
        return min(_SMALL_MAX_BYTES, SERVER_CONNECTION_WINDOW // 2 // self.streams)


class Terms(NamedTuple):
    """What all links of a server have in common. `converse` begins the conversation with the client at an address.

    It is also given the certificate of a client that has shown one; an empty one if that is not to be trusted.
    """

    converse: Callable[..., Talk]
    limits: LinkLimits
    frames: Budget
    """Room for large frames, reserved when they begin."""
    loose: Budget
    """What else came and was not used yet."""
    answers: Budget
    """What clients have not taken yet."""


class Incoming:
    """What comes on one stream."""

    __slots__ = ("admitted", "asked", "by", "cutter", "ended", "held", "pending", "reserved")

    def __init__(self, limit: int, admitted: Callable[[], None]) -> None:
        self.cutter = FrameCutter(limit)
        self.admitted = admitted
        self.pending: list[bytes] = []
        self.held = 0
        """Bytes that came and were not reported as consumed."""
        self.asked = False
        """Whether room for the frame that has begun was asked for."""
        self.reserved = 0
        self.by = inf
        self.ended = False

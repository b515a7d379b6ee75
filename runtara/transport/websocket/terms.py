"""What both sides of a WebSocket session agree on beside the frames: its name, its place, and how it is closed."""

from typing import Final

from runtara.transport.close_codes import CLOSE_CODES, DONE, FLOOD, GOING_AWAY, INVALID_FRAME, TOO_LARGE

__all__ = ["LIVE_PATH", "SESSION_PATH", "SUBPROTOCOL", "from_websocket", "to_websocket"]

SUBPROTOCOL: Final = "runtara.2"
"""Name of this protocol in the handshake."""

SESSION_PATH: Final = "/api/v1/session"
"""Where HTTP offers it."""

LIVE_PATH: Final = "/api/v1/live"
"""Where HTTP offers what is told live; that is another protocol."""

_OFFSET: Final = 4_000
"""Codes from here on are free for applications."""

_NORMAL: Final = 1_000

_GENERAL: Final = {
    _NORMAL: DONE,
    1_001: GOING_AWAY,
    1_002: INVALID_FRAME,
    1_003: INVALID_FRAME,
    1_007: INVALID_FRAME,
    1_009: TOO_LARGE,
    1_012: GOING_AWAY,
    1_013: FLOOD,
}
"""What is meant by codes that any WebSocket server may close with, before this protocol is asked."""


def to_websocket(code: int) -> int:
    """Return how a close code of this protocol is said over WebSocket."""
    return _NORMAL if code == DONE else _OFFSET + code


def from_websocket(code: int) -> int | None:
    """Return the close code of this protocol that was said, None where it was none."""
    own = code - _OFFSET
    return own if own in CLOSE_CODES and own != DONE else _GENERAL.get(code)

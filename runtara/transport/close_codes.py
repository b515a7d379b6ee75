"""Why a connection of a door was closed, as both sides say it: the codes and their meanings."""

from typing import Final

__all__ = [
    "CLOSE_CODES",
    "DONE",
    "FLOOD",
    "GOING_AWAY",
    "INVALID_FRAME",
    "TOO_LARGE",
    "TOO_SLOW",
    "UNAUTHENTICATED",
]

DONE: Final = 0
INVALID_FRAME: Final = 1
TOO_LARGE: Final = 2
UNAUTHENTICATED: Final = 3
GOING_AWAY: Final = 4
FLOOD: Final = 5
TOO_SLOW: Final = 6

CLOSE_CODES: Final[dict[int, str]] = {
    DONE: "the connection is not needed any more",
    INVALID_FRAME: "what was sent is not a frame of this protocol, or not allowed at its place",
    TOO_LARGE: "a frame was announced that is larger than allowed",
    UNAUTHENTICATED: "the credential is missing, wrong, expired or revoked",
    GOING_AWAY: "the server is going down; connect again to whoever answers then",
    FLOOD: "more fragments, or more memory, were used than one connection may",
    TOO_SLOW: "the greeting, a frame that had begun, or the taking of answers took too long",
}
"""Each code with its meaning."""

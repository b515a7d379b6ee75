"""What an application is yet to receive of one request or WebSocket: bounded, and never in the way of its end.

A peer that sends faster than the application takes waits. That the peer has gone is heard at once behind what is there
already, also by who waits to put more in: an application that answers without reading must not wait for itself.
"""

from collections import deque
from typing import Any, Final

import trio
from trio.lowlevel import ParkingLot

__all__ = ["INBOX_MAX_BYTES", "Inbox"]

INBOX_MAX_BYTES: Final = 512 * 1024
"""How much may wait for the application, one message of any size apart."""

_EMPTY_BYTES: Final = 64
"""What a message counts beside its content."""


class Inbox:
    """The messages to one application call."""

    __slots__ = ("_arrival", "_end", "_held", "_messages", "_room")

    def __init__(self) -> None:
        self._messages: deque[tuple[dict[str, Any], int]] = deque()
        self._held = 0
        self._end: dict[str, Any] | None = None
        self._arrival: ParkingLot | None = None
        self._room: ParkingLot | None = None

    async def put(self, message: Any) -> None:
        """Hand in a message, once there is room; what comes after the end is dropped."""
        if message["type"].endswith(".disconnect"):
            self._close(message)
            return
        if self._complete(message):
            return
        size = _EMPTY_BYTES + len(message.get("body") or message.get("bytes") or message.get("text") or b"")
        while self._end is None and self._held and self._held + size > INBOX_MAX_BYTES:
            if self._room is None:
                self._room = ParkingLot()
            await self._room.park()
        if self._end is None:
            self._messages.append((message, size))
            self._held += size
            _wake(self._arrival)

    async def receive(self) -> Any:
        """Return the next message; after the last one, that the peer has gone, as often as one asks."""
        while not self._messages and self._end is None:
            if self._arrival is None:
                self._arrival = ParkingLot()
            await self._arrival.park()
        if not self._messages:
            await trio.lowlevel.checkpoint()
            return self._end
        message, size = self._messages.popleft()
        self._held -= size
        _wake(self._room)
        return message

    def _complete(self, message: Any) -> bool:
        """Tell a last piece that still waits here that it is the last one."""
        if not self._messages or message["type"] != "http.request" or message["body"]:
            return False
        last = self._messages[-1][0]
        last["more_body"] = message["more_body"]
        return True

    def _close(self, message: dict[str, Any]) -> None:
        if self._end is None:
            self._end = message
            _wake(self._arrival)
            _wake(self._room)


def _wake(waiting: ParkingLot | None) -> None:
    if waiting is not None:
        waiting.unpark_all()

"""The bytes of a client's connection over TCP, and a sign of life for every piece that moves.

A large message may take longer on a slow way than a server may be silent. That the system delivers pieces of it, or
takes further ones, shows that the other end is still there.
"""

from collections.abc import Callable
from typing import Final

import trio

__all__ = ["WatchedStream"]

_PIECE_BYTES: Final = 64 * 1024
"""What is handed to the system at once; it holds little more than what is on its way."""


class WatchedStream(trio.abc.Stream):
    """A TCP stream. `moved` hears how many bytes came, or 0 where there was room for more; `stopped` of the end."""

    def __init__(self, stream: trio.SocketStream, moved: Callable[[int], None], stopped: Callable[[], None]) -> None:
        self._stream = stream
        self._moved = moved
        self._stopped = stopped

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, piece by piece. What the system takes at once is no sign that anybody is there."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            if start:
                self._moved(0)
            await self._stream.send_all(view[start : start + _PIECE_BYTES])

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return what has come."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._stopped()
            raise
        if data:
            self._moved(len(data))
        else:
            self._stopped()
        return data

    async def wait_send_all_might_not_block(self) -> None:
        """Return when there is room to send."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()

"""The body of a request, given piece by piece, so that a long one shows that the server is still there."""

from collections.abc import AsyncIterator, Callable
from typing import Final, Self

import httpx

__all__ = ["Pieces"]

_PIECE_BYTES: Final = 64 * 1024


class Pieces(httpx.AsyncByteStream, AsyncIterator[bytes]):
    """Gives a body to be sent, from its beginning. `moved` is called when there was room for more of it."""

    def __init__(self, body: bytes, moved: Callable[[], None]) -> None:
        self._body = memoryview(body)
        self._moved = moved
        self._place = 0

    def __aiter__(self) -> Self:
        self._place = 0
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        if self._place >= len(self._body):
            raise StopAsyncIteration
        if self._place:
            self._moved()
        piece = bytes(self._body[self._place : self._place + _PIECE_BYTES])
        self._place += len(piece)
        return piece

"""Where a body that comes in chunks ends, and that it is in order on the way there."""

import re
from typing import Final

from runtara.transport.http._refusals import Refused

__all__ = ["LINE_MAX_BYTES", "TRAILERS_MAX_BYTES", "Chunks"]

LINE_MAX_BYTES: Final = 256
"""Longest line with the size of a chunk."""

TRAILERS_MAX_BYTES: Final = 4 * 1024

_WASTE_MAX_BYTES: Final = 16 * 1024
"""How many bytes beside the content a body may have; content makes up for them."""

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~]*)?")
_PIECE: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[\t -~]*)?)?\r?")
_FIELDS: Final = rb"(?:[-!#$%&'*+.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n){0,16}+"
_TRAILERS: Final = re.compile(_FIELDS + rb"\r\n")
_TRAILERS_PIECE: Final = re.compile(_FIELDS + rb"(?:\r|[-!#$%&'*+.^_`|~0-9A-Za-z]++(?::[\t -~\x80-\xff]*+\r?)?)?")
_FRAMING: Final = re.compile(
    rb"^(?:transfer-encoding|content-length|host|trailer|upgrade|connection):", re.IGNORECASE | re.MULTILINE
)


class Chunks:
    """The chunks of one body."""

    def __init__(self) -> None:
        self.is_over = False
        self._left = 0
        self._awaits_end = False
        self._in_trailers = False
        self._waste = 0

    def advance(self, data: bytes, at: int) -> int:
        """Return how far what is at `at` is in order and complete. Raises `Refused` for what cannot become so."""
        while not self.is_over and at < len(data):
            before = at
            at = self._step(data, at)
            if at == before:
                break
        return at

    def _step(self, data: bytes, at: int) -> int:
        if self._in_trailers:
            return self._pass_trailers(data, at)
        if self._awaits_end:
            return self._pass_end(data, at)
        if not self._left:
            return self._pass_size(data, at)
        take = min(self._left, len(data) - at)
        self._left -= take
        self._awaits_end = not self._left
        return at + take

    def _pass_size(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at, at + LINE_MAX_BYTES + 2)
        if end < 0:
            if len(data) - at >= LINE_MAX_BYTES + 2 or _PIECE.fullmatch(data, at) is None:
                raise Refused(400, "a chunk does not begin with its size")
            return at
        found = _SIZE.fullmatch(data, at, end)
        if found is None:
            raise Refused(400, "a chunk does not begin with its size")
        self._left = int(found[1], 16)
        self._waste = max(0, self._waste + end - at - 16 - 2 * self._left)
        if self._waste > _WASTE_MAX_BYTES:
            raise Refused(400, "chunks say more about themselves than they hold")
        self._in_trailers = not self._left
        return end + 2

    def _pass_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise Refused(400, "a chunk does not end where it said")
        if len(end) < 2:
            return at
        self._awaits_end = False
        return at + 2

    def _pass_trailers(self, data: bytes, at: int) -> int:
        at_once = data.startswith(b"\r\n", at)
        end = at - 2 if at_once else data.find(b"\r\n\r\n", at, at + TRAILERS_MAX_BYTES)
        if end < 0 and not at_once:
            if len(data) - at >= TRAILERS_MAX_BYTES or _TRAILERS_PIECE.fullmatch(data, at) is None:
                raise Refused(400, "what follows the last chunk is too much, or not in order")
            return at
        if _TRAILERS.fullmatch(data, at, end + 4) is None or _FRAMING.search(data[at : max(at, end)]):
            raise Refused(400, "what follows the last chunk is too much, or not in order")
        self.is_over = True
        return end + 4

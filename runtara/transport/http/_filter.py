"""What of a peer's bytes goes on to the parser: whole heads that are in order, and the bodies they announce. No I/O.

It knows at every byte what that byte is, so it never takes a body for a head. At most one message is passed on at a
time; what the peer has sent beyond waits, until somebody asks for more.
"""

from collections.abc import Callable

from runtara.transport.http._chunks import Chunks
from runtara.transport.http._head import HEAD_MAX_BYTES, Framing, Head, check_line, check_piece, judge
from runtara.transport.http._refusals import Refused

__all__ = ["RequestFilter"]


class RequestFilter:
    """The messages of one connection. `is_ours` knows what the server may be called."""

    def __init__(self, is_ours: Callable[[bytes], bool | None]) -> None:
        self.is_in_head = False
        """Whether a head has begun, and not ended."""
        self.is_in_body = False
        """Whether more of a body is to come."""
        self.is_transparent = False
        """Whether everything is passed on, because a WebSocket is spoken."""
        self.has_more = False
        """Whether `feed` may have something to pass on although nothing new has come."""
        self.is_over = False
        """Whether the peer has said its last request: what comes then is for nobody."""
        self.head: Head | None = None
        """What was passed on last, where that is a whole request without a body and asks for nothing special."""
        self._is_ours = is_ours
        self._rest = b""
        self._lines = 0
        self._line_at = 0
        self._left = 0
        self._chunks: Chunks | None = None
        self._awaits_upgrade = False
        self._is_last = False

    @property
    def is_next(self) -> bool:
        """Whether what comes now is another request than the last that has gone on."""
        return not (self.is_in_body or self.is_transparent or self.is_over or self._awaits_upgrade)

    @property
    def is_between(self) -> bool:
        """Whether all that has come was whole messages."""
        return not (self.is_in_body or self.is_transparent or self._rest)

    def feed(self, data: bytes) -> bytes:
        """Take what has come, and return what may go on. Raises `Refused`; then it is not to be fed again."""
        self.head = None
        if self.is_over:
            return b""
        if self._rest:
            data = self._rest + data
        at = len(data) if self.is_transparent else self._advance(data)
        if at and self._is_last and not self.is_in_body:
            self.is_over = True
        if at == len(data) or self.is_over:
            self._rest = b""
            self.has_more = False
            return data[:at]
        self._rest = data[at:]
        self.has_more = at > 0 and not self.is_in_body
        return data[:at]

    def keep(self, data: bytes) -> None:
        """Take what has come for later: `feed` passes it on, if there is nothing before it."""
        self._rest += data
        self.has_more = True

    def become_transparent(self) -> None:
        """Let everything pass from now on."""
        self.is_transparent = True

    def _advance(self, data: bytes) -> int:
        """Return how far the data may go on."""
        at = 0
        if not self.is_in_body:
            at = self._pass_head(data)
            if not self.is_in_body:
                return at
        if self._chunks is not None:
            at = self._chunks.advance(data, at)
            self.is_in_body = not self._chunks.is_over
        else:
            take = min(self._left, len(data) - at)
            self._left -= take
            self.is_in_body = self._left > 0
            at += take
        return at

    def _pass_head(self, data: bytes) -> int:
        if self._awaits_upgrade and data:
            raise Refused(400, "something was said before the WebSocket was open")
        end = data.find(b"\r\n\r\n", max(0, self._line_at - 2), HEAD_MAX_BYTES)
        if end < 0:
            self.is_in_head = bool(data)
            self._look_at_lines(data)
            return 0
        end += 4
        self._begin(judge(data if end == len(data) else data[:end], self._is_ours))
        return end

    def _begin(self, framing: Framing) -> None:
        self.is_in_head = False
        self._lines = self._line_at = 0
        self._awaits_upgrade = framing.is_websocket
        self._is_last = framing.is_last
        self._chunks = Chunks() if framing.length is None else None
        self._left = framing.length or 0
        self.is_in_body = framing.length != 0
        self.head = framing.head

    def _look_at_lines(self, data: bytes) -> None:
        """Look at lines of a head that is not complete; the same lines in the same order as when it is."""
        known = data[:HEAD_MAX_BYTES]
        while (end := known.find(b"\r\n", self._line_at)) >= 0:
            check_line(known[self._line_at : end], self._lines)
            self._line_at, self._lines = end + 2, self._lines + 1
        piece = known[self._line_at :]
        if piece:
            check_piece(piece.removesuffix(b"\r"), self._lines)
        if len(data) >= HEAD_MAX_BYTES:
            raise Refused(431, f"the head has more than {HEAD_MAX_BYTES} bytes")

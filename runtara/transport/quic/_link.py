"""A server's side of one client: streams of bytes on one side, a conversation in frames on the other. No I/O.

Owns the cutting of streams into frames, and everything that a client may be too slow, too large or too many in: the
deadlines of greeting and frames, the shares of memory, and the waiting of frames while too many calls are unanswered.
A byte is only reported as consumed when the frame that it belongs to was taken, or when its frame has room reserved.
"""

from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Any, Final

from runtara.errors import InvalidInput, TooLarge, Unauthenticated
from runtara.transport.close_codes import FLOOD, GOING_AWAY, INVALID_FRAME, TOO_LARGE, TOO_SLOW, UNAUTHENTICATED
from runtara.transport.frames import HELLO_MAX_BYTES
from runtara.transport.quic._link_terms import Incoming, Talk, Terms
from runtara.transport.quic.protocol import (
    Connected,
    Disconnected,
    StreamData,
    StreamReset,
    Wire,
)

__all__ = ["Link"]

_FIRST: Final = 0
"""The first stream of a client: greeting, pushes, farewell."""

_CLOGGED_BYTES: Final = 1024 * 1024
"""Answers not acknowledged by the client beyond which it is not heard."""

_AHEAD_BYTES: Final = 8 * 1024 * 1024
"""What unanswered calls may come to, if their answers are like recent ones, before no more are taken."""

_LOOK_BYTES: Final = 256 * 1024
"""Answers after which to look how many of them wait."""

_REASON_CHARS: Final = 200


class Link:
    """One client. `deadline` is when `expire` must be called, inf for never."""

    def __init__(
        self,
        wire: Wire,
        terms: Terms,
        wake: Callable[["Link"], None],
        now: float,
    ) -> None:
        self.wire: Final = wire
        self.deadline = now + terms.limits.greeting_timeout
        self.timer_at = inf
        """For the pump: when it will look at this link again."""
        self.is_over = False
        self.parting: list[tuple[bytes, Any]] = []
        """Datagrams to send before the connection is closed."""
        self._talk: Talk | None = None
        self._converse, self._limits, self._frames, self._loose, self._answers = terms
        self._small = terms.limits.small_bytes
        self._wake = partial(wake, self)
        self._streams: dict[int, Incoming] = {}
        self._waiting: dict[int, Incoming] = {}
        self._ended: set[int] = set()
        """Streams that the client has ended, and we have not."""
        self._ending: list[int] = []
        """Those of them to look at, whether we can."""
        self._is_greeted = False
        self._is_leaving = False
        self._held = 0
        self._written = 0
        self._typical = 0
        """Size of recent answers, the largest of them."""
        self._unsent = 0
        self._clogged_by = inf

    @property
    def in_flight(self) -> int:
        """How many calls of the client are unanswered."""
        return 0 if self._talk is None else self._talk.in_flight

    # In

    def advance(self, now: float) -> None:
        """Act upon what has happened on the connection."""
        for event in self.wire.events():
            if isinstance(event, StreamData):
                self._data(event, now)
            else:
                self._other(event, now)
            if self.is_over:
                return
        self._account()
        if self._clogged_by < inf:
            self._look(now)

    def _account(self) -> None:
        if self.is_over:
            return
        held = self.wire.held
        if held != self._held:
            difference, self._held = held - self._held, held
            self._loose.change(difference)
            if difference > 0 and self._loose.is_over(held):
                self.close(FLOOD, "too much was sent that cannot be used yet")

    def _other(self, event: object, now: float) -> None:
        match event:
            case Connected(certificate):
                self.deadline = now + self._limits.greeting_timeout
                shown = () if certificate is None else (certificate,)
                self._talk = self._converse(str(self.wire.address[0]), self._wake, *shown)
            case StreamReset(stream_id):
                self._was_reset(stream_id)
            case Disconnected():
                self._finish()

    def _data(self, event: StreamData, now: float) -> None:
        stream_id, data, ended = event
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id != _FIRST and not self._is_greeted:
                self.close(INVALID_FRAME, "a connection begins with the greeting, on its first stream")
                return
            limit = self._limits.frame_max_bytes if self._is_greeted else HELLO_MAX_BYTES
            stream = self._streams[stream_id] = Incoming(limit, partial(self._admitted, stream_id))
        size = len(data)
        if ended:
            stream.ended = True
            if stream_id != _FIRST:
                self._ended.add(stream_id)
                self._ending.append(stream_id)
        if stream.pending or self._is_full():
            stream.held += size
            stream.pending.append(data)
            self._waiting[stream_id] = stream
        elif (
            size <= self._small
            and stream.by == inf
            and int.from_bytes(data[:4], "big") == size - 4
            and self._is_greeted
        ):
            self.wire.consumed(stream_id, size)
            self._cut(stream_id, stream, (data[4:],), now)  # one frame as a whole: nearly always
        else:
            stream.held += size
            self._cut(stream_id, stream, stream.cutter.feed(data), now)

    def _is_full(self) -> bool:
        """Whether the client must wait before more of its frames are taken."""
        if self._talk is None or self._is_leaving or self._clogged_by < inf or self._written > _CLOGGED_BYTES:
            return True
        in_flight = self._talk.in_flight
        return in_flight >= self._limits.calls_in_flight or in_flight * self._typical > _AHEAD_BYTES

    def _cut(self, stream_id: int, stream: Incoming, bodies: Iterable[bytes | bytearray], now: float) -> None:
        """Take the frames that are complete, until too many calls are unanswered."""
        try:
            for body in bodies:
                self._take(stream_id, stream, body)
                if stream.held:
                    self._send()
                if self._is_full():
                    stream.pending.append(b"")
                    self._waiting[stream_id] = stream
                    break
        except TooLarge as error:
            self.close(TOO_LARGE, str(error))
        except InvalidInput as error:
            self.close(INVALID_FRAME, str(error))
        except Unauthenticated as error:
            self._refuse(error, now)
        if (stream.held or stream.by < inf) and not self.is_over:
            self._settle(stream_id, stream, now)

    def _take(self, stream_id: int, stream: Incoming, body: bytes | bytearray) -> None:
        assert self._talk is not None  # bytes come after the handshake
        self._talk.received(stream_id, body)
        if stream.reserved:
            self.wire.grant(stream_id, 0)
            self._release(stream)
        stream.by, stream.asked = inf, False
        if not self._is_greeted and self._talk.is_welcome:
            self._is_greeted = True
            self.wire.widen()
            for known in self._streams.values():
                known.cutter.limit = self._limits.frame_max_bytes

    def _settle(self, stream_id: int, stream: Incoming, now: float) -> None:
        """Report what was consumed, and see to the frame that has begun."""
        cutter = stream.cutter
        if stream.pending:
            self._consume(stream_id, stream, cutter.buffered)  # frames may be among it; they are taken later
            return
        if cutter.wanted is None and not cutter.buffered:
            self._consume(stream_id, stream, 0)
        elif stream.ended:
            self.close(INVALID_FRAME, "a stream has ended in the middle of a frame")
        else:
            self._begun(stream_id, stream, now)
        if stream.by < inf or self.deadline < inf:
            self._set_deadline()

    def _begun(self, stream_id: int, stream: Incoming, now: float) -> None:
        cutter = stream.cutter
        if stream.by == inf:
            stream.by = now + self._limits.frame_timeout
        if not stream.asked and cutter.wanted is not None and cutter.wanted > self._small:
            stream.asked = True
            if self._frames.reserve(cutter.wanted, stream.admitted):
                stream.reserved = cutter.wanted
                self.wire.grant(stream_id, cutter.wanted)
        self._consume(stream_id, stream, 0 if stream.reserved else cutter.buffered)

    def _admitted(self, stream_id: int) -> None:
        """There is room now for a large frame that has waited for it."""
        stream = self._streams[stream_id]
        stream.reserved = stream.cutter.wanted or 0
        self.wire.grant(stream_id, stream.reserved)
        self._consume(stream_id, stream, 0)
        self._wake()

    def _consume(self, stream_id: int, stream: Incoming, left: int) -> None:
        if stream.held > left:
            self.wire.consumed(stream_id, stream.held - left)
            stream.held = left

    def _release(self, stream: Incoming) -> None:
        reserved, stream.reserved = stream.reserved, 0
        self._frames.change(-reserved)

    def _was_reset(self, stream_id: int) -> None:
        if stream_id == _FIRST:
            self.close(INVALID_FRAME, "the first stream must stay open")
            return
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._waiting.pop(stream_id, None)
            self._ended.discard(stream_id)
            self._drop(stream)
            self._consume(stream_id, stream, 0)
            self.wire.grant(stream_id, 0)
        self.wire.reset(stream_id, 0)
        self._set_deadline()

    def _drop(self, stream: Incoming) -> None:
        self._frames.withdraw(stream.admitted)
        if stream.reserved:
            self._release(stream)

    # Out

    def answer(self, now: float) -> None:
        """Hand what there is to say to the connection, and take frames that had to wait for that."""
        talk = self._talk
        if talk is None or self.is_over:
            return
        if talk.ended_by is not None:
            self._refuse(talk.ended_by, now)
            return
        self._send()
        self._take_waiting(now)
        if self._ending:
            self._end_streams(talk)
        if self._held:
            self._account()
        if self._written > _LOOK_BYTES:
            self._look(now)
        if self._is_leaving and not talk.in_flight and not self.wire.unsent:
            self.close(GOING_AWAY, "the server is going down")

    def _take_waiting(self, now: float) -> None:
        """Take frames that had to wait, for as long as not too many calls are unanswered."""
        while self._waiting and not self._is_full():
            stream_id, stream = next(iter(self._waiting.items()))
            del self._waiting[stream_id]
            data = b"".join(stream.pending)
            stream.pending.clear()
            self._cut(stream_id, stream, stream.cutter.feed(data), now)
            self._send()
            if self._written > _LOOK_BYTES:
                self._look(now)

    def _send(self) -> None:
        """Hand over what the conversation says."""
        talk = self._talk
        assert talk is not None  # nothing is said before the handshake
        for stream_id, frame in talk.outgoing():
            size = len(frame)
            self._written += size
            self._typical = max(size, self._typical // 2)
            self.wire.send(stream_id, frame)
            if stream_id in self._ended:
                self._ending.append(stream_id)

    def _end_streams(self, talk: Talk) -> None:
        """End our side of streams on which nothing more will be said."""
        for stream_id in self._ending:
            if stream_id in self._ended and not self._streams[stream_id].held and not talk.awaits(stream_id):
                self._ended.discard(stream_id)
                del self._streams[stream_id]
                self.wire.send(stream_id, b"", ended=True)
        self._ending.clear()

    def _look(self, now: float) -> None:
        """See how many answers wait for the client, and whether it takes them."""
        if self.is_over:
            return
        unsent = self.wire.unsent
        self._answers.change(unsent - self._unsent)
        progress, self._unsent = unsent < self._unsent, unsent
        self._written = 0
        if unsent <= _CLOGGED_BYTES:
            if self._clogged_by < inf:
                self._clogged_by = inf
                self._wake()
        elif progress or self._clogged_by == inf:
            self._clogged_by = now + self._limits.frame_timeout
        if self._answers.is_over(unsent - 8 * _CLOGGED_BYTES):
            self.close(FLOOD, "too many answers wait to be taken")
        self._set_deadline()

    # Ends

    def leave(self, retry_after_ms: int) -> None:
        """Say farewell: answer what is unanswered, take nothing more, then close."""
        self._is_leaving = True
        if self._talk is None:
            self.close(GOING_AWAY, "the server is going down")
        else:
            self._talk.goodbye(retry_after_ms)
            self._wake()

    def expire(self, now: float) -> None:
        """Act upon the deadline, if it has passed."""
        if now < self.deadline or self.is_over:
            return
        if self._clogged_by <= now:
            self._look(now)
        if self.deadline <= now:
            self.close(TOO_SLOW, "the greeting, a frame or the taking of answers took too long")

    def close(self, code: int, reason: str) -> None:
        """End the connection. The next datagrams that leave say why."""
        self.wire.close(code, reason[:_REASON_CHARS])
        self._finish()

    def _refuse(self, error: Unauthenticated, now: float) -> None:
        """Close, after what the conversation has said about it has left."""
        self._send()
        self.parting = self.wire.outgoing(now)
        self.close(UNAUTHENTICATED, str(error))

    def _finish(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.deadline = inf
        for stream in self._streams.values():
            self._drop(stream)
        self._streams.clear()
        self._waiting.clear()
        self._ended.clear()
        self._ending.clear()
        self._loose.change(-self._held)
        self._answers.change(-self._unsent)
        self._held = self._unsent = 0
        if self._talk is not None:
            self._talk.closed()
        self._wake()

    def _set_deadline(self) -> None:
        if self._is_greeted:
            begun = min((stream.by for stream in self._streams.values()), default=inf)
            self.deadline = min(begun, self._clogged_by)

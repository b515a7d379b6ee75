"""The server's side of one client: frames in, frames out. No I/O.

Every door that speaks frames has one of these per connection. It owns what is unanswered, what is watched and what is
waiting to be sent; who may do what is the gate's to say. Everything happens on the loop. Once `closed`, what is still
answered goes nowhere.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, assert_never

from runtara.errors import Internal, InvalidInput, RuntaraError, TooLarge, Unauthenticated
from runtara.ids import InstanceKey
from runtara.messages import Heartbeat, InstanceRegistered, RegisterInstance
from runtara.records import Signal
from runtara.transport.frames import (
    Answer,
    Ask,
    Goodbye,
    Hello,
    Pushed,
    Refusal,
    Renewed,
    ServerFrame,
    Watch,
    decode_client_frame,
    encode_frame,
    read_ask_id,
)
from runtara.transport.gate import Caller, Gate, Outcome
from runtara.transport.guests import Guest

__all__ = ["MESSAGE_MAX_CHARS", "WATCHES_MAX", "Conversation"]

WATCHES_MAX: Final = 256
"""Most instances that one connection may watch."""

MESSAGE_MAX_CHARS: Final = 4_096
"""Longest text of a refusal; the rest is left out."""


class Conversation:
    """What one client says, and what it is told.

    `peer` is its address, `door` a word for the way that it comes, and `certificate` the one that it has shown to the
    door, which has verified it. `wake` is called whenever there is something to send that neither `received` nor
    `goodbye` has brought about; then `outgoing` has it.
    """

    def __init__(
        self, gate: Gate, peer: str, wake: Callable[[], None], certificate: bytes | None = None, door: str = "quic"
    ) -> None:
        self._gate = gate
        self._certificate = certificate
        self._door = door
        self._peer = peer
        self._wake = wake
        self._caller: Caller | None = None
        self._first_stream: int | None = None
        self._asked: dict[int, int] = {}
        self._watched: dict[str, _Watcher] = {}
        self._out: list[tuple[int, bytes]] = []
        self._pushed: dict[str, None] = {}
        self._busy = False
        self._awake = False
        self._closed = False
        self._guest: Guest | None = None
        self.ended_by: Unauthenticated | None = None
        """Why the connection must be closed although the client has done nothing: `outgoing` has a `Refusal`, too."""

    @property
    def is_welcome(self) -> bool:
        """Whether the client was let in."""
        return self._caller is not None

    @property
    def in_flight(self) -> int:
        """How many calls are unanswered."""
        return len(self._asked)

    def awaits(self, stream_id: int) -> bool:
        """Whether a call of this stream is unanswered."""
        return stream_id in self._asked.values()

    # What the client says

    def received(self, stream_id: int, body: bytes | bytearray) -> None:
        """Take one complete frame.

        Raises `InvalidInput` where the client breaks the protocol, and `Unauthenticated` where it is turned away: then
        `outgoing` has a `Refusal` that says why. In either case the connection must be closed.
        """
        if self._closed:
            return
        self._busy = True
        try:
            self._received(stream_id, body)
        finally:
            self._busy = False

    def _received(self, stream_id: int, body: bytes | bytearray) -> None:
        caller = self._caller
        try:
            frame = decode_client_frame(body)
        except (InvalidInput, TooLarge) as error:
            self._garbled(stream_id, body, error)
            return
        if caller is None:
            if not isinstance(frame, Hello):
                raise InvalidInput("a connection begins with Hello")
            self._hello(stream_id, frame)
        elif isinstance(frame, Ask):
            self._ask(caller, stream_id, frame)
        elif isinstance(frame, Watch):
            self._watch(caller, frame)
        elif isinstance(frame, Hello):
            raise InvalidInput("Hello was said before")
        else:
            assert_never(frame)

    def turn_down(self, stream_id: int, body: bytes | bytearray, error: RuntaraError) -> None:
        """Take one complete frame as `received` does, except that a call is refused with `error` without being read."""
        ask_id = None if self._caller is None else read_ask_id(body)
        if ask_id is None or ask_id in self._asked:
            self.received(stream_id, body)
        elif not self._closed:
            self._refuse(stream_id, ask_id, error)

    def _garbled(self, stream_id: int, body: bytes | bytearray, error: RuntaraError) -> None:
        """Refuse a call with a command that is not known here, as from a newer client; anything else ends it all."""
        ask_id = None if self._caller is None else read_ask_id(body)
        if ask_id is None:
            raise InvalidInput(str(error))
        if ask_id in self._asked:
            raise _taken(ask_id)
        self._refuse(stream_id, ask_id, error)

    def _hello(self, stream_id: int, hello: Hello) -> None:
        self._first_stream = stream_id
        try:
            caller = self._gate.admit(hello, self._peer, self._certificate)
            caller.door = self._door
            if caller.epoch is not None:
                self._attach_own(caller)
        except RuntaraError as error:
            raise self._turned_away(error) from None
        self._caller = caller
        if not caller.token_only:  # a token ends by and by, and its program is told at its next call
            self._guest = self._gate.follow(caller, self._send_away)
        self._send(stream_id, self._gate.welcome(caller))
        if caller.key.instance_id in self._watched:  # what it may have missed while it was away, it is told to look for
            self._pushed[caller.key.instance_id] = None

    def _ask(self, caller: Caller, stream_id: int, ask: Ask) -> None:
        if ask.id in self._asked:
            raise _taken(ask.id)
        self._asked[ask.id] = stream_id
        try:
            if type(ask.command) is RegisterInstance and ask.instance_id is None:
                self._attach_own(caller)  # before it, so that nothing is missed after it
            self._gate.ask(caller, ask, partial(self._settle, caller, stream_id, ask))
        except RuntaraError as error:
            self._asked.pop(ask.id, None)
            self._refuse(stream_id, ask.id, error)

    def _watch(self, caller: Caller, watch: Watch) -> None:
        name = watch.instance_id
        if not self._gate.may_watch(caller, name):
            return
        if not watch.on:
            self._pushed.pop(name, None)
            if name in self._watched:
                self._detach(self._watched.pop(name))
        elif len(self._watched) < WATCHES_MAX or name in self._watched:
            try:
                self._attach(InstanceKey(caller.key.tenant_id, name))
            except RuntaraError as error:  # a watch has no answer, and must not be silently missing
                raise self._turned_away(error) from None
        else:
            raise InvalidInput(f"{WATCHES_MAX} instances are watched, the bound: watch others on another connection")

    def _turned_away(self, error: RuntaraError) -> Unauthenticated:
        """Have the client told why it is not served, and return what ends the connection."""
        self._closed = True
        if self._first_stream is not None:
            self._refuse(self._first_stream, 0, error)
        return Unauthenticated(str(error))

    def _send_away(self, error: Unauthenticated) -> None:
        if not self._closed:
            self.ended_by = self._turned_away(error)
            self._say_so()

    def _attach(self, key: InstanceKey) -> None:
        if key.instance_id not in self._watched:
            watcher = _Watcher(key, self._notice)
            self._gate.attach(watcher)
            self._watched[key.instance_id] = watcher

    def _attach_own(self, caller: Caller) -> None:
        if self._gate.may_watch(caller, caller.key.instance_id):
            self._attach(caller.key)

    def _detach(self, watcher: "_Watcher") -> None:
        watcher.end()
        try:
            self._gate.detach(watcher)
        except RuntaraError:
            return  # who tells of signals holds it weakly, and forgets it with this connection

    # What it is told

    def outgoing(self) -> list[tuple[int, bytes]]:
        """Return what is to be sent, each frame with the stream that it goes to, and forget it."""
        self._awake = False
        if self._pushed and not (self._caller and self._gate.is_good(self._caller)):
            self._pushed.clear()
        if self._pushed and self._first_stream is not None:
            stream_id = self._first_stream
            self._out.extend((stream_id, encode_frame(Pushed(instance_id=name))) for name in self._pushed)
            self._pushed.clear()
        out, self._out = self._out, []
        return out

    def goodbye(self, retry_after_ms: int = 0) -> None:
        """Have the client told that the server goes down; `outgoing` has it."""
        if self._caller is not None and self._first_stream is not None and not self._closed:
            self._out.append((self._first_stream, encode_frame(Goodbye(retry_after_ms=retry_after_ms))))

    def closed(self) -> None:
        """Take note that the connection is gone; harmless when repeated."""
        self._closed = True
        if self._guest is not None:
            self._gate.guests.remove(self._guest)
        watched, self._watched = self._watched, {}
        for watcher in watched.values():
            self._detach(watcher)
        self._asked.clear()
        self._pushed.clear()
        self._out.clear()

    def _settle(self, caller: Caller, stream_id: int, ask: Ask, outcome: Outcome) -> None:
        """Take note of what came of a call. Runs in the task of whoever answers, so it must not raise."""
        if self._closed:
            return
        self._asked.pop(ask.id, None)
        if outcome.error is None:
            self._answer(caller, stream_id, ask, outcome.value)
        else:
            self._refuse(stream_id, ask.id, outcome.error)
        self._say_so()

    def _answer(self, caller: Caller, stream_id: int, ask: Ask, reply: Any) -> None:
        if type(reply) is InstanceRegistered:
            reply = self._gate.registered(caller, ask, reply)
        elif type(ask.command) is Heartbeat and self._first_stream is not None:
            token = self._gate.renewal(caller, ask)
            if token is not None:
                self._send(self._first_stream, Renewed(token=token))
        try:
            frame = encode_frame(Answer(ask.id, reply))
        except InvalidInput as error:
            self._refuse(stream_id, ask.id, Internal(str(error)))
            return
        if len(frame) > self._gate.frame_max_bytes:
            self._refuse(stream_id, ask.id, TooLarge(f"the answer has {len(frame)} bytes: ask for fewer rows at once"))
            return
        self._out.append((stream_id, frame))

    def _refuse(self, stream_id: int, ask_id: int, error: BaseException) -> None:
        known = error if isinstance(error, RuntaraError) else Internal("the server has met a bug of its own")
        message = str(known)[:MESSAGE_MAX_CHARS].encode(errors="replace").decode()
        self._send(stream_id, Refusal(id=ask_id, code=known.code.wire, message=message))

    def _send(self, stream_id: int, frame: ServerFrame) -> None:
        self._out.append((stream_id, encode_frame(frame)))

    def _notice(self, instance_id: str) -> None:
        """Take note that something has happened to an instance; said once, however often it happens until then."""
        self._pushed[instance_id] = None
        self._say_so()

    def _say_so(self) -> None:
        """Have what there is sent, unless somebody is about to look anyway."""
        if not self._busy and not self._awake:
            self._awake = True
            self._wake()


class _Watcher:
    """Hears what happens to one instance, until the conversation has no interest any more."""

    epoch: int | None = None

    def __init__(self, key: InstanceKey, notice: Callable[[str], None]) -> None:
        self.key = key
        self._notice: Callable[[str], None] | None = notice

    def pushed(self, _signal: Signal | None, /) -> None:
        """Hear that something has happened."""
        if self._notice is not None:
            self._notice(self.key.instance_id)

    def end(self) -> None:
        """Hear of nothing any more."""
        self._notice = None


def _taken(ask_id: int) -> InvalidInput:
    return InvalidInput(f"call {ask_id} is unanswered: the next one needs an id of its own")

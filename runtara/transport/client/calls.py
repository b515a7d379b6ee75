"""All calls of one door that are not answered yet, over as many connections as it takes. No I/O.

It says which frames to send on a connection and takes in those that come; what was sent on a connection that is lost is
sent again on the next one, which is harmless because every operation is idempotent. It says for a registered attempt
that it is alive, and tells sessions to look again whenever they may have missed something.
"""

from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Final, NamedTuple

from runtara.errors import ERRORS, Fenced, Internal, OutcomeUnknown, Retry, RuntaraError, TooLarge
from runtara.lifecycle import Status
from runtara.messages import Heartbeat, InstanceRegistered
from runtara.transport.client.call import Call, encode_ask
from runtara.transport.frames import (
    HELLO_MAX_BYTES,
    Answer,
    Goodbye,
    Hello,
    Pushed,
    Refusal,
    Renewed,
    ServerFrame,
    Watch,
    Welcome,
    decode_server_frame,
    encode_frame,
)
from runtara.transport.session import Session

__all__ = ["ALONE_FROM_BYTES", "Calls", "Patience"]

ALONE_FROM_BYTES: Final = 64 * 1024
"""A larger frame travels on a stream of its own, so that others need not wait behind it."""

TOKEN_PREFIX: Final = "rti_"
"""What credentials of single attempts begin with; only those are replaced by newer ones."""

_BY_WIRE: Final = {code.wire: error for code, error in ERRORS.items()}


class Patience(NamedTuple):
    """How long things may take, in seconds: the first connection, an answer; and how often an attempt is alive."""

    connect_timeout: float
    request_timeout: float
    heartbeat_every: float


class Calls:
    """What one door wants of its server. All times are the event loop's.

    `ids` numbers calls. `epoch` is the attempt that speaks before it has registered: that of a launched program.
    """

    def __init__(
        self,
        session: Session,
        ids: Iterator[int],
        *,
        credential: str | None,
        epoch: int | None,
        patience: Patience,
        random: Callable[[], float],
    ) -> None:
        self.session = session
        self._ids = ids
        self.limit = HELLO_MAX_BYTES
        """Longest frame that the server may send now."""
        self.is_welcome = False
        self.is_leaving = False
        """Whether the server has said that it is going down, and for `retry_after` seconds wants to be left alone."""
        self.retry_after = 0.0
        self.is_attached = False
        """Whether the program wants to hear of what happens, and to be kept alive."""
        self.why = "no connection was tried yet"
        """What keeps the server from being reached."""
        self.alarm = inf
        """When `tick` has something to do."""
        self.credential = credential
        """What the client shows; replaced by newer ones as they come."""
        self._epoch, self._random = epoch, random
        self._patience, self._heartbeat_every = patience, patience.heartbeat_every
        self._frame_max: float = inf
        self._pending: dict[int, Call] = {}
        self._ready: deque[Call] = deque()
        self._notices: list[bytes] = []
        self._watched: dict[str, list[Session]] = {}
        self._was_welcome = False
        self._said_at = 0.0
        self._beat: Call | None = None
        self._is_silenced = False
        self._broken: RuntaraError | None = None

    # From askers

    def add(self, call: Call, now: float) -> None:
        """Have a call sent as soon as possible."""
        if self._broken is not None:
            call.then(None, self._broken)
            return
        if call.frame is None and self.is_welcome:
            call.then(None, None)
            return
        self._pending[call.id] = call
        call.retry_at = inf
        call.begun_at = now
        call.expires_at = now + (
            call.timeout if self._was_welcome else min(call.timeout, self._patience.connect_timeout)
        )
        self._wake_at(call.expires_at)
        self._ready.append(call)
        self.is_attached = True

    def withdraw(self, call: Call) -> None:
        """Nobody waits for the answer any more."""
        self._pending.pop(call.id, None)

    def watch(self, session: Session) -> None:
        """Tell a session of what happens to its instance."""
        watchers = self._watched.setdefault(session.key.instance_id, [])
        if session not in watchers:
            watchers.append(session)
            if len(watchers) == 1 and self.is_welcome:
                self._notices.append(encode_frame(Watch(instance_id=session.key.instance_id)))

    def unwatch(self, session: Session) -> None:
        """Take `watch` back; harmless when repeated."""
        instance_id = session.key.instance_id
        watchers = self._watched.get(instance_id, [])
        if session in watchers:
            watchers.remove(session)
        if not watchers and self._watched.pop(instance_id, None) is not None and self.is_welcome:
            self._notices.append(encode_frame(Watch(instance_id=instance_id, on=False)))

    def detach(self) -> None:
        """The program wants to hear of nothing any more."""
        self.is_attached = False

    def stop_heartbeat(self) -> None:
        """Say no more by itself that the attempt is alive."""
        self._is_silenced = True

    def fail_all(self, error: RuntaraError) -> None:
        """Give every asker this error."""
        for call in tuple(self._pending.values()):
            self._finish(call, None, error)

    def break_down(self, error: RuntaraError) -> None:
        """Give every asker this error, from now on."""
        self._broken = error
        self.fail_all(error)
        self._tell_sessions()

    # What is wanted

    @property
    def is_owed(self) -> bool:
        """Whether the server has yet to answer something."""
        return any(call.is_sent for call in self._pending.values())

    @property
    def is_ready(self) -> bool:
        """Whether there may be something to send."""
        return bool(self._ready or self._notices)

    @property
    def is_asking(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._pending)

    @property
    def wants_connection(self) -> bool:
        """Whether there is any reason to connect."""
        return bool(self._pending or self._watched or (self.is_attached and self._beats))

    @property
    def epoch(self) -> int | None:
        """The attempt that speaks, where one does."""
        return self._epoch if self.session.epoch is None else self.session.epoch

    @property
    def wants_pushes(self) -> bool:
        """Whether anything that happens at the server is to be heard of at once."""
        return bool(self._watched) or self.epoch is not None

    @property
    def is_done(self) -> bool:
        """Whether the connection is not needed any more."""
        return not (self._pending or self._watched or self.is_attached)

    @property
    def _beats(self) -> bool:
        session = self.session
        return session.epoch is not None and session.status in _ALIVE and not self._is_silenced

    # To and from the server

    def hello(self) -> bytes:
        """Return the first frame of a new connection."""
        key = self.session.key
        return encode_frame(
            Hello(
                tenant_id=key.tenant_id,
                instance_id=key.instance_id,
                credential=self.credential,
                epoch=self.epoch,
            )
        )

    def outgoing(self, now: float) -> list[tuple[bytes, bool]]:
        """Return the frames to send now; each with whether it goes on a stream of its own."""
        if not self.is_welcome or self.is_leaving or not self.is_ready:
            return []
        frames = [(notice, False) for notice in self._notices]
        self._notices.clear()
        while self._ready:
            call = self._ready.popleft()
            if call.id in self._pending and call.retry_at == inf and not call.is_sent:
                frame = self._send(call, now)
                if frame is not None:
                    frames.append((frame, len(frame) > ALONE_FROM_BYTES))
        return frames

    def _send(self, call: Call, now: float) -> bytes | None:
        frame = call.frame
        if frame is None:
            self._finish(call, None, None)
            return None
        if len(frame) > self._frame_max:
            error = TooLarge(f"{call.what} takes {len(frame)} bytes: this server accepts {self._frame_max}")
            self._finish(call, None, error)
            return None
        call.is_sent = True
        call.expires_at = call.begun_at + call.timeout
        if call.session is self.session:
            self._said_at = now
        return frame

    def received(self, body: bytes | bytearray, now: float) -> None:
        """Take in a frame. Raises `InvalidInput` for one that no server should send."""
        self.heard(decode_server_frame(body), now)

    def heard(self, frame: ServerFrame, now: float) -> None:
        """Take in what the server says."""
        _HEARS[frame.__class__](self, frame, now)

    def lost(self, why: str) -> None:
        """The connection is gone: what was sent is to be sent again on the next one."""
        self.is_welcome = self.is_leaving = False
        self.limit, self._frame_max = HELLO_MAX_BYTES, inf
        self.why = why
        self._notices.clear()
        self._ready.clear()
        for call in self._pending.values():
            call.lost()
            if call.retry_at == inf:
                self._ready.append(call)

    def blame(self, error: RuntaraError) -> None:
        """The server has closed the connection because of something that was sent: it is not sent again."""
        sent = [call for call in self._pending.values() if call.is_sent]
        if len(sent) > 1:  # which of them it was is not known, nor which of the others were done
            error = OutcomeUnknown(f"{error}, because of this call or of another one at the same time")
        for call in sent:
            self._finish(call, None, error)

    def _welcome(self, frame: Welcome, now: float) -> None:
        if self._was_welcome:
            self._tell_sessions()  # something may have been missed
        self.is_welcome = self._was_welcome = True
        self.retry_after = 0.0
        self.why = "the server is there, and takes its time"
        self.limit = self._frame_max = frame.frame_max_bytes
        self._heartbeat_every = min(self._heartbeat_every, frame.heartbeat_every_ms / 1000)
        self._wake_at(now + self._heartbeat_every)  # the attempt may have registered before that was known
        self._renew(frame.token)
        self._notices = [encode_frame(Watch(instance_id=instance_id)) for instance_id in self._watched]

    def _answer(self, frame: Answer, now: float) -> None:
        call = self._pending.get(frame.id)
        if call is None or not call.is_sent:
            return  # its asker has given up
        reply = frame.reply
        call.session.received(reply)
        if reply.__class__ is InstanceRegistered:
            self._renew(reply.token)
            self._wake_at(now + self._heartbeat_every)
        self._finish(call, reply, None)

    def _refusal(self, frame: Refusal, now: float) -> None:
        error = _error(frame)
        call = self._pending.get(frame.id)
        if frame.id == 0:
            self._turned_away(error)
        elif call is not None and call.is_sent:
            if isinstance(error, Fenced) and call.session is self.session:
                self._is_silenced = True
            if call.refused(error, now, self._random):
                self._wake_at(call.retry_at)
            else:
                self._finish(call, None, error if error.retry is Retry.NEVER else call.failure(str(error)))

    def _turned_away(self, error: RuntaraError) -> None:
        """The server does not want to know this client."""
        self.why = str(error)
        if error.retry is Retry.NEVER:
            self._is_silenced = True
            self.fail_all(error)
            self._tell_sessions()

    def _pushed(self, frame: Pushed, _now: float) -> None:
        for session in self._sessions_of(frame.instance_id):
            session.pushed(None)

    def _renewed(self, frame: Renewed, _now: float) -> None:
        self._renew(frame.token)

    def _goodbye(self, frame: Goodbye, _now: float) -> None:
        self.is_leaving = True
        self.retry_after = frame.retry_after_ms / 1000
        self.why = "the server is going down"

    def _renew(self, token: str | None) -> None:
        # A tenant key may do more than the token of an attempt, and so may who needs no credential.
        if token is not None and self.credential is not None and self.credential.startswith(TOKEN_PREFIX):
            self.credential = token

    def _sessions_of(self, instance_id: str) -> list[Session]:
        own = [self.session] if instance_id == self.session.key.instance_id else []
        return [*own, *self._watched.get(instance_id, ())]

    def _tell_sessions(self) -> None:
        for session in (self.session, *(one for watchers in self._watched.values() for one in watchers)):
            session.pushed(None)

    # As time goes by

    def tick(self, now: float) -> None:
        """Do what is due: give up, try again, say that the attempt is alive."""
        if now < self.alarm:
            return
        for call in tuple(self._pending.values()):
            if now >= call.expires_at:
                self._finish(call, None, call.failure(self.why))
            elif now >= call.retry_at:
                call.retry_at = inf
                self._ready.append(call)
        beat_at = self._beat_if_due(now)
        times = (min(call.expires_at, call.retry_at) for call in self._pending.values())
        self.alarm = min(times, default=inf)
        self._wake_at(beat_at)

    def _beat_if_due(self, now: float) -> float:
        """Say that the attempt is alive, where it has said nothing for long; return when to look again."""
        if not (self.is_attached and self._beats):
            return inf
        due = self._said_at + self._heartbeat_every
        if now < due:
            return due
        if self._beat is None:
            id, timeout = next(self._ids), self._patience.request_timeout
            frame = encode_ask(id, Heartbeat(), None, timeout)
            self._beat = Call(id, "Heartbeat", frame=frame, timeout=timeout, session=self.session, then=self._beaten)
            self.add(self._beat, now)
        return now + self._heartbeat_every

    def _beaten(self, _reply: Any, error: BaseException | None) -> None:
        self._beat = None
        if isinstance(error, RuntaraError) and error.retry is Retry.NEVER:
            self._is_silenced = True
            self.session.pushed(None)  # the program looks, and hears why

    def _wake_at(self, instant: float) -> None:
        self.alarm = min(self.alarm, instant)

    def _finish(self, call: Call, reply: Any, error: BaseException | None) -> None:
        if self._pending.pop(call.id, None) is not None:
            call.is_sent = False
            call.then(reply, error)


_ALIVE: Final = (None, Status.RUNNING)
"""What an instance may be, after the last report of its program, for heartbeats to have a meaning."""

_HEARS: Final[dict[type, Callable[[Calls, Any, float], None]]] = {
    Welcome: Calls._welcome,  # noqa: SLF001 - this class's own table
    Answer: Calls._answer,  # noqa: SLF001
    Refusal: Calls._refusal,  # noqa: SLF001
    Pushed: Calls._pushed,  # noqa: SLF001
    Renewed: Calls._renewed,  # noqa: SLF001
    Goodbye: Calls._goodbye,  # noqa: SLF001
}


def _error(frame: Refusal) -> RuntaraError:
    return _BY_WIRE.get(frame.code, Internal)(frame.message)

"""One connection of a client, from its first datagram to its last: a socket, a `Wire`, and the `Calls` that it carries.

It decides nothing about what is said; it moves bytes, and finds out when the connection is over, and why.
"""

import socket
from contextlib import suppress
from math import inf
from typing import Any, Final

import trio

from runtara.errors import InvalidInput, RuntaraError, TooLarge
from runtara.transport.client.calls import Calls
from runtara.transport.client.connection import TRY, ended_by_server, not_trusted
from runtara.transport.client.pulse import Pulse
from runtara.transport.close_codes import DONE, INVALID_FRAME
from runtara.transport.frames import FrameCutter
from runtara.transport.quic.protocol import (
    ClientTls,
    Connected,
    Disconnected,
    StreamData,
    StreamReset,
    WireEvent,
    open_client_wire,
)

__all__ = ["Connection"]

DATAGRAMS: Final = 64
"""Most datagrams taken from the socket before the answers to them are sent."""

DATAGRAM_MAX_BYTES: Final = 65_535
"""Longest datagram that there is; on loopback they are long."""

RECEIVE_BUFFER: Final = 1024 * 1024
"""What the system is asked to hold of datagrams that come in a burst."""


class Connection:
    """A connection to one address. `run` returns when it is over; `why` says why, and `error` what askers are told."""

    def __init__(self, family: socket.AddressFamily, address: Any, tls: ClientTls, calls: Calls) -> None:
        now = trio.current_time()
        self.was_welcome = False
        self.why: str | None = None
        self.error: RuntaraError | None = None
        """What every asker is told, where trying again would not help."""
        self._calls = calls
        self._address = address
        self._wire = open_client_wire(tls, address, now)
        self._stream = self._wire.open_stream()
        self._cutters: dict[int, FrameCutter] = {}
        self._pulse = Pulse(now)
        self._welcome_by = now + TRY
        self._scope = trio.CancelScope()
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    async def run(self) -> None:
        """Keep the connection up until it is lost, or not needed any more."""
        try:
            self._socket.connect(self._address)  # so that the system tells us if nobody is there
            self._send(trio.current_time())
            while self.why is None:
                with trio.CancelScope(deadline=self._alarm()) as self._scope:
                    await trio.lowlevel.wait_readable(self._socket)
                self._turn(trio.current_time())
        except OSError as error:
            self.why = f"{error.strerror or error}".lower()
        finally:
            self.close_socket()

    def flush(self) -> None:
        """Send what there is to be sent, and look again at what is wanted."""
        if self.why is not None:
            return
        now = trio.current_time()
        try:
            self._send(now)
        except OSError:
            self._scope.deadline = -inf  # the task meets it, too
            return
        self._scope.deadline = -inf if self._is_needless else self._alarm()

    def close(self) -> None:
        """Say goodbye to the server at once."""
        self._end("closed by this side", DONE)

    def close_socket(self) -> None:
        """Let go of the socket, without a word to the server."""
        self._socket.close()

    @property
    def _is_needless(self) -> bool:
        calls = self._calls
        return self._wire.is_closed or calls.is_done or (calls.is_leaving and not calls.is_owed)

    def _alarm(self) -> float:
        timer = self._wire.timer()
        quiet = self._pulse.alarm if self.was_welcome else self._welcome_by
        return min(inf if timer is None else timer, self._calls.alarm, quiet)

    def _turn(self, now: float) -> None:
        wire = self._wire
        received = self._receive(now)
        timer = wire.timer()
        is_due = timer is not None and now >= timer
        if is_due:
            wire.handle_timer(now)
        for event in wire.events():
            self._happened(event, now)
        self._calls.tick(now)
        if self.why is None:
            self._check(now)
        # A single answer need not be acknowledged by itself: the next question does that, or else the timer.
        is_quiet = received == 1 and self.was_welcome and not (is_due or self._calls.is_ready or wire.unsent)
        if self.why is None and not is_quiet:
            self._send(now)
            for event in wire.events() if wire.is_closed else ():
                self._happened(event, now)  # that it is over, which may have been said only just now

    def _receive(self, now: float) -> int:
        """Take what has come, and return how many datagrams that was."""
        count = 0
        while count < DATAGRAMS:
            try:
                datagram = self._socket.recv(DATAGRAM_MAX_BYTES)
            except BlockingIOError:
                break
            self._wire.receive(datagram, self._address, now)
            count += 1
        if count:
            self._pulse.heard(now, owed=self._calls.is_owed)
        return count

    def _check(self, now: float) -> None:
        """End the connection if it is time to; ask for a sign of life."""
        self._pulse.looked(now)
        if self._is_needless:
            self._end("not needed any more", DONE)
        elif not self.was_welcome:
            if now >= self._welcome_by:
                self._end(f"no welcome within {TRY:g} s", DONE)
        elif self._pulse.is_dead(now):
            self._end("nothing is heard of the server any more", DONE)
        elif self._pulse.should_ask(now):
            self._wire.ping()
            self._pulse.asked(now)

    def _send(self, now: float) -> None:
        """Send what there is to be sent. Raises `OSError` if nobody is there."""
        for frame, is_alone in self._calls.outgoing(now):
            stream = self._wire.open_stream() if is_alone else self._stream
            self._wire.send(stream, frame, ended=is_alone)
            self._pulse.awaits(now)
        for datagram, _ in self._wire.outgoing(now):
            try:
                self._socket.send(datagram)
            except BlockingIOError:
                return  # lost, as it may be lost anywhere on its way; it is sent again in time

    def _end(self, why: str, code: int) -> None:
        if self.why is None:
            self.why = why
            self._wire.close(code, "")
            with suppress(OSError):
                self._send(trio.current_time())

    # What happens

    def _happened(self, event: WireEvent, now: float) -> None:
        match event:
            case StreamData():
                self._data(event, now)
            case Connected():
                self._wire.send(self._stream, self._calls.hello())
            case StreamReset():
                self._end("the server has reset a stream", DONE)
            case Disconnected():
                self._disconnected(event)

    def _data(self, event: StreamData, now: float) -> None:
        stream, calls = event.stream_id, self._calls
        cutter = self._cutters.get(stream)
        if cutter is None:
            cutter = self._cutters[stream] = FrameCutter(calls.limit)
        self._wire.consumed(stream, len(event.data))
        try:
            for body in cutter.feed(event.data):
                calls.received(body, now)
                cutter.limit = calls.limit
        except (InvalidInput, TooLarge) as error:
            self._end(f"the server says what cannot be understood: {error}", INVALID_FRAME)
        self.was_welcome = self.was_welcome or calls.is_welcome
        if event.ended:
            self._cutters.pop(stream, None)
            if stream == self._stream:
                self._end("the server has ended the conversation", DONE)

    def _disconnected(self, event: Disconnected) -> None:
        if self.why is not None:
            return
        if event.untrusted:
            self.why, self.error = not_trusted(event.reason)
        elif event.by_application:
            self.why, self.error = ended_by_server(event.code, event.reason, self._calls)
        else:
            self.why = f"the connection failed ({event.reason or event.code})"

"""The stream of one connection, made safe against its peer: what it says is checked, and everything has a deadline.

A head must have arrived soon after its first byte, a body must move, a connection without a request ends, a peer that
does not read is let go, and a WebSocket that is silent is asked whether it is still there.
"""

import socket as sockets
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, Final

import msgspec
import trio

from runtara.transport.http._filter import RequestFilter
from runtara.transport.http._head import Head
from runtara.transport.http._refusals import Refused

__all__ = ["PING", "Broken", "GuardedStream", "Spans"]

PING: Final = b"\x89\x00"
"""A WebSocket's question whether the peer is there, without content."""

_HEAD_BYTES: Final = 64 * 1024
_BODY_BYTES: Final = 256 * 1024
"""Most that is read at a time."""

_SLICE_BYTES: Final = 256 * 1024
"""How much a peer must take within the time for writing."""

_BURST_BYTES: Final = 64 * 1024
"""How much may be sent before other tasks have a turn."""

_BODY_WINDOW: Final = 5.0
_BODY_MIN_BYTES: Final = 1024 * _BODY_WINDOW
"""How much of a body must come in how many seconds that are spent on waiting for it."""

_LINGER: Final = 1.0
_LINGER_MAX_BYTES: Final = 4 * 1024 * 1024
"""How long, and for how many bytes, a peer that still sends is listened to so that it hears why nobody does."""


Take = Callable[[bytes, Head], Awaitable[None]]
"""Takes a request that asks for nothing special: its bytes, and what they say."""


class Spans(msgspec.Struct, frozen=True):
    """How many seconds what may take."""

    head: float
    idle: float
    write: float


class Broken(OSError):
    """The connection is over: nobody hears what is said."""


class GuardedStream:
    """One connection, over TCP or TLS. One task at a time may receive; any may send."""

    def __init__(self, socket: sockets.socket, tls: Any, messages: RequestFilter, spans: Spans) -> None:
        self.messages: Final = messages
        self.is_broken = False
        """Whether nothing more can be sent."""
        self._socket = socket
        self._tls = tls
        self._spans = spans
        self._lock = trio.Lock()
        self._wait: trio.CancelScope | None = None
        """What is waited in for the peer, at most for as long as it may be idle: then one looks how late it is."""
        self._idle: trio.Event | None = None
        self._is_ending = False
        self._is_aborted = self._has_lingered = False
        self._burst = 0
        self._is_busy = False
        self._idle_since = self._begun_at = self._heard_at = trio.current_time()
        self._pinged = False
        self._window_spent = 0.0
        self._window_bytes = 0

    # What is heard

    async def receive(self, take: Take | None = None) -> bytes:
        """Return what has come and is in order, nothing at the end. Raises `Refused`, or `Broken`.

        Another request is only taken when the last one was answered. Requests that ask for nothing special are handed
        to `take` instead, if there is one, while the wait for what comes next goes on: it must not wait itself.
        """
        messages = self.messages
        while True:
            if not messages.has_more:
                data = await self._read(take)
                if data is None:
                    return b""
            else:
                if self._is_busy and messages.is_next:
                    await self._wait_until_idle()
                data = messages.feed(b"")
            if data:
                return data

    def is_busy(self, busy: bool) -> None:
        """Take note that a request is being answered, or has been."""
        self._is_busy = busy
        self._idle_since = trio.current_time()
        self._window_spent, self._window_bytes = 0.0, 0
        if self._idle is not None:
            self._idle.set()
        self._rearm()

    def upgraded(self) -> None:
        """Take note that from now on a WebSocket is spoken."""
        self.messages.become_transparent()
        self._heard_at = trio.current_time()
        self._rearm()

    def end(self) -> None:
        """Let nothing more be received; whoever waits for it is told so."""
        self._is_ending = True
        if self._idle is not None:
            self._idle.set()
        if self._wait is not None:
            self._wait.cancel()

    async def _wait_until_idle(self) -> None:
        self._idle = trio.Event()
        await self._idle.wait()
        self._idle = None
        if self._is_ending:
            raise Broken("the connection ends")

    async def _read(self, take: Take | None) -> bytes | None:
        """Return what may go on of what comes, None at the end."""
        while not self._is_ending:
            began = trio.current_time()
            self._wait = trio.CancelScope(deadline=min(self._due(began), began + self._spans.idle))
            with self._wait:
                data = await self._read_on(began, take)
                self._wait = None
                return data
            self._wait = None
            if self._due(began) <= trio.current_time() and not self._is_ending:
                await self._expire()
        raise Broken("the connection ends")

    async def _read_on(self, began: float, take: Take | None) -> bytes | None:
        messages = self.messages
        while True:
            got = await self._receive_some()
            self._note(len(got), began)
            if not got:
                return None
            if self._is_busy and messages.is_next:
                messages.keep(got)
                return b""
            data = messages.feed(got)
            if take is None or messages.head is None:
                return data
            await take(data, messages.head)
            if messages.has_more:
                return b""

    async def _receive_some(self) -> bytes:
        size = _BODY_BYTES if self.messages.is_in_body else _HEAD_BYTES
        try:
            if self._tls is not None:
                return bytes(await self._tls.receive_some(size))
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    return self._socket.recv(size)
                except BlockingIOError:
                    continue
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.abort()
            raise Broken(str(error)) from None

    def _note(self, size: int, began: float) -> None:
        messages = self.messages
        if messages.is_in_body:
            self._window_spent += trio.current_time() - began
            self._window_bytes += size
            if self._window_spent >= _BODY_WINDOW:
                self._check_rate()
        elif messages.is_transparent:
            self._heard_at, self._pinged = trio.current_time(), False
        elif not messages.is_in_head:
            self._begun_at = trio.current_time()

    def _due(self, now: float) -> float:
        messages = self.messages
        if messages.is_in_body:
            return now + _BODY_WINDOW - self._window_spent
        if messages.is_transparent:
            return self._heard_at + self._spans.idle
        if self._is_busy:
            return inf
        if messages.is_in_head:
            return max(self._begun_at, self._idle_since) + self._spans.head
        return self._idle_since + self._spans.idle

    def _rearm(self) -> None:
        """Have the deadline be no later than it should: one that comes too early costs less than one often moved."""
        if self._wait is not None:
            due = self._due(trio.current_time())
            if due < self._wait.deadline or self.messages.is_in_body:
                self._wait.deadline = due

    async def _expire(self) -> None:
        """The time for receiving is over."""
        messages, now = self.messages, trio.current_time()
        if messages.is_in_body:
            self._window_spent = _BODY_WINDOW
            self._check_rate()
        elif messages.is_transparent and not self._pinged:
            self._pinged, self._heard_at = True, now
            await self.send(PING)
        elif messages.is_in_head:
            raise Refused(408, f"the head of the request did not arrive within {self._spans.head:g} seconds")
        else:
            raise Broken("nothing was heard for too long")

    def _check_rate(self) -> None:
        if self._window_bytes < _BODY_MIN_BYTES:
            raise Refused(408, f"the body moved less than {_BODY_MIN_BYTES:.0f} bytes in {_BODY_WINDOW:g} seconds")
        self._window_spent, self._window_bytes = 0.0, 0

    # What is said

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        """Send all of it, and nothing after what `is_last`. Raises `Broken`, also if the peer does not take it in time.

        Who is cancelled meanwhile breaks the connection, since half of it may have gone.
        """
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            if self.is_broken:
                raise Broken("the connection is over")
            await self._send(data)
            if is_last:
                self.is_broken = True
        except BaseException:
            self.abort()
            raise
        finally:
            self._lock.release()

    async def _send(self, data: bytes) -> None:
        sent = 0 if self._tls is not None else self._send_now(data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            for start in range(0, len(rest), _SLICE_BYTES):
                with trio.move_on_after(self._spans.write) as patience:
                    await self._send_slice(rest[start : start + _SLICE_BYTES])
                if patience.cancelled_caught:
                    raise Broken(f"the peer did not read for {self._spans.write:g} seconds")
        self._burst += len(data)
        if self._burst >= _BURST_BYTES:
            self._burst = 0
            await trio.lowlevel.checkpoint()

    async def _send_slice(self, data: memoryview) -> None:
        if self._tls is not None:
            try:
                await self._tls.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Broken(str(error)) from None
        while self._tls is None and data:
            await trio.lowlevel.wait_writable(self._socket)
            data = data[self._send_now(data) :]

    def _send_now(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Broken(str(error)) from None

    # How it ends

    def abort(self) -> None:
        """Give up: what was not sent yet never is."""
        if not self._is_aborted:
            self.is_broken = self._is_aborted = True
            self.end()
            try:
                self._socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                return  # it is gone already

    async def linger(self, *, is_settled: bool = False) -> None:
        """Say that nothing more will come, and listen a little, so that the peer hears what was said last.

        There is no need to where everything `is_settled`.
        """
        if self._is_aborted or self._has_lingered:
            return
        self._has_lingered = True
        self.is_broken = True
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(_LINGER):
            async with self._lock:
                if self._tls is not None:
                    await self._tls.unwrap()
                self._socket.shutdown(sockets.SHUT_WR)
            left = 0 if is_settled or self.messages.is_between else _LINGER_MAX_BYTES
            while left > 0:
                await trio.lowlevel.wait_readable(self._socket)
                got = len(self._socket.recv(_HEAD_BYTES))
                left -= got or left

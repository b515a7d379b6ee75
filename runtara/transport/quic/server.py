"""The QUIC door of a server: one socket, one task, all connections.

A turn of the pump takes what has come, sees to the connections whose time it is, lets conversations answer, and sends.
Nothing is started per connection or per call. Who speaks and who answers is the business of the conversations; how a
client may misbehave that of `_link` and `_guard`.
"""

import heapq
import socket as sockets
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Any, Final

import trio

from runtara.errors import ConfigError, Unreachable
from runtara.settings import Settings
from runtara.transport.budget import Budget
from runtara.transport.close_codes import GOING_AWAY
from runtara.transport.frames import OVERHEAD_MAX_BYTES
from runtara.transport.quic._configuration import configure_server
from runtara.transport.quic._link import Link
from runtara.transport.quic._link_terms import LinkLimits, Talk, Terms
from runtara.transport.quic._proof import prove_guards
from runtara.transport.quic.listener import Listener, ListenerLimits
from runtara.transport.quic.protocol import (
    ServerTls,
    Wire,
)

__all__ = ["QuicServer", "open_socket", "self_test"]

_TURN_DATAGRAMS: Final = 128
"""Most datagrams taken before others have a turn."""

_DATAGRAM_MAX_BYTES: Final = 65_535


async def open_socket(settings: Settings) -> sockets.socket:
    """Return the bound socket of the door; its own name tells the port if any free one was asked for.

    Raises `ConfigError` for an address that this machine does not have, `Unreachable` for one that is taken.
    """
    host, port = settings.host, settings.quic_port
    try:
        found = await trio.socket.getaddrinfo(host, port, type=sockets.SOCK_DGRAM, flags=sockets.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"{host!a} is not an address to listen at: {error}") from None
    family, kind, protocol, _, address = found[0]
    socket = sockets.socket(family, kind, protocol)
    try:
        socket.setblocking(False)
        if family == sockets.AF_INET6 and address[0] == "::":
            socket.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, 0)
        _size_buffers(socket, settings)
        socket.bind(address)
    except OSError as error:
        socket.close()
        raise Unreachable(
            f"cannot listen at {host} UDP port {port}: {error}; choose another RUNTARA_QUIC_PORT"
        ) from None
    return socket


def _size_buffers(socket: sockets.socket, settings: Settings) -> None:
    for option, size in (
        (sockets.SO_RCVBUF, settings.quic_udp_recv_buffer),
        (sockets.SO_SNDBUF, settings.quic_udp_send_buffer),
    ):
        if size:
            socket.setsockopt(sockets.SOL_SOCKET, option, size)  # the system cuts it down to what it allows


class QuicServer:
    """Serves all connections of one bound socket, which stays its owner's and stays open.

    `converse` begins the conversation with a client: it is given the client's host, and what to call when there is
    something to send.
    """

    def __init__(
        self,
        settings: Settings,
        socket: sockets.socket,
        tls: ServerTls,
        converse: Callable[..., Talk],
    ) -> None:
        self._socket = socket
        self._listener = Listener(tls, _listener_limits(settings))
        self._frames = Budget(settings.quic_frames_max_bytes)
        loose, answers = Budget(settings.quic_frames_max_bytes), Budget(settings.quic_frames_max_bytes)
        self._terms = Terms(converse, _link_limits(settings), self._frames, loose, answers)
        self._links: dict[Wire, Link] = {}
        self._touched: dict[Link, None] = {}
        self._timers: list[tuple[float, int, Link]] = []
        self._pushed = 0
        self._pause: trio.CancelScope | None = None
        self._drained: trio.Event | None = None
        self._counts: Counter[str] = Counter()
        self._last_failure = ""

    def describe(self) -> dict[str, Any]:
        """Return how many there are of what, for people who look at the running system."""
        facts: dict[str, Any] = {
            "connections": len(self._links),
            "half_open": self._listener.half_open,
            "calls": sum(link.in_flight for link in self._links.values()),
            "frame_bytes": self._frames.used,
            **self._listener.counts,
            **self._counts,
        }
        if self._last_failure:
            facts["last_failure"] = self._last_failure
        return facts

    def renew(self) -> None:
        """Show newcomers the certificate that the files hold now. Raises `ConfigError`; then all stays as it was."""
        self._listener.renew()

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Raises `Internal` where a guard against hostile clients is not in force."""
        prove_guards(self._listener.configuration)
        task_status.started()
        try:
            while True:
                await self._wait()
                now = trio.current_time()
                self._receive(now)
                self._look_at_clocks(now)
                self._send(now)
        finally:
            self._leave()

    async def drain(self, retry_after_ms: int = 0) -> None:
        """Answer what is unanswered, take nothing more, and return when every client was told to go.

        A client that does not take its answers is not waited for longer than the caller allows.
        """
        self._listener.is_open = False
        self._drained = trio.Event()
        for link in list(self._links.values()):
            link.leave(retry_after_ms)
        self._resume()
        await self._drained.wait()

    # The turn

    async def _wait(self) -> None:
        """Wait for a datagram, an answer, or the next time that something is due."""
        if self._touched:
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope(deadline=self._timers[0][0] if self._timers else inf) as self._pause:
            await trio.lowlevel.wait_readable(self._socket)
        self._pause = None

    def _resume(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    def _wake(self, link: Link) -> None:
        """A conversation has something to say. The last answer that it owes is sent at once, without a turn."""
        if self._pause is None or link.in_flight or not self._speak(link):
            self._touched[link] = None
            self._resume()

    def _speak(self, link: Link) -> bool:
        """Send what one conversation says, while the pump waits; False where its next turn must see to it."""
        pause, self._pause = self._pause, None  # what it leads to is for the next turn
        now = trio.current_time()
        try:
            self._send_from(link, now)
        except Exception:  # noqa: BLE001 - not the business of whoever has answered: the pump meets it again in its turn
            return False
        finally:
            self._pause = pause
        if pause is not None and self._timers:
            pause.deadline = min(pause.deadline, self._timers[0][0])
        if self._touched:
            self._resume()
        return True

    def _receive(self, now: float) -> None:
        receive, listener, touched = self._socket.recvfrom, self._listener, self._touched
        arrived: dict[Link, None] = {}
        for _ in range(_TURN_DATAGRAMS):
            try:
                datagram, address = receive(_DATAGRAM_MAX_BYTES)
            except BlockingIOError:
                break
            except OSError:
                self._counts["receive_errors"] += 1
                break
            wire = listener.receive(datagram, address, now)
            if wire is None:
                continue
            link = self._links.get(wire)
            if link is None:
                link = self._begin(wire, now)
            touched[link] = arrived[link] = None
        for link in arrived:
            link.advance(now)
        for datagram, address in listener.outgoing():
            self._send_datagram(datagram, address)

    def _begin(self, wire: Wire, now: float) -> Link:
        self._counts["accepted"] += 1
        link = Link(wire, self._terms, self._wake, now)
        self._links[wire] = link
        return link

    def _look_at_clocks(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            at, _, link = heapq.heappop(timers)
            if at != link.timer_at:
                continue  # it was looked at since, and has an earlier or later entry
            link.timer_at = inf
            due = link.wire.timer()
            if due is not None and due <= now:
                link.wire.handle_timer(now)
                link.advance(now)
            link.expire(now)
            self._touched[link] = None

    def _send(self, now: float) -> None:
        """Let conversations speak, and send everything. What becomes of it may be more to say, in the next turn."""
        touched, self._touched = self._touched, {}
        for link in touched:
            self._send_from(link, now)
        if self._drained is not None and not self._links:
            self._drained.set()

    def _send_from(self, link: Link, now: float) -> None:
        wire = link.wire
        link.answer(now)
        if wire.is_connected and not link.is_over:
            self._listener.settled(wire)
        for datagram, address in link.parting:
            self._send_datagram(datagram, address)
        for datagram, address in wire.outgoing(now):
            self._send_datagram(datagram, address)
        if wire.is_closed:
            self._end(link, now)
        else:
            self._set_timer(link)

    def _set_timer(self, link: Link) -> None:
        due = link.wire.timer()
        at = link.deadline if due is None else min(due, link.deadline)
        if at < link.timer_at:
            link.timer_at = at
            self._pushed += 1
            heapq.heappush(self._timers, (at, self._pushed, link))

    def _send_datagram(self, datagram: bytes, address: Any) -> None:
        try:
            self._socket.sendto(datagram, address)
        except BlockingIOError:
            self._counts["dropped"] += 1  # as the network may drop it, too: it is sent again
        except OSError:
            self._counts["send_errors"] += 1

    def _end(self, link: Link, now: float) -> None:
        if self._links.pop(link.wire, None) is None:
            return
        if link.wire.failure is not None:
            self._counts["failures"] += 1
            self._last_failure = repr(link.wire.failure)[:200]
        link.advance(now)  # it hears that it is over
        link.timer_at = -inf  # what is in the heap is not for it any more
        self._listener.forget(link.wire)

    def _leave(self) -> None:
        """Tell every client that nobody is here any more."""
        now = trio.current_time()
        for link in list(self._links.values()):
            link.close(GOING_AWAY, "the server is going down")
        self._touched.update(dict.fromkeys(self._links.values()))
        self._send(now)


def self_test(tls: ServerTls) -> None:
    """Return if a door with this certificate would be guarded. Raises `ConfigError`, or `Internal` naming the guard."""
    prove_guards(configure_server(tls))


def _listener_limits(settings: Settings) -> ListenerLimits:
    return ListenerLimits(
        half_open=settings.quic_max_incoming,
        total=settings.quic_max_handlers,
        per_address=settings.quic_max_per_address,
        streams=settings.quic_max_bi_streams,
    )


def _link_limits(settings: Settings) -> LinkLimits:
    return LinkLimits(
        frame_max_bytes=settings.state_max_bytes + OVERHEAD_MAX_BYTES,
        calls_in_flight=settings.quic_calls_in_flight,
        streams=settings.quic_max_bi_streams,
        greeting_timeout=settings.quic_handshake_timeout_ms / 1000,
        frame_timeout=settings.quic_frame_timeout_ms / 1000,
    )

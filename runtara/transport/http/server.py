"""The HTTP door of a server: one socket, and a task per connection that is bounded in everything.

What is asked is answered by an application (ASGI 3); what a peer may do wrong is the business of `_guard` and `_head`.
"""

import errno
import socket as sockets
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

from runtara.clock import Clock, SystemClock
from runtara.errors import ConfigError, Unreachable
from runtara.settings import Settings
from runtara.transport.addresses import party_of
from runtara.transport.budget import Budget
from runtara.transport.http._connection import Application, Connection, House
from runtara.transport.http._filter import RequestFilter
from runtara.transport.http._guard import GuardedStream, Spans
from runtara.transport.http._hosts import is_host, names_of
from runtara.transport.http._places import Places
from runtara.transport.http._refusals import refusal
from runtara.transport.http.peer import Peer

__all__ = ["Application", "HttpServer", "open_tcp_socket"]

_BACKLOG: Final = 1_024
"""Connections that the system may accept before we do."""

_TURN_CONNECTIONS: Final = 64
"""Most connections accepted before others have a turn."""

_FULL: Final = refusal(503, "the server has no room for another connection, or is going down")

_UNSENT_BYTES: Final = 128 * 1024
"""How much the system holds of what is not on its way yet to a peer."""

_SCARCE: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_SCARCE_WAIT: Final = 1.0
"""How long newcomers wait while the system has no room for them, unless somebody leaves before."""


async def open_tcp_socket(settings: Settings) -> sockets.socket:
    """Return the listening socket of the door; its own name tells the port if any free one was asked for.

    Raises `ConfigError` for an address that this machine does not have, `Unreachable` for one that is taken.
    """
    host, port = settings.host, settings.env_http_port
    try:
        found = await trio.socket.getaddrinfo(host, port, type=sockets.SOCK_STREAM, flags=sockets.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"{host!a} is not an address to listen at: {error}") from None
    family, kind, protocol, _, address = found[0]
    socket = sockets.socket(family, kind, protocol)
    try:
        socket.setblocking(False)
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        if family == sockets.AF_INET6:
            socket.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, int(address[0] != "::"))
        socket.bind(address)
        socket.listen(_BACKLOG)
    except OSError as error:
        socket.close()
        raise Unreachable(
            f"cannot listen at {host} TCP port {port}: {error}; choose another RUNTARA_ENV_HTTP_PORT"
        ) from None
    return socket


class HttpServer:
    """Serves all connections of one listening socket, which stays its owner's and stays open.

    `tls` says how TLS is spoken, at first and whenever the certificate has changed; without it, none is.
    """

    def __init__(
        self,
        settings: Settings,
        socket: sockets.socket,
        app: Application,
        tls: Callable[[], ssl.SSLContext] | None,
        clock: Clock | None = None,
    ) -> None:
        self._socket = socket
        self._configure = tls
        self._tls: ssl.SSLContext | None = None
        self.renew()
        self._places = Places(settings.http_max_connections, settings.http_max_per_address)
        self._house = House(app, clock or SystemClock(), self._places, Budget(settings.quic_frames_max_bytes))
        self._spans = _spans(settings)
        self._names = names_of(settings, socket.getsockname()[0])
        self._connections: set[Connection] = set()
        self._is_open = True
        self._left = trio.Event()

    def renew(self) -> None:
        """Show newcomers the certificate that is there now. Raises `ConfigError`; then all stays as it was."""
        if self._configure is not None:
            self._tls = self._configure()

    def describe(self) -> dict[str, Any]:
        """Return how many there are of what, for people who look at the running system."""
        websockets = sum(connection.websocket is not None for connection in self._connections)
        facts: dict[str, Any] = {
            "connections": self._places.taken,
            "websockets": websockets,
            "evicted": self._places.evicted,
            "message_bytes": self._house.messages.used,
            **self._house.counts,
        }
        if self._house.last_failure:
            facts["last_failure"] = self._house.last_failure
        return facts

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    self._accept(nursery)
                except OSError as error:
                    if error.errno not in _SCARCE:
                        raise
                    self._house.counts["scarce"] += 1
                    with trio.move_on_after(_SCARCE_WAIT):
                        await self._left.wait()

    async def drain(self, retry_after_ms: int = 0) -> None:
        """Answer what is unanswered, take nothing more, and return when every client has gone.

        A client that does not take its answers is not waited for longer than the caller allows.
        """
        self._is_open = False
        await self._house.context.terminated.set()
        async with trio.open_nursery() as nursery:
            for connection in self._connections:
                nursery.start_soon(connection.leave, retry_after_ms)
        while self._places.taken:
            await self._left.wait()

    def _accept(self, nursery: trio.Nursery) -> None:
        for _ in range(_TURN_CONNECTIONS):
            try:
                socket, address = self._socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            party = party_of(address[0])
            if not self._is_open or not self._places.take(party):
                self._turn_away(socket)
                continue
            self._house.counts["accepted"] += 1
            nursery.start_soon(self._serve, socket, party)

    def _turn_away(self, socket: sockets.socket) -> None:
        self._house.counts["turned_away"] += 1
        with socket, suppress(OSError):
            socket.setblocking(False)
            if self._tls is None:
                socket.send(_FULL)
                socket.shutdown(sockets.SHUT_WR)

    async def _serve(self, socket: sockets.socket, party: str | None) -> None:
        """Serve one connection. Nothing that goes wrong with it touches the others."""
        try:
            with socket:
                socket.setblocking(False)
                _tune(socket)
                tls = None if self._tls is None else await self._shake_hands(socket, self._tls)
                stream = GuardedStream(socket, tls, RequestFilter(self._known(socket)), self._spans)
                certificate = None if tls is None else tls.getpeercert(binary_form=True)
                await self._converse(socket, stream, Peer(certificate))
        except (trio.BrokenResourceError, trio.TooSlowError):
            self._house.counts["unshaken"] += 1
        except OSError:
            self._house.counts["broken"] += 1
        except Exception as error:  # noqa: BLE001 - counted and shown: a bug met in one connection ends no other
            self._house.failed(error)
        finally:
            self._places.leave(party)
            left, self._left = self._left, trio.Event()
            left.set()

    async def _shake_hands(self, socket: sockets.socket, tls: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket))
        secured = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        try:
            with trio.fail_after(self._spans.head) as patience:
                self._places.rests(patience, patience.cancel)
                await secured.do_handshake()
        finally:
            self._places.works(patience)
        return secured

    def _known(self, socket: sockets.socket) -> Callable[[bytes], bool | None]:
        names, address = self._names, socket.getsockname()[0]
        return lambda value: is_host(value, names, address)

    async def _converse(self, socket: sockets.socket, stream: GuardedStream, peer: Peer) -> None:
        if not self._is_open:
            return
        connection = Connection(self._house, stream, socket, peer, tls=self._tls is not None)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


def _tune(socket: sockets.socket) -> None:
    """Have the system send at once, and keep little for a peer that does not read (by itself it keeps megabytes)."""
    socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
    if hasattr(sockets, "TCP_NOTSENT_LOWAT"):
        socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def _spans(settings: Settings) -> Spans:
    return Spans(
        head=settings.http_head_timeout_ms / 1000,
        idle=settings.http_idle_timeout_ms / 1000,
        write=settings.http_write_timeout_ms / 1000,
    )

"""A network between a client and a server that fails when it is told to, and then exactly once.

The proxy listens on loopback and passes on what it hears, byte for byte. A `Cut` that is planned hits the next bytes in
its direction, on whichever connection they come: so many are passed on, and then the connection is closed, or falls
silent without a word to either side. `hold` keeps requests back; `release` delivers them, even where the client has
gone away in the meantime. With a TLS context it proves who it is to clients that ask for that, as a PostgreSQL server
would.
"""

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

__all__ = ["Cut", "TcpProxy", "open_proxy"]

_CHUNK: Final = 65_536
_LINKS_MAX: Final = 1_000
_PATIENCE_S: Final = 100.0
_TLS_REQUEST: Final = bytes.fromhex("0000000804d2162f")

Direction = Literal["request", "answer"]


class Cut(NamedTuple):
    """Where a connection breaks: after so many bytes that go in a direction from now on."""

    direction: Direction
    after: int = 0
    silent: bool = False
    """Whether neither side is told."""


class _Link:
    """One connection: both its ends, and what is kept back of it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.held: list[bytes] = []
        self.released = False
        self.passed = {"request": 0, "answer": 0}

    def close(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.close()


class TcpProxy:
    """See the module. Belongs to whoever opened it; may be told what to do from any thread."""

    def __init__(self, server_port: int, tls: ssl.SSLContext | None = None) -> None:
        self._server_port = server_port
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._links: list[_Link] = []
        self._kept: list[_Link] = []
        self._releasing = False
        self._closing = False
        self.cut_happened = threading.Event()
        self.held = threading.Event()
        """Set when a request is being kept back."""
        self.answered = threading.Event()
        """Set when the server has answered to what was kept back."""
        self.links = 0
        """How many connections there have been."""
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._heed)
        self._thread.start()

    def url_of(self, url: str) -> str:
        """The address of a database by way of this proxy."""
        return url.replace(f":{self._server_port}/", f":{self.port}/")

    def plan(self, cut: Cut) -> None:
        """Let a connection break, once."""
        with self._lock:
            self._cut = cut
            self.cut_happened.clear()
            for link in self._links:
                link.passed = {"request": 0, "answer": 0}

    def passed(self, direction: Direction) -> int:
        """How many bytes have gone in a direction since something was planned, on all connections."""
        with self._lock:
            return sum(link.passed[direction] for link in self._links)

    def heal(self) -> None:
        """Forget what is planned and has not happened."""
        with self._lock:
            self._cut = None

    def hold(self) -> None:
        """Keep back what clients say on the connections that are open now, from now on."""
        with self._lock:
            self._kept = list(self._links)
            self.held.clear()
            self.answered.clear()

    def release(self) -> None:
        """Deliver what was kept back."""
        self._releasing = True
        self._wake.send(b"!")

    def close(self) -> None:
        self._closing = True
        self._wake.send(b"!")
        self._thread.join(_PATIENCE_S)
        for link in self._links:
            link.close()
        for end in (self._listener, self._wake, self._woken):
            end.close()
        self._selector.close()

    # In the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(_PATIENCE_S):
                if self._selector.get_map().get(key.fd) is key:  # else it was closed in this round
                    key.data()

    def _heed(self) -> None:
        self._woken.recv(_CHUNK)
        if not self._releasing:
            return
        self._releasing = False
        for link in self._kept:
            link.released, link.held = bool(link.held), [b"".join(link.held)]
            with contextlib.suppress(OSError):
                link.server.sendall(link.held.pop())
        self._kept = []

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.links += 1
        assert self.links <= _LINKS_MAX, "a test makes no more connections than this"
        client.settimeout(_PATIENCE_S)
        try:
            if self._tls:
                client = _with_tls(client, self._tls)
            server = socket.create_connection(("127.0.0.1", self._server_port), _PATIENCE_S)
        except OSError:  # nobody is there, or the client does not like our certificate
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server)
        self._links.append(link)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._hear(link, "request"))
        self._selector.register(server, selectors.EVENT_READ, lambda: self._hear(link, "answer"))

    def _hear(self, link: _Link, direction: Direction) -> None:
        source = link.client if direction == "request" else link.server
        try:
            heard = source.recv(_CHUNK)
            while isinstance(source, ssl.SSLSocket) and source.pending():
                heard += source.recv(_CHUNK)
        except OSError:
            heard = b""
        if direction == "request" and link in self._kept:
            self._keep(link, heard)
            return
        if direction == "answer" and link.released:
            self.answered.set()
        if not heard:
            self._drop(link)
            return
        self._pass(link, direction, heard)

    def _keep(self, link: _Link, heard: bytes) -> None:
        if heard:
            link.held.append(heard)
            self.held.set()
        else:  # the client gives up; the server does not know
            self._selector.unregister(link.client)

    def _pass(self, link: _Link, direction: Direction, heard: bytes) -> None:
        target = link.server if direction == "request" else link.client
        with self._lock:
            cut = self._cut if self._cut and self._cut.direction == direction else None
            left = None if cut is None else cut.after - link.passed[direction]
            link.passed[direction] += len(heard)
            if left is not None and left <= len(heard):
                self._cut = None
                heard = heard[: max(0, left)]
            else:
                cut = None
        try:
            target.sendall(heard)
        except OSError:
            self._drop(link)
            return
        if cut:
            self._drop(link, silent=cut.silent)
            self.cut_happened.set()

    def _drop(self, link: _Link, *, silent: bool = False) -> None:
        if link in self._links and not silent:
            self._links.remove(link)
        for end in (link.client, link.server):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
        if not silent:
            link.close()


def _with_tls(client: socket.socket, tls: ssl.SSLContext) -> socket.socket:
    asked = client.recv(len(_TLS_REQUEST), socket.MSG_PEEK)
    if asked != _TLS_REQUEST:
        return client
    client.recv(len(_TLS_REQUEST))
    client.sendall(b"S")
    return tls.wrap_socket(client, server_side=True)


@contextlib.contextmanager
def open_proxy(server_port: int, tls: ssl.SSLContext | None = None) -> Iterator[TcpProxy]:
    """A proxy before the server at a port of this machine, for the length of the block."""
    with contextlib.closing(TcpProxy(server_port, tls)) as proxy:
        yield proxy

"""The doors of a host: their sockets, where they are found, and the group of actors that serves them.

Owns what the doors have in common: one address, one certificate, the same gate.
"""

import socket as sockets
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from runtara.actors import Supervisor, child
from runtara.actors import supervisor as group
from runtara.actors.edge import Edge
from runtara.actors.feed import FeedDoor
from runtara.errors import Unreachable
from runtara.settings import Settings
from runtara.system import FEED, Runtime
from runtara.transport.addresses import Address, parse_address
from runtara.transport.certificates import Identity
from runtara.transport.connection_file import read_connection_file
from runtara.transport.conversation import Conversation
from runtara.transport.gate import Gate
from runtara.transport.http import app as http_app
from runtara.transport.http import server as http
from runtara.transport.http.tls import configure_tls
from runtara.transport.quic import server as quic
from runtara.transport.quic.protocol import ServerTls
from runtara.transport.websocket.server import SessionServer

__all__ = ["HTTP", "QUIC", "Sockets", "edges_of", "open_sockets"]

QUIC: Final = "root/edges/quic"
HTTP: Final = "root/edges/http"


class Sockets(msgspec.Struct, frozen=True):
    """What the doors of a host listen at."""

    quic: sockets.socket
    http: sockets.socket
    http_tls: bool

    @property
    def address(self) -> Address:
        """Where whoever is on this machine finds the QUIC door."""
        return _address(self.quic)

    @property
    def http_address(self) -> str:
        """Where whoever is on this machine finds the HTTP door, as a URL."""
        return f"{'https' if self.http_tls else 'http'}://{_address(self.http)}"

    @property
    def exposed(self) -> bool:
        """Whether the doors can be reached from other machines."""
        return _exposed(self.quic)


async def open_sockets(settings: Settings, held: ExitStack) -> Sockets:
    """Return the doors' sockets; they are closed with `held`. Raises `ConfigError` or `Unreachable`.

    Where any port will do, the last one is the best: programs and browsers look for us there.
    """
    last = read_connection_file(Path(settings.data_dir))
    udp = held.enter_context(
        await _open(quic.open_socket, settings, "quic_port", None if last is None else last.address)
    )
    url = None if last is None or last.http_address is None else last.http_address.partition("://")[2]
    tcp = held.enter_context(await _open(http.open_tcp_socket, settings, "env_http_port", url))
    return Sockets(udp, tcp, _exposed(tcp) if settings.http_tls is None else settings.http_tls)


async def _open(
    opener: Callable[[Settings], Awaitable[sockets.socket]], settings: Settings, field: str, last: str | None
) -> sockets.socket:
    if getattr(settings, field) == 0 and last is not None:
        with suppress(Unreachable):
            return await opener(replace(settings, **{field: parse_address(last).port}))
    return await opener(settings)


_LOOPBACK_OF: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Who listens at every address is found at this one."""


def _address(socket: sockets.socket) -> Address:
    host, port = socket.getsockname()[:2]
    return Address(_LOOPBACK_OF.get(host, host), port)


def _exposed(socket: sockets.socket) -> bool:
    return not ip_address(socket.getsockname()[0].partition("%")[0]).is_loopback


# Who serves them ------------------------------------------------------------------------------------------------------


def edges_of(runtime: Runtime, found: Sockets, identity: Identity, gate: Gate) -> Supervisor:
    """Return the group of actors that serve the doors."""
    return group(
        "edges",
        child("quic", Edge, partial(_quic, runtime.settings, found, identity, gate)),
        child("http", Edge, partial(_http, runtime, found, identity, gate)),
    )


def _quic(settings: Settings, found: Sockets, identity: Identity, gate: Gate) -> quic.QuicServer:
    tls = ServerTls(
        cert_file=str(identity.cert_file),
        key_file=str(identity.key_file),
        idle_timeout=settings.quic_idle_timeout_ms / 1000,
        client_ca_file=settings.client_ca_file,
    )
    return quic.QuicServer(settings, found.quic, tls, partial(Conversation, gate))


def _http(runtime: Runtime, found: Sockets, identity: Identity, gate: Gate) -> http.HttpServer:
    settings = runtime.settings
    parts = http_app.Parts(
        gate=gate,
        settings=settings,
        is_secure=found.http_tls,
        fitness=runtime.readiness.ready,
        render_metrics=runtime.gauges.render,
        count=runtime.system.metrics.count_request,
        serve_session=SessionServer(settings, gate).serve,
        feed=FeedDoor(runtime.system.ref(FEED)),
    )
    clients = None if settings.client_ca_file is None else Path(settings.client_ca_file)
    tls = partial(configure_tls, identity.cert_file, identity.key_file, clients)
    return http.HttpServer(settings, found.http, http_app.make_app(parts), tls if found.http_tls else None)

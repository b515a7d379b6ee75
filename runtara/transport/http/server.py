"""The HTTP door of a server: one bound socket, every connection handed to Hypercorn."""

import socket as sockets
import ssl
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from runtara.errors import ConfigError, Unreachable
from runtara.settings import Settings

__all__ = ["HttpServer", "open_socket"]


async def open_socket(settings: Settings) -> sockets.socket:
    """Return the bound socket of the door; its own name tells the port if any free one was asked for.

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
        if family == sockets.AF_INET6 and address[0] == "::":
            socket.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, 0)
        socket.bind(address)
        socket.listen(1_024)
    except OSError as error:
        socket.close()
        raise Unreachable(
            f"cannot listen at {host} TCP port {port}: {error}; choose another RUNTARA_ENV_HTTP_PORT"
        ) from None
    return socket


class HttpServer:
    """Serves all connections of one bound socket, which stays its owner's and stays open."""

    def __init__(self, settings: Settings, socket: sockets.socket, app: Any, tls: ssl.SSLContext | None) -> None:
        self._socket = socket
        self._tls = tls
        self._app: Any = ASGIWrapper(app)
        self._config = Config()
        self._config.include_server_header = False
        self._config.include_date_header = False
        self._context = WorkerContext(None)
        self._stop: trio.CancelScope | None = None

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        duplicate = trio.socket.from_stdlib_socket(self._socket.dup())
        listener: Any = trio.SocketListener(duplicate)
        if self._tls is not None:
            listener = trio.SSLListener(listener, self._tls, https_compatible=True)
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._converse, [listener], handler_nursery=nursery)

    async def drain(self, retry_after_ms: int = 0) -> None:
        """Return when every client was told to go."""

    def describe(self) -> dict[str, Any]:
        """Return how many there are of what."""
        return {}

    async def _converse(self, stream: Any) -> None:
        await TCPServer(self._app, self._config, self._context, {}, stream).run()

"""The HTTP door on a thread of its own, as `Serving` does it with QUIC: its operations, and WebSocket sessions."""

import copy
import socket as sockets
from typing import Any, Self

import trio
from msgspec.structs import replace

from runtara.actors.feed import FeedDoor
from runtara.system import FEED
from runtara.transport.http.app import Parts, make_app
from runtara.transport.http.server import HttpServer, open_tcp_socket
from runtara.transport.http.tls import configure_tls
from runtara.transport.websocket.server import SessionServer
from tests.transport.quic.serving import Serving

__all__ = ["TcpServing"]


class TcpServing(Serving):
    """The server, running inside `with`. `scheme` says how its address asks clients to speak to it."""

    def __init__(self, *args: Any, scheme: str = "ws", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scheme = scheme

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def facts(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self.http.describe()

    def at(self, scheme: str) -> Self:
        """Return the same server, spoken to in another way."""
        view = copy.copy(self)
        view.scheme = scheme
        return view

    async def _start(self) -> None:
        settings = replace(self.settings, env_http_port=self.port)
        self._socket = await open_tcp_socket(settings)
        self.port = self._socket.getsockname()[1]
        self.sessions = SessionServer(self.settings, self.gate)
        tls = None
        if self.scheme in ("wss", "https"):
            tls = configure_tls(self.identity.cert_file, self.identity.key_file)
        parts = Parts(
            gate=self.gate,
            settings=self.settings,
            is_secure=tls is not None,
            fitness=self.runtime.readiness.ready,
            render_metrics=self.runtime.gauges.render,
            count=self.runtime.system.metrics.count_request,
            feed=FeedDoor(self.runtime.system.ref(FEED)),
            serve_session=self.sessions.serve,
        )
        self.http = HttpServer(self.settings, self._socket, make_app(parts), None if tls is None else lambda: tls)
        self._scope, self._gone = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._serve)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        with self._scope, self._socket:
            await self.http.serve(task_status)
        self._gone.set()

    async def _drain(self, retry_after_ms: int) -> None:
        await self.http.drain(retry_after_ms)
        await self._stop()

    async def _kill(self) -> None:
        self.cut()
        await self._stop()

    def cut(self) -> None:
        """Cut every connection, as the system does for a process that is killed."""
        for connection in tuple(self.http._connections):
            connection._stream.abort()
            with sockets.socket(fileno=sockets.dup(connection._stream._socket.fileno())) as copy:
                copy.shutdown(sockets.SHUT_RDWR)

    @property
    def failures(self) -> list[str]:
        """What connections have raised, which none may."""
        return [self.http._house.last_failure] if self.http._house.last_failure else []

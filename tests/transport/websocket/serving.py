"""An HTTP server that offers nothing but WebSocket sessions, on a thread of its own, as `Serving` does it with QUIC."""

import logging
import socket as sockets
import ssl
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from runtara.transport.frames import OVERHEAD_MAX_BYTES
from runtara.transport.websocket.server import SessionServer
from tests.transport.quic.serving import Serving

__all__ = ["SessionServing"]


class SessionServing(Serving):
    """The server, running inside `with`. `failures` are what connections have raised, which none may."""

    def __init__(self, *args: Any, is_secure: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_secure = is_secure
        self.failures: list[BaseException] = []
        self._streams: set[trio.SocketStream] = set()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{'wss' if self.is_secure else 'ws'}://127.0.0.1:{self.port}"

    async def _start(self) -> None:
        listening = sockets.create_server(("127.0.0.1", self.port), backlog=1024)
        self.port = listening.getsockname()[1]
        listening.setblocking(False)
        self._listening = trio.socket.from_stdlib_socket(listening)
        self.sessions = SessionServer(self.settings, self.gate)
        self._scope, self._gone = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._serve)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        with self._scope, self._listening:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    connected, _ = await self._listening.accept()
                    nursery.start_soon(self._hold, trio.SocketStream(connected))
        self._gone.set()

    async def _hold(self, stream: trio.SocketStream) -> None:
        self._streams.add(stream)
        try:
            await self._converse(stream)
        except Exception as error:  # noqa: BLE001 - tests look at what it was
            self.failures.append(error)
        finally:
            self._streams.discard(stream)
            await trio.aclose_forcefully(stream)

    async def _converse(self, stream: trio.SocketStream) -> None:
        config = Config()
        config.websocket_max_message_size = self.settings.state_max_bytes + OVERHEAD_MAX_BYTES
        config.max_app_queue_size = 1
        config.errorlog = _Failures(self.failures)
        context = WorkerContext(None)
        app = ASGIWrapper(partial(self._app))  # type: ignore[arg-type]  # messages are plain dictionaries
        served: Any = stream
        if self.is_secure:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.identity.cert_file, self.identity.key_file)
            served = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        await TCPServer(app, config, context, {}, served).run()

    async def _app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", "nothing else is offered"
        await self.sessions.serve(scope, receive, send)

    async def _drain(self, retry_after_ms: int) -> None:
        await self.sessions.drain(retry_after_ms)
        await self._stop()

    async def _kill(self) -> None:
        self.cut()
        await self._stop()

    def cut(self) -> None:
        """Cut every connection, as the system does for a process that is killed."""
        for stream in tuple(self._streams):
            stream.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            stream.socket.close()


class _Failures(logging.Logger):
    """Keeps what the HTTP server says of exceptions that were not handled."""

    def __init__(self, failures: list[BaseException]) -> None:
        super().__init__("hypercorn.error")
        self._failures = failures

    def handle(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and record.exc_info[1] is not None:
            self._failures.append(record.exc_info[1])

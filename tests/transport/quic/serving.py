"""A QUIC server on a thread of its own, for tests of those who talk to it; the system behind it outlives the server.

The server can be killed (nobody hears a word), stopped (everybody is told) and started again on the same port.
"""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import trio

from runtara.actors.sessions import Attach, Detach
from runtara.clock import SystemClock
from runtara.ids import InstanceKey
from runtara.settings import Settings
from runtara.system import SESSIONS, Runtime, open_runtime
from runtara.transport.certificates import Identity, ensure_certificate
from runtara.transport.conversation import Conversation
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.gate import Gate
from runtara.transport.quic.protocol import ServerTls
from runtara.transport.quic.server import QuicServer, open_socket
from tests.ports import free_port

__all__ = ["Serving"]


class _Mute:
    """A socket through which nothing comes and nothing leaves."""

    def __init__(self, socket: Any) -> None:
        self.fileno = socket.fileno

    def sendto(self, *_: object) -> None: ...

    def recvfrom(self, _: int) -> Any:
        raise BlockingIOError


class Serving:
    """The server, running inside `with`."""

    def __init__(self, folder: Path, *, require_credentials: bool = False, **settings: Any) -> None:
        self.folder = folder
        self.settings = Settings(
            data_dir=str(folder), database_url="memory://", quic_port=0, env_http_port=0, **settings
        )
        self.require_credentials = require_credentials
        self.identity: Identity = ensure_certificate(folder / "tls")
        self.mint = TokenMint(folder / "secret", SystemClock(), self.settings.token_lifetime_ms)
        self.keys = KeyRing(folder / "keys.json")
        self.port = free_port()
        self._ready = threading.Event()
        self.thread = threading.Thread(target=trio.run, args=(self._main,), name="server")

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def facts(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self.server.describe()

    def __enter__(self) -> Self:
        self.thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stopped.set)
        self.thread.join()

    def run(self, act: Callable[..., Any], *args: Any) -> Any:
        """Do something on the server's loop, and wait until it is done."""
        return trio.from_thread.run_sync(act, *args, trio_token=self._token)

    def start(self) -> None:
        """Listen again, on the same port."""
        trio.from_thread.run(self._start, trio_token=self._token)

    def stop(self) -> None:
        """Tell everybody that the server is gone, and be gone."""
        trio.from_thread.run(self._stop, trio_token=self._token)

    def drain(self, retry_after_ms: int = 0) -> None:
        """Say goodbye, answer what is unanswered, and be gone."""
        trio.from_thread.run(self._drain, retry_after_ms, trio_token=self._token)

    def kill(self) -> None:
        """Be gone without a word."""
        trio.from_thread.run(self._kill, trio_token=self._token)

    def call(self, instance_id: str, command: Any, epoch: int | None = None) -> Any:
        """Ask the system itself."""
        line = self.runtime.dispatch.line(InstanceKey("default", instance_id))
        return line.call_from_thread(command, epoch)

    async def _main(self) -> None:
        self._token, self._stopped = trio.lowlevel.current_trio_token(), trio.Event()
        async with open_runtime(self.settings) as self.runtime, trio.open_nursery() as self._nursery:
            self.gate = self._gate(self.runtime)
            self._nursery.start_soon(self.gate.guests.serve, self.folder)
            await self._start()
            self._ready.set()
            await self._stopped.wait()
            await self._stop()
            self._nursery.cancel_scope.cancel()

    def _gate(self, runtime: Runtime) -> Gate:
        sessions = runtime.system.ref(SESSIONS)
        return Gate(
            line=runtime.dispatch.line,
            attach=lambda watcher: sessions.tell_nowait(Attach(watcher)),
            detach=lambda watcher: sessions.tell_nowait(Detach(watcher)),
            mint=self.mint,
            keys=self.keys,
            require_credentials=self.require_credentials,
            clock=runtime.clock,
            version="test",
            heartbeat_interval_ms=self.settings.heartbeat_interval_ms,
            payload_max_bytes=self.settings.state_max_bytes,
            passed_line=partial(runtime.dispatch.line, passed_on=True),
        )

    async def _start(self) -> None:
        """Be there. Whoever serves by other means than QUIC has its own `_start`, `_drain` and `_kill`."""
        settings = Settings(data_dir=str(self.folder), quic_port=self.port, env_http_port=0)
        self._socket = await open_socket(settings)
        self.port = self._socket.getsockname()[1]
        tls = ServerTls(cert_file=str(self.identity.cert_file), key_file=str(self.identity.key_file))
        self.server = QuicServer(self.settings, self._socket, tls, partial(Conversation, self.gate))
        self._scope, self._gone = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._serve)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        with self._scope, self._socket:
            await self.server.serve(task_status)
        self._gone.set()

    async def _drain(self, retry_after_ms: int) -> None:
        await self.server.drain(retry_after_ms)
        await self._stop()

    async def _kill(self) -> None:
        self.server._socket = _Mute(self._socket)  # type: ignore[assignment]  # it has all that the server uses
        await self._stop()

    async def _stop(self) -> None:
        self._scope.cancel()
        await self._gone.wait()

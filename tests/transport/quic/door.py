"""A real QUIC door on loopback with a real system behind it, and clients that speak frames by hand."""

import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from runtara.actors.sessions import Attach, Detach
from runtara.messages import RegisterInstance, SaveCheckpoint
from runtara.settings import Settings
from runtara.system import SESSIONS, open_runtime
from runtara.transport.conversation import Conversation
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.frames import (
    Answer,
    Ask,
    FrameCutter,
    Hello,
    ServerFrame,
    Welcome,
    decode_server_frame,
    encode_frame,
)
from runtara.transport.gate import Gate
from runtara.transport.quic.protocol import Connected, Disconnected, StreamData, open_client_wire
from runtara.transport.quic.server import QuicServer, open_socket
from tests.transport.quic.fray import client_tls, server_tls

__all__ = ["Client", "Door", "open_door"]


class Door:
    """A server that serves, and what is behind it."""

    def __init__(self, server: QuicServer, socket: sockets.socket, gate: Gate, keys: KeyRing) -> None:
        self.server = server
        self.stop = trio.CancelScope()
        self.address = socket.getsockname()
        self.gate = gate
        self.keys = keys

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        with self.stop:
            await self.server.serve(task_status)

    @asynccontextmanager
    async def client(self, instance_id: str = "one", **tls: Any) -> "AsyncIterator[Client]":
        """A client that is connected, but has not said anything."""
        async with trio.open_nursery() as nursery:
            client = Client(self.address, instance_id, **tls)
            nursery.start_soon(client.pump)
            await client.until(lambda: client.connected or client.over)
            try:
                yield client
            finally:
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_door(folder: Path, *, require_credentials: bool = False, **settings: Any) -> AsyncIterator[Door]:
    """Serve on any free port of loopback, with a store in memory."""
    given: dict[str, Any] = {"data_dir": str(folder), "database_url": "memory://", "quic_port": 0, "env_http_port": 0}
    chosen = Settings(**given | settings)
    async with open_runtime(chosen) as runtime:
        sessions = runtime.system.ref(SESSIONS)
        keys = KeyRing(folder / "keys.json")
        gate = Gate(
            line=runtime.dispatch.line,
            attach=lambda watcher: sessions.tell_nowait(Attach(watcher)),
            detach=lambda watcher: sessions.tell_nowait(Detach(watcher)),
            mint=TokenMint(folder / "secret", runtime.clock, chosen.token_lifetime_ms),
            keys=keys,
            require_credentials=require_credentials,
            clock=runtime.clock,
            version="test",
            heartbeat_interval_ms=chosen.heartbeat_interval_ms,
            payload_max_bytes=chosen.state_max_bytes,
        )
        with await open_socket(chosen) as socket:
            server = QuicServer(
                chosen, socket, server_tls(client_ca_file=chosen.client_ca_file), partial(Conversation, gate)
            )
            door = Door(server, socket, gate, keys)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(gate.guests.serve, folder)
                await nursery.start(door.serve)
                yield door
                nursery.cancel_scope.cancel()


class Client:
    """A client that says what it is told to, and keeps what it hears."""

    def __init__(self, address: Any, instance_id: str, **tls: Any) -> None:
        self.address = address
        self.instance_id = instance_id
        self.family = sockets.AF_INET6 if len(address) == 4 else sockets.AF_INET
        self.wire = open_client_wire(client_tls(**tls), address, trio.current_time())
        self.connected = False
        self.frames: list[tuple[int, ServerFrame]] = []
        self.ended: set[int] = set()
        self.over: Disconnected | None = None
        self._cutters: dict[int, FrameCutter] = {}
        self._asked = 0
        self._changed = trio.Event()
        self._socket: Any = None

    async def pump(self) -> None:
        with trio.socket.socket(self.family, sockets.SOCK_DGRAM) as self._socket:
            while not self.wire.is_closed:
                await self._turn()

    async def _turn(self) -> None:
        await self.flush()
        with trio.move_on_at(self.wire.timer() or float("inf")):
            datagram, address = await self._socket.recvfrom(65_535)
            self.wire.receive(datagram, address, trio.current_time())
        timer = self.wire.timer()
        if timer is not None and timer <= trio.current_time():
            self.wire.handle_timer(trio.current_time())
        self._hear()

    async def flush(self) -> None:
        for datagram, address in self.wire.outgoing(trio.current_time()):
            await self._socket.sendto(datagram, address)

    def _hear(self) -> None:
        for event in self.wire.events():
            match event:
                case Connected():
                    self.connected = True
                case StreamData(stream_id, data, ended):
                    self.wire.consumed(stream_id, len(data))
                    cutter = self._cutters.setdefault(stream_id, FrameCutter(2**30))
                    self.frames += [(stream_id, decode_server_frame(body)) for body in cutter.feed(data)]
                    if ended:
                        self.ended.add(stream_id)
                case Disconnected():
                    self.over = event
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, fact: Any) -> None:
        """Wait until something is true of what was heard."""
        with trio.fail_after(60):
            while not fact():
                await self._changed.wait()

    async def say(self, data: bytes, stream_id: int = 0, *, ended: bool = False) -> None:
        self.wire.send(stream_id, data, ended=ended)
        await self.flush()

    async def greet(self, **hello: Any) -> ServerFrame:
        """Say who speaks, and return what the server says to that."""
        await self.say(encode_frame(Hello(**{"tenant_id": "default", "instance_id": self.instance_id} | hello)))
        await self.until(lambda: self.frames or self.over)
        return self.frames[0][1]

    async def ask(self, command: Any, stream_id: int = 0, *, ended: bool = False, **fields: Any) -> Any:
        """Ask, and return the reply or the refusal."""
        self._asked += 1
        asked = self._asked
        await self.say(encode_frame(Ask(id=asked, command=command, **fields)), stream_id, ended=ended)
        found: list[Any] = []

        def answered() -> bool:
            found[:] = [frame for _, frame in self.frames if getattr(frame, "id", None) == asked]
            return bool(found or self.over)

        await self.until(answered)
        assert found, f"the connection is over: {self.over}"
        return found[0].reply if isinstance(found[0], Answer) else found[0]

    async def register(self) -> None:
        """Be an attempt of the instance."""
        assert isinstance(await self.greet(), Welcome)
        await self.ask(RegisterInstance(attempt_id=f"attempt-{self.instance_id}"))

    async def save(self, checkpoint_id: str, state: bytes = b"state") -> Any:
        return await self.ask(SaveCheckpoint(checkpoint_id=checkpoint_id, state=state))

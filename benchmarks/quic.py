"""Checkpoints over QUIC: our server on one core, clients of another library on the other. The peer is a bare echo.

The echo is aioquic's own asyncio server, which sends every frame of the same clients back as it came: what the protocol
costs before anybody looks at a frame. Clients are `qh3`, because a client in Python would be what is measured.
"""

import asyncio
import os
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from runtara.messages import RegisterInstance, SaveCheckpoint
from runtara.transport.frames import ALPN, Ask, FrameCutter, Hello, encode_frame

CLIENTS = 64
SECONDS = 5.0
WARM_UP_S = 1.0
STATE = b"x" * 256
_BODY = msgspec.msgpack.Decoder()


def checkpoints() -> float:
    """Checkpoints per second of 64 clients, each on one long stream."""
    return _run("ours").rate


def checkpoints_p99() -> float:
    """How long the slowest of a hundred checkpoints takes, in ms."""
    return _run("ours").p99_ms


def checkpoints_stream_each() -> float:
    """The same with a stream for every call."""
    return _run("ours", stream_each=True).rate


def eight() -> float:
    """Checkpoints per second of 8 clients, each on one long stream."""
    return _run("ours", clients=8).rate


def eight_stream_each() -> float:
    """The same with a stream for every call."""
    return _run("ours", clients=8, stream_each=True).rate


def one() -> float:
    """Checkpoints per second of one client, on one long stream."""
    return _run("ours", clients=1).rate


def one_stream_each() -> float:
    """The same with a stream for every call."""
    return _run("ours", clients=1, stream_each=True).rate


def echo() -> float:
    """Echoes per second of a bare aioquic server, to the same clients with the same frames."""
    return _run("echo").rate


# The clients ----------------------------------------------------------------------------------------------------------


class Measured(msgspec.Struct):
    """What came of a run."""

    rate: float
    p50_ms: float
    p99_ms: float


class Client:
    """One connection with one call at a time."""

    def __init__(self, number: int, port: int, stream_each: bool) -> None:
        from qh3.quic.configuration import QuicConfiguration  # only this side needs it
        from qh3.quic.connection import QuicConnection

        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[ALPN],
            verify_mode=ssl.CERT_NONE,
            server_name="localhost",
            probe_datagram_size=False,
        )
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.address = ("127.0.0.1", port)
        self.socket.connect(self.address)
        self.quic: Any = QuicConnection(configuration=configuration)  # Any: two libraries with the same names
        self.number = number
        self.stream_each = stream_each
        self.cutters: dict[int, FrameCutter] = {}
        self.steps = 0
        self.began = 0.0
        self.waits: list[float] = []
        self.quic.connect(self.address, now=time.perf_counter())
        self.flush()

    def flush(self) -> None:
        for datagram, _ in self.quic.datagrams_to_send(now=time.perf_counter()):
            self.socket.send(datagram)

    def receive(self) -> None:
        now = time.perf_counter()
        try:
            while True:
                self.quic.receive_datagram(self.socket.recv(65_535), self.address, now=now)
        except BlockingIOError:
            pass
        self.hear()

    def look_at_clock(self, now: float) -> None:
        timer = self.quic.get_timer()
        if timer is not None and timer <= now:
            self.quic.handle_timer(now=now)
            self.hear()

    def hear(self) -> None:
        while (event := self.quic.next_event()) is not None:
            name = type(event).__name__
            if name == "HandshakeCompleted":
                self.say(encode_frame(Hello(tenant_id="default", instance_id=f"client-{self.number}")))
            elif name == "StreamDataReceived":
                cutter = self.cutters.setdefault(event.stream_id, FrameCutter(2**24))
                for body in cutter.feed(event.data):
                    self.answered(_BODY.decode(body))
                if event.end_stream:
                    del self.cutters[event.stream_id]
            elif name == "ConnectionTerminated":
                raise SystemExit(f"the server has closed the connection: {event}")
        self.flush()

    def answered(self, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if kind in ("Welcome", "Hello"):
            self.say(encode_frame(Ask(id=1, command=RegisterInstance(attempt_id="a"))))
        elif kind in ("Answer", "Ask"):
            if self.steps > 1:
                self.waits.append(time.perf_counter() - self.began)
            self.step()
        elif kind == "Refusal":
            raise SystemExit(f"the server has refused: {frame}")

    def step(self) -> None:
        self.steps += 1
        command = SaveCheckpoint(checkpoint_id=f"step-{self.steps}", state=STATE)
        self.began = time.perf_counter()
        self.say(encode_frame(Ask(id=self.steps + 1, command=command)), own_stream=self.stream_each)

    def say(self, data: bytes, *, own_stream: bool = False) -> None:
        stream_id = self.quic.get_next_available_stream_id() if own_stream else 0
        self.quic.send_stream_data(stream_id, data, own_stream)


def _drive(port: int, clients: int, stream_each: bool) -> Measured:
    everybody = [Client(number, port, stream_each) for number in range(clients)]
    by_socket = {client.socket.fileno(): client for client in everybody}
    poll = select.epoll()
    for number in by_socket:
        poll.register(number, select.EPOLLIN)
    _pump(poll, by_socket, WARM_UP_S)
    for client in everybody:
        client.waits.clear()
    began = time.perf_counter()
    _pump(poll, by_socket, SECONDS)
    elapsed = time.perf_counter() - began
    waits = sorted(wait for client in everybody for wait in client.waits)
    poll.close()
    for client in everybody:
        client.socket.close()
    return Measured(len(waits) / elapsed, 1000 * waits[len(waits) // 2], 1000 * waits[int(len(waits) * 0.99)])


def _pump(poll: select.epoll, by_socket: dict[int, Client], seconds: float) -> None:
    until = time.perf_counter() + seconds
    looked = 0.0
    while (now := time.perf_counter()) < until:
        for number, _ in poll.poll(0.005):
            by_socket[number].receive()
        if now - looked > 0.005:
            looked = now
            for client in by_socket.values():
                client.look_at_clock(now)
                client.flush()


# The servers ----------------------------------------------------------------------------------------------------------


def _run(side: str, *, clients: int = CLIENTS, stream_each: bool = False) -> Measured:
    with tempfile.TemporaryDirectory() as folder, _server(side, folder) as port:
        return _drive(port, clients, stream_each)


@contextmanager
def _server(side: str, folder: str) -> Iterator[int]:
    """Run a server in a process on the first core, and this process on the others."""
    cores = sorted(os.sched_getaffinity(0))
    pin = f"import os; os.sched_setaffinity(0, {{{cores[0]}}})"
    code = f"{pin}; from benchmarks import quic; quic.serve_{side}({folder!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    os.sched_setaffinity(0, set(cores[1:]) or set(cores))
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
        os.sched_setaffinity(0, set(cores))


def serve_ours(folder: str) -> None:
    """Run a host until stdin ends."""
    import trio

    from runtara.host import open_host
    from runtara.settings import Settings

    async def main() -> None:
        async with open_host(Settings(data_dir=folder, quic_port=0, env_http_port=0, programs=folder)) as host:
            print(host.address.rsplit(":", 1)[1], flush=True)
            await trio.to_thread.run_sync(sys.stdin.read)

    trio.run(main)


def serve_echo(folder: str) -> None:
    """Run aioquic's own server until stdin ends; it sends back what it gets."""
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.asyncio.server import serve
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import QuicEvent, StreamDataReceived

    from runtara.transport.certificates import ensure_certificate

    class Echo(QuicConnectionProtocol):
        def quic_event_received(self, event: QuicEvent) -> None:
            if isinstance(event, StreamDataReceived):
                self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)

    async def main() -> None:
        identity = ensure_certificate(Path(folder) / "tls")
        configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
        configuration.load_cert_chain(identity.cert_file, identity.key_file)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = await serve("127.0.0.1", port, configuration=configuration, create_protocol=Echo)
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()

    asyncio.run(main())

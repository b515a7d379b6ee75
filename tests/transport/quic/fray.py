"""Two ends of a connection in memory, and a client without scruples: what tests of the QUIC door are made of."""

import atexit
import shutil
import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.rangeset import RangeSet

from runtara.transport.certificates import Identity, ensure_certificate
from runtara.transport.frames import ALPN
from runtara.transport.quic.listener import Listener, ListenerLimits
from runtara.transport.quic.protocol import ClientTls, ServerTls, Wire, WireEvent, open_client_wire

__all__ = ["AWAY", "CLIENT", "SERVER", "Meeting", "Misfit", "client_tls", "identity", "server_tls"]

CLIENT = ("127.0.0.1", 4000)
SERVER = ("127.0.0.1", 4433)
AWAY = ("192.0.2.7", 4000)


@cache
def identity() -> Identity:
    """A certificate for the whole run of the tests."""
    folder = mkdtemp(prefix="runtara-tls-")
    atexit.register(shutil.rmtree, folder)
    return ensure_certificate(Path(folder) / "tls")


def server_tls(**more: Any) -> ServerTls:
    return ServerTls(cert_file=str(identity().cert_file), key_file=str(identity().key_file), **more)


def client_tls(**changes: Any) -> ClientTls:
    return ClientTls(**({"server_name": "localhost", "ca_file": str(identity().ca_file)} | changes))


class Misfit:
    """A client that keeps to no window and no limit; it has the verbs of a `Wire` that a pump needs."""

    def __init__(self, address: Any = SERVER, now: float = 0.0, *, alpn: str = ALPN) -> None:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE)
        self.quic: Any = QuicConnection(configuration=configuration)  # Any: tests reach into it
        self.quic.connect(address, now)

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        self.quic.receive_datagram(datagram, address, now)

    def outgoing(self, now: float) -> list[tuple[bytes, Any]]:
        timer = self.quic.get_timer()
        if timer is not None and timer <= now:
            self.quic.handle_timer(now)
        return list(self.quic.datagrams_to_send(now))

    @property
    def closed_with(self) -> int | None:
        """The code with which the connection was closed."""
        event = self.quic._close_event
        return None if event is None else int(event.error_code)

    @property
    def reason(self) -> str:
        return str(self.quic._close_event.reason_phrase)

    def send(self, stream_id: int, data: bytes, *, ended: bool = False) -> None:
        """Send in order, whatever the windows say."""
        self._unbound(stream_id)
        self.quic.send_stream_data(stream_id, data, ended)

    def send_at(self, stream_id: int, offset: int, data: bytes = b"x") -> None:
        """Send bytes as if everything before them had been sent."""
        sender = self._unbound(stream_id).sender
        sender._buffer.clear()
        sender._pending = RangeSet()
        sender._buffer_start = sender._buffer_stop = sender.highest_offset = offset
        self.quic.send_stream_data(stream_id, data)

    def send_pieces(self, stream_id: int, count: int) -> None:
        """Send `count` single bytes with a gap before each."""
        self.send(stream_id, bytes(2 * count))
        self.quic._streams[stream_id].sender._pending = RangeSet(range(n, n + 1) for n in range(1, 2 * count, 2))
        self.quic._loss._cc.congestion_window = 2**30
        self.quic._loss._pacer.packet_time = None

    def _unbound(self, stream_id: int) -> Any:
        quic = self.quic
        quic._remote_max_data = 2**60
        quic._remote_max_streams_bidi = quic._remote_max_streams_uni = 2**40
        quic._unblock_streams(is_unidirectional=False)
        quic.send_stream_data(stream_id, b"")
        stream = quic._streams[stream_id]
        stream.max_stream_data_remote, stream.is_blocked = 2**60, False
        return stream


class Meeting:
    """A listener, clients with their addresses, and the datagrams between them, on a clock of its own."""

    def __init__(self, **limits: int) -> None:
        self.now = 0.0
        self.listener = Listener(server_tls(), ListenerLimits(**limits))
        self.clients: dict[Any, Any] = {}
        self.wires: dict[Wire, list[WireEvent]] = {}
        self.heard: dict[Any, list[WireEvent]] = {}
        self.lose: Callable[[bytes], bool] = lambda _: False

    def client(self, address: Any = CLIENT, **changes: Any) -> Wire:
        wire = open_client_wire(client_tls(**changes), SERVER, self.now)
        self.clients[address], self.heard[address] = wire, []
        return wire

    def misfit(self, address: Any = CLIENT, *, alpn: str = ALPN) -> Misfit:
        self.clients[address] = misfit = Misfit(SERVER, self.now, alpn=alpn)
        return misfit

    def exchange(self, times: int = 10) -> None:
        """Carry everything over, both ways, some times, some milliseconds apart."""
        for _ in range(times):
            self.now += 0.03
            self._to_server()
            self._to_clients()

    def _to_server(self) -> None:
        for address, client in self.clients.items():
            for datagram, _ in client.outgoing(self.now):
                if not self.lose(datagram):
                    self.hand_in(datagram, address)

    def hand_in(self, datagram: bytes, address: Any = CLIENT) -> Wire | None:
        wire = self.listener.receive(datagram, address, self.now)
        if wire is not None:
            self.wires.setdefault(wire, []).extend(wire.events())
        return wire

    def _to_clients(self) -> None:
        sent = self.listener.outgoing()
        for wire, events in self.wires.items():
            timer = wire.timer()
            if timer is not None and timer <= self.now:
                wire.handle_timer(self.now)
            sent += wire.outgoing(self.now)
            events.extend(wire.events())
        for datagram, address in sent:
            if address in self.clients and not self.lose(datagram):
                self.clients[address].receive(datagram, SERVER, self.now)
        for address, heard in self.heard.items():
            heard.extend(self.clients[address].events())

    @property
    def wire(self) -> Wire:
        """The server's side of the newest connection."""
        return list(self.wires)[-1]

    @property
    def events(self) -> list[WireEvent]:
        """What has happened there."""
        return self.wires[self.wire]

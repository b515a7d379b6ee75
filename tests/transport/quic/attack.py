"""A client without scruples on a real socket, and a look at how large this process is."""

import socket as sockets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import trio

from runtara.transport.frames import ALPN
from tests.transport.quic.fray import Misfit

__all__ = ["Attacker", "resident_mib"]


def resident_mib(process: int | str = "self") -> float:
    """How much memory a process has, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


class Attacker:
    """Moves the datagrams of a `Misfit`."""

    def __init__(self, address: Any, *, alpn: str = ALPN) -> None:
        self.address = address
        self.misfit = Misfit(address, trio.current_time(), alpn=alpn)
        self._socket: Any = None

    async def __aenter__(self) -> Self:
        self._socket = sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM)
        self._socket.setblocking(False)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    def knock(self) -> None:
        """Begin a handshake from a fresh port, and never go on."""
        with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as socket:
            for datagram, _ in self.misfit.outgoing(trio.current_time()):
                socket.sendto(datagram, self.address)

    def flush(self) -> None:
        """Send what there is."""
        for datagram, _ in self.misfit.outgoing(trio.current_time()):
            self._socket.sendto(datagram, self.address)

    def unbridle(self) -> None:
        """Send as fast as the socket takes it."""
        self.misfit.quic._loss._cc.congestion_window = 2**30
        self.misfit.quic._loss._pacer.packet_time = None

    async def connect(self) -> None:
        """Finish the handshake."""
        await self._until(lambda: self.misfit.quic._handshake_confirmed)

    async def until_closed(self) -> None:
        """Go on until the server has closed the connection."""
        await self._until(lambda: self.misfit.closed_with is not None)

    async def _until(self, fact: Callable[[], object]) -> None:
        with trio.fail_after(60):
            while not fact():
                self.flush()
                with trio.move_on_at(self.misfit.quic.get_timer() or float("inf")):
                    await trio.lowlevel.wait_readable(self._socket)
                self._receive()

    def _receive(self) -> None:
        try:
            while True:
                datagram, address = self._socket.recvfrom(65_535)
                self.misfit.receive(datagram, address, trio.current_time())
        except BlockingIOError:
            return

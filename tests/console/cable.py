"""A cable between a browser and a server that a test can cut, and mend."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

__all__ = ["Cable", "open_cable"]

_PIECE_BYTES = 65_536


class Cable:
    """Carries bytes between whoever connects to `port` and a server on this machine."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._whole = True
        self._lines: set[trio.CancelScope] = set()
        self.port = 0

    def cut(self) -> None:
        """Break all connections, and let no new one through."""
        self._whole = False
        for line in self._lines:
            line.cancel()

    def mend(self) -> None:
        """Let new connections through."""
        self._whole = True

    async def carry(self, client: trio.SocketStream) -> None:
        """Serve one connection."""
        if not self._whole:
            return
        server = await trio.open_tcp_stream("127.0.0.1", self._server_port)
        async with server:
            with trio.CancelScope() as line:
                self._lines.add(line)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, client, server, line)
                    nursery.start_soon(_pump, server, client, line)
            self._lines.discard(line)


@asynccontextmanager
async def open_cable(server_port: int) -> AsyncIterator[Cable]:
    """Lay a cable for the time of the block."""
    cable = Cable(server_port)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, cable.carry, 0, host="127.0.0.1"))
        cable.port = listeners[0].socket.getsockname()[1]
        yield cable
        nursery.cancel_scope.cancel()


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, line: trio.CancelScope) -> None:
    try:
        while piece := await source.receive_some(_PIECE_BYTES):
            await sink.send_all(piece)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    line.cancel()

"""A stretch of bad network between a client and a server of this machine, as TCP shows it: silent, slow or cut.

Runs on a thread of its own, inside `with`.
"""

import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

import trio

__all__ = ["TcpProxy"]

_PIECE_BYTES = 16 * 1024
_LOOPBACK = "127.0.0.1"
_AT_ONCE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Passes bytes between whoever connects to `port` and the server at `server_port`."""

    def __init__(self, server_port: int, *, bytes_per_second: float | None = None) -> None:
        self.port = 0
        self.passed = 0
        """Bytes that have gone through, in both directions."""
        self.accepted = 0
        self.cut_after: int | None = None
        """The next connections are cut once so many bytes have come from the client."""
        self._server_port = server_port
        self._rate = bytes_per_second
        self._open = trio.Event()
        self._streams: set[trio.SocketStream] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._nursery.cancel_scope.cancel)
        self._thread.join()

    def hold(self, on: bool = True) -> None:
        """Let nothing through, without a word to anybody, or (`on` False) let things through again."""
        self._run(self._hold, on)

    def cut(self) -> None:
        """Cut every connection, in the middle of whatever is said."""
        self._run(self._cut, tuple(self._streams))

    def _run(self, act: Callable[..., Any], *args: Any) -> None:
        trio.from_thread.run_sync(act, *args, trio_token=self._token)

    def _hold(self, on: bool) -> None:
        if on:
            self._open = trio.Event()
        else:
            self._open.set()

    def _cut(self, streams: tuple[trio.SocketStream, ...]) -> None:
        for stream in streams:
            if stream.socket.fileno() >= 0:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                stream.socket.close()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._open.set()
        listening = await trio.open_tcp_listeners(0, host=_LOOPBACK)
        self.port = listening[0].socket.getsockname()[1]
        async with trio.open_nursery() as self._nursery:
            self._ready.set()
            await trio.serve_listeners(self._join, listening)

    async def _join(self, client: trio.SocketStream) -> None:
        self.accepted += 1
        cut_after, self.cut_after = self.cut_after, None
        try:
            server = await trio.open_tcp_stream(_LOOPBACK, self._server_port)
        except OSError:
            self._cut((client,))
            return
        both = client, server
        self._streams.update(both)
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, client, server, both, cut_after)
            await self._pass(server, client, both, None)
            nursery.cancel_scope.cancel()
        self._streams.difference_update(both)

    async def _pass(
        self,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        both: tuple[trio.SocketStream, ...],
        cut_after: int | None,
    ) -> None:
        try:
            while data := await source.receive_some(_PIECE_BYTES):
                await self._open.wait()
                if cut_after is not None:
                    cut_after -= len(data)
                    if cut_after < 0:
                        self._cut(both)
                        return
                await sink.send_all(data)
                self.passed += len(data)
                if self._rate is not None:
                    await trio.sleep(len(data) / self._rate)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._cut(both)

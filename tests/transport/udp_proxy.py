"""A stretch of bad network between a client and a server of this machine: all its mischief comes from one seed.

Datagrams are lost, doubled, corrupted and delayed, and now and then the client appears to come from another port. What
happens to the n-th datagram depends on the seed and on n alone. Runs on a thread of its own, inside `with`.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any, NamedTuple, Self

import trio

__all__ = ["CALM", "STORM", "UdpProxy", "Weather", "ordeal"]

DATAGRAM_MAX_BYTES = 65_535
LOOPBACK = "127.0.0.1"


class Weather(NamedTuple):
    """How likely each mischief is, from 0 to 1, and how long a delayed datagram is held back."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    reordering: float = 0.0
    rebinding: float = 0.0
    delay: float = 0.005


CALM = Weather()
STORM = Weather(loss=0.3, duplication=0.1, corruption=0.05, reordering=0.2, rebinding=0.01)


def ordeal(datagram: bytes, weather: Weather, random: Random) -> Iterator[tuple[float, bytes]]:
    """Return what arrives of a datagram, each piece with its delay in seconds."""
    fates = [random.random() for _ in range(4)]  # always as many, so that one change does not change all that follows
    if fates[0] < weather.loss:
        return
    delay = weather.delay * random.random() if fates[3] < weather.reordering else 0.0
    if fates[2] < weather.corruption:
        damaged = bytearray(datagram)
        damaged[random.randrange(len(damaged))] ^= 1 + random.randrange(255)
        datagram = bytes(damaged)
    yield delay, datagram
    if fates[1] < weather.duplication:
        yield delay + weather.delay * random.random(), datagram


class UdpProxy:
    """Passes datagrams between whoever sends to `port` and the server at `server_port`."""

    def __init__(self, server_port: int, weather: Weather = CALM, seed: int = 0) -> None:
        self.weather = weather
        self.port = 0
        self.passed = 0
        self.rebound = 0
        """How often a client has appeared from another port."""
        self.swallowed = threading.Semaphore(0)
        """Released with every datagram that has gone down the hole."""
        self._server = (LOOPBACK, server_port)
        self._random = Random(seed)
        self._is_hole = False
        self._ways: dict[Any, tuple[socket.socket, trio.CancelScope]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="proxy")

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._nursery.cancel_scope.cancel)
        self._thread.join()

    def swallow(self, on: bool = True) -> None:
        """Let nothing through, or (`on` False) let things through again."""
        self._run(setattr, self, "_is_hole", on)

    def rebind(self) -> None:
        """Let every client appear from another port."""
        self._run(self._rebind_all)

    def _run(self, act: Callable[..., Any], *args: Any) -> None:
        trio.from_thread.run_sync(act, *args, trio_token=self._token)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with _bound() as self._front:
            self.port = self._front.getsockname()[1]
            async with trio.open_nursery() as self._nursery:
                self._ready.set()
                await self._listen()

    async def _listen(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._front)
            for datagram, client in _received(self._front):
                if client not in self._ways:
                    self._bind(client)
                elif self._random.random() < self.weather.rebinding:
                    self._rebind(client)
                self._pass(datagram, partial(self._forward, client))

    def _forward(self, client: Any, piece: bytes) -> None:
        self._ways[client][0].sendto(piece, self._server)

    def _bind(self, client: Any) -> None:
        scope = trio.CancelScope()
        way = _bound()
        self._ways[client] = way, scope
        self._nursery.start_soon(self._answer, way, scope, client)

    def _rebind(self, client: Any) -> None:
        _, scope = self._ways[client]
        scope.cancel()
        self.rebound += 1
        self._bind(client)

    def _rebind_all(self) -> None:
        for client in tuple(self._ways):
            self._rebind(client)

    async def _answer(self, way: socket.socket, scope: trio.CancelScope, client: Any) -> None:
        with way, scope:
            while True:
                await trio.lowlevel.wait_readable(way)
                for datagram, _ in _received(way):
                    self._pass(datagram, lambda data: self._front.sendto(data, client))

    def _pass(self, datagram: bytes, send: Callable[[bytes], object]) -> None:
        if self._is_hole:
            self.swallowed.release()
            return
        for delay, piece in ordeal(datagram, self.weather, self._random):
            self.passed += 1
            if delay:
                self._nursery.start_soon(self._later, delay, piece, send)
            else:
                _sent(send, piece)

    async def _later(self, delay: float, piece: bytes, send: Callable[[bytes], object]) -> None:
        await trio.sleep(delay)
        _sent(send, piece)


def _bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * 1024 * 1024)
    made.bind((LOOPBACK, 0))
    return made


def _received(where: socket.socket) -> Iterator[tuple[bytes, Any]]:
    while True:
        try:
            yield where.recvfrom(DATAGRAM_MAX_BYTES)
        except OSError:  # nothing more, or word that nobody listens at the other end
            return


def _sent(send: Callable[[bytes], object], piece: bytes) -> None:
    try:
        send(piece)
    except OSError:
        return  # lost

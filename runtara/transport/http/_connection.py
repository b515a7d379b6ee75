"""One connection from its first byte to its last: a task that listens, and one for each call of the application."""

import logging
import socket as sockets
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final
from wsgiref.handlers import format_date_time

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from runtara.clock import Clock
from runtara.transport.budget import Budget
from runtara.transport.http._guard import Broken, GuardedStream
from runtara.transport.http._http1 import Http1
from runtara.transport.http._inbox import Inbox
from runtara.transport.http._places import Places
from runtara.transport.http._refusals import Refused, problem, refusal
from runtara.transport.http._websocket import WebSocket
from runtara.transport.http.peer import Peer

__all__ = ["Application", "Connection", "House"]

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An application of the usual interface, ASGI 3."""

_log: Final = logging.getLogger(__name__)


class House(Config):
    """What all connections of a server share: the application, and how Hypercorn is set up."""

    def __init__(self, app: Application, clock: Clock, places: Places, messages: Budget) -> None:
        self.app: Final = app
        self.places: Final = places
        self.messages: Final = messages
        """Memory for large WebSocket messages while they arrive, all connections together."""
        self.context: Final = WorkerContext(None)
        self.counts: Final[Counter[str]] = Counter()
        self.last_failure = ""
        self.errorlog = _log
        self.include_server_header = False
        self.keep_alive_max_requests = 2**31
        self.h11_max_incomplete_size = 64 * 1024
        self._clock = clock
        self._date = (0, b"")

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return what every response says: when, and whether it is the last one."""
        second = self._clock.now_ms() // 1000
        if second != self._date[0]:
            self._date = (second, format_date_time(second).encode("ascii"))
        headers = [(b"date", self._date[1])]
        if self.context.terminated.is_set():
            headers.append((b"connection", b"close"))
        return headers

    def failed(self, error: BaseException) -> None:
        """Take note of a bug."""
        self.counts["failures"] += 1
        self.last_failure = repr(error)[:200]


class Connection:
    """Serves one peer."""

    def __init__(self, house: House, stream: GuardedStream, socket: sockets.socket, peer: Peer, *, tls: bool) -> None:
        self.peer: Final = peer
        self._house = house
        self._stream = stream
        self._is_busy = False
        self._nursery: trio.Nursery | None = None
        self._protocol = Http1(
            house.app,  # type: ignore[arg-type]  # it is only handed to `spawn_app`, below
            house,
            house.context,
            self,  # type: ignore[arg-type]  # only what starts things is asked of it
            ConnectionState({"peer": peer}),
            tls,
            _address(socket.getpeername()),
            _address(socket.getsockname()),
            self._act,
        )

    @property
    def websocket(self) -> WebSocket | None:
        """The WebSocket that this connection has become."""
        websocket = self._protocol.websocket
        return websocket if websocket is not None and websocket.is_open else None

    async def run(self) -> None:
        """Serve until the connection is over, and everything that was asked on it is answered."""
        self._house.places.rests(self, self._stream.abort)
        try:
            async with trio.open_nursery() as self._nursery:
                is_heard = await self._listen()
                await self._protocol.handle(Closed())
                if not is_heard:
                    await self._part()
            await self._part()
        except BaseException:
            await self._say_goodbye(shield=True)
            raise
        finally:
            self._house.places.works(self)
            if self._protocol.websocket is not None:
                self._protocol.websocket.release()

    async def leave(self, retry_after_ms: int) -> None:
        """Have it end as soon as nothing is owed to the peer any more."""
        self.peer.retry_after_ms = retry_after_ms
        self.peer.leaving.set()
        if self.websocket is not None:
            if not self.peer.says_goodbye:
                await self._say_goodbye()
        elif not self._is_busy:
            self._stream.end()

    async def _listen(self) -> bool:
        """Hand on what the peer says, to its end. Whether it may still hear what is answered."""
        try:
            while data := await self._stream.receive(self._protocol.hear):
                await self._protocol.hear(data, self._stream.messages.head)
        except Refused as error:
            await self._refuse(error)
        except Broken:
            return False
        else:
            return True
        return False

    async def _refuse(self, error: Refused) -> None:
        """Answer instead of the application, unless that has begun to."""
        self._house.counts[f"refused_{error.status}"] += 1
        if self._protocol.is_unanswered and not self._stream.is_broken:
            with suppress(Broken):
                await self._stream.send(refusal(error.status, error.detail), is_last=True)

    async def _part(self) -> None:
        websocket = self._protocol.websocket
        await self._stream.linger(is_settled=websocket is not None and websocket.is_settled)

    async def _say_goodbye(self, *, shield: bool = False) -> None:
        if self.websocket is not None and not self._stream.is_broken:
            with trio.move_on_after(0.25, shield=shield):
                await self.websocket.leave()

    # What the protocol wants

    async def _act(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Updated):
            self._is_busy = not event.idle
            self._stream.is_busy(self._is_busy)
            if self._is_busy:
                self._house.places.works(self)
            else:
                self._house.places.rests(self, self._stream.abort)
        elif isinstance(event, Closed):
            self._is_busy = False
            self._stream.end()

    async def _send(self, data: bytes) -> None:
        websocket = self._protocol.websocket
        if websocket is not None and websocket.handshake.accepted and not self._stream.messages.is_transparent:
            self._stream.upgraded()
        try:
            await self._stream.send(data)
        except Broken:
            await self._protocol.handle(Closed())

    # What runs the application

    async def spawn_app(self, app: Any, config: Any, scope: Any, send: Any) -> Any:
        """Have the application answer, and return what hands it messages."""
        assert self._nursery is not None, "whoever is spoken to runs"
        inbox = Inbox()
        self._nursery.start_soon(self._answer, app, scope, inbox, send)
        return inbox.put

    async def _answer(self, app: Application, scope: Any, inbox: Inbox, send: Any) -> None:
        async def say(message: Any) -> None:
            websocket = self._protocol.websocket
            if self._stream.is_broken or (websocket is not None and websocket.is_over):
                raise Broken("the peer has gone")
            await send(message)

        self._house.counts[scope["type"]] += 1
        try:
            await app(scope, inbox.receive, say)
        except Exception as error:  # noqa: BLE001 - logged and answered with 500: a bug in one call ends no other
            if not _is_departure(error):
                self._house.failed(error)
                _log.exception("the application has failed: %s", scope["path"])
                with suppress(Broken):
                    await self._apologise(scope, send)
        with suppress(Broken):
            await send(None)

    async def _apologise(self, scope: Any, send: Any) -> None:
        if scope["type"] != "http" or not self._protocol.is_unanswered:
            return
        body = problem(500, "a bug in the server; its log says more")
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_departure(error: Exception) -> bool:
    """Whether nothing is wrong, but that the peer has gone."""
    return isinstance(error, Broken) or (isinstance(error, ExceptionGroup) and error.split(Broken)[1] is None)


def _address(address: Any) -> tuple[str, int]:
    return address[0], address[1]

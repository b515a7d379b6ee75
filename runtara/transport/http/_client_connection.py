"""The calls of a client as requests of HTTP, and the pushes to it over a WebSocket beside them, as one connection.

It is over as soon as any of that fails; then everything that is unanswered is asked again on the next one.
"""

import os
import socket
from contextlib import suppress
from functools import partial
from typing import Any, Final
from weakref import WeakSet

import httpx
import trio

from runtara.clock import SPAN_MAX_MS
from runtara.errors import Code, InvalidInput, TooLarge, Unauthenticated
from runtara.messages import GetHealth
from runtara.transport.addresses import Address
from runtara.transport.client.calls import Calls
from runtara.transport.client.connection import Connection as SessionConnection
from runtara.transport.client.connection import Ending, not_trusted, reason_in
from runtara.transport.client.door import ServerSpec
from runtara.transport.client.timed import TimedConnection
from runtara.transport.client.trust import client_context, distrust_in
from runtara.transport.frames import (
    LENGTH_BYTES,
    Ask,
    Refusal,
    Renewed,
    ServerFrame,
    Watch,
    Welcome,
    decode_client_frame,
)
from runtara.transport.http._callers import EPOCH, INSTANCE_ID, TENANT_ID, TIMEOUT_MS, TOKEN
from runtara.transport.http._client_pieces import Pieces
from runtara.transport.http._client_pushes import Pushes
from runtara.transport.http._client_requests import Request, answer_of, request_of
from runtara.transport.websocket.client import prepare_websocket

__all__ = ["Connection"]

_CONNECTIONS: Final = 32
"""Most requests that are under way at once; others wait for one of them to end."""

_IDLE: Final = 8.0
"""Seconds after which a TCP connection without a request is closed, before the server does it."""

_WELCOME: Final = Welcome(server_version="", heartbeat_every_ms=SPAN_MAX_MS, frame_max_bytes=2**62)
"""What a server says only in a session. What it does not accept shows when it is sent."""

_PING: Final = Request("GET", "/healthz", None)


class Connection(TimedConnection):
    """The way to one address."""

    _calls: Calls

    def __init__(
        self, server: ServerSpec, name: Address, family: socket.AddressFamily, address: Any, calls: Calls
    ) -> None:
        super().__init__(calls)
        self._pushes = Pushes(calls, self._begin)
        self._make_session = partial(prepare_websocket(server), name, family, address, self._pushes)
        self._session: SessionConnection | None = None
        """What carries the pushes, while some are wanted."""
        self._client = httpx.AsyncClient(
            verify=client_context(server) if name.is_secure else False,
            timeout=None,
            limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_IDLE),
            trust_env=False,
        )
        self._url = f"{name.scheme}://{Address(address[0], address[1]).authority}"
        self._fixed = {"host": name.authority, "accept": "application/json"}
        self._extensions = {"sni_hostname": server.server_name, "trace": self._trace}
        self._sockets: WeakSet[Any] = WeakSet()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Keep the connection up until it is lost, or not needed any more."""
        try:
            with self._scope:
                async with self._client, trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._keep_time, self._nursery)
                    self._look_again()
                    if self._session is None:
                        await self._knock()
                    await self._speak(self._nursery)
        finally:
            self._nursery = None
            for found in tuple(self._sockets):  # one whose handshake was cut short is closed by nobody else
                found.close()
            self.close_socket()

    def close_socket(self) -> None:
        """Let go of the sockets, without a word to the server."""
        if self._session is not None:
            self._session.close_socket()
        for found in tuple(self._sockets):
            with suppress(OSError):
                os.close(found.fileno())

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Take note of every socket as soon as it is there."""
        if event == "connection.connect_tcp.complete":
            self._sockets.add(info["return_value"].get_extra_info("socket"))

    # Calls

    async def _speak(self, nursery: trio.Nursery) -> None:
        while True:
            await self._to_do.wait()
            self._to_do = trio.Event()
            for frame, _ in self._calls.outgoing(trio.current_time()):
                self._say(frame, nursery)

    def _say(self, frame: bytes, nursery: trio.Nursery) -> None:
        try:
            said = decode_client_frame(frame[LENGTH_BYTES:])
        except (InvalidInput, TooLarge) as error:
            self._calls.blame(error)
            self._end("there was nothing that HTTP could have sent")
            return
        if isinstance(said, Ask):
            self._pulse.awaits(trio.current_time())
            self._look_again()
            nursery.start_soon(self._ask, said)
        elif isinstance(said, Watch):
            self._pushes.say(frame)

    async def _ask(self, ask: Ask) -> None:
        try:
            response = await self._exchange(request_of(ask, self._calls.session.key), self._headers(ask))
        except InvalidInput as error:
            self._hear(Refusal(id=ask.id, code=error.code.wire, message=str(error)))
            return
        except httpx.HTTPError as error:
            self._broke(error)
            return
        frame = answer_of(ask, response.status_code, response.headers.get("content-type", ""), response.content)
        if frame is None:
            self._end(f"it answers with HTTP status {response.status_code} and nothing that this server would say")
            return
        self._hear(frame)
        token = response.headers.get(TOKEN.decode())
        if token is not None:
            self._hear(Renewed(token=token))

    def _hear(self, frame: ServerFrame) -> None:
        self._calls.heard(frame, trio.current_time())
        self._heard()
        if self._calls.is_ready:
            self._to_do.set()
        self._look_again()

    def _headers(self, ask: Ask | None) -> dict[str, str]:
        calls = self._calls
        headers = {TENANT_ID.decode(): calls.session.key.tenant_id, INSTANCE_ID.decode(): calls.session.key.instance_id}
        if calls.credential is not None:
            headers["authorization"] = f"Bearer {calls.credential}"
        if ask is not None and ask.timeout_ms is not None:
            headers[TIMEOUT_MS.decode()] = str(ask.timeout_ms)
        if ask is not None and ask.instance_id is None and calls.epoch is not None:
            headers[EPOCH.decode()] = str(calls.epoch)
        if ask is not None and ask.trace is not None:
            headers["traceparent"] = ask.trace
        return headers

    async def _exchange(self, request: Request, headers: dict[str, str]) -> httpx.Response:
        """Send a request, and return the response when all of it has come. Raises `httpx.HTTPError`."""
        stream = Pieces(request.body or b"", self._heard)
        if request.body is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(request.body))}
        sent = httpx.Request(
            request.verb,
            self._url + request.target,
            headers=self._fixed | headers,
            stream=stream,
            extensions=self._extensions,
        )
        response = await self._client.send(sent, stream=True)
        try:
            pieces = []
            async for piece in response.aiter_raw():
                pieces.append(piece)
                self._heard()
        finally:
            await response.aclose()
        return httpx.Response(response.status_code, headers=response.headers, content=b"".join(pieces))

    # How it begins, and whether anybody is there

    async def _knock(self) -> None:
        """Ask for something small, to see whether the server is there, and knows us."""
        ask = Ask(id=1, command=GetHealth())
        try:
            response = await self._exchange(request_of(ask, self._calls.session.key), self._headers(None))
        except httpx.HTTPError as error:
            self._broke(error)
            return
        frame = answer_of(ask, response.status_code, response.headers.get("content-type", ""), response.content)
        if isinstance(frame, Refusal) and frame.code in (Code.UNAUTHENTICATED.wire, Code.BUSY.wire):
            self._hear(Refusal(id=0, code=frame.code, message=frame.message))
            self._end(frame.message, Unauthenticated(frame.message) if response.status_code == 401 else None)
        elif frame is None:
            self._end(f"it answers with HTTP status {response.status_code} and nothing that this server would say")
        else:
            self._calls.heard(_WELCOME, trio.current_time())
            self._begin()

    def _begin(self) -> None:
        """The server has let us in."""
        self.was_welcome = True
        self._heard()
        self._to_do.set()
        self._look_again()

    async def _ping(self) -> None:
        try:
            await self._exchange(_PING, {})
        except httpx.HTTPError as error:
            self._broke(error)

    def _broke(self, error: Exception) -> None:
        distrust = distrust_in(error)
        self._end(*(Ending(reason_in(error)) if distrust is None else not_trusted(distrust)))

    # Pushes

    def _look_again(self) -> None:
        if self._session is not None:
            self._session.flush()
        elif self._nursery is not None and self._calls.wants_pushes:
            self._session = self._make_session()
            self._nursery.start_soon(self._be_pushed_to, self._session)
        super()._look_again()

    async def _be_pushed_to(self, session: SessionConnection) -> None:
        """Keep up the session for pushes; without it, there is no connection."""
        await session.run()
        self._pushes.is_welcome, self._session = False, None
        if not self._pushes.is_done:
            self._end(f"pushes cannot be had: {session.why}", session.error)

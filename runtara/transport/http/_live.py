"""The WebSocket of those who watch: what they ask for, and what they are told, as JSON.

Owns the messages of this stream. Who may watch what is the gate's to say: a watch is begun when the gate has let the
call through that would read the same, and it ends at once when the credential has become worthless. Names, pages of
origin, sizes of messages and pings are the server's and the application's business.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
import trio

from runtara.decoders import json_decoder
from runtara.errors import InvalidInput, RuntaraError, Unauthenticated
from runtara.live import FeedSource, Heard, Item, Outlet, Refused, Reset, Stream, Wanted, Watching
from runtara.messages import GetStatus, GetTree, ListInstances, Request
from runtara.settings import Settings
from runtara.transport.frames import Ask
from runtara.transport.gate import Caller, Gate, Outcome
from runtara.transport.http._callers import INSTANCE_ID, TENANT_ID, cookie_of, let_in
from runtara.transport.http.peer import peer_of

__all__ = ["MESSAGE_MAX_BYTES", "WATCHES_MAX", "serve_live"]

MESSAGE_MAX_BYTES: Final = 64 * 1024
"""Longest message that is read."""

WATCHES_MAX: Final = 256
"""Most watches of one connection."""

_GREETING_WITHIN_S: Final = 10.0
"""How long a connection may take to say who it is."""

_FAREWELL_S: Final = 2.0
"""How long the last words may take."""

_UNSUPPORTED, _POLICY, _TOO_LARGE, _TRY_LATER = 1003, 1008, 1009, 1013
"""Close codes of WebSockets."""

_NUMBER_MAX: Final = 2**53

_Message = MutableMapping[str, Any]  # Any: what ASGI says


class _Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="type"):
    """Who watches, where no header says so."""

    credential: str | None = None
    tenant_id: str | None = None
    instance_id: str | None = None
    """The instance whose token the credential is."""


class _Watch(msgspec.Struct, frozen=True, tag="watch", tag_field="type"):
    """Tell me of this, under a number of mine."""

    id: int
    stream: Stream
    instance_id: str | None = None
    after: str | None = None


class _Unwatch(msgspec.Struct, frozen=True, tag="unwatch", tag_field="type"):
    """Tell me no more."""

    id: int


_decoder: Final = json_decoder(_Hello | _Watch | _Unwatch)
_encoder: Final = msgspec.json.Encoder()


async def serve_live(
    scope: _Message,
    receive: Callable[[], Awaitable[_Message]],
    send: Callable[[_Message], Awaitable[None]],
    *,
    gate: Gate,
    feed: FeedSource,
    settings: Settings,
    cookie_name: bytes = b"runtara",
) -> None:
    """Serve a WebSocket until it is closed: a plain ASGI application."""
    if (await receive())["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    watcher = _Watcher(scope, receive, send, gate=gate, feed=feed, settings=settings, cookie_name=cookie_name)
    await watcher.serve()


class _Asker(NamedTuple):
    """Who is asked for to be let in."""

    headers: dict[bytes, bytes]
    peer: str
    certificate: bytes | None


class _NotBegun(Refused):
    """A watch is refused that has not begun; one of the same number may go on."""

    __slots__ = ()


class _Watcher:
    """One connection."""

    def __init__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
        *,
        gate: Gate,
        feed: FeedSource,
        settings: Settings,
        cookie_name: bytes,
    ) -> None:
        self._headers = dict(scope["headers"])
        self._peer = (scope.get("client") or ("", 0))[0]
        self._certificate = peer_of(scope).certificate
        self._receive = receive
        self._send = send
        self._gate = gate
        self._feed = feed
        self._cookie_name = cookie_name
        self._outlet = Outlet(settings.live_queue)
        self._watches: set[int] = set()
        self._scope = trio.CancelScope()
        self._last_words: list[object] = []
        self._code: int | None = None
        """How the connection is to be closed; None where the client has closed it."""

    async def serve(self) -> None:
        """Let the client in, and serve it until either side has enough."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    caller, first = await self._meet()
                    guest = self._gate.follow(caller, self._send_away)
                    try:
                        nursery.start_soon(self._tell, caller)
                        await self._hear(caller, first)
                    finally:
                        self._gate.guests.remove(guest)
        finally:
            self._outlet.close()
            self._feed.unwatch(self._outlet)
        if self._code is not None:
            with trio.move_on_after(_FAREWELL_S):
                for word in self._last_words:
                    await self._say(word)
                await self._send({"type": "websocket.close", "code": self._code})

    async def _end(self, code: int | None, *last_words: object) -> NoReturn:
        """End the connection, with a code and what is said before."""
        self._end_soon(code, *last_words)
        await trio.sleep_forever()
        raise AssertionError("nothing goes on behind the end")

    def _end_soon(self, code: int | None, *last_words: object) -> None:
        if not self._scope.cancel_called:
            self._code, self._last_words = code, list(last_words)
            self._scope.cancel()

    def _send_away(self, error: Unauthenticated) -> None:
        self._end_soon(_POLICY, _refused(0, error))

    # Who it is --------------------------------------------------------------------------------------------------------

    async def _meet(self) -> tuple[Caller, _Watch | _Unwatch | None]:
        """Return who watches, and what it has asked for already."""
        headers, first = self._headers, None
        if b"authorization" not in headers and cookie_of(headers, self._cookie_name) is None:
            with trio.move_on_after(_GREETING_WITHIN_S) as waited:
                first = await self._next()
            if waited.cancelled_caught:
                await self._end(_POLICY)
            if isinstance(first, _Hello):
                headers, first = self._headers | _headers_of(first), None
        assert not isinstance(first, _Hello), "it has become headers"
        try:
            instance_id = headers.get(INSTANCE_ID, b"").decode("latin-1") or None
            asker = _Asker(headers, self._peer, self._certificate)
            return let_in(self._gate, asker, instance_id, self._cookie_name), first
        except RuntaraError as error:
            await self._end(_POLICY, _refused(0, error))

    async def _check(self, caller: Caller) -> None:
        try:
            self._gate.check(caller)
        except RuntaraError as error:
            await self._end(_POLICY, _refused(0, error))

    # What it asks for -------------------------------------------------------------------------------------------------

    async def _hear(self, caller: Caller, first: _Watch | _Unwatch | None) -> None:
        message: _Hello | _Watch | _Unwatch | None = first
        while True:
            if isinstance(message, _Watch):
                await self._watch(caller, message)
            elif isinstance(message, _Unwatch):
                self._watches.discard(message.id)
                self._feed.unwatch(self._outlet, message.id)
            elif message is not None:
                await self._end(_POLICY, _refused(0, InvalidInput("who you are is known already: say hello once")))
            message = await self._next()

    async def _next(self) -> _Hello | _Watch | _Unwatch:
        """Return the next message; what nobody understands is the last one."""
        event = await self._receive()
        if event["type"] != "websocket.receive":
            await self._end(None)
        text = event.get("text")
        if not isinstance(text, str):
            await self._end(_UNSUPPORTED, _refused(0, InvalidInput("messages here are JSON in text, not bytes")))
        try:
            if len(text) > MESSAGE_MAX_BYTES:
                raise InvalidInput(f"the message has more than {MESSAGE_MAX_BYTES} characters: say less")
            message: _Hello | _Watch | _Unwatch = _decoder.decode(text)
            return message
        except (msgspec.DecodeError, UnicodeError) as error:
            await self._end(_POLICY, _refused(0, InvalidInput(f"the message is not understood: {error}")))
        except InvalidInput as error:
            await self._end(_TOO_LARGE, _refused(0, error))

    async def _watch(self, caller: Caller, message: _Watch) -> None:
        """Begin a watch, if the gate lets the call through that would read the same."""
        try:
            self._check_watch(message)
            wanted = Wanted(
                tenant_id=caller.key.tenant_id,
                stream=message.stream,
                instance_id=message.instance_id,
                after=message.after,
            )
            await self._ask(caller, message)
            self._feed.watch(self._outlet, message.id, wanted)
            self._watches.add(message.id)
        except Unauthenticated as error:
            await self._end(_POLICY, _refused(0, error))
        except RuntaraError as error:
            self._outlet.put(message.id, _NotBegun(error.code.wire, str(error)))

    def _check_watch(self, message: _Watch) -> None:
        if message.id in self._watches:
            raise InvalidInput(f"watch {message.id} goes on: end it first, or take another number")
        if not 0 <= message.id <= _NUMBER_MAX:
            raise InvalidInput(f"{message.id} is no number of a watch: use one from 0 to {_NUMBER_MAX}")
        if len(self._watches) >= WATCHES_MAX:
            raise InvalidInput(f"{WATCHES_MAX} watches go on here, the bound: begin others on another connection")
        if (message.stream == "instance") != (message.instance_id is not None):
            raise InvalidInput("instance_id belongs to the stream instance, and only to it")

    async def _ask(self, caller: Caller, message: _Watch) -> None:
        """Have the gate let a call through. Raises what it, or whoever answers, refuses with."""
        answered, outcomes = trio.Event(), list[Outcome]()

        def then(outcome: Outcome) -> None:
            outcomes.append(outcome)
            answered.set()

        self._gate.ask(caller, Ask(id=1, command=_READS[message.stream], instance_id=message.instance_id), then)
        await answered.wait()
        if outcomes[0].error is not None:
            raise outcomes[0].error

    # What it is told --------------------------------------------------------------------------------------------------

    async def _tell(self, caller: Caller) -> None:
        """Send what there is to tell, as fast as the client takes it."""
        while True:
            told = await self._outlet.receive()
            if told is None:
                await self._end(_TRY_LATER, {"type": "behind"})
            await self._check(caller)
            for number, heard in told:
                if type(heard) is Refused:
                    self._watches.discard(number)
                await self._say(_word(number, heard))

    async def _say(self, word: object) -> None:
        try:
            await self._send({"type": "websocket.send", "text": _encoder.encode(word).decode()})
        except OSError:  # the client has gone
            await self._end(None)


_READS: Final[dict[Stream, Request[Any]]] = {
    "instances": ListInstances(limit=1),
    "instance": GetStatus(),
    "tree": GetTree(),
    "metrics": ListInstances(limit=1),
}
"""Stream to the call that reads the same."""

_TYPES: Final[dict[type, str]] = {
    Item: "item",
    Watching: "watching",
    Reset: "reset",
    Refused: "refused",
    _NotBegun: "refused",
}


def _word(number: int, heard: Heard) -> dict[str, object]:
    """Return a message: its type, the number of the watch, and what is heard."""
    return {"type": _TYPES[type(heard)], "id": number, **heard._asdict()}


def _refused(number: int, error: RuntaraError) -> dict[str, object]:
    return _word(number, Refused(error.code.wire, str(error)))


def _headers_of(hello: _Hello) -> dict[bytes, bytes]:
    """Return the headers that say the same."""
    said = {b"authorization": hello.credential and f"Bearer {hello.credential}", TENANT_ID: hello.tenant_id}
    said[INSTANCE_ID] = hello.instance_id
    return {name: value.encode("latin-1", "replace") for name, value in said.items() if value}

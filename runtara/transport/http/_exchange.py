"""One request and its answer, as everything behind the door sees them.

Owns what is read of a request once (headers, peer, id) and how an answer is sent. It knows no operation.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import quote

from runtara.errors import TooLarge
from runtara.ids import new_id
from runtara.transport.http._callers import REQUEST_ID, Headers

__all__ = ["Answer", "ClientGone", "Exchange", "Pairs", "Receive", "Scope", "Send", "exchange_of", "read_body"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Pairs = list[tuple[bytes, bytes]]

_KEY: Final = "runtara"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")

_ALWAYS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
)
"""What every answer tells a browser."""


class ClientGone(Exception):
    """Whoever has asked is not there any more."""


class Exchange:
    """What is known of a request before anybody looks at what it wants."""

    __slots__ = ("_send", "has_begun", "headers", "is_secure", "peer", "raw_path", "receive", "request_id", "verb")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.receive: Final = receive
        self.verb: Final[str] = scope["method"]
        self.headers: Final[Headers] = dict(scope["headers"])
        client = scope.get("client")
        self.peer: Final[str] = client[0] if client else ""
        self.is_secure: Final = scope["scheme"] == "https"
        given = self.headers.get(REQUEST_ID, b"")
        self.request_id: Final = given.decode("ascii") if _REQUEST_ID.match(given) else new_id()
        raw_path = scope.get("raw_path")
        self.raw_path: Final = raw_path.decode("ascii", "replace") if raw_path else quote(scope["path"])
        self.has_begun = False
        self._send = send
        scope[_KEY] = self

    async def send(self, message: Any) -> None:
        """Send a part of the answer: every answer has the headers that all have, and one to HEAD has no body."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = [*message["headers"], (REQUEST_ID, self.request_id.encode()), *_ALWAYS]
            message = {**message, "headers": headers}
        elif self.verb == "HEAD":
            if message.get("more_body"):
                return
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


def exchange_of(scope: Scope) -> Exchange:
    """Return what is known of the request that a handler is called for."""
    found: Exchange = scope[_KEY]
    return found


class Answer:
    """A whole answer; an ASGI application that does nothing but send it."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.status = status
        self.body = body
        self.headers: Pairs = list(headers)

    async def __call__(self, _scope: Any, _receive: Any, send: Send) -> None:
        """Send it."""
        length = [] if self.status in (204, 304) else [(b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, *length]})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


async def read_body(receive: Receive, headers: Headers, most: int) -> bytes | bytearray:
    """Return the body of a request. Raises `TooLarge`, before anything is read where its length was told."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    first: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(first) > most:
            raise _too_large(most)
        return first
    found = bytearray(first)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        found += message.get("body", b"")
        if len(found) > most:
            raise _too_large(most)
    return found


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body has more than {most} bytes: keep large data elsewhere and store a reference to it")

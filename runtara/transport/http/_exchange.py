"""One request and its answer, as everything behind the door sees them.

Owns what is read of a request once (headers, peer, id) and how an answer is sent. It knows no operation.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import quote

from runtara.errors import Busy, TooLarge
from runtara.ids import new_id
from runtara.transport.budget import Budget
from runtara.transport.http.peer import peer_of

__all__ = [
    "ASGI",
    "Answer",
    "Body",
    "ClientGone",
    "Exchange",
    "Headers",
    "Pairs",
    "Receive",
    "Scope",
    "Send",
    "exchange_of",
    "read_body",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = Mapping[bytes, bytes]
"""Those of one request, names in small letters."""

Pairs = list[tuple[bytes, bytes]]

REQUEST_ID: Final = b"runtara-request-id"

_KEY: Final = "runtara"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")

_UNWANTED_MAX_BYTES: Final = 64 * 1024
"""Longest body that is read although nobody wants it, so that the connection can be used again."""

_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")

_OF_DATA: Final = (_NOSNIFF, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
"""What every answer of the API tells a browser: this is no page."""

_OF_PAGES: Final = (
    _NOSNIFF,
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
)
"""What every page and file tells a browser."""


class ClientGone(Exception):
    """Whoever has asked is not there any more."""


class Exchange:
    """What is known of a request before anybody looks at what it wants."""

    __slots__ = (
        "_owes_body",
        "_receive",
        "_send",
        "certificate",
        "has_begun",
        "headers",
        "is_secure",
        "peer",
        "raw_path",
        "request_id",
        "route",
        "status",
        "verb",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.verb: Final[str] = scope["method"]
        self.headers: Final[Headers] = dict(scope["headers"])
        client = scope.get("client")
        self.peer: Final[str] = client[0] if client else ""
        self.certificate: Final = peer_of(scope).certificate
        self.is_secure: Final = scope["scheme"] == "https"
        given = self.headers.get(REQUEST_ID, b"")
        self.request_id: Final = given.decode("ascii") if _REQUEST_ID.match(given) else new_id()
        raw_path = scope.get("raw_path")
        self.raw_path: Final = raw_path.decode("ascii", "replace") if raw_path else quote(scope["path"])
        self.has_begun = False
        self.route = "other"
        """The pattern of the path."""
        self.status = 0
        self._receive = receive
        self._send = send
        self._owes_body = self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers
        scope[_KEY] = self

    async def receive(self) -> Any:
        """Return what comes next of the request."""
        message = await self._receive()
        self._owes_body = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Any) -> None:
        """Send a part of the answer: every answer has the headers that all have, and one to HEAD has no body."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            self.status = message["status"]
            more = _OF_DATA if self.raw_path.startswith("/api/") else _OF_PAGES
            headers = [*message["headers"], (REQUEST_ID, self.request_id.encode()), *more]
            if self._owes_body:
                headers += await self._settle_body()
            message = {**message, "headers": headers}
        elif self.verb == "HEAD":
            if message.get("more_body"):
                return
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _settle_body(self) -> Pairs:
        """Take the rest of a body that nobody wanted, or say in a header that the connection ends with the answer."""
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) <= _UNWANTED_MAX_BYTES and b"expect" not in self.headers:
            while self._owes_body:
                await self.receive()
            return []
        return [(b"connection", b"close")]


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


async def read_body(receive: Receive, headers: Headers, most: int, budget: Budget | None = None) -> bytes | bytearray:
    """Return the body of a request; what of it has come counts in `budget` until all of it has.

    Raises `TooLarge`, before anything is read where its length was told, and `Busy` where too many send large ones.
    """
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    body = Body(receive)
    first = await body.read()
    if len(first) > most:
        raise _too_large(most)
    return first if body.is_over else await _read_on(body, bytearray(first), most, budget or Budget(most))


async def _read_on(body: "Body", found: bytearray, most: int, budget: Budget) -> bytearray:
    held = len(found)
    budget.change(held)
    try:
        while piece := await body.read():
            found += piece
            budget.change(len(piece))
            held += len(piece)
            if held > most:
                raise _too_large(most)
            if budget.is_over(held):
                raise Busy("too many large requests are on their way: send it again a little later")
    finally:
        budget.change(-held)
    return found


class Body:
    """The body of a request, a piece at a time."""

    __slots__ = ("_receive", "is_over")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_over = False

    async def read(self) -> bytes:
        """Return the next bytes, or nothing at the end. Raises `ClientGone`."""
        while not self.is_over:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.is_over = not message.get("more_body")
            found: bytes = message.get("body", b"")
            if found:
                return found
        return b""


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body has more than {most} bytes: keep large data elsewhere and store a reference to it")

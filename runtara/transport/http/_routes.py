"""The operations over HTTP: one Litestar handler per row of `ENDPOINTS`, all of them the same coroutine.

Owns what HTTP adds to a reply: status, entity tags, the link to the next page. What a request holds is read by
`_operations`, who may do what is decided by the gate.
"""

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from litestar.types import Scope as LitestarScope

from runtara import messages
from runtara.errors import NotFound
from runtara.settings import Settings
from runtara.transport.frames import OVERHEAD_MAX_BYTES, Ask
from runtara.transport.gate import Caller, Gate
from runtara.transport.http._answers import asked
from runtara.transport.http._callers import TIMEOUT_MS, TOKEN, key_of, let_in, number_of
from runtara.transport.http._exchange import Answer, Exchange, Pairs, exchange_of, read_body
from runtara.transport.http._operations import OPERATIONS, Operation, Wanted, decode_segment
from runtara.transport.http._problems import Turned

__all__ = ["Desk", "make_handlers"]

_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", b"no-store")
_TAGGED: Final = frozenset({messages.GetStatus, messages.GetImage, messages.GetSchedule, messages.GetCheckpoint})
"""What is worth asking for again only if it has changed."""

_encode: Final = msgspec.json.Encoder().encode


class Desk:
    """Answers requests for operations."""

    def __init__(self, gate: Gate, settings: Settings, cookie_name: bytes) -> None:
        self.gate: Final = gate
        self._cookie_name = cookie_name
        self._large_body = settings.state_max_bytes * 4 // 3 + OVERHEAD_MAX_BYTES

    def let_in(self, exchange: Exchange, instance_id: str | None) -> Caller:
        """Return who asks. Raises what the gate refuses with."""
        return let_in(self.gate, exchange.headers, instance_id, exchange.peer, self._cookie_name)

    async def answer(self, operation: Operation, scope: Any) -> Answer:
        """Return the answer to a request for an operation. Raises what it is refused with."""
        exchange = exchange_of(scope)
        headers = exchange.headers
        _check_acceptable(headers.get(b"accept"))
        body = await self._body(operation, exchange)
        path = {name: decode_segment(value) for name, value in scope["path_params"].items()}
        caller = self.let_in(exchange, path.get("instance_id"))
        wanted = operation.read(path, scope["query_string"], body, key_of(headers))
        ask = self.ask_of(operation, wanted, exchange, caller)
        reply = await asked(self.gate, caller, ask)
        return self._answer(operation, exchange, scope, caller, ask, reply)

    def ask_of(self, operation: Operation, wanted: Wanted, exchange: Exchange, caller: Caller) -> Ask:
        """Return the call that a request is. Raises `NotFound` where it is about another tenant."""
        if wanted.tenant_id is not None and wanted.tenant_id != caller.key.tenant_id:
            raise NotFound(f"there is no tenant {wanted.tenant_id!a:.140}, or it is not yours")
        beside = wanted.instance_id if wanted.instance_id != caller.key.instance_id else None
        return Ask(
            id=1,
            command=wanted.command,
            instance_id=beside,
            timeout_ms=number_of(exchange.headers, TIMEOUT_MS),
        )

    async def _body(self, operation: Operation, exchange: Exchange) -> bytes | bytearray:
        headers = exchange.headers
        if operation.body is None and b"content-length" not in headers and b"transfer-encoding" not in headers:
            return b""
        body = await read_body(exchange.receive, headers, self._large_body)
        if body and operation.body is not None:
            kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != b"application/json":
                raise Turned(415, "the body must be JSON: send it with Content-Type: application/json")
        return body

    def _answer(
        self, operation: Operation, exchange: Exchange, scope: Any, caller: Caller, ask: Ask, reply: Any
    ) -> Answer:
        headers: Pairs = [_JSON]
        kind = type(reply)
        if kind is messages.InstanceRegistered:
            reply = self.gate.registered(caller, ask, reply)
        elif kind is messages.CheckpointFound and not reply.found:
            raise NotFound("there is no checkpoint of this id: list the checkpoints of the instance to see theirs")
        elif kind is messages.Acknowledged:
            token = self.gate.renewal(caller, ask)
            if token is not None:
                headers.append((TOKEN, token.encode()))
        body = reply.tree if kind is messages.TreeFound else _encode(reply)
        status = 201 if getattr(reply, "created", False) is True else 200
        if type(ask.command) in _TAGGED:
            return _tagged(exchange, headers, body)
        headers.append(_NO_STORE)
        if operation.row.verb == "GET" and getattr(reply, "cursor", None) is not None:
            headers.append((b"link", _next_page(exchange.raw_path, scope["query_string"], reply.cursor)))
        if kind is messages.InstanceStarted and status == 201:
            headers.append((b"location", b"/api/v1/instances/" + quote(reply.instance_id, safe="").encode()))
        return Answer(status, body, headers)


def make_handlers(desk: Desk) -> list[HTTPRouteHandler]:
    """Return a handler for every operation."""
    return [_handler(operation, partial(desk.answer, operation)) for operation in OPERATIONS.values()]


def _handler(operation: Operation, answer: Callable[..., Awaitable[ASGIApp]]) -> HTTPRouteHandler:
    async def handle(scope: LitestarScope) -> ASGIApp:
        return await answer(scope)

    verbs = ["GET", "HEAD"] if operation.row.verb == "GET" else [operation.row.verb]
    path = operation.row.path.replace("}", ":str}")
    return HTTPRouteHandler(path, http_method=verbs, name=operation.name, status_code=200)(handle)  # type: ignore[arg-type]


def _check_acceptable(accept: bytes | None) -> None:
    if accept is None or accept in (b"*/*", b"application/json"):
        return
    for part in accept.split(b","):
        kind, _, rest = part.partition(b";")
        if kind.strip().lower() in (b"*/*", b"application/*", b"application/json") and b"q=0;" not in rest + b";":
            return
    raise Turned(406, "answers are JSON: accept application/json")


def _tagged(exchange: Exchange, headers: Pairs, body: bytes) -> Answer:
    tag = b'"' + hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b'"'
    headers += ((b"etag", tag), (b"cache-control", b"private, no-cache"))
    known = exchange.headers.get(b"if-none-match")
    if known is not None and (known == b"*" or tag in [part.strip().removeprefix(b"W/") for part in known.split(b",")]):
        return Answer(304, b"", headers[1:])
    return Answer(200, body, headers)


def _next_page(raw_path: str, query: bytes, cursor: str) -> bytes:
    rest = [part for part in query.decode("ascii").split("&") if part and not part.startswith("cursor=")]
    return f'<{raw_path}?{"&".join([*rest, urlencode({"cursor": cursor})])}>; rel="next"'.encode()

"""The handlers of the API: one for every row of `ENDPOINTS`, all of them the same coroutine, and the few others.

What a request holds is read by `_operations`, who may do what is decided by the gate, what becomes of a reply by
`_replies`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from runtara import messages
from runtara.errors import NotFound
from runtara.settings import Settings
from runtara.transport.budget import Budget
from runtara.transport.frames import OVERHEAD_MAX_BYTES, Ask
from runtara.transport.gate import Caller, Gate
from runtara.transport.http._answers import Client
from runtara.transport.http._callers import TIMEOUT_MS, TOKEN, key_of, let_in, number_of
from runtara.transport.http._downloads import open_content, open_text
from runtara.transport.http._exchange import ASGI, Answer, Exchange, Scope, exchange_of, read_body
from runtara.transport.http._operations import OPERATIONS, Operation, Wanted, decode_segment
from runtara.transport.http._problems import Turned
from runtara.transport.http._replies import answer_of, check_acceptable, prefers
from runtara.transport.http._uploads import receive_upload
from runtara.transport.http._visits import cookie_name_of, sign_in, sign_out, who

__all__ = ["Desk", "Handle"]

Handle = Callable[[Scope], Awaitable[ASGI]]
"""Returns the answer to a request, or raises why there is none."""

_JSON: Final = b"application/json"
_TEXT: Final = b"text/plain"
_BYTES: Final = b"application/octet-stream"


class Desk:
    """Answers requests."""

    def __init__(self, gate: Gate, settings: Settings, *, is_secure: bool, document: Callable[[], bytes]) -> None:
        self.cookie_name: Final = cookie_name_of(is_secure=is_secure)
        self._gate = gate
        self._document = document
        self._image_max_bytes = settings.image_max_bytes
        self._bodies = Budget(settings.quic_frames_max_bytes)  # as much as the other door may hold of what arrives
        self._body_max_bytes = settings.state_max_bytes * 4 // 3 + OVERHEAD_MAX_BYTES

    def handles(self) -> list[tuple[str, str, Handle]]:
        """Return everything that is answered here: verb, path, and by what."""
        rows: list[tuple[str, str, Handle]] = [
            *((row.row.verb, row.row.path, partial(self.answer, row)) for row in OPERATIONS.values()),
            ("POST", "/api/v1/images/upload", self._upload),
            ("POST", "/api/v1/login", self._sign_in),
            ("POST", "/api/v1/logout", self._sign_out),
            ("GET", "/api/v1/me", self._who),
            ("GET", "/api/v1/openapi.json", self._describe),
        ]
        verbs: dict[str, list[str]] = {}
        for verb, path, _ in rows:
            verbs.setdefault(path, []).extend(["GET", "HEAD"] if verb == "GET" else [verb])
        return [*(("OPTIONS", path, partial(_offer, offered)) for path, offered in verbs.items()), *rows]

    async def answer(self, operation: Operation, scope: Scope) -> ASGI:
        """Return the answer to a request for an operation. Raises what it is refused with."""
        exchange = exchange_of(scope)
        body = await self._body(operation, exchange)
        path = {name: decode_segment(value) for name, value in scope["path_params"].items()}
        caller = self._let_in(exchange, path.get("instance_id"))
        wanted = operation.read(path, scope["query_string"], body, key_of(exchange.headers))
        call = _call(wanted, exchange, caller)
        special = self._special(caller, call, exchange, scope["query_string"])
        if special is not None:
            return await special
        reply = await Client(self._gate, caller).ask(call)
        answer = answer_of(operation, exchange, scope["query_string"], self._told(caller, call, reply))
        if type(call.command) is messages.Heartbeat:
            token = self._gate.renewal(caller, call)
            answer.headers.extend(() if token is None else ((TOKEN, token.encode()),))
        return answer

    def _special(self, caller: Caller, call: Ask, exchange: Exchange, query: bytes) -> Awaitable[ASGI] | None:
        """Return what answers with something else than JSON, where that is what the client takes."""
        accept = exchange.headers.get(b"accept")
        kind = type(call.command)
        if kind is messages.ReadImage and not prefers(accept, _JSON, _BYTES):
            check_acceptable(accept, _BYTES)
            return open_content(Client(self._gate, caller), call, exchange, limited=b"limit=" in query)
        if kind is messages.ReadLog and prefers(accept, _TEXT, _JSON):
            return open_text(Client(self._gate, caller), call)
        check_acceptable(accept)
        return None

    def _told(self, caller: Caller, call: Ask, reply: Any) -> Any:
        return self._gate.registered(caller, call, reply) if type(reply) is messages.InstanceRegistered else reply

    def _let_in(self, exchange: Exchange, instance_id: str | None) -> Caller:
        return let_in(self._gate, exchange, instance_id, self.cookie_name)

    async def _body(self, operation: Operation, exchange: Exchange) -> bytes | bytearray:
        headers = exchange.headers
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            return b""
        body = await read_body(exchange.receive, headers, self._body_max_bytes, self._bodies)
        if body and operation.body is not None:
            kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != _JSON:
                raise Turned(415, "the body must be JSON: send it with Content-Type: application/json")
        return body

    async def _upload(self, scope: Scope) -> ASGI:
        exchange = exchange_of(scope)
        client = Client(self._gate, self._let_in(exchange, None))
        return await receive_upload(client, exchange, scope["query_string"], self._image_max_bytes)

    async def _sign_in(self, scope: Scope) -> ASGI:
        return await sign_in(self._gate, exchange_of(scope))

    async def _sign_out(self, scope: Scope) -> ASGI:
        return await sign_out(exchange_of(scope))

    async def _who(self, scope: Scope) -> ASGI:
        return who(self._let_in(exchange_of(scope), None))

    async def _describe(self, scope: Scope) -> ASGI:
        body = self._document()
        return Answer(200, body, [(b"content-type", _JSON), (b"cache-control", b"no-cache")])


async def _offer(verbs: list[str], _scope: Scope) -> ASGI:
    """Return the answer to the question what a path offers."""
    return Answer(204, b"", [(b"allow", ", ".join(sorted([*verbs, "OPTIONS"])).encode())])


def _call(wanted: Wanted, exchange: Exchange, caller: Caller) -> Ask:
    """Return the call that a request is. Raises `NotFound` where it is about another tenant."""
    if wanted.tenant_id is not None and wanted.tenant_id != caller.key.tenant_id:
        raise NotFound(f"there is no tenant {wanted.tenant_id!a:.140}, or it is not yours")
    beside = wanted.instance_id if wanted.instance_id != caller.key.instance_id else None
    timeout_ms = number_of(exchange.headers, TIMEOUT_MS)
    trace = exchange.headers.get(b"traceparent")
    return Ask(
        id=1,
        command=wanted.command,
        instance_id=beside,
        timeout_ms=timeout_ms,
        trace=None if trace is None else trace.decode("latin-1"),
    )

"""The application behind the HTTP door: the operations, the console, and what a host says of itself.

Owns what is true of every request: under which name and from which page the door may be used, its id, and what becomes
of errors. What is below ``/api`` and has no handler here, Litestar answers.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
import trio

from runtara.clock import monotonic
from runtara.errors import Code, RuntaraError
from runtara.live import FeedSource
from runtara.logs import about
from runtara.settings import Settings
from runtara.transport.gate import Gate
from runtara.transport.http._callers import cookie_of
from runtara.transport.http._exchange import ASGI, Answer, ClientGone, Exchange, Receive, Scope, Send
from runtara.transport.http._guard import Broken
from runtara.transport.http._live import serve_live
from runtara.transport.http._openapi import openapi_json
from runtara.transport.http._origin import SAFE_VERBS, check_csrf, check_origin
from runtara.transport.http._pages import Fitness, Pages
from runtara.transport.http._paths import Paths
from runtara.transport.http._problems import NOTHING_HERE, Turned, problem_of
from runtara.transport.http._routes import Desk, Handle
from runtara.transport.websocket.terms import LIVE_PATH, SESSION_PATH, SUBPROTOCOL

__all__ = ["ASGI", "Application", "Parts", "make_app"]

_log: Final = logging.getLogger(__name__)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the application is made of."""

    gate: Gate
    settings: Settings
    is_secure: bool
    """Whether the door speaks TLS."""
    fitness: Callable[[], Awaitable[Fitness]]
    """Looks whether the system serves."""
    render_metrics: Callable[[], Awaitable[bytes]]
    """Returns the metrics in the text format of Prometheus."""
    count: Callable[[str, str, int, float], None]
    """Takes note of a request: its verb, the pattern of its path, the status of its answer, and its seconds."""
    serve_session: ASGI | None = None
    """Serves a WebSocket on which a program speaks."""
    feed: FeedSource | None = None
    """Tells those who watch what happens."""


def make_app(parts: Parts) -> "Application":
    """Return the application; it is served by `HttpServer`."""
    return Application(parts)


class Application:
    """An ASGI application."""

    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        desk = Desk(parts.gate, parts.settings, is_secure=parts.is_secure, document=openapi_json)
        self._cookie_name = desk.cookie_name
        self._pages = Pages(parts.fitness, parts.render_metrics)
        self._count = parts.count
        self._sockets = {SESSION_PATH: parts.serve_session, LIVE_PATH: _live(parts, self._cookie_name)}
        self._handles = desk.handles()
        self._paths = Paths(self._handles)
        self._api: ASGI | None = None
        self._making_api = trio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        began = monotonic()
        try:
            self._check(exchange)
            with about(request_id=exchange.request_id):
                answer = await self._find(exchange, scope)
                await answer(scope, receive, exchange.send)
        except (ClientGone, Broken):
            return  # nobody is there any more
        except Exception as error:  # noqa: BLE001 - every error has an answer
            await self._refuse(exchange, error)
        finally:
            self._count(exchange.verb, exchange.route, exchange.status, monotonic() - began)

    async def _find(self, exchange: Exchange, scope: Scope) -> ASGI:
        path, verb = exchange.raw_path, exchange.verb
        found = self._paths.find("GET" if verb == "HEAD" else verb, path)
        if found is not None:
            handle, exchange.route, scope["path_params"] = found
            return await handle(scope)
        page = await self._pages.find(exchange)
        if page is not None:
            return page
        if self._sockets.get(path) is not None:
            raise Turned(426, f"{path} is a WebSocket: ask for an upgrade to one", (b"upgrade", b"websocket"))
        if "//" in path or path.endswith("/"):
            raise Turned(404, NOTHING_HERE, code=Code.NOT_FOUND)  # an empty segment names nothing
        scope["path"] = path  # what a segment holds is decoded by the handler, so that it may hold a slash
        return await self._unusual()

    async def _unusual(self) -> ASGI:
        """Return what answers what nothing here does. It is made when somebody asks for it: see `_litestar`."""
        async with self._making_api:
            if self._api is None:
                self._api = await trio.to_thread.run_sync(_make_api, self._handles)
        return self._api

    def _check(self, exchange: Exchange) -> None:
        headers = exchange.headers
        if exchange.verb in SAFE_VERBS:
            return
        if b"authorization" not in headers and cookie_of(headers, self._cookie_name) is not None:
            check_csrf(headers, self._settings)
        else:
            check_origin(headers, self._settings)

    async def _refuse(self, exchange: Exchange, error: Exception) -> None:
        """Answer with what went wrong; where an answer has begun, all that is left is to break it off."""
        status, headers, body = problem_of(error, exchange.request_id)
        if status >= 500 and not isinstance(error, RuntaraError):
            _log.error("request-failed", extra={"request_id": exchange.request_id}, exc_info=error)
        if exchange.has_begun:
            raise error
        await Answer(status, body, [*headers, (b"cache-control", b"no-store")])({}, None, exchange.send)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        serve = self._sockets.get(scope["path"])
        try:
            check_origin(headers, self._settings)
            if serve is None:
                raise Turned(404, "there is no WebSocket here: see docs/reference/http.md", code=Code.NOT_FOUND)
            if serve is self._sockets[SESSION_PATH] and SUBPROTOCOL not in scope["subprotocols"]:
                raise Turned(400, f"a session is held in the sub-protocol {SUBPROTOCOL}: offer that")
        except (RuntaraError, Turned) as error:
            await receive()
            await _decline(send, error)
            return
        await serve(scope, receive, send)


async def _decline(send: Send, error: Exception) -> None:
    """Answer a handshake with what is wrong with it."""
    status, headers, body = problem_of(error, "")
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def _make_api(handles: list[tuple[str, str, Handle]]) -> ASGI:
    from runtara.transport.http._litestar import make_api

    return make_api(handles)


def _live(parts: Parts, cookie_name: bytes) -> ASGI | None:
    """Return what serves those who watch, where there is something to watch."""
    if parts.feed is None:
        return None
    return partial(serve_live, gate=parts.gate, feed=parts.feed, settings=parts.settings, cookie_name=cookie_name)

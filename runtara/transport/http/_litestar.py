"""What Litestar answers: requests for which no handler was found at once. It finds one, or says what there is instead.

To import it and to make its routes takes as long as all else at the start of a server, and hardly anybody asks for it:
so that happens at the first such request, in a thread of its own, while everybody else is served.
"""

from collections.abc import Iterable
from typing import Any

from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from litestar.types import Scope as LitestarScope

from runtara.errors import Code
from runtara.transport.http._exchange import ASGI, Receive, Scope, Send
from runtara.transport.http._problems import NOTHING_HERE, Turned
from runtara.transport.http._routes import Handle

__all__ = ["make_api"]


def make_api(handles: Iterable[tuple[str, str, Handle]]) -> ASGI:
    """Return what answers requests by these verbs and paths. It raises what is refused, as one of our errors."""
    api: Any = Litestar(  # Any: its own idea of ASGI types is narrower than ours
        [_handler(verb, path, handle) for verb, path, handle in handles],
        openapi_config=None,
        logging_config=None,
        exception_handlers={Exception: _raise},
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await api(scope, receive, send)
        except Exception as error:
            if (known := _known(error)) is not error:
                raise known from error
            raise

    return answer


def _handler(verb: str, path: str, handle: Handle) -> HTTPRouteHandler:
    async def answer(scope: LitestarScope) -> ASGIApp:
        return await handle(scope)  # type: ignore[arg-type, return-value]  # its own words for the same

    verbs: Any = ["GET", "HEAD"] if verb == "GET" else verb  # Any: a union of literals
    return HTTPRouteHandler(path.replace("}", ":str}"), http_method=verbs, status_code=200)(answer)


def _raise(_request: Any, error: Exception) -> Any:
    """Leave an error to the application, which answers all of them alike."""
    raise error


def _known(error: Exception) -> Exception:
    """Return an error of Litestar's as one of ours."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HTTPException):
        cause = cause.__cause__
    if cause is None:
        return error
    headers = cause.headers or {}
    if cause.status_code == 405:
        allow = headers.get("allow", "").encode()
        return Turned(405, "this path does not offer that verb: see Allow", (b"allow", allow), code=Code.NOT_FOUND)
    if cause.status_code == 404:
        return Turned(404, NOTHING_HERE, code=Code.NOT_FOUND)
    return Turned(cause.status_code, str(cause.detail)) if cause.status_code < 500 else error

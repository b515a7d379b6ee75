"""What a host says of itself to whoever asks without a credential, and the files of its console.

The files are read once, from the package; each has an entity tag, so that a browser asks for a changed one only.
"""

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from runtara.errors import Code, RuntaraError
from runtara.transport.http._exchange import Answer, Exchange, Pairs
from runtara.transport.http._problems import Turned

__all__ = ["Pages", "read_files"]

_NO_STORE: Final = (b"cache-control", b"no-store")

_TYPES: Final = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "json": b"application/json",
    "svg": b"image/svg+xml",
    "png": b"image/png",
    "ico": b"image/x-icon",
    "woff2": b"font/woff2",
    "txt": b"text/plain; charset=utf-8",
}
"""By the end of the name; what is of no such kind is not served."""

_NAMES: Final = {"/": "index.html", "/docs": "docs.html"}
"""Pages with a path of their own."""


class Pages:
    """Finds what there is at a path outside the API."""

    def __init__(self, is_ready: Callable[[], Awaitable[None]], render_metrics: Callable[[], bytes] | None) -> None:
        self._is_ready = is_ready
        self._render_metrics = render_metrics
        self._files = read_files()

    async def find(self, exchange: Exchange) -> Answer | None:
        """Return the answer to a request for a page, or None where it is for the API."""
        path = exchange.raw_path
        if path.startswith("/api/"):
            return None
        answer = await self._find(path, exchange)
        if answer is None:
            raise Turned(404, "there is nothing at this path: see /docs for what there is", code=Code.NOT_FOUND)
        if exchange.verb == "OPTIONS":
            return Answer(204, b"", [(b"allow", b"GET, HEAD, OPTIONS")])
        if exchange.verb not in ("GET", "HEAD"):
            raise Turned(405, "this is only to be read", (b"allow", b"GET, HEAD, OPTIONS"), code=Code.NOT_FOUND)
        return answer

    async def _find(self, path: str, exchange: Exchange) -> Answer | None:
        if path == "/healthz":
            return Answer(200, b"ok\n", [(b"content-type", _TYPES["txt"]), _NO_STORE])
        if path == "/readyz":
            return await self._ready()
        if path == "/metrics" and self._render_metrics is not None:
            kind = b"text/plain; version=0.0.4; charset=utf-8"
            return Answer(200, self._render_metrics(), [(b"content-type", kind), _NO_STORE])
        return self._file(_NAMES.get(path) or path.removeprefix("/ui/"), exchange)

    async def _ready(self) -> Answer:
        kind = [(b"content-type", _TYPES["txt"]), _NO_STORE]
        try:
            await self._is_ready()
        except RuntaraError as error:
            return Answer(503, f"{error.code.wire}\n".encode(), [*kind, (b"retry-after", b"1")])
        return Answer(200, b"ready\n", kind)

    def _file(self, name: str, exchange: Exchange) -> Answer | None:
        found = self._files.get(name)
        if found is None:
            return None
        kind, tag, content = found
        headers: Pairs = [(b"etag", tag), (b"cache-control", b"no-cache")]
        if tag in exchange.headers.get(b"if-none-match", b""):
            return Answer(304, b"", headers)
        return Answer(200, content, [(b"content-type", kind), *headers])


def read_files() -> dict[str, tuple[bytes, bytes, bytes]]:
    """Return the files of the console by their names: type, entity tag and content of each."""
    found = {}
    for file in files("runtara.transport.http").joinpath("ui").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            content = file.read_bytes()
            tag = b'"' + hashlib.blake2b(content, digest_size=16).hexdigest().encode() + b'"'
            found[file.name] = (kind, tag, content)
    return found

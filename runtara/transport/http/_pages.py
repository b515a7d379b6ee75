"""What a host says of itself to whoever asks without a credential, and the files of its console.

The files are read once, from the package; each has an entity tag, so that a browser asks for a changed one only.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Protocol

from runtara.errors import Code
from runtara.metrics import content_type
from runtara.transport.http._exchange import Answer, Exchange, Pairs
from runtara.transport.http._problems import NOTHING_HERE, Turned
from runtara.transport.http._replies import JSON, NO_STORE

__all__ = ["Fitness", "Pages", "read_files"]

_ALIVE: Final = b'{"status":"alive"}'

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


class Fitness(Protocol):
    """What was found when it was looked whether the system serves."""

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""

    def body(self) -> bytes:
        """Return it as JSON."""


class Pages:
    """Finds what there is at a path outside the API."""

    def __init__(
        self, fitness: Callable[[], Awaitable[Fitness]], render_metrics: Callable[[], Awaitable[bytes]]
    ) -> None:
        self._fitness = fitness
        self._render_metrics = render_metrics
        self._files = read_files()

    async def find(self, exchange: Exchange) -> Answer | None:
        """Return the answer to a request for a page, or None where it is for the API."""
        path = exchange.raw_path
        if path.startswith("/api/"):
            return None
        answer = await self._find(path, exchange)
        if answer is None:
            raise Turned(404, NOTHING_HERE, code=Code.NOT_FOUND)
        if exchange.verb == "OPTIONS":
            return Answer(204, b"", [(b"allow", b"GET, HEAD, OPTIONS")])
        if exchange.verb not in ("GET", "HEAD"):
            raise Turned(405, "this is only to be read", (b"allow", b"GET, HEAD, OPTIONS"), code=Code.NOT_FOUND)
        return answer

    async def _find(self, path: str, exchange: Exchange) -> Answer | None:
        if path == "/healthz":
            return Answer(200, _ALIVE, [JSON, NO_STORE])
        if path == "/readyz":
            found = await self._fitness()
            more = [] if found.is_good else [(b"retry-after", b"1")]
            return Answer(200 if found.is_good else 503, found.body(), [JSON, NO_STORE, *more])
        if path == "/metrics":
            return Answer(200, await self._render_metrics(), [(b"content-type", content_type().encode()), NO_STORE])
        return self._file(_NAMES.get(path) or path.removeprefix("/ui/"), exchange)

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
    for name, file in _below(files("runtara.transport.http").joinpath("ui"), ""):
        kind = _TYPES.get(name.rpartition(".")[2])
        if kind is not None:
            content = file.read_bytes()
            tag = b'"' + hashlib.blake2b(content, digest_size=16).hexdigest().encode() + b'"'
            found[name] = (kind, tag, content)
    return found


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry

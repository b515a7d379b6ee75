"""What is sent as a stream instead of as JSON: the content of an image, and what a program has written."""

import re
from typing import Any, Final

from runtara import messages
from runtara.errors import Code, RuntaraError
from runtara.transport.frames import Ask
from runtara.transport.http._answers import Client
from runtara.transport.http._exchange import Answer, Exchange, Pairs, Send
from runtara.transport.http._problems import Turned

__all__ = ["Content", "Text", "open_content", "open_text"]

_PART_BYTES: Final = 1024 * 1024

_RANGE: Final = re.compile(rb"bytes=(\d{1,15})-(\d{0,15})\Z")

_SANDBOX: Final = (b"content-disposition", b"attachment")
"""What others have pushed is never shown as a page of ours."""


async def open_content(client: Client, call: Ask, exchange: Exchange, *, limited: bool) -> "Content | Answer":
    """Return what sends the content of an image, from its place on. Raises what that is refused with."""
    wanted: messages.ReadImage = call.command
    info: messages.ImageInfo = await client.ask(Ask(id=1, command=messages.GetImage(image=wanted.image)))
    tag = b'"' + info.digest.encode() + b'"'
    headers: Pairs = [(b"etag", tag), (b"cache-control", b"private, no-cache"), (b"accept-ranges", b"bytes")]
    if tag in exchange.headers.get(b"if-none-match", b""):
        return Answer(304, b"", headers)
    begin, end = min(wanted.offset, info.size), info.size
    if limited:
        end = min(begin + wanted.limit, end)
    ranged = _range_of(exchange, info.size) if not limited and wanted.offset == 0 else None
    if ranged is not None:
        begin, end = ranged
        headers.append((b"content-range", b"bytes %d-%d/%d" % (begin, end - 1, info.size)))
    headers += [(b"content-type", b"application/octet-stream"), _SANDBOX, (b"content-length", b"%d" % (end - begin))]
    image = f"{info.image_id}@{info.version}"  # whatever becomes the current version meanwhile
    return Content(client, image, (begin, end), 200 if ranged is None else 206, headers)


def _range_of(exchange: Exchange, size: int) -> tuple[int, int] | None:
    """Return from where to where a request wants the content; None for all of it."""
    found = _RANGE.match(exchange.headers.get(b"range", b""))
    if found is None:
        return None
    begin = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    if begin >= end:
        raise Turned(
            416, f"there is nothing in that range: there are {size} bytes", (b"content-range", b"bytes */%d" % size)
        )
    return begin, end


class Content:
    """Sends a stretch of an image, a part at a time."""

    def __init__(self, client: Client, image: str, stretch: tuple[int, int], status: int, headers: Pairs) -> None:
        self._client = client
        self._image = image
        self._stretch = stretch
        self._start = {"type": "http.response.start", "status": status, "headers": headers}

    async def __call__(self, scope: Any, _receive: Any, send: Send) -> None:
        """Send it."""
        offset, end = self._stretch
        await send(self._start)
        while offset < end and scope["method"] != "HEAD":
            command = messages.ReadImage(image=self._image, offset=offset, limit=min(_PART_BYTES, end - offset))
            read: messages.ImageRead = await self._client.ask(Ask(id=1, command=command))
            if not read.data:
                raise Turned(500, "the image has become shorter", code=Code.INTERNAL)
            offset += len(read.data)
            await send({"type": "http.response.body", "body": read.data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def open_text(client: Client, call: Ask) -> "Text":
    """Return what sends a program's output from a place on. Raises what reading it is refused with."""
    return Text(client, call, await client.ask(call))


class Text:
    """Sends what a program has written, as it is; where the request waits for more, also what it writes from now on."""

    def __init__(self, client: Client, call: Ask, first: messages.LogRead) -> None:
        self._client = client
        self._call = call
        self._first = first

    async def __call__(self, scope: Any, _receive: Any, send: Send) -> None:
        """Send it, until there is no more, or nothing has come for as long as the request waits."""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"), _SANDBOX]
        headers.append((b"runtara-log-offset", b"%d" % self._first.offset))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        read: messages.LogRead | None = self._first
        while read is not None and read.data and scope["method"] != "HEAD":
            await send({"type": "http.response.body", "body": read.data, "more_body": True})
            read = await self._next(read)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, read: messages.LogRead) -> messages.LogRead | None:
        if read.ended:
            return None
        wanted: messages.ReadLog = self._call.command
        command = messages.ReadLog(
            stream=wanted.stream,
            offset=read.offset + len(read.data),
            limit=wanted.limit,
            wait_ms=wanted.wait_ms,
            node=read.node,
        )
        try:
            found: messages.LogRead = await self._client.ask(
                Ask(id=1, command=command, instance_id=self._call.instance_id)
            )
        except RuntaraError:
            return None  # the answer has begun; whoever wants the rest asks for it by its offset
        return found

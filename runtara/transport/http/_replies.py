"""What HTTP adds to a reply: its status, its entity tag, where the new thing is and where the next page.

Decides only.
"""

import hashlib
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from runtara import messages
from runtara.errors import NotFound
from runtara.transport.http._exchange import Answer, Exchange, Pairs
from runtara.transport.http._operations import Operation
from runtara.transport.http._problems import Turned

__all__ = ["JSON", "NO_STORE", "TAGGED", "answer_of", "check_acceptable", "prefers"]

JSON: Final = (b"content-type", b"application/json")
NO_STORE: Final = (b"cache-control", b"no-store")

TAGGED: Final = frozenset({messages.GetStatus, messages.GetImage, messages.GetSchedule, messages.GetCheckpoint})
"""What is worth asking for again only where it has changed."""

_encode: Final = msgspec.json.Encoder().encode


def answer_of(operation: Operation, exchange: Exchange, query: bytes, reply: Any) -> Answer:
    """Return the answer that a reply is. Raises `NotFound` for a checkpoint that is not there."""
    kind = type(reply)
    if kind is messages.CheckpointFound and not reply.found:
        raise NotFound("there is no checkpoint of this id: list the checkpoints of the instance to see theirs")
    body = reply.tree if kind is messages.TreeFound else _encode(reply)
    if operation.row.command in TAGGED:
        return _tagged(exchange, body)
    headers: Pairs = [JSON, NO_STORE]
    if operation.row.verb == "GET" and getattr(reply, "cursor", None) is not None:
        headers.append((b"link", _next_page(exchange.raw_path, query, reply.cursor)))
    created = getattr(reply, "created", False) is True
    if created and kind is messages.InstanceStarted:
        headers.append((b"location", f"/api/v1/instances/{quote(reply.instance_id, safe='')}".encode()))
    return Answer(201 if created else 200, body, headers)


def _tagged(exchange: Exchange, body: bytes) -> Answer:
    tag = b'"' + hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b'"'
    headers: Pairs = [(b"etag", tag), (b"cache-control", b"private, no-cache")]
    known = exchange.headers.get(b"if-none-match")
    if known is not None and (known == b"*" or tag in known):
        return Answer(304, b"", headers)
    return Answer(200, body, [JSON, *headers])


def _next_page(raw_path: str, query: bytes, cursor: str) -> bytes:
    rest = [part for part in query.decode("ascii", "replace").split("&") if part and not part.startswith("cursor=")]
    return f'<{raw_path}?{"&".join([*rest, urlencode({"cursor": cursor})])}>; rel="next"'.encode()


# What a client takes --------------------------------------------------------------------------------------------------


def check_acceptable(accept: bytes | None, kind: bytes = b"application/json") -> None:
    """Raise `Turned` (406) unless a client takes answers of a kind."""
    if accept is None or accept == kind or _weight(accept, kind) > 0:
        return
    raise Turned(406, f"the answer is {kind.decode()}: accept that")


def prefers(accept: bytes | None, kind: bytes, other: bytes) -> bool:
    """Return whether a client would rather have one kind than another."""
    return accept is not None and _weight(accept, kind) > _weight(accept, other)


def _weight(accept: bytes, kind: bytes) -> float:
    """Return how much a client likes a kind: what names it most closely counts."""
    found = (-1, 0.0)
    wanted = (b"*/*", kind.partition(b"/")[0] + b"/*", kind)
    for part in accept.lower().split(b","):
        name, *options = (piece.strip() for piece in part.split(b";"))
        if name in wanted:
            found = max(found, (wanted.index(name), _quality(options)))
    return found[1]


def _quality(options: list[bytes]) -> float:
    for option in options:
        if option.startswith(b"q="):
            try:
                return float(option[2:])
            except ValueError:
                return 0.0
    return 1.0

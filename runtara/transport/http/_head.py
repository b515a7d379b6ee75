"""The head of a request, read strictly: what two parsers could understand in two ways is refused.

A head that is in order is found so by one expression; only for one that is not, it is looked for line by line what is
wrong. Lines are judged in their order as they arrive, so that it makes no difference in what pieces they come.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from runtara.transport.http._refusals import METHODS, Refused

__all__ = [
    "FIELDS_MAX",
    "HEAD_MAX_BYTES",
    "TARGET_MAX_BYTES",
    "Fields",
    "Framing",
    "Head",
    "check_line",
    "check_piece",
    "judge",
]

HEAD_MAX_BYTES: Final = 16 * 1024
TARGET_MAX_BYTES: Final = 8 * 1024
FIELDS_MAX: Final = 64
"""Most lines of a head after the first one."""

_LINE_MAX_BYTES: Final = TARGET_MAX_BYTES + 64
"""Length from which on the first line is not waited for."""

_TOKEN: Final = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]"
_FIELD: Final = re.compile(rb"(%s++):[\t -~\x80-\xff]*+" % _TOKEN)
_FIRST: Final = re.compile(rb"(%s{1,32}) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_HEAD: Final = re.compile(
    rb"([A-Z]{3,7}) (/[!-~]{0,%d}) HTTP/1\.([01])\r\n((?:%s++:[\t -~\x80-\xff]*+\r\n){0,%d}+)\r\n"
    % (TARGET_MAX_BYTES - 1, _TOKEN, FIELDS_MAX)
)
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_TARGET: Final = re.compile(rb"#|%(?![0-9A-Fa-f]{2})")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")

_KNOWN_METHODS: Final = frozenset(method.encode("ascii") for method in METHODS)
_ONCE: Final = frozenset(
    b"host content-length transfer-encoding upgrade expect sec-websocket-key sec-websocket-version".split()
)
_WATCHED: Final = _ONCE | {b"connection", b"http2-settings"}
"""The fields on which it depends what the rest of the bytes mean."""

_PLAIN: Final = {b"host", b"connection"}
"""All of these that a request may have which is over with its head."""

_STAYS: Final = b"keep-alive"


Fields = list[tuple[bytes, bytes]]
"""The fields of a head in their order, names in small letters."""


class Head(NamedTuple):
    """What a head says."""

    method: str
    target: bytes
    fields: Fields


class Framing(NamedTuple):
    """What comes after a head."""

    length: int | None
    """Bytes of the body; None for chunks."""
    is_last: bool
    """Whether no other request may follow."""
    is_websocket: bool
    head: Head | None = None
    """The head itself where it is a whole request of HTTP/1.1 and asks for nothing of the connection."""


def judge(head: bytes, is_ours: Callable[[bytes], bool | None]) -> Framing:
    """Return what comes after a whole head, its empty line included, if `is_ours` knows the host. Raises `Refused`."""
    found = _HEAD.fullmatch(head)
    if found is None:
        raise _explain(head)
    method, target, minor, fields = found.groups()
    if method not in _KNOWN_METHODS or _BAD_TARGET.search(target):
        raise _explain(head)
    told, pairs = _read(fields)
    if b"host" in told:
        _check_host(told[b"host"], is_ours)
    elif minor == b"1":
        raise Refused(400, "the request names no host")
    _check_wishes(told)
    if b"upgrade" in told:
        return _upgrade(head, method, minor, told)
    if minor == b"1" and told.keys() <= _PLAIN and told.get(b"connection", _STAYS).lower() == _STAYS:
        return Framing(0, False, False, Head(method.decode("ascii"), target, pairs))
    is_last = minor == b"0" or b"close" in _tokens(told.get(b"connection", b""))
    return Framing(_length(minor, told), is_last, False)


def check_line(line: bytes, number: int) -> None:
    """Raise `Refused` for a line, without its end, that is out of order; the first one has number 0."""
    check_piece(line, number)
    if number == 0:
        _check_first(line)
    elif number > FIELDS_MAX:
        raise Refused(431, f"the head has more than {FIELDS_MAX} fields")
    elif _FIELD.fullmatch(line) is None:
        raise Refused(400, _wrong_with(line))


def check_piece(piece: bytes, number: int) -> None:
    """Raise `Refused` for the beginning of a line that cannot become right."""
    if number == 0:
        if not piece[:1].isalpha():
            raise Refused(400, "this is not HTTP/1.1: a request begins with its method")
        piece = piece[: _LINE_MAX_BYTES + 1]
    if _FORBIDDEN.search(piece):
        raise Refused(400, "a control character is in the head, or a line that does not end with CR and LF")
    if number == 0 and len(piece) > _LINE_MAX_BYTES:
        raise Refused(414, f"the target has more than {TARGET_MAX_BYTES} bytes")


def _explain(head: bytes) -> Refused:
    try:
        for number, line in enumerate(head[:-4].split(b"\r\n")):
            check_line(line, number)
    except Refused as error:
        return error
    return Refused(400, "the head is not in order")


def _check_first(line: bytes) -> None:
    found = _FIRST.fullmatch(line)
    if found is None:
        raise Refused(400, "the first line is not a method, a target and a version, with one space between each")
    method, target, major, minor = found.groups()
    if major != b"1" or minor not in b"01":
        raise Refused(505, "only HTTP/1.1 is spoken here")
    if method not in _KNOWN_METHODS:
        raise Refused(405, f"the method is none of {', '.join(METHODS)}")
    if len(target) > TARGET_MAX_BYTES:
        raise Refused(414, f"the target has more than {TARGET_MAX_BYTES} bytes")
    if not target.startswith(b"/") or _BAD_TARGET.search(target):
        raise Refused(400, "the target is not a path that begins with / and is encoded as it should be")


def _wrong_with(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "a line of the head continues the one before, which nobody does any more"
    name = line.partition(b":")[0]
    if name != name.rstrip():
        return "there is space before a colon in the head"
    return "a line of the head is not a name, a colon and a value"


def _read(fields: bytes) -> tuple[dict[bytes, bytes], Fields]:
    """Return the values of the fields that matter here, by their names, and all fields."""
    told: dict[bytes, bytes] = {}
    pairs: Fields = []
    for line in fields[:-2].split(b"\r\n") if fields else ():
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        pairs.append((name, value))
        if name in _WATCHED:
            if name in told:
                if name in _ONCE:
                    raise Refused(400, f"the field {name.decode('ascii')} is there more than once")
                value = told[name] + b"," + value
            told[name] = value
    return told, pairs


def _check_host(value: bytes, is_ours: Callable[[bytes], bool | None]) -> None:
    ours = is_ours(value)
    if ours is None:
        raise Refused(400, "the host is neither a name nor an address")
    if not ours:
        said = value[:64].decode("ascii", "backslashreplace")
        raise Refused(421, f"{said!a} is no name of this server: add it to RUNTARA_HTTP_HOSTS if it should be one")


def _check_wishes(told: dict[bytes, bytes]) -> None:
    if b"http2-settings" in told:
        raise Refused(400, "HTTP/2 is not spoken here")
    if told.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise Refused(417, "nothing can be expected but 100-continue")


def _length(minor: bytes, told: dict[bytes, bytes]) -> int | None:
    coding, length = told.get(b"transfer-encoding"), told.get(b"content-length")
    if coding is not None:
        if length is not None or minor == b"0":
            raise Refused(400, "the body has both a length and chunks, or chunks before HTTP/1.1")
        if coding.lower() != b"chunked":
            raise Refused(400, "the only transfer coding is chunked")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise Refused(400, "the content-length is not a number of at most 15 digits")
    return int(length)


def _upgrade(head: bytes, method: bytes, minor: bytes, told: dict[bytes, bytes]) -> Framing:
    if (
        told[b"upgrade"].lower() != b"websocket"
        or method != b"GET"
        or minor == b"0"
        or not {b"content-length", b"transfer-encoding", b"expect"}.isdisjoint(told)
        or not head.isascii()
    ):
        raise Refused(400, "the only upgrade is a GET without a body to websocket")
    tokens = _tokens(told.get(b"connection", b""))
    if b"upgrade" not in tokens or b"close" in tokens or _KEY.fullmatch(told.get(b"sec-websocket-key", b"")) is None:
        raise Refused(400, "connection and sec-websocket-key are not as a WebSocket begins")
    if told.get(b"sec-websocket-version") != b"13":
        raise Refused(426, "the only version of WebSocket is 13")
    return Framing(0, False, True)


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip(b" \t") for token in value.lower().split(b",")]

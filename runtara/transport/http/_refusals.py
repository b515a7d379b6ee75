"""What a peer is told whose request no application sees: a status, and a problem that says why."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from runtara.errors import Code

__all__ = ["CODES", "METHODS", "Refused", "problem", "refusal"]

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that go on to the application."""

CODES: Final = {
    400: Code.INVALID_INPUT,
    405: Code.INVALID_INPUT,
    408: Code.DEADLINE_EXCEEDED,
    414: Code.TOO_LARGE,
    417: Code.INVALID_INPUT,
    421: Code.INVALID_INPUT,
    426: Code.INVALID_INPUT,
    431: Code.TOO_LARGE,
    500: Code.INTERNAL,
    503: Code.BUSY,
    505: Code.INVALID_INPUT,
}
"""Every status that is answered here, with the code of the error table that it stands for."""

_EXTRA: Final[dict[int, Sequence[tuple[str, str]]]] = {
    405: (("Allow", ", ".join(METHODS)),),
    426: (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),
    503: (("Retry-After", "1"),),
}


class Refused(Exception):
    """A request is not taken; the connection ends with the answer that says so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.detail: Final = detail


def refusal(status: int, detail: str) -> bytes:
    """Return the whole response."""
    body, phrase = problem(status, detail), HTTPStatus(status).phrase
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        *_EXTRA.get(status, ()),
    ]
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def problem(status: int, detail: str) -> bytes:
    """Return the body alone."""
    code = CODES[status]
    return msgspec.json.encode(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "code": code.wire,
            "retry": code.retry.value,
        }
    )

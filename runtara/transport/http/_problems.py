"""What is answered instead of a reply: errors as `application/problem+json`, one row of the error table each.

Owns what is refused before any operation is found, too: paths that do not exist, verbs that a path does not offer,
bodies of another type.
"""

from typing import Final

import msgspec

from runtara.errors import Code, Internal, RuntaraError

__all__ = ["MESSAGE_MAX_CHARS", "NOTHING_HERE", "PROBLEM_JSON", "RETRY_AFTER_S", "Problem", "Turned", "problem_of"]

PROBLEM_JSON: Final = b"application/problem+json"

MESSAGE_MAX_CHARS: Final = 4_096
"""Longest text of a problem; the rest is left out."""

NOTHING_HERE: Final = "there is nothing at this path: see /docs for what there is"

RETRY_AFTER_S: Final[dict[int, int]] = {429: 1, 503: 1}
"""After how many seconds whoever gets one of these may ask again."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong (RFC 9457): `code` and `retry` as in the error table."""

    type: str = "about:blank"
    title: str
    """What the code means."""
    status: int
    detail: str
    """What happened, to what, and what to try."""
    code: str
    retry: str
    """Whether to send it again: ``never``, ``safe`` (nothing was done) or ``same-id`` (with the same ids)."""
    request_id: str = ""
    """Empty, or missing, where the request was no request of HTTP, so that nobody has given it one."""


class Turned(Exception):
    """A request that is no request for an operation, by a rule of HTTP's own, and with a status of its own."""

    def __init__(
        self, status: int, detail: str, *headers: tuple[bytes, bytes], code: Code = Code.INVALID_INPUT
    ) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.row: Final = code
        self.headers: Final = headers


def problem_of(error: BaseException, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of the answer to a request that met an error."""
    known = error if isinstance(error, RuntaraError | Turned) else Internal("the server has met a bug of its own")
    row = known.row if isinstance(known, Turned) else known.code
    status = known.status if isinstance(known, Turned) else row.http_status
    content = Problem(
        title=row.meaning,
        status=status,
        detail=str(known)[:MESSAGE_MAX_CHARS].encode(errors="replace").decode(),
        code=row.wire,
        retry=row.retry.value,
        request_id=request_id,
    )
    headers = [(b"content-type", PROBLEM_JSON)]
    if isinstance(known, Turned):
        headers.extend(known.headers)
    if status in RETRY_AFTER_S:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S[status]))
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="runtara"'))
    return status, headers, msgspec.json.encode(content)

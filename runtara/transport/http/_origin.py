"""From which web pages the door may be used.

A browser sends requests on behalf of any page that it shows. Whatever changes something, and every WebSocket, must come
from a page of ours or one that is allowed by name. Under which names the door is asked for, the server sees to.
"""

from collections.abc import Collection
from typing import Final

from runtara.errors import Code
from runtara.settings import Settings
from runtara.transport.http._callers import CSRF
from runtara.transport.http._exchange import Headers
from runtara.transport.http._problems import Turned

__all__ = ["SAFE_VERBS", "check_csrf", "check_origin"]

SAFE_VERBS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Verbs that change nothing."""


def check_origin(headers: Headers, settings: Settings, own: Collection[str] = ()) -> None:
    """Raise `Turned` (403) where a browser says that the request comes from a page that is not ours.

    `own` are further origins that count as ours. Requests that no browser has sent pass: they name no page.
    """
    origin = headers.get(b"origin")
    if origin is None:
        site = headers.get(b"sec-fetch-site", b"none")
        if site not in (b"none", b"same-origin"):
            raise _foreign(f"of the kind {site.decode('latin-1')!a:.40}")
        return
    found = origin.decode("latin-1").lower()
    allowed = {part.strip().lower().rstrip("/") for part in settings.http_origins.split(",")} - {""}
    if found in allowed or found in own:
        return
    _, separator, host = found.partition("://")
    if not separator or host != headers.get(b"host", b"").decode("latin-1").lower():
        raise _foreign(f"{found!a:.100}")


def check_csrf(headers: Headers, settings: Settings, own: Collection[str] = ()) -> None:
    """Raise `Turned` (403) unless a request by cookie that changes something shows that a page of ours has sent it."""
    check_origin(headers, settings, own)
    if headers.get(CSRF) != b"1":
        raise Turned(
            403, "a request by cookie that changes something needs the header Runtara-Csrf: 1", code=Code.FORBIDDEN
        )
    if b"origin" not in headers and b"sec-fetch-site" not in headers:
        raise Turned(403, "a request by cookie that changes something needs an Origin: use a key", code=Code.FORBIDDEN)


def _foreign(what: str) -> Turned:
    return Turned(
        403, f"pages {what} may not use this server: name their origin in RUNTARA_HTTP_ORIGINS", code=Code.FORBIDDEN
    )

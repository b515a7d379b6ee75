"""Who asks: the credential and the headers of a request, made into a caller that the gate has let in.

Owns the names of our own headers and of the cookie. Who may do what is the gate's to say.
"""

import re
from typing import Final, Protocol

from runtara.errors import InvalidInput, Unauthenticated
from runtara.transport.frames import Hello
from runtara.transport.gate import Caller, Gate
from runtara.transport.http._exchange import Headers

__all__ = [
    "CSRF",
    "EPOCH",
    "IDEMPOTENCY_KEY",
    "INSTANCE_ID",
    "TENANT_ID",
    "TIMEOUT_MS",
    "TOKEN",
    "Asker",
    "cookie_of",
    "credential_of",
    "key_of",
    "let_in",
    "number_of",
]

TENANT_ID: Final = b"runtara-tenant-id"
INSTANCE_ID: Final = b"runtara-instance-id"
EPOCH: Final = b"runtara-epoch"
TIMEOUT_MS: Final = b"runtara-timeout-ms"
CSRF: Final = b"runtara-csrf"
TOKEN: Final = b"runtara-token"
"""In an answer: a newer credential of the attempt that has asked."""
IDEMPOTENCY_KEY: Final = b"idempotency-key"

_NOBODY: Final = "http"
"""The instance of a request that is about none."""

_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}\Z")
_NUMBER: Final = re.compile(rb"[0-9]{1,15}\Z")


class Asker(Protocol):
    """What is known of whoever asks, before the gate has seen it."""

    @property
    def headers(self) -> Headers:
        """Those of the request."""

    @property
    def peer(self) -> str:
        """Where it comes from."""

    @property
    def certificate(self) -> bytes | None:
        """What it has shown to the door, DER."""


def let_in(gate: Gate, asker: Asker, instance_id: str | None, cookie_name: bytes) -> Caller:
    """Return who asks. Raises what the gate refuses with, and `InvalidInput` for headers that cannot be read."""
    headers, peer, certificate = asker.headers, asker.peer, asker.certificate
    credential = credential_of(headers, cookie_name)
    tenant_id, attempts = gate.whose(credential, _text_of(headers, TENANT_ID), peer, certificate)
    own = _text_of(headers, INSTANCE_ID) or attempts or instance_id or _NOBODY
    hello = Hello(tenant_id=tenant_id, instance_id=own, credential=credential, epoch=number_of(headers, EPOCH))
    caller = gate.admit(hello, peer, certificate)
    caller.door = "http"
    return caller


def credential_of(headers: Headers, cookie_name: bytes) -> str | None:
    """Return the credential of a request: of its own header, or else of the cookie. Raises `Unauthenticated`."""
    given = headers.get(b"authorization")
    if given is None:
        return cookie_of(headers, cookie_name)
    scheme, _, credential = given.partition(b" ")
    if scheme.lower() != b"bearer" or not credential.strip():
        raise Unauthenticated("the credential is not understood: send it as Authorization: Bearer KEY")
    return credential.strip().decode("latin-1")


def cookie_of(headers: Headers, name: bytes) -> str | None:
    """Return the value of a cookie, or None where there is none."""
    for part in headers.get(b"cookie", b"").split(b";"):
        found, _, value = part.strip().partition(b"=")
        if found == name and value:
            return value.decode("latin-1")
    return None


def key_of(headers: Headers) -> str | None:
    """Return the key by which a request is known when it is sent again. Raises `InvalidInput`."""
    key = headers.get(IDEMPOTENCY_KEY)
    if key is not None and not _KEY.match(key):
        raise InvalidInput("Idempotency-Key is not allowed: use 1 to 255 printable ASCII characters without spaces")
    return None if key is None else key.decode("ascii")


def number_of(headers: Headers, name: bytes) -> int | None:
    """Return the whole number that a header holds, or None where there is no such header. Raises `InvalidInput`."""
    value = headers.get(name)
    if value is None:
        return None
    if not _NUMBER.match(value):
        raise InvalidInput(f"{name.decode().title()} is not allowed: use a whole number of at most 15 digits")
    return int(value)


def _text_of(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")

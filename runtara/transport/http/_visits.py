"""Browsers: signing in with a key, which then lies in a cookie that no script can read; signing out; who one is."""

from typing import Final

import msgspec

from runtara.decoders import json_decoder
from runtara.endpoints import Role
from runtara.errors import InvalidInput, Unauthenticated
from runtara.transport.frames import Hello
from runtara.transport.gate import Caller, Gate
from runtara.transport.http._exchange import Answer, Exchange, read_body
from runtara.transport.http._problems import Turned

__all__ = ["Login", "Visitor", "cookie_name_of", "sign_in", "sign_out", "who"]

_BODY_MAX_BYTES: Final = 4_096

_HEADERS: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser shows to sign in."""

    key: str
    """A key of the tenant."""


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who a client is."""

    tenant_id: str
    role: Role | None
    """What its key is good for; None where no role says so, as where no credential is asked for."""


_decoder: Final = json_decoder(Login)


def cookie_name_of(*, is_secure: bool) -> bytes:
    """Return the name of the cookie: one that no other host can set, where the door speaks TLS."""
    return b"__Host-runtara" if is_secure else b"runtara"


async def sign_in(gate: Gate, exchange: Exchange) -> Answer:
    """Return the answer that leaves the key in the browser. Raises `Unauthenticated`, `InvalidInput`, `Busy`."""
    if exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise Turned(415, "the body must be JSON: send it with Content-Type: application/json")
    try:
        login = _decoder.decode(await read_body(exchange.receive, exchange.headers, _BODY_MAX_BYTES))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body does not fit: {error}") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
    tenant_id = gate.tenant_of(login.key, None, exchange.peer)
    caller = gate.admit(Hello(tenant_id=tenant_id, instance_id="http", credential=login.key), exchange.peer)
    if caller.tenant_key is None:
        raise Unauthenticated("only a key of a tenant opens the console: ask whoever runs the server for one")
    return Answer(200, _visitor(caller), [*_HEADERS, (b"set-cookie", _cookie(exchange, login.key, ""))])


async def sign_out(exchange: Exchange) -> Answer:
    """Return the answer that takes the key out of the browser again."""
    return Answer(204, b"", [_HEADERS[1], (b"set-cookie", _cookie(exchange, "", "; Max-Age=0"))])


def who(caller: Caller) -> Answer:
    """Return who a client is."""
    return Answer(200, _visitor(caller), _HEADERS)


def _visitor(caller: Caller) -> bytes:
    return msgspec.json.encode(Visitor(tenant_id=caller.key.tenant_id, role=caller.role))


def _cookie(exchange: Exchange, value: str, more: str) -> bytes:
    name = cookie_name_of(is_secure=exchange.is_secure).decode()
    secure = "; Secure" if exchange.is_secure else ""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}".encode()

"""By what a client is known: the keys of tenants, and the tokens of launched attempts. The one door to itsdangerous.

A tenant key opens what its role says of one tenant, until it ends or is revoked; the server keeps only its SHA-256. A
token is signed, not kept: it names a tenant, an instance, an epoch and its own end. What their holders may do is
decided by the gate.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from itsdangerous import BadData, Signer, URLSafeSerializer

from runtara.clock import Clock, SystemClock
from runtara.decoders import decode_json
from runtara.errors import ConfigError, Unauthenticated
from runtara.ids import InstanceKey, check_id, new_secret
from runtara.messages import Role, TenantKey
from runtara.transport import _key_rows
from runtara.transport._key_rows import KEY_PREFIX, KeyRow, digest, is_good, key_id_of, new_key
from runtara.transport._private_file import make_once, read_private, wait_lock, write_private

__all__ = [
    "KEY_PREFIX",
    "NODE_PREFIX",
    "TOKEN_PREFIX",
    "Grant",
    "KeyRing",
    "TenantKey",
    "TokenMint",
    "not_accepted",
]

TOKEN_PREFIX: Final = "rti_"
NODE_PREFIX: Final = "rtn_"

_CREDENTIAL_MAX_CHARS: Final = 2_048


def not_accepted() -> Unauthenticated:
    """Return the one answer to every credential that is not good, so that nobody learns what is wrong with it."""
    return Unauthenticated(
        "the credential is not accepted: it is wrong, expired, revoked, or of another tenant or instance; "
        "ask whoever runs the server for a new one"
    )


# Keys of tenants ------------------------------------------------------------------------------------------------------


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[KeyRow, ...] = ()


_NOBODY: Final = "0" * 64


class KeyRing:
    """The tenant keys in a file, which may be changed by others at any time; a change counts from then on."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._name = str(path)
        self._clock = clock or SystemClock()
        self._seen: tuple[int, int, int] | None = None
        self._rows: dict[str, KeyRow] = {}
        self._version = 0

    def add(
        self, tenant_id: str, role: Role = "admin", expires_at: int | None = None, *, key: str | None = None
    ) -> str:
        """Make a key for a tenant and return it, this once. A `key` that was made before is added as it is, once.

        Raises `InvalidInput`, `Busy` or `ConfigError`, and `AlreadyExists` for a key that is there with other rights.
        """
        check_id(tenant_id, "tenant id")
        made = key or new_key()
        now = self._clock.now_ms()
        known = TenantKey(
            key_id=key_id_of(made) or "", tenant_id=tenant_id, role=role, created_at=now, expires_at=expires_at
        )
        self._change(lambda rows: _key_rows.add(rows, made, known, now))
        return made

    def rotate(self, key_id: str, grace_ms: int = 0, *, tenant_id: str | None = None, key: str | None = None) -> str:
        """Make a key in the place of another one, which ends after a grace, and return it, this once.

        It has the same tenant and role, and is good for as long as that one was when it was made. With a `tenant_id`,
        there are no keys but that tenant's. Raises `NotFound`, and what `add` raises.
        """
        made, now = key or new_key(), self._clock.now_ms()
        self._change(lambda rows: _key_rows.rotate(rows, made, key_id, tenant_id=tenant_id, grace_ms=grace_ms, now=now))
        return made

    def revoke(self, key_id: str, *, tenant_id: str | None = None, keep_admin: bool = False) -> None:
        """Make a key worthless, at once. With a `tenant_id`, there are no keys but that tenant's.

        Raises `NotFound` or `ConfigError`, and, where one is to be kept, `InvalidState` for the key of the last admin.
        """
        now = self._clock.now_ms()
        self._change(lambda rows: _key_rows.revoke(rows, key_id, tenant_id=tenant_id, now=now, keep_admin=keep_admin))

    def list(self) -> tuple[TenantKey, ...]:
        """Return what is known of every key, the oldest first. Raises `ConfigError`."""
        self._refresh()
        return tuple(row.key for row in self._rows.values())

    def check(self, key: str) -> TenantKey:
        """Return whose key it is. Raises `Unauthenticated`, or `ConfigError` if the file cannot be used."""
        self._refresh()
        row = self._rows.get(key_id_of(key) or "")
        expected = _NOBODY if row is None else row.sha256
        if not hmac.compare_digest(digest(key), expected) or row is None or not is_good(row.key, self._clock.now_ms()):
            raise not_accepted()
        return row.key

    def version(self) -> int:
        """Return a number that changes whenever the keys do. Raises `ConfigError` if the file cannot be used."""
        self._refresh()
        return self._version

    def find(self, key: TenantKey) -> TenantKey | None:
        """Return what is known by now of a key that was checked; None if it is not good any more."""
        row = self._rows.get(key.key_id)
        if row is None or row.key.created_at != key.created_at or not is_good(row.key, self._clock.now_ms()):
            return None
        return row.key

    def _change(self, act: Callable[[Mapping[str, KeyRow]], Mapping[str, KeyRow]]) -> None:
        with wait_lock(self._path):
            self._refresh()
            rows = act(self._rows)
            if rows != self._rows:
                self._write(tuple(rows.values()))

    def _refresh(self) -> None:
        """Read the file again if it is another one than the last time."""
        try:
            found = os.stat(self._name)  # noqa: PTH116 - once per call of a keyed client: three times as fast
        except FileNotFoundError:
            seen = None
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        else:
            seen = found.st_ino, found.st_mtime_ns, found.st_size
        if seen == self._seen:
            return
        self._rows = {} if seen is None else self._read()
        self._seen = seen
        self._version += 1

    def _read(self) -> dict[str, KeyRow]:
        try:
            file = decode_json(read_private(self._path), _KeyFile)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self._path} is damaged: {error}; restore it, or remove it and make new keys") from None
        return {row.key.key_id: row for row in file.keys}

    def _write(self, rows: tuple[KeyRow, ...]) -> None:
        try:
            write_private(self._path, msgspec.json.format(msgspec.json.encode(_KeyFile(rows))) + b"\n")
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}; look at its folder") from error


# Tokens of attempts ---------------------------------------------------------------------------------------------------


class Grant(NamedTuple):
    """What a token says: whose it is, of which attempt, and when it ends (milliseconds since 1970 UTC)."""

    key: InstanceKey
    epoch: int
    expires_at: int


class TokenMint:
    """Signs tokens and knows its own. The secret is made once and kept; without it every token is worthless."""

    def __init__(self, secret_path: Path, clock: Clock, lifetime_ms: int) -> None:
        """Read the secret, made first if it is missing. Raises `ConfigError`."""
        self.lifetime_ms: Final = lifetime_ms
        self._clock = clock
        options: dict[str, Any] = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        secret = _secret(secret_path)
        self._signer = URLSafeSerializer(secret, salt="runtara.instance-token", signer_kwargs=options)
        self._key_signer = Signer(
            secret, salt="runtara.tenant-key", digest_method=hashlib.sha256, key_derivation="hmac"
        )
        self._node_signer = URLSafeSerializer(secret, salt="runtara.node-token", signer_kwargs=options)

    def mint(self, key: InstanceKey, epoch: int) -> str:
        """Return a fresh token for an attempt."""
        expires_at = self._clock.now_ms() + self.lifetime_ms
        return TOKEN_PREFIX + str(self._signer.dumps([key.tenant_id, key.instance_id, epoch, expires_at]))

    def check(self, token: str) -> Grant:
        """Return what a token says. Raises `Unauthenticated` unless it is our own and its time has not passed."""
        if not token.startswith(TOKEN_PREFIX) or len(token) > _CREDENTIAL_MAX_CHARS or not token.isascii():
            raise not_accepted()
        try:
            tenant_id, instance_id, epoch, expires_at = self._signer.loads(token.removeprefix(TOKEN_PREFIX))
        except BadData:
            raise not_accepted() from None
        if expires_at <= self._clock.now_ms():
            raise not_accepted()
        return Grant(InstanceKey(tenant_id, instance_id), epoch, expires_at)

    def key_of(self, tenant_id: str, request_id: str) -> str:
        """Return the tenant key that a request makes: the same one, however often it is sent and to whichever node."""
        key_id, secret = (
            hashlib.sha256(self._key_signer.get_signature(f"{part}/{tenant_id}/{request_id}")).hexdigest()
            for part in ("id", "secret")
        )
        return f"{KEY_PREFIX}{key_id[:12]}_{secret}"

    def mint_for_node(self, name: str) -> str:
        """Return a fresh token by which a node shows the others that it is one of them."""
        return NODE_PREFIX + str(self._node_signer.dumps([name, self._clock.now_ms() + self.lifetime_ms]))

    def check_node(self, token: str) -> str:
        """Return the name of the node that a token was made for. Raises `Unauthenticated` like `check`."""
        if not token.startswith(NODE_PREFIX) or len(token) > _CREDENTIAL_MAX_CHARS or not token.isascii():
            raise not_accepted()
        try:
            name, expires_at = self._node_signer.loads(token.removeprefix(NODE_PREFIX))
        except BadData:
            raise not_accepted() from None
        if expires_at <= self._clock.now_ms():
            raise not_accepted()
        return str(name)


def _secret(path: Path) -> bytes:
    try:
        make_once(path, new_secret().encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}; look at its folder") from error
    secret = read_private(path).strip()
    if not re.fullmatch(rb"[0-9a-f]{64}", secret):
        raise ConfigError(
            f"{path} is damaged: restore it, or remove it to have a new secret; launched programs then stop"
        )
    return secret

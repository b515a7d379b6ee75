"""The keys of all tenants as a table, and what every change makes of it. Pure: it is handed the time.

Owns how a key looks, and that only its SHA-256 is known. Where the table is kept is the key ring's to say.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from runtara.errors import AlreadyExists, Busy, InvalidInput, InvalidState, NotFound
from runtara.ids import new_id, new_secret
from runtara.messages import TenantKey

__all__ = ["KEYS_MAX", "KEY_PREFIX", "KeyRow", "add", "digest", "is_good", "key_id_of", "new_key", "revoke", "rotate"]

KEY_PREFIX: Final = "rtk_"

KEYS_MAX: Final = 10_000
"""Most tenant keys of one server."""

_KEY: Final = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{12}})_[0-9a-f]{{64}}", re.ASCII)


class KeyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a key."""

    key: TenantKey
    sha256: str


def new_key() -> str:
    """Return a key that nobody has."""
    return f"{KEY_PREFIX}{new_id()[:12]}_{new_secret()}"


def key_id_of(key: str) -> str | None:
    """Return the id that a key names; None for what is no key."""
    found = _KEY.fullmatch(key)
    return None if found is None else found[1]


def digest(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def is_good(known: TenantKey, now: int) -> bool:
    """Return whether a key has not ended yet."""
    return known.expires_at is None or known.expires_at > now


def add(rows: Mapping[str, KeyRow], secret: str, known: TenantKey, now: int) -> dict[str, KeyRow]:
    """Return the table with one key more; the same table if it has it already.

    Raises `InvalidInput` for a key that has ended before it begins, `AlreadyExists` for one that is there with other
    rights, and `Busy` where there is no room for it.
    """
    if known.expires_at is not None and known.expires_at <= now:
        raise InvalidInput(f"expires_at {known.expires_at} has passed already: give an instant in the future")
    there = rows.get(known.key_id)
    if there is not None:
        if there.sha256 == digest(secret) and (there.key.tenant_id, there.key.role) == (known.tenant_id, known.role):
            return dict(rows)
        raise AlreadyExists(f"there is a key {known.key_id!r} already, with other rights: ask for one with a new id")
    kept = dict(rows) if len(rows) < KEYS_MAX else {id_: row for id_, row in rows.items() if is_good(row.key, now)}
    if len(kept) >= KEYS_MAX:
        raise Busy(f"there are {KEYS_MAX} keys, the bound: revoke some first")
    return kept | {known.key_id: KeyRow(known, digest(secret))}


def rotate(
    rows: Mapping[str, KeyRow], secret: str, key_id: str, *, tenant_id: str | None, grace_ms: int, now: int
) -> dict[str, KeyRow]:
    """Return the table with a new key in the place of another one, which ends after a grace.

    It is good for as long as that one was when it was made. Raises `NotFound`, and what `add` raises.
    """
    made_id = key_id_of(secret) or ""
    there = rows.get(made_id)
    if there is not None and there.sha256 == digest(secret) and tenant_id in (None, there.key.tenant_id):
        return dict(rows)  # it was asked for before
    row = find(rows, key_id, tenant_id)
    old, end = row.key, row.key.expires_at
    rest = {id_: other for id_, other in rows.items() if id_ != key_id}
    if grace_ms > 0:
        until = now + grace_ms if end is None else min(end, now + grace_ms)
        rest[key_id] = KeyRow(msgspec.structs.replace(old, expires_at=until), row.sha256)
    new_end = None if end is None else now + end - old.created_at
    known = TenantKey(key_id=made_id, tenant_id=old.tenant_id, role=old.role, created_at=now, expires_at=new_end)
    return add(rest, secret, known, now)


def revoke(
    rows: Mapping[str, KeyRow], key_id: str, *, tenant_id: str | None, now: int, keep_admin: bool
) -> dict[str, KeyRow]:
    """Return the table without a key. Raises `NotFound`, and `InvalidState` where an admin would be locked out."""
    gone = find(rows, key_id, tenant_id).key
    rest = {id_: row for id_, row in rows.items() if id_ != key_id}
    if keep_admin and gone.role == "admin" and is_good(gone, now):
        admins = [row.key for row in rest.values() if (row.key.tenant_id, row.key.role) == (gone.tenant_id, "admin")]
        if not any(_lasts(key) >= _lasts(gone) for key in admins):
            raise InvalidState(
                f"{key_id!r} is the key of the last admin of tenant {gone.tenant_id!r} (no other one is good for as "
                "long): make another first, or revoke it on the server's machine with `runtara keys revoke`"
            )
    return rest


def find(rows: Mapping[str, KeyRow], key_id: str, tenant_id: str | None) -> KeyRow:
    """Return a key by its id; with a `tenant_id`, there are no others than that tenant's. Raises `NotFound`."""
    row = rows.get(key_id)
    if row is None or tenant_id not in (None, row.key.tenant_id):
        raise NotFound(f"there is no key {key_id!r}: list the keys to see their ids")
    return row


def _lasts(key: TenantKey) -> float:
    return float("inf") if key.expires_at is None else key.expires_at

"""What is said about the keys of a tenant: commands, and their replies. What makes a key a key is in one reply, once.

Frozen and tagged like all messages; the package offers them.
"""

from typing import Literal

import msgspec

from runtara.ids import new_id
from runtara.messages._requests import Request

__all__ = [
    "AddKey",
    "KeyMade",
    "KeyRevoked",
    "KeysFound",
    "ListKeys",
    "RevokeKey",
    "Role",
    "RotateKey",
    "TenantKey",
]

Role = Literal["admin", "operator", "read-only", "image-push"]
"""What a key is good for: everything of its tenant; to look and to change instances; to look; to push images."""


class TenantKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a tenant key, without the key. Instants are milliseconds since 1970 UTC."""

    key_id: str
    tenant_id: str
    role: Role = "admin"
    """Keys of before there were roles are good for everything."""
    created_at: int
    expires_at: int | None = None
    """When it ends; None for never."""


class KeysFound(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The keys of the tenant, the oldest first, those included that have ended."""

    keys: tuple[TenantKey, ...]


class KeyMade(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A new key. Nobody can be told it again: the server keeps only its SHA-256."""

    secret: str
    """The key itself, as clients show it."""
    key: TenantKey

    def __repr__(self) -> str:
        return f"KeyMade(secret=..., key={self.key!r})"


class KeyRevoked(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """There is no such key any more."""

    key_id: str
    revoked: bool
    """Whether there was one."""


class ListKeys(msgspec.Struct, Request[KeysFound], frozen=True, tag=True, kw_only=True):
    """Return what is known of the keys of the tenant."""


class AddKey(msgspec.Struct, Request[KeyMade], frozen=True, tag=True, kw_only=True):
    """Make a key of the tenant. Sent again with the same `request_id`, it returns the same key."""

    role: Role
    expires_at: int | None = None
    """When it ends, in milliseconds since 1970 UTC; None for never."""
    request_id: str = msgspec.field(default_factory=new_id)
    """Chosen by whoever asks, and not to be shown around: an admin who knows it can be told the key again."""


class RotateKey(msgspec.Struct, Request[KeyMade], frozen=True, tag=True, kw_only=True):
    """Make a new key with the role of another one, which ends. Sent again, it returns the same one, like `AddKey`.

    If the old one has an end, the new one is good for as long as that was from its beginning.
    """

    key_id: str
    grace_ms: int = 0
    """How long the old one is still good, unless it ends before."""
    request_id: str = msgspec.field(default_factory=new_id)
    """Like that of `AddKey`."""


class RevokeKey(msgspec.Struct, Request[KeyRevoked], frozen=True, tag=True, kw_only=True):
    """Make a key of the tenant worthless, at once; on open connections, too. Not the last one of an admin."""

    key_id: str

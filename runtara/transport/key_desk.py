"""What an admin of a tenant may do with its keys, through a door. Of other tenants' keys there is no trace here.

A key that is asked for twice, with one request id, is made once: it follows from that id and the server's secret.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from runtara.errors import NotFound
from runtara.messages import AddKey, KeyMade, KeyRevoked, KeysFound, ListKeys, RevokeKey, RotateKey
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.shared_keys import SharedKeys

__all__ = ["KeyDesk"]


class KeyDesk:
    """Answers commands about the keys of one tenant at a time."""

    def __init__(self, keys: SharedKeys, mint: TokenMint) -> None:
        self._keys = keys
        self._mint = mint
        self._acts: Final[Mapping[type, Callable[[str, Any], object]]] = {
            ListKeys: self._list,
            AddKey: self._add,
            RotateKey: self._rotate,
            RevokeKey: self._revoke,
        }

    def answer(self, tenant_id: str, command: object) -> object:
        """Return the reply to a command. Blocks. Raises what the keys and the store refuse with."""
        return self._acts[type(command)](tenant_id, command)

    def _list(self, tenant_id: str, _command: ListKeys) -> KeysFound:
        return KeysFound(keys=tuple(key for key in self._keys.ring.list() if key.tenant_id == tenant_id))

    def _add(self, tenant_id: str, command: AddKey) -> KeyMade:
        key = self._mint.key_of(tenant_id, command.request_id)
        return self._make(
            partial(KeyRing.add, tenant_id=tenant_id, role=command.role, expires_at=command.expires_at, key=key)
        )

    def _rotate(self, tenant_id: str, command: RotateKey) -> KeyMade:
        key = self._mint.key_of(tenant_id, command.request_id)
        return self._make(
            partial(KeyRing.rotate, key_id=command.key_id, grace_ms=command.grace_ms, tenant_id=tenant_id, key=key)
        )

    def _make(self, act: Callable[[KeyRing], str]) -> KeyMade:
        secret = self._keys.change(act)
        return KeyMade(secret=secret, key=self._keys.ring.check(secret))

    def _revoke(self, tenant_id: str, command: RevokeKey) -> KeyRevoked:
        revoked = True
        try:
            self._keys.change(partial(KeyRing.revoke, key_id=command.key_id, tenant_id=tenant_id, keep_admin=True))
        except NotFound:
            revoked = False
        return KeyRevoked(key_id=command.key_id, revoked=revoked)

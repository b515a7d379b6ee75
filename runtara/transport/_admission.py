"""Who a client is, by what it shows: a key of its tenant, the token of an attempt or of a node, a certificate.

Owns which credential makes whom, and whether it is still good. What the client may ask is decided by the gate.
"""

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from runtara.clock import Clock
from runtara.endpoints import Role
from runtara.errors import ConfigError, Unauthenticated
from runtara.ids import InstanceKey, check_id
from runtara.transport._failures import Failures
from runtara.transport.callers import Caller, Line
from runtara.transport.certificates import identity_of_certificate
from runtara.transport.credentials import NODE_PREFIX, TOKEN_PREFIX, KeyRing, TenantKey, TokenMint, not_accepted
from runtara.transport.frames import Hello

__all__ = ["DEFAULT_TENANT", "Admission"]

DEFAULT_TENANT: Final = "default"
"""Whose a client is that says nothing of itself, where nobody is asked."""

_log: Final = logging.getLogger("runtara.transport.gate")


class _Shown(NamedTuple):
    """What a credential says of whoever shows it."""

    tenant_id: str | None
    """None for a node, which speaks for all tenants."""
    instance_id: str | None = None
    epoch: int | None = None
    role: Role | None = None
    until: int | None = None
    tenant_key: TenantKey | None = None
    keys_version: int = 0


class Admission:
    """Lets clients in, and takes note of the addresses of those that it does not."""

    def __init__(
        self,
        *,
        line: Callable[[InstanceKey], Line],
        mint: TokenMint,
        keys: KeyRing,
        require_credentials: bool,
        clock: Clock,
    ) -> None:
        self.failures: Final = Failures()
        self._line = line
        self._mint = mint
        self._keys = keys
        self._require_credentials = require_credentials
        self._clock = clock

    def admit(self, hello: Hello, peer: str, certificate: bytes | None) -> Caller:
        """Return who speaks; see `Gate.admit`."""
        key = InstanceKey(hello.tenant_id, hello.instance_id)
        if hello.credential is None and certificate is None:
            self._check_not_required()
            return Caller(key, hello.epoch, self._line(key))
        self.failures.check(peer)
        try:
            return self._admit(key, hello.epoch, self._look_at(hello.credential, certificate))
        except Unauthenticated:
            self._count(peer)
            raise

    def whose(
        self, credential: str | None, claimed: str | None, peer: str, certificate: bytes | None
    ) -> tuple[str, str | None]:
        """Return whose a credential is; see `Gate.whose`."""
        if credential is None and certificate is None:
            self._check_not_required()
            return check_id(claimed or DEFAULT_TENANT, "tenant id"), None
        self.failures.check(peer)
        try:
            shown = self._look_at(credential, certificate)
            if shown.tenant_id is None or claimed not in (None, shown.tenant_id):
                raise not_accepted()
        except Unauthenticated:
            self._count(peer)
            raise
        return shown.tenant_id, shown.instance_id

    def check(self, caller: Caller) -> None:
        """Raise `Unauthenticated` if what a client was let in by has become worthless since then."""
        if caller.tenant_key is not None:
            self._check_key(caller, caller.tenant_key)
        if caller.good_until is not None and caller.good_until <= self._clock.now_ms():
            raise not_accepted()
        if caller.token_only and (caller.token_until or 0) <= self._clock.now_ms():
            raise not_accepted()

    def _check_key(self, caller: Caller, tenant_key: TenantKey) -> None:
        try:
            version = self._keys.version()
        except ConfigError as error:
            raise _unusable(error) from None
        if version != caller.keys_version:
            now_known = self._keys.find(tenant_key)
            if now_known is None:
                raise not_accepted()
            caller.tenant_key, caller.role, caller.good_until = now_known, now_known.role, now_known.expires_at
            caller.keys_version = version

    # What is shown

    def _check_not_required(self) -> None:
        if self._require_credentials:
            raise Unauthenticated(
                "this server asks for a credential, and there was none: set RUNTARA_TOKEN to a tenant key"
            )

    def _look_at(self, credential: str | None, certificate: bytes | None) -> _Shown:
        if credential is None:
            return self._look_at_certificate(certificate or b"")
        if credential.startswith(TOKEN_PREFIX):
            key, epoch, until = self._mint.check(credential)
            return _Shown(key.tenant_id, key.instance_id, epoch, until=until)
        if credential.startswith(NODE_PREFIX):
            self._mint.check_node(credential)
            return _Shown(None)
        return self._look_at_key(credential)

    def _look_at_key(self, credential: str) -> _Shown:
        try:
            found = self._keys.check(credential)
            version = self._keys.version()
        except ConfigError as error:
            raise _unusable(error) from None
        return _Shown(found.tenant_id, role=found.role, until=found.expires_at, tenant_key=found, keys_version=version)

    def _look_at_certificate(self, certificate: bytes) -> _Shown:
        claim = identity_of_certificate(certificate)
        if claim is None or claim.expires_at <= self._clock.now_ms():
            raise not_accepted()
        return _Shown(claim.tenant_id, role=claim.role, until=claim.expires_at)

    def _admit(self, key: InstanceKey, epoch: int | None, shown: _Shown) -> Caller:
        if shown.tenant_id not in (None, key.tenant_id) or shown.instance_id not in (None, key.instance_id):
            raise not_accepted()
        if shown.epoch is not None and epoch not in (None, shown.epoch):
            raise not_accepted()
        is_node = shown.tenant_id is None
        caller = Caller(key, None if is_node else shown.epoch or epoch, self._line(key))
        caller.is_node = is_node
        caller.token_only = shown.instance_id is not None
        if caller.token_only:
            caller.token_until = shown.until
        else:
            caller.good_until = shown.until
        caller.role, caller.tenant_key, caller.keys_version = shown.role, shown.tenant_key, shown.keys_version
        return caller

    def _count(self, peer: str) -> None:
        self.failures.add(peer)
        _log.warning("credential-refused", extra={"peer": peer})


def _unusable(error: ConfigError) -> Unauthenticated:
    """Whoever runs the server is told what is wrong with the keys; whoever shows one is not."""
    _log.error("keys-unusable", extra={"error": str(error)})
    return not_accepted()

"""Who may speak at a door, and what they may ask.

Owns the rules: which credential makes whom, what a token allows, when it is renewed, what a host that goes down still
takes. Conversations carry them out; who answers a call is found by the `line` that is given.
"""

import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from runtara.clock import Clock, monotonic
from runtara.endpoints import ENDPOINTS
from runtara.errors import Busy, ConfigError, Draining, Forbidden, InstanceNotFound, RuntaraError, Unauthenticated
from runtara.ids import InstanceKey, check_id
from runtara.logs import about
from runtara.messages import (
    ForkInstance,
    GetStatus,
    Heartbeat,
    InstanceRegistered,
    RegisterInstance,
    Request,
    StartInstance,
    StartMany,
)
from runtara.metrics import Metrics
from runtara.records import Signal
from runtara.transport.calls import Calls
from runtara.transport.credentials import NODE_PREFIX, TOKEN_PREFIX, Grant, KeyRing, TenantKey, TokenMint, not_accepted
from runtara.transport.frames import OVERHEAD_MAX_BYTES, Ask, Hello, Welcome

__all__ = [
    "ADDRESSES_MAX",
    "CALL_TIMEOUT_MAX_MS",
    "FAILURES_MAX",
    "FAILURE_FORGOTTEN_AFTER",
    "Caller",
    "Gate",
    "Line",
    "Outcome",
    "Then",
    "Watcher",
]

CALL_TIMEOUT_MAX_MS: Final = 600_000
"""Longest wait for an answer that a client may ask for; longer ones are cut to it."""

FAILURES_MAX: Final = 10
"""Wrong credentials from one address after which its next ones are not even looked at for a while."""

FAILURE_FORGOTTEN_AFTER: Final = 1.0
"""Seconds in which one wrong credential is forgotten."""

ADDRESSES_MAX: Final = 4_096
"""Most addresses whose wrong credentials are counted; the one that was heard of longest ago is forgotten first."""

_log: Final = logging.getLogger(__name__)


class Outcome(Protocol):
    """What came of a call: a reply, or the error that stands for it."""

    value: Any
    error: BaseException | None


Then = Callable[[Outcome], None]


class Line(Protocol):
    """The way to one instance."""

    def call_then(self, command: Request[Any], epoch: int | None, then: Then, timeout: float | None = None) -> None:
        """Have `then` called with what came of a command, once. Raises if it is refused at once."""


class Watcher(Protocol):
    """Hears what happens to an instance. `epoch` is None: a connection is no sign that its program is alive."""

    key: InstanceKey
    epoch: int | None

    def pushed(self, signal: Signal | None, /) -> None:
        """Hear of a signal, or (None) of a change of status; must neither wait nor raise."""


class Caller:
    """A client that was let in, for as long as it is connected."""

    __slots__ = ("door", "epoch", "is_node", "key", "keys_version", "line", "tenant_key", "token_only", "token_until")

    def __init__(self, key: InstanceKey, epoch: int | None, line: Line) -> None:
        self.key = key
        self.epoch = epoch
        """The attempt that speaks, where one does."""
        self.line = line
        self.door = ""
        """Which it came through."""
        self.tenant_key: TenantKey | None = None
        """By which it was let in, if by one."""
        self.keys_version = 0
        self.token_only = False
        """Whether it was let in by a token, and hence may only do what its own program may."""
        self.is_node = False
        """Whether it is another node of the same store, which asks on behalf of its own callers only."""
        self.token_until: int | None = None
        """When the newest token that it has ends; None where it has none."""


class Gate:
    """Lets clients in, and their calls through.

    `line` finds the way to an instance and raises `InvalidInput` for malformed ids; `attach` and `detach` begin and end
    that a watcher is told of what happens to its instance. `passed_line` finds the way for what other nodes pass on.
    """

    def __init__(
        self,
        *,
        line: Callable[[InstanceKey], Line],
        attach: Callable[[Watcher], None],
        detach: Callable[[Watcher], None],
        mint: TokenMint,
        keys: KeyRing,
        require_credentials: bool,
        clock: Clock,
        version: str,
        heartbeat_interval_ms: int,
        payload_max_bytes: int,
        passed_line: Callable[[InstanceKey], Line] | None = None,
        calls: Calls | None = None,
    ) -> None:
        self.attach: Final = attach
        self.detach: Final = detach
        self.frame_max_bytes: Final = payload_max_bytes + OVERHEAD_MAX_BYTES
        self.draining = False
        self._line = line
        self._passed_line = passed_line
        self._mint = mint
        self._keys = keys
        self._require_credentials = require_credentials
        self._clock = clock
        self._version = version
        self._heartbeat_interval_ms = heartbeat_interval_ms
        self._failures = _Failures()
        self._calls = calls or Calls(Metrics())

    def drain(self) -> None:
        """From now on, let nobody begin who is not known already."""
        self.draining = True

    # Who may speak

    def admit(self, hello: Hello, peer: str, door: str = "quic") -> Caller:
        """Return who speaks. `peer` is the address, without its port; `door` a word for the way that it comes.

        Raises `Unauthenticated`, `InvalidInput` for malformed ids, and `Busy` where too many credentials were wrong.
        """
        with about(tenant_id=hello.tenant_id, instance_id=hello.instance_id, door=door):
            caller = self._admit(hello, peer)
        caller.door = door
        return caller

    def _admit(self, hello: Hello, peer: str) -> Caller:
        key = InstanceKey(hello.tenant_id, hello.instance_id)
        if hello.credential is None:
            if self._require_credentials:
                raise Unauthenticated(
                    "this server asks for a credential, and there was none: set RUNTARA_TOKEN to a tenant key"
                )
            return Caller(key, hello.epoch, self._line(key))
        self._failures.check(peer)
        try:
            if hello.credential.startswith(TOKEN_PREFIX):
                return self._admit_attempt(key, hello.epoch, self._mint.check(hello.credential))
            if hello.credential.startswith(NODE_PREFIX):
                return self._admit_node(key, self._mint.check_node(hello.credential))
            return self._admit_tenant(key, hello.epoch, hello.credential)
        except Unauthenticated:
            self._failures.add(peer)
            _log.warning("credential-refused", extra={"peer": peer})
            raise

    def _admit_attempt(self, key: InstanceKey, epoch: int | None, grant: Grant) -> Caller:
        if grant.key != key or epoch not in (None, grant.epoch):
            raise not_accepted()
        caller = Caller(key, grant.epoch, self._line(key))
        caller.token_only = True
        caller.token_until = grant.expires_at
        return caller

    def _admit_node(self, key: InstanceKey, _name: str) -> Caller:
        caller = Caller(key, None, self._line(key))
        caller.is_node = True
        return caller

    def _admit_tenant(self, key: InstanceKey, epoch: int | None, credential: str) -> Caller:
        try:
            tenant_key = self._keys.check(credential)
            version = self._keys.version()
        except ConfigError as error:
            raise self._unusable(error) from None
        if tenant_key.tenant_id != key.tenant_id:
            raise not_accepted()
        caller = Caller(key, epoch, self._line(key))
        caller.tenant_key = tenant_key
        caller.keys_version = version
        return caller

    def _unusable(self, error: ConfigError) -> Unauthenticated:
        """Whoever runs the server is told what is wrong with the keys; whoever shows one is not."""
        _log.error("keys-unusable", extra={"error": str(error)})
        return not_accepted()

    def welcome(self, caller: Caller) -> Welcome:
        """Return what a client is told that was let in."""
        return Welcome(
            server_version=self._version,
            heartbeat_every_ms=self._heartbeat_interval_ms,
            frame_max_bytes=self.frame_max_bytes,
            token=self._renewed(caller),
        )

    # What they may ask

    def ask(self, caller: Caller, ask: Ask, then: Then) -> None:
        """Have `then` called with what came of a call, once; maybe before this returns. Raises what refuses it."""
        with self._calls.follow(caller.door, caller.key, caller.epoch, ask, then) as followed:
            self._let_through(caller, ask, followed)

    def _let_through(self, caller: Caller, ask: Ask, then: Then) -> None:
        self._check_credential(caller)
        kind = type(ask.command)
        line, epoch = caller.line, caller.epoch
        if caller.is_node or ask.on_behalf is not None:
            line, epoch = self._passed_on(caller, ask)
        elif ask.instance_id is not None:
            line, epoch = self._beside(caller, kind, ask.instance_id)
        elif caller.token_only:
            self._check_program(kind)
        timeout = None if ask.timeout_ms is None else min(ask.timeout_ms, CALL_TIMEOUT_MAX_MS) / 1000
        if self.draining and kind is StartMany:
            raise _draining()
        if self.draining and kind in _BEGIN:
            then = _IfKnown(line, ask, epoch, then, timeout)
            line.call_then(GetStatus(), None, then, timeout)
        else:
            line.call_then(ask.command, epoch, then, timeout)

    def may_watch(self, caller: Caller, instance_id: str) -> bool:
        """Return whether a client is told of what happens to an instance: of what is not its own, nothing happens."""
        check_id(instance_id, "instance id")
        return not caller.is_node and (not caller.token_only or instance_id == caller.key.instance_id)

    def _check_credential(self, caller: Caller) -> None:
        """Raise `Unauthenticated` if the credential has become worthless since the client was let in."""
        if caller.tenant_key is not None:
            try:
                version = self._keys.version()
            except ConfigError as error:
                raise self._unusable(error) from None
            if version != caller.keys_version:
                if not self._keys.holds(caller.tenant_key):
                    raise not_accepted()
                caller.keys_version = version
        elif caller.token_only and (caller.token_until or 0) <= self._clock.now_ms():
            raise not_accepted()

    def _beside(self, caller: Caller, kind: type, instance_id: str) -> tuple[Line, int | None]:
        """Return the way to an instance that a call names, and the attempt that speaks."""
        if not caller.token_only:
            return self._line(InstanceKey(caller.key.tenant_id, instance_id)), None
        self._check_program(kind)
        check_id(instance_id, "instance id")
        if instance_id != caller.key.instance_id:
            raise InstanceNotFound(f"there is no instance {instance_id!r}: check its id, or start it first")
        return caller.line, caller.epoch

    def _passed_on(self, caller: Caller, ask: Ask) -> tuple[Line, int | None]:
        """Return the way to an instance that another node was asked about, and the attempt that speaks there."""
        if not caller.is_node or ask.on_behalf is None or ask.instance_id is None or self._passed_line is None:
            raise Forbidden("only a node passes calls on, and only calls: use a key of the tenant instead")
        return self._passed_line(InstanceKey(ask.on_behalf.tenant_id, ask.instance_id)), ask.on_behalf.epoch

    def _check_program(self, kind: type) -> None:
        if kind in _MANAGER_ONLY:
            raise Forbidden(f"the token of an attempt is not good for {kind.__name__}: use a key of the tenant")

    # What they get

    def registered(self, caller: Caller, ask: Ask, reply: InstanceRegistered) -> InstanceRegistered:
        """Take note that an attempt has begun, and return the reply with the attempt's own token."""
        if caller.is_node:
            return reply  # the node that was asked first gives it the token
        if ask.instance_id is None or caller.token_only:
            caller.epoch = reply.epoch
            caller.token_until = self._clock.now_ms() + self._mint.lifetime_ms
            key = caller.key
        else:
            key = InstanceKey(caller.key.tenant_id, ask.instance_id)
        return msgspec.structs.replace(reply, token=self._mint.mint(key, reply.epoch))

    def renewal(self, caller: Caller, ask: Ask) -> str | None:
        """Return a newer token for an attempt that has just been told that it is alive, if its own has grown old."""
        return self._renewed(caller) if type(ask.command) is Heartbeat and ask.instance_id is None else None

    def _renewed(self, caller: Caller) -> str | None:
        if caller.token_until is None or caller.epoch is None:
            return None
        now = self._clock.now_ms()
        if caller.token_until - now > self._mint.lifetime_ms / 2:
            return None
        caller.token_until = now + self._mint.lifetime_ms
        return self._mint.mint(caller.key, caller.epoch)


_BEGIN: Final = frozenset({StartInstance, ForkInstance, RegisterInstance})
"""What a host that goes down takes only for instances that it knows."""

_MANAGER_ONLY: Final = frozenset(kind for kind, row in ENDPOINTS.items() if row.caller == "manager")


class _IfKnown:
    """Has a call answered only if there is such an instance, for a host that goes down."""

    __slots__ = ("_ask", "_epoch", "_line", "_then", "_timeout", "error", "value")

    def __init__(self, line: Line, ask: Ask, epoch: int | None, then: Then, timeout: float | None) -> None:
        self._line = line
        self._ask = ask
        self._epoch = epoch
        self._then = then
        self._timeout = timeout
        self.value: Any = None
        self.error: BaseException | None = None

    def __call__(self, found: Outcome) -> None:
        if found.error is None:
            try:
                self._line.call_then(self._ask.command, self._epoch, self._then, self._timeout)
            except RuntaraError as error:
                self._refuse(error)
        elif isinstance(found.error, InstanceNotFound):
            self._refuse(_draining())
        else:
            self._refuse(found.error)

    def _refuse(self, error: BaseException) -> None:
        self.error = error
        self._then(self)


def _draining() -> Draining:
    return Draining("this host is going down and starts nothing new: try again later, or at another one")


class _Failures:
    """Wrong credentials by address. Of loopback none are counted: whoever is there shares it with all others."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, peer: str) -> None:
        """Raise `Busy` if too many were wrong lately."""
        if self._count(_network(peer), monotonic()) > FAILURES_MAX - 1:
            raise Busy("too many wrong credentials came from your address: wait a second and try again")

    def add(self, peer: str) -> None:
        """Count one."""
        network, now = _network(peer), monotonic()
        if network is None:
            return
        self._counts[network] = (self._count(network, now) + 1, now)
        self._counts.move_to_end(network)
        if len(self._counts) > ADDRESSES_MAX:
            self._counts.popitem(last=False)

    def _count(self, network: str | None, now: float) -> float:
        if network is None:
            return 0
        count, at = self._counts.get(network, (0.0, now))
        return max(0.0, count - (now - at) / FAILURE_FORGOTTEN_AFTER)


def _network(peer: str) -> str | None:
    """Return what one party is likely to have: an IPv4 address, or 64 bits of an IPv6 one; None for loopback."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return None if address.is_loopback else str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)

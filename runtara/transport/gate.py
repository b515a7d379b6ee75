"""Who may speak at a door, and what they may ask.

Owns the rules: which credential makes whom, what a token allows, when it is renewed, what a host that goes down still
takes. Conversations carry them out; who answers a call is found by the `line` that is given.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol

import msgspec

from runtara.clock import Clock
from runtara.endpoints import ENDPOINTS, ROLES, Role
from runtara.errors import Forbidden, InstanceNotFound, Unauthenticated
from runtara.ids import InstanceKey, check_id
from runtara.logs import about
from runtara.messages import (
    ForkInstance,
    GetStatus,
    Heartbeat,
    InstanceRegistered,
    ReadLog,
    RegisterInstance,
    StartInstance,
    StartMany,
)
from runtara.metrics import Metrics
from runtara.records import Signal
from runtara.transport._admission import Admission
from runtara.transport._known import IfKnown, draining
from runtara.transport.callers import Caller, Line, Outcome, Then
from runtara.transport.calls import Calls
from runtara.transport.credentials import KeyRing, TokenMint, not_accepted
from runtara.transport.frames import OVERHEAD_MAX_BYTES, Ask, Hello, Welcome
from runtara.transport.guests import Guest, Guests, SendAway

__all__ = ["CALL_TIMEOUT_MAX_MS", "Caller", "Gate", "Line", "Outcome", "Then", "Watcher"]

CALL_TIMEOUT_MAX_MS: Final = 600_000
"""Longest wait for an answer that a client may ask for; longer ones are cut to it."""


class Watcher(Protocol):
    """Hears what happens to an instance. `epoch` is None: a connection is no sign that its program is alive."""

    key: InstanceKey
    epoch: int | None

    def pushed(self, signal: Signal | None, /) -> None:
        """Hear of a signal, or (None) of a change of status; must neither wait nor raise."""


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
        self._clock = clock
        self._version = version
        self._heartbeat_interval_ms = heartbeat_interval_ms
        self._calls = calls or Calls(Metrics())
        self._admission = Admission(
            line=line, mint=mint, keys=keys, require_credentials=require_credentials, clock=clock
        )
        self.guests: Final = Guests(self.check, clock)
        """Who is connected, and sent away when that is worthless by which it was let in: somebody must `serve` them."""

    def drain(self) -> None:
        """From now on, let nobody begin who is not known already."""
        self.draining = True

    # Who may speak

    def admit(self, hello: Hello, peer: str, certificate: bytes | None = None) -> Caller:
        """Return who speaks. `peer` is the address, without its port.

        `certificate` is that of the client as DER, which the door has verified; it counts where there is no credential.
        Raises `Unauthenticated`, `InvalidInput` for malformed ids, and `Busy` where too many credentials were wrong.
        """
        with about(tenant_id=hello.tenant_id, instance_id=hello.instance_id):
            return self._admission.admit(hello, peer, certificate)

    def tenant_of(
        self, credential: str | None, claimed: str | None, peer: str, certificate: bytes | None = None
    ) -> str:
        """Return the tenant of whoever shows a credential; see `whose`."""
        return self._admission.whose(credential, claimed, peer, certificate)[0]

    def whose(
        self, credential: str | None, claimed: str | None, peer: str, certificate: bytes | None = None
    ) -> tuple[str, str | None]:
        """Return the tenant of whoever shows a credential, and the instance if it is the token of an attempt.

        For doors whose requests do not begin with a greeting. Without a credential, where none is required, the tenant
        is the one that is `claimed`, or the default one. Raises like `admit`, also where the credential is of another
        tenant than is claimed.
        """
        return self._admission.whose(credential, claimed, peer, certificate)

    def check(self, caller: Caller) -> None:
        """Raise `Unauthenticated` if what a client was let in by has become worthless since then.

        `ask` does so by itself; doors that tell a client something that it did not just ask for do it before.
        """
        self._admission.check(caller)

    def welcome(self, caller: Caller) -> Welcome:
        """Return what a client is told that was let in."""
        return Welcome(
            server_version=self._version,
            heartbeat_every_ms=self._heartbeat_interval_ms,
            frame_max_bytes=self.frame_max_bytes,
            token=self._renewed(caller),
        )

    def is_good(self, caller: Caller) -> bool:
        """Return whether what a client was let in by is still good; see `check`."""
        try:
            self._admission.check(caller)
        except Unauthenticated:
            return False
        return True

    def follow(self, caller: Caller, send_away: SendAway) -> Guest:
        """Have `send_away` called as soon as what a client was let in by has become worthless.

        Unless what this returns was removed from `guests` before.
        """
        guest = Guest(caller, send_away)
        if caller.tenant_key is not None or guest.until_ms < inf:
            self.guests.add(guest)
        return guest

    # What they may ask

    def ask(self, caller: Caller, ask: Ask, then: Then) -> None:
        """Have `then` called with what came of a call, once; maybe before this returns. Raises what refuses it."""
        with self._calls.follow(caller.door, caller.key, caller.epoch, ask, then) as followed:
            self._let_through(caller, ask, followed)

    def _let_through(self, caller: Caller, ask: Ask, then: Then) -> None:
        self._admission.check(caller)
        kind = type(ask.command)
        if caller.role is not None and ENDPOINTS[kind].right not in ROLES[caller.role]:
            raise _forbidden(caller.role, kind)
        line, epoch = caller.line, caller.epoch
        if caller.is_node or ask.on_behalf is not None:
            line, epoch = self._passed_on(caller, ask)
        elif ask.instance_id is not None:
            line, epoch = self._beside(caller, kind, ask.instance_id)
        elif caller.token_only:
            self._check_program(kind)
        if kind is ReadLog:
            then = _IfStillGood(self, caller, then)
        timeout = None if ask.timeout_ms is None else min(ask.timeout_ms, CALL_TIMEOUT_MAX_MS) / 1000
        if self.draining and kind is StartMany:
            raise draining()
        if self.draining and kind in _BEGIN:
            then = IfKnown(line, ask, epoch, then, timeout)
            line.call_then(GetStatus(), None, then, timeout)
        else:
            line.call_then(ask.command, epoch, then, timeout)

    def may_watch(self, caller: Caller, instance_id: str) -> bool:
        """Return whether a client is told of what happens to an instance: of what is not its own, nothing happens."""
        check_id(instance_id, "instance id")
        if caller.role is not None and "read" not in ROLES[caller.role]:
            return False
        return not caller.is_node and (not caller.token_only or instance_id == caller.key.instance_id)

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


class _IfStillGood:
    """Has an answer that was waited for told only if the client may still hear it."""

    __slots__ = ("_caller", "_gate", "_then", "error", "value")

    def __init__(self, gate: Gate, caller: Caller, then: Then) -> None:
        self._gate = gate
        self._caller = caller
        self._then = then
        self.value: Any = None
        self.error: BaseException | None = None

    def __call__(self, outcome: Outcome) -> None:
        self.value, self.error = outcome.value, outcome.error
        if not self._gate.is_good(self._caller):
            self.value, self.error = None, not_accepted()
        self._then(self)


def _forbidden(role: Role, kind: type) -> Forbidden:
    right = ENDPOINTS[kind].right
    good = " or ".join(name for name, rights in ROLES.items() if right in rights)
    return Forbidden(
        f"a key with the role {role} is not good for {kind.__name__}, which takes the right {right}: "
        f"use one with the role {good}"
    )


_BEGIN: Final = frozenset({StartInstance, ForkInstance, RegisterInstance})
"""What a host that goes down takes only for instances that it knows."""

_MANAGER_ONLY: Final = frozenset(kind for kind, row in ENDPOINTS.items() if row.caller in ("manager", "worker"))

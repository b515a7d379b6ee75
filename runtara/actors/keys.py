"""Answers what is said about the keys of tenants, one command after the other.

What a key is and where keys are kept is not known here: whoever wires the system gives it a desk.
"""

import logging
from typing import Any, Final, Protocol

import trio

from runtara.actors._service import Actor, hears
from runtara.errors import ConfigError, StoreUnavailable
from runtara.messages import Call, KeyMade, KeyRevoked

__all__ = ["Desk", "KeyKeeper"]

_log: Final = logging.getLogger(__name__)


class Desk(Protocol):
    """Where keys are made and revoked."""

    def answer(self, tenant_id: str, command: object, /) -> object:
        """Return the reply to a command about the keys of a tenant. Blocks; raises what it is refused with."""


class KeyKeeper(Actor):
    """Has the desk answer, in a thread: keys are files, and may be in a store that is far away."""

    AT_ONCE = False  # it takes its time

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._changes = 0

    def describe(self) -> dict[str, Any]:
        """Return how often keys were made or revoked."""
        return {"changes": self._changes}

    @hears(Call)
    async def call(self, call: Call) -> object:
        """Return the reply to a command. Harmless when repeated: see `runtara.messages`."""
        tenant_id = call.key.tenant_id
        try:
            reply = await trio.to_thread.run_sync(self._desk.answer, tenant_id, call.command)
        except (ConfigError, OSError) as error:  # whoever asks from far away is not told where the keys lie
            _log.error("keys-unusable", extra={"error": str(error)})
            raise StoreUnavailable(
                "the keys of this server cannot be changed now: its log says why; try again later"
            ) from None
        self._note(tenant_id, reply)
        return reply

    def _note(self, tenant_id: str, reply: object) -> None:
        if isinstance(reply, KeyMade):
            self._changes += 1
            _log.info("key-made", extra={"tenant": tenant_id, "key": reply.key.key_id, "role": reply.key.role})
        elif isinstance(reply, KeyRevoked) and reply.revoked:
            self._changes += 1
            _log.info("key-revoked", extra={"tenant": tenant_id, "key": reply.key_id})

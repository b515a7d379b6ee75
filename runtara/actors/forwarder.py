"""The forwarder: has calls answered by the node that owns their instance, where several nodes share the store.

A call that cannot be answered there is tried again here: meanwhile the node may be back, or somebody, perhaps this
node, has taken over what it owned. So its asker notices a delay, not the failure. It may be sent twice, which changes
nothing: every operation may be repeated.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio

from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors._specs import Backoff
from runtara.actors.neighbours import Peer, ask_peer
from runtara.errors import Busy, Retry, RuntaraError, Unreachable
from runtara.ids import InstanceKey
from runtara.messages import Call
from runtara.records import Holder
from runtara.traces import under

__all__ = ["FORWARDS_MAX", "Forward", "Forwarder"]

FORWARDS_MAX: Final = 10_000
"""Most calls that wait for other nodes at the same time."""

TRY: Final = 3.0
"""Seconds that another node may take over a call before it is looked for anew."""

_AGAIN: Final = Backoff(first=0.05, most=0.5)
"""Between tries."""


class Forward(msgspec.Struct, frozen=True):
    """Have a call answered by its instance's owner. `again` is called instead if it has to be asked here anew."""

    call: Call
    reply: Reply
    holder: Holder
    again: Callable[[], None]


class Forwarder(Actor):
    """Passes calls on. `peer_of` returns the way to a node; without it no other node can be reached from here."""

    def __init__(self, *, peer_of: Callable[[Holder], Peer] | None) -> None:
        self._peer_of = peer_of
        self._waiting: dict[InstanceKey, int] = {}
        """How often in a row an instance's owner could not be asked."""
        self._under_way = 0
        self._passed_on = 0

    def describe(self) -> dict[str, Any]:
        """Return how many calls other nodes are to answer, and have answered."""
        return {"under_way": self._under_way, "passed_on": self._passed_on}

    @hears(Forward)
    def forward(self, message: Forward) -> None:
        """Pass a call on."""
        if self._under_way >= FORWARDS_MAX:
            message.reply.fail(Busy(f"{FORWARDS_MAX} calls wait for other nodes, the bound: try again later"))
            return
        self._under_way += 1
        self.start_soon(self._forward, message)

    async def _forward(self, message: Forward) -> None:
        key = message.call.key
        try:
            value = await self._ask(message)
        except RuntaraError as error:
            if error.retry is not Retry.NEVER and await self._wait(message):
                message.again()
            else:
                message.reply.fail(error)
        except BaseException:  # it goes down, by a bug or with its system, and nobody shall wait for it in vain
            message.reply.fail(self._slot.interrupted())
            raise
        else:
            self._waiting.pop(key, None)
            self._passed_on += 1
            message.reply.settle(value)
        finally:
            self._under_way -= 1

    async def _ask(self, message: Forward) -> Any:
        holder, call = message.holder, message.call
        where = f"instance {call.key.instance_id!r} is held by node {holder.name!r}"
        if holder.lost or holder.address is None or self._peer_of is None:
            raise Unreachable(
                f"{where}, which cannot be asked from here: ask that node, or try again when another one has taken over"
            )
        left = message.reply.deadline - trio.current_time()
        with under(call.trace):
            return await ask_peer(self._peer_of(holder), call, min(left, TRY), where)

    async def _wait(self, message: Forward) -> bool:
        """Wait before the next try; return whether there is still time for one."""
        failures = self._waiting[message.call.key] = self._waiting.pop(message.call.key, 0) + 1
        if len(self._waiting) > FORWARDS_MAX:
            self._waiting.pop(next(iter(self._waiting)))
        pause = _AGAIN.delay(failures, self.system.random)
        if trio.current_time() + pause >= message.reply.deadline:
            return False
        await trio.sleep(pause)
        return message.reply.waiter is not None

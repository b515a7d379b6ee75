"""The actor that does the same to many instances: it asks each of them, many at a time, and tells what each has said.

It decides nothing and keeps nothing. Sent again, a call does what is missing: every start and every signal has an id.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec

from runtara.actors._deferred import Deferred
from runtara.actors._for_each import for_each
from runtara.actors._ref import Ref
from runtara.actors._service import Actor, hears
from runtara.actors._system import System
from runtara.actors.dispatch import Dispatch
from runtara.actors.storage import Query
from runtara.errors import Busy, RuntaraError
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.messages import (
    Call,
    InstanceFilter,
    InstancePage,
    InstanceSummary,
    ManySignaled,
    ManyStarted,
    NamedStart,
    SendSignal,
    SignalMany,
    SignalOutcome,
    StartMany,
    StartOutcome,
)

__all__ = ["CALLS_MAX", "IN_FLIGHT", "Many"]

IN_FLIGHT: Final = 64
"""Most instances that one call asks at the same time."""

CALLS_MAX: Final = 16
"""Most calls that are worked on at the same time."""


class Many(Actor):
    """Answers the calls of which `messages` says that they are about many instances."""

    AT_ONCE = False  # it answers later

    def __init__(self, *, reader: str, open_dispatch: Callable[[System], Dispatch]) -> None:
        self._reader_path: Final = reader
        self._open_dispatch: Final = open_dispatch
        self._under_way = 0

    async def on_start(self) -> None:
        """Find the way to instances."""
        self._reader: Ref = self.system.ref(self._reader_path)
        self._dispatch = self._open_dispatch(self.system)

    def describe(self) -> dict[str, Any]:
        """Return how many calls are worked on."""
        return {"under_way": self._under_way}

    @hears(Call)
    def call(self, call: Call) -> Deferred:
        """Begin to work on a call. Raises `Busy`."""
        if self._under_way >= CALLS_MAX:
            raise Busy(f"{CALLS_MAX} calls about many instances are worked on, the bound: try again later")
        self._under_way += 1
        deferred = Deferred()
        self.start_soon(self._answer, deferred, call)
        return deferred

    async def _answer(self, deferred: Deferred, call: Call) -> None:
        work = partial(_WORK[type(call.command)], self, call.key.tenant_id, call.command)
        try:
            await deferred.answer(work, self._slot.interrupted)  # whoever asks again goes on from there
        finally:
            self._under_way -= 1

    async def _start_many(self, tenant_id: str, command: StartMany) -> ManyStarted:
        return ManyStarted(outcomes=await for_each(command.starts, partial(self._start, tenant_id), IN_FLIGHT))

    async def _start(self, tenant_id: str, named: NamedStart) -> StartOutcome:
        try:
            started = await self._dispatch.call(InstanceKey(tenant_id, named.instance_id), named.start)
        except RuntaraError as error:
            return StartOutcome(instance_id=named.instance_id, code=error.code.wire, error=str(error))
        return StartOutcome(instance_id=named.instance_id, created=started.created, status=started.status)

    async def _signal_many(self, tenant_id: str, command: SignalMany) -> ManySignaled:
        query = Query("find_instances", (tenant_id, _meant(command.filter), "id", command.limit, command.cursor))
        found: InstancePage = await self._reader.ask(query)
        signal = SendSignal(kind=command.kind, signal_id=command.signal_id, grace_ms=command.grace_ms)
        outcomes = await for_each(found.instances, partial(self._signal, tenant_id, signal), IN_FLIGHT)
        return ManySignaled(outcomes=outcomes, cursor=found.cursor)

    async def _signal(self, tenant_id: str, signal: SendSignal, row: InstanceSummary) -> SignalOutcome:
        try:
            accepted = await self._dispatch.call(InstanceKey(tenant_id, row.instance_id), signal)
        except RuntaraError as error:
            return SignalOutcome(instance_id=row.instance_id, code=error.code.wire, error=str(error))
        return SignalOutcome(instance_id=row.instance_id, created=accepted.created, status=accepted.status)


_WORK: Final[dict[type, Callable[[Many, str, Any], Awaitable[object]]]] = {  # Any: each row takes its own command type
    StartMany: Many._start_many,  # noqa: SLF001 - the table of this class
    SignalMany: Many._signal_many,  # noqa: SLF001 - the table of this class
}


def _meant(wanted: InstanceFilter) -> InstanceFilter:
    """Return a filter that leaves out finished instances, unless they are asked for."""
    if wanted.status is not None or wanted.statuses:
        return wanted
    return msgspec.structs.replace(wanted, statuses=tuple(status for status in Status if status not in FINAL))

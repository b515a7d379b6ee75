"""The upkeep of a host: removes what its settings say is not to be kept any longer, and nothing that is alive.

Every chore is done once when the host starts and then again and again; whoever asks has it done at once, or is told
what it would do. One that fails is tried again the next time: what it has not removed is still there then.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import trio

from runtara.actors._deferred import Deferred
from runtara.actors._ref import Ref
from runtara.actors._service import Actor, hears
from runtara.actors.instances import Forget
from runtara.errors import ActorStopped, Busy, NotFound, RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import Call, ChoreDone, RunChore

__all__ = ["ASKED_MAX", "NAMES_MAX", "ChoreWork", "Removed", "Upkeep"]

NAMES_MAX: Final = 1_000
"""Most things that are named in an answer."""

ASKED_MAX: Final = 64
"""Most chores that are asked for and not done yet."""

_log: Final = logging.getLogger(__name__)


class Removed(NamedTuple):
    """Something that was removed, or would be. Content that several tenants may share has none of its own."""

    tenant_id: str | None
    name: str


class ChoreWork(Protocol):
    """One chore."""

    @property
    def on(self) -> bool:
        """Whether the settings want it done without being asked."""

    async def do(self, reader: Ref, writer: Ref, *, dry_run: bool) -> Sequence[Removed]:
        """Remove what is not needed, or find out what it is. Raises `RuntaraError` or `OSError`."""


class _Due(msgspec.Struct, frozen=True):
    """It is time for a chore."""

    chore: str


class Upkeep(Actor):
    """Does `chores`, by name, every so many seconds. `reader`, `writer` and `instances` are paths of actors."""

    AT_ONCE = False  # chores take their time

    def __init__(
        self, *, reader: str, writer: str, instances: str, chores: Mapping[str, ChoreWork], every: float
    ) -> None:
        self._paths: Final = (reader, writer)
        self._instances: Final = instances
        self._chores: Final = chores
        self._every: Final = every
        self._locks: Final = {name: trio.Lock() for name in chores}
        self._removed: Final = dict.fromkeys(chores, 0)
        self._failures: Final = dict.fromkeys(chores, 0)
        self._asked = 0

    async def on_start(self) -> None:
        """Do everything once, beside all else."""
        for name, chore in self._chores.items():
            if chore.on:
                self.tell_later(0, _Due(name))

    def describe(self) -> dict[str, Any]:
        """Return how much each chore has removed, and how often it has failed."""
        return {"removed": dict(self._removed), "failures": dict(self._failures)}

    @hears(_Due)
    def due(self, message: _Due) -> None:
        """Do a chore, and again later."""
        self.start_soon(self._do_again, message.chore)

    @hears(Call)
    def call(self, call: Call) -> Deferred:
        """Do a chore because somebody asks for it."""
        command = call.command
        assert isinstance(command, RunChore)
        if command.chore not in self._chores:
            raise NotFound(f"this host has no chore {command.chore!r}: it has {', '.join(self._chores)}")
        if self._asked >= ASKED_MAX:
            raise Busy(f"{ASKED_MAX} chores are asked for and not done yet, the bound: try again later")
        deferred = Deferred()
        self._asked += 1
        self.start_soon(self._answer, deferred, call.key.tenant_id, command)
        return deferred

    async def _do_again(self, name: str) -> None:
        try:
            removed = await self._do(name, dry_run=False)
        except (RuntaraError, OSError) as error:
            self._failures[name] += 1
            _log.warning("chore-failed", extra={"chore": name, "error": str(error)})
        else:
            if removed:
                _log.info("chore-done", extra={"chore": name, "removed": len(removed)})
        self.tell_later(self._every, _Due(name))

    async def _answer(self, deferred: Deferred, tenant_id: str, command: RunChore) -> None:
        try:
            removed = await self._do(command.chore, dry_run=command.dry_run)
            names = [thing.name for thing in removed if thing.tenant_id == tenant_id][:NAMES_MAX]
            deferred.settle(
                ChoreDone(chore=command.chore, dry_run=command.dry_run, removed=len(removed), names=tuple(names))
            )
        except RuntaraError as refusal:
            deferred.fail(refusal)
        except OSError as error:
            deferred.fail(_unable(command.chore, error))
        finally:
            self._asked -= 1
            deferred.fail(ActorStopped("the upkeep has ended before it had done this: ask again"))

    async def _do(self, name: str, *, dry_run: bool) -> Sequence[Removed]:
        """Do a chore, when nobody else does it."""
        async with self._locks[name]:
            reader, writer = map(self.system.ref, self._paths)
            removed = await self._chores[name].do(reader, writer, dry_run=dry_run)
        if not dry_run:
            self._removed[name] += len(removed)
            if name == "instances" and removed:
                keys = (InstanceKey(thing.tenant_id, thing.name) for thing in removed if thing.tenant_id is not None)
                with suppress(ActorStopped):  # one that restarts has forgotten everything
                    await self.system.ref(self._instances).ask(Forget(tuple(keys)), timeout=inf)
        return removed


def _unable(chore: str, error: OSError) -> RuntaraError:
    return Busy(f"the chore {chore!r} could not be done ({error}): look at the data folder, and try again")

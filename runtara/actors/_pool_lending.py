"""The part of a pool that lends tasks to other nodes of its store: it says that some wait, and they come for them.

A node that comes is a worker like any other, but is given tasks only: whole instances are shared out by the store. So
what it has is fenced as what workers have is: by a lease, and by a claim of another name for each who claims.
"""

from contextlib import suppress
from typing import Final, NamedTuple

import msgspec
import trio

from runtara.actors._pool_board import Work, WorkerId
from runtara.actors._pool_claims import Item, Offer
from runtara.actors._pool_hands import Hands, slot_of
from runtara.actors._service import hears
from runtara.actors.storage import Act
from runtara.clock import Clock
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import ClaimWork, WorkClaimed
from runtara.store import Tenure

__all__ = ["SAY_AGAIN", "Lending"]

SAY_AFTER: Final = 0.01
"""Seconds that a task waits for a slot here before other nodes are told: most that are offered are taken back soon."""

SAY_AGAIN: Final = 5.0
"""Seconds after which it is said again that tasks wait, as that may be lost, and newcomers have not heard it."""


class _Heading(NamedTuple):
    """What is said of tasks that wait: who can run them."""

    tenant_id: str
    program: str


class _Cry:
    """What is said of tasks that wait."""

    def __init__(self, heading: _Heading) -> None:
        self.heading: Final = heading
        self.is_old = False
        """Whether a node has come since it was said, and found nothing: then it waits for news."""
        self.timer: trio.CancelScope | None = None
        """Until it is said again."""


class _Say(msgspec.Struct, frozen=True):
    """It is time to say that tasks wait, if they still do."""

    cry: _Cry


class Lending(Hands):
    """Tells other nodes what waits. Without `tenure`, there are none. `instances`, `scheduler`, `writer` are paths."""

    def __init__(
        self,
        *,
        instances: str,
        scheduler: str,
        clock: Clock,
        writer: str,
        tenure: Tenure | None,
    ) -> None:
        super().__init__(instances=instances, scheduler=scheduler, clock=clock)
        self._writer_path: Final = writer
        self._tenure: Final = tenure
        self._cries: Final[dict[_Heading, _Cry]] = {}

    @property
    def lent(self) -> int:
        """How many tasks other nodes have."""
        return sum(len(worker.held) for worker in self._workers.values() if worker.id.is_node)

    def lend(self, worker_id: WorkerId, command: ClaimWork) -> WorkClaimed:
        """Give another node a task for one of its slots, if one waits."""
        worker = self._heard_of(worker_id, command.lease_ms)
        self._slot_is_free(worker, command.slot)
        work = self._board.take(slot_of(worker, command), _is_task)
        if work is not None:
            return self._hand_out(work.item, worker, command.slot)
        for program in command.programs:
            cry = self._cries.get(_Heading(worker_id.tenant_id, program))
            if cry is not None:
                cry.is_old = True
        return WorkClaimed()

    def _let_wait(self, work: Work[Item], arrived: InstanceKey | None) -> None:
        super()._let_wait(work, arrived)
        if self._tenure is None or self._tenure.spec.address is None or not _is_task(work.item):
            return  # nobody could come for it
        heading = _Heading(work.tenant_id, work.program)
        cry = self._cries.get(heading)
        if cry is None:
            self._say_in(SAY_AFTER, _Cry(heading))
        elif cry.is_old:
            self._say_in(SAY_AFTER, cry)

    def _say_in(self, delay: float, cry: _Cry) -> None:
        self._cries[cry.heading] = cry
        if cry.timer is not None:
            cry.timer.cancel()
        cry.is_old = False
        cry.timer = self.tell_later(delay, _Say(cry))

    @hears(_Say)
    def say(self, message: _Say) -> None:
        """Say that tasks wait, and come back as long as they do."""
        cry = message.cry
        if self._cries.get(cry.heading) is not cry:
            return
        if self._tenure is None or not self._board.waits(*cry.heading, _is_task):
            del self._cries[cry.heading]
            return
        self._say_in(SAY_AGAIN, cry)
        if not self._tenure.alone:
            self._tell_others(cry.heading)

    def _tell_others(self, heading: _Heading) -> None:
        with suppress(RuntaraError):  # said again soon
            self.system.ref(self._writer_path).ask_then(Act("tell_tasks", tuple(heading)), _unheard)


def _unheard(_: object) -> None:
    """Have no use for the answer: what could not be said is said again soon."""


def _is_task(item: Item) -> bool:
    return isinstance(item, Offer)

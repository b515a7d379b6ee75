"""What the workers of a pool hold, and how they come by it.

Each says what it can do and asks for something to do, slot by slot, and tells again and again that it lives. What one
has lost is given to another; what it has lost without knowing it is told.
"""

from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
import trio

from runtara.actors._deferred import Deferred
from runtara.actors._pool_board import Board, Group, Slot, Work, WorkerId, aged
from runtara.actors._pool_claims import Item, Lead, Offer, Parked, Worker, parse_lead
from runtara.actors._pool_loans import Loan
from runtara.actors._reporter import Report, Reporter
from runtara.actors._service import hears
from runtara.actors.places import ListIdle, PoolBegins, SlotsIdle
from runtara.clock import Clock
from runtara.errors import Busy, RuntaraError
from runtara.ids import InstanceKey, new_id
from runtara.messages import (
    ClaimsKept,
    ClaimWork,
    CrashInstance,
    KeepClaims,
    LeadClaim,
    TaskClaim,
    TaskOffered,
    WorkClaimed,
)

__all__ = ["PARKED_MAX", "WORKERS_MAX", "Hands", "slot_of"]

WORKERS_MAX: Final = 10_000
"""Most workers that hold a lease at a time."""

PARKED_MAX: Final = 10_000
"""Most slots of workers that wait for work at a time."""

_LEAD: Final = 1
_TASK: Final = 0
"""What has begun goes before what has not."""


class _Unpark(msgspec.Struct, frozen=True):
    """A slot has waited for as long as it wanted to."""

    worker_id: WorkerId
    number: int


class _Unkeep(msgspec.Struct, frozen=True):
    """A worker has waited for news of its claims for as long as it wanted to."""

    worker_id: WorkerId


class _Lapse(msgspec.Struct, frozen=True):
    """The lease of a worker may be over."""

    worker_id: WorkerId


def slot_of(worker: Worker, command: ClaimWork) -> Slot:
    """Return the slot for which a worker asks."""
    return Slot(worker.slot_id(command.slot), frozenset(command.programs), frozenset(command.tags))


class Hands(Reporter):
    """The part of the pool that workers speak to. `instances` and `scheduler` are paths of actors."""

    def __init__(self, *, instances: str, scheduler: str, clock: Clock) -> None:
        super().__init__(instances)
        self._scheduler: Final = scheduler
        self._clock: Final = clock
        self._board: Final[Board[Item]] = Board()
        self._workers: Final[dict[WorkerId, Worker]] = {}
        self._leads: Final[dict[InstanceKey, Lead]] = {}
        self._handed_over: Final[dict[InstanceKey, frozenset[str]]] = {}
        """What tags the next worker of an instance needs."""
        self._parked = 0

    @hears(ListIdle)
    def list_idle(self, _: ListIdle) -> dict[Group, int]:
        """Return how many slots of each group are idle."""
        return self._board.groups()

    # What they ask ----------------------------------------------------------------------------------------------------

    def claim_work(self, worker_id: WorkerId, command: ClaimWork) -> WorkClaimed | Deferred:
        """Find something to do for a slot, now or when there is something."""
        worker = self._heard_of(worker_id, command.lease_ms)
        self._slot_is_free(worker, command.slot)
        slot = slot_of(worker, command)
        work = self._board.take(slot)
        if work is not None:
            return self._hand_out(work.item, worker, command.slot)
        if not command.wait_ms:
            return WorkClaimed()
        if self._parked >= PARKED_MAX:
            raise Busy(f"{PARKED_MAX} slots of workers wait already, the bound: try again later")
        deferred = Deferred()
        until = trio.current_time() + command.wait_ms / 1000
        parked = Parked(deferred, until, partial(self._slot.mailbox.put_control, _Unpark(worker.id, command.slot)))
        worker.parked[command.slot] = parked
        self.system.deadlines.add(parked)
        self._parked += 1
        self._park(slot)
        return deferred

    def _park(self, slot: Slot) -> None:
        """Let a slot wait, for which nothing does."""
        self._board.park(slot)
        self._announce(slot.group)

    def keep_claims(self, worker_id: WorkerId, command: KeepClaims) -> ClaimsKept | Deferred:
        """Extend a worker's lease; tell it what it has lost, now or when it does."""
        worker = self._heard_of(worker_id, command.lease_ms)
        self._kept(worker, ())  # whoever has asked before, and waits, is answered
        lost = tuple(claim_id for claim_id in command.held if not self._holds(worker, claim_id))
        if lost or not command.wait_ms:
            return ClaimsKept(lost=lost)
        worker.keeping = Deferred()
        worker.keeping_timer = self.tell_later(command.wait_ms / 1000, _Unkeep(worker.id))
        return worker.keeping

    # Who has what ----------------------------------------------------------------------------------------------------

    def _offer_work(self, item: Lead | Offer, arrived: InstanceKey | None = None) -> None:
        """Give something to a worker, or have it wait for one; `arrived` was woken for that."""
        work = self._work_of(item)
        slot = self._board.put(work, self._listens)
        if slot is None:
            self._let_wait(work, arrived)
        else:
            self._serve(slot, item, arrived)

    def _let_wait(self, work: Work[Item], arrived: InstanceKey | None) -> None:
        """Take note that something waits, for which no slot is idle."""
        if arrived is not None:
            self._announce(Group(work.tenant_id, frozenset((work.program,))), arrived)

    def _serve(self, slot: Slot, item: Item, arrived: InstanceKey | None = None) -> None:
        """Give something to a slot that is idle no more."""
        worker = self._workers[slot.id.worker]
        parked = self._unparked(worker, slot.id.number)
        parked.deferred.settle(self._hand_out(item, worker, slot.id.number))
        self._announce(slot.group, arrived)

    def _work_of(self, item: Lead | Offer) -> Work[Item]:
        now_ms = self._clock.now_ms()
        if isinstance(item, Lead):
            tags = self._handed_over.pop(item.key, frozenset())
            return Work((_LEAD, now_ms), item.key.tenant_id, item.program, tags, item)
        command = item.command
        rank = (_TASK, aged(now_ms, command.priority))
        return Work(rank, item.key.tenant_id, command.program, frozenset(command.tags), item)

    def _hand_out(self, item: Item, worker: Worker, number: int) -> WorkClaimed:
        if isinstance(item, Lead):
            worker.hold(item.claim_id, item, number)
            return WorkClaimed(
                lead=LeadClaim(
                    claim_id=item.claim_id, instance_id=item.key.instance_id, epoch=item.epoch, program=item.program
                )
            )
        if isinstance(item, Loan):
            worker.hold(item.claim_id, item, number)
            return WorkClaimed(task=item.task)
        item.claim_id, command = new_id(), item.command
        worker.hold(item.claim_id, item, number)
        item.stands(TaskOffered(status="claimed"))
        return WorkClaimed(
            task=TaskClaim(
                claim_id=item.claim_id,
                instance_id=item.key.instance_id,
                program=command.program,
                place=command.place,
                payload=command.payload,
            )
        )

    def _listens(self, slot: Slot) -> bool:
        """Return whether somebody still waits for what a slot is to do; otherwise it waits no more."""
        worker = self._workers[slot.id.worker]
        if worker.parked[slot.id.number].deferred.is_open:
            return True
        self._unparked(worker, slot.id.number)
        self._announce(slot.group)
        return False

    def _slot_is_free(self, worker: Worker, number: int) -> None:
        """A slot asks for work: what it had before is over, or lost."""
        self._unpark(worker, number)
        claim_id = worker.slots.get(number)
        if claim_id is not None:
            self._lose(worker, claim_id, f"worker {worker.id.name!r} has left it without a word")

    def _lose(self, worker: Worker, claim_id: str, why: str) -> None:
        """A worker has lost what it held."""
        item = worker.drop(claim_id)
        if isinstance(item, Lead):
            self._crash(item, why)
        elif isinstance(item, Loan):
            item.give_back(item)
        elif item is not None:
            item.stands(TaskOffered(status="waiting"))
            self._offer_work(item)

    def _take_back(self, item: Lead | Offer, claim_id: str, *, tell: bool) -> None:
        """See to it that nobody works on something any more."""
        if item.worker is None:
            self._board.discard(item.key.tenant_id, item)
        else:
            self._take_from(item.worker, claim_id, tell=tell)

    def _take_from(self, worker_id: WorkerId, claim_id: str, *, tell: bool) -> None:
        """See to it that a worker works on something no more."""
        worker = self._workers[worker_id]
        worker.drop(claim_id)
        if tell:
            self._kept(worker, (claim_id,))

    def _crash(self, lead: Lead, error: str, *, counts: bool = True) -> None:
        """Report the loss of an attempt; its instance answers with a `Stop`, and perhaps with another launch."""
        self.report(Report(lead.key, CrashInstance(epoch=lead.epoch, error=error, counts=counts)))

    # Workers ---------------------------------------------------------------------------------------------------------

    def _heard_of(self, worker_id: WorkerId, lease_ms: int) -> Worker:
        worker = self._workers.get(worker_id)
        if worker is None:
            if len(self._workers) >= WORKERS_MAX:
                raise Busy(f"{WORKERS_MAX} workers hold a lease already, the bound: try again later")
            worker = self._workers[worker_id] = Worker(worker_id)
            self.tell_later(lease_ms / 1000, _Lapse(worker_id))
        worker.lease, worker.is_excused = lease_ms / 1000, False
        worker.until = trio.current_time() + worker.lease
        return worker

    @hears(_Lapse)
    def lapse(self, message: _Lapse) -> None:
        """Give to others what a worker holds that was not heard of for too long.

        Time in which this process stood still counts for nobody: this comes late then, and has as much patience once.
        """
        worker = self._workers[message.worker_id]
        left = worker.until - trio.current_time()
        if left < 0 and not worker.is_excused:
            worker.is_excused = True
            left = min(-left, worker.lease)
            worker.until = trio.current_time() + left
        if left > 0:
            self.tell_later(left, message)
            return
        for number in tuple(worker.parked):
            self._unpark(worker, number)
        self._kept(worker, ())
        del self._workers[worker.id]
        for claim_id in tuple(worker.held):
            self._lose(worker, claim_id, f"worker {worker.id.name!r} was not heard of for as long as its lease")

    def _holds(self, worker: Worker, claim_id: str) -> bool:
        """Return whether a worker holds what it says; an attempt that nobody else is known to hold is believed."""
        if claim_id in worker.held:
            return True
        named = parse_lead(claim_id)
        if named is None:
            return False
        lead = self._leads.get(InstanceKey(worker.id.tenant_id, named[0]))
        if lead is None or lead.epoch != named[1]:
            return lead is None  # if that is not true, its instance says so
        if lead.worker is None and not self._board.discard(lead.key.tenant_id, lead):
            worker.hold(claim_id, lead, None)
        return lead.worker == worker.id

    def _kept(self, worker: Worker, lost: tuple[str, ...]) -> None:
        """Answer a worker that waits for news of its claims."""
        keeping, worker.keeping = worker.keeping, None
        if keeping is not None:
            if worker.keeping_timer is not None:
                worker.keeping_timer.cancel()
            keeping.settle(ClaimsKept(lost=lost))

    @hears(_Unkeep)
    def unkeep(self, message: _Unkeep) -> None:
        """Tell a worker that it still has what it holds."""
        worker = self._workers.get(message.worker_id)
        if worker is not None:
            self._kept(worker, ())

    @hears(_Unpark)
    def unpark(self, message: _Unpark) -> None:
        """Tell a slot that nothing has come."""
        worker = self._workers.get(message.worker_id)
        if worker is not None:
            self._unpark(worker, message.number)

    def _unpark(self, worker: Worker, number: int) -> None:
        if number not in worker.parked:
            return
        slot = self._board.unpark(worker.slot_id(number))
        self._unparked(worker, number).deferred.settle(WorkClaimed())
        if slot is not None:
            self._announce(slot.group)

    def _unparked(self, worker: Worker, number: int) -> Parked:
        parked = worker.parked.pop(number)
        self.system.deadlines.discard(parked)
        self._parked -= 1
        return parked

    def _announce(self, group: Group, arrived: InstanceKey | None = None) -> None:
        """Tell the scheduler how many slots are idle; where there is none yet, it asks when it starts."""
        self._tell_scheduler(SlotsIdle(group, self._board.count(group), arrived))

    def _tell_scheduler(self, message: SlotsIdle | PoolBegins) -> None:
        with suppress(RuntaraError):
            self.system.ref(self._scheduler).tell_nowait(message)

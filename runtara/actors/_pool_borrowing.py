"""The part of a pool that borrows tasks of other nodes of its store for slots of its own workers that are idle.

A node that has tasks says so, and is asked for one at a time, for a slot that nothing waits for here; what it lends is
given to that slot at once, or back. The lender is told again and again that this node lives, and what the worker has
made of a task; what it does not want any more, or may have given to others meanwhile, the worker is told to leave.
Nothing is stored: if this node dies its loans lapse, and if the lender does whoever leads offers them anew.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final

import msgspec
import trio

from runtara.actors._deferred import Deferred
from runtara.actors._pool_board import Kind, Slot
from runtara.actors._pool_claims import Worker
from runtara.actors._pool_lending import SAY_AGAIN, Lending
from runtara.actors._pool_loans import Lender, Loan
from runtara.actors._service import hears
from runtara.actors.neighbours import Neighbourhood
from runtara.clock import Clock
from runtara.errors import RuntaraError, Unreachable
from runtara.ids import InstanceKey, new_id
from runtara.messages import Call, ClaimsKept, ClaimWork, FinishTask, KeepClaims, TaskFinished, WorkClaimed
from runtara.records import Holder
from runtara.store import Tenure

__all__ = ["LENDERS_MAX", "Borrowing", "TasksWait"]

LENDERS_MAX: Final = 10_000
"""Most nodes, each once for each tenant, of which it is remembered that tasks wait there."""

FINISHED_MAX: Final = 10_000
"""Most borrowed tasks of which it is remembered whether their outcome has counted."""

_NEWS_LAST: Final = 3 * SAY_AGAIN
_PATIENCE: Final = 5.0
"""Seconds that another node may take to answer."""

_OUTCOME_PATIENCE: Final = 30.0
_PAUSE: Final = 0.25
"""Seconds between two tries to reach a lender."""

_FAREWELL: Final = 1.0
"""Seconds that a node which goes down takes to give back what it has borrowed."""

_KEEPS: Final = 4
"""How often a lender hears within the length of a lease that this node lives."""


class TasksWait(msgspec.Struct, frozen=True):
    """From another node: tasks of a tenant wait there for a worker that runs a program."""

    node: int
    tenant_id: str
    program: str


class Borrowing(Lending):
    """Fetches tasks for idle slots. Without `neighbourhood`, there is nobody to fetch them from; see `Lending`."""

    def __init__(
        self,
        *,
        instances: str,
        scheduler: str,
        clock: Clock,
        writer: str,
        tenure: Tenure | None,
        neighbourhood: Neighbourhood | None,
        lease: float,
    ) -> None:
        super().__init__(instances=instances, scheduler=scheduler, clock=clock, writer=writer, tenure=tenure)
        self._neighbourhood: Final = neighbourhood
        self._lease: Final = lease
        self._name: Final = new_id()
        """Under which the others know this life of the pool: what an earlier one has borrowed lapses."""
        self._lenders: Final[dict[str, dict[int, Lender]]] = {}
        """By tenant, then by number of the node."""
        self._asked_for: Final[set[Slot]] = set()
        """Idle slots for which a node is being asked."""
        self._peers: Mapping[int, Holder] = {}
        self._finished: Final[dict[tuple[str, str], TaskFinished]] = {}
        """By tenant and claim: the answer to who says again what has become of a task."""

    @property
    def borrowed(self) -> int:
        """How many tasks other nodes have lent."""
        return sum(len(lender.loans) for lenders in self._lenders.values() for lender in lenders.values())

    # What there is to borrow ------------------------------------------------------------------------------------------

    @hears(TasksWait)
    def tasks_wait(self, message: TasksWait) -> None:
        """Fetch what another node has, as far as slots are idle; and whatever it has when one is, for a while."""
        if self._neighbourhood is None:
            return
        lender = self._lenders.get(message.tenant_id, {}).get(message.node) or self._meet(message)
        if lender is not None:
            lender.has_news(message.program, trio.current_time() + _NEWS_LAST)
            self._borrow(lender)

    def _meet(self, message: TasksWait) -> Lender | None:
        """Take note of a node that lends; None where no more can be remembered: what waits there is said again."""
        if sum(map(len, self._lenders.values())) >= LENDERS_MAX:
            self._forget_idle()
        if sum(map(len, self._lenders.values())) >= LENDERS_MAX:
            return None
        lender = Lender(message.node, message.tenant_id)
        self._lenders.setdefault(message.tenant_id, {})[message.node] = lender
        return lender

    def _park(self, slot: Slot) -> None:
        super()._park(slot)
        self._borrow_of_any(slot.id.worker.tenant_id)

    def _borrow_of_any(self, tenant_id: str) -> None:
        """Ask whoever may have something: a slot has just become idle, or been refused by one of them."""
        lenders = list(self._lenders.get(tenant_id, {}).values())
        for lender in sorted(lenders, key=lambda _: self.system.random()):
            self._borrow(lender)

    def _forget_idle(self) -> None:
        now = trio.current_time()
        for tenant_id, lenders in tuple(self._lenders.items()):
            for lender in tuple(lenders.values()):
                if lender.is_idle(now, self._lease):
                    del lenders[lender.node]
            if not lenders:
                del self._lenders[tenant_id]

    def _borrow(self, lender: Lender) -> None:
        if not lender.is_asked and self._wanting(lender) is not None:
            lender.is_asked = True
            self.start_soon(self._ask_for_tasks, lender)

    def _wanting(self, lender: Lender) -> Slot | None:
        """Return an idle slot for which a node may have something, if there is one."""
        if self._tenure is not None and self._tenure.draining:
            return None
        now = trio.current_time()
        wanting = (slot for slot in self._board.idle_of(lender.tenant_id) if slot not in self._asked_for)
        return next((slot for slot in wanting if lender.may_have(Kind.of(slot), now)), None)

    async def _ask_for_tasks(self, lender: Lender) -> None:
        """Ask for one task after the other, for as long as there are slots for them and it has some."""
        try:
            while (slot := self._wanting(lender)) is not None and (number := lender.free_number()) is not None:
                self._pay(lender)
                await self._ask_for_task(lender, slot, number)
        finally:
            lender.is_asked = False

    async def _ask_for_task(self, lender: Lender, slot: Slot, number: int) -> None:
        command = ClaimWork(
            worker_id=self._name,
            slot=number,
            programs=tuple(slot.programs),
            tags=tuple(slot.tags),
            lease_ms=self._lease_ms,
        )
        self._asked_for.add(slot)
        told = lender.told
        try:
            claimed = await self._ask(lender, command, _PATIENCE)
        except RuntaraError:
            lender.is_gone(told)
            self._owe(lender, number)  # it may have given something
            claimed = WorkClaimed()
        finally:
            self._asked_for.discard(slot)
        if claimed.task is None:
            lender.has_nothing(Kind.of(slot), told)
            self._borrow_of_any(lender.tenant_id)  # nobody else was asked for this slot meanwhile
            return
        loan = lender.loans[claimed.task.claim_id] = Loan(claimed.task, number, lender, self._give_back)
        self._keep_soon(lender)
        self._use(loan, Kind.of(slot))

    def _use(self, loan: Loan, kind: Kind) -> None:
        """Give a loan to a slot that it was asked for; if it is not idle any more, to another one like it, or back."""
        slot = self._board.pick(loan.lender.tenant_id, lambda slot: Kind.of(slot) == kind, self._listens)
        if slot is None:
            self._give_back(loan)
        else:
            self._serve(slot, loan)

    # What is borrowed -------------------------------------------------------------------------------------------------

    def finish_loan(self, worker: Worker, loan: Loan, command: FinishTask) -> Deferred:
        """Tell a lender what has become of a task; answer what it says."""
        deferred = Deferred()
        self.start_soon(deferred.answer, partial(self._pass_outcome, worker, loan, command), self._slot.interrupted)
        return deferred

    async def _pass_outcome(self, worker: Worker, loan: Loan, command: FinishTask) -> TaskFinished:
        finished: TaskFinished = await self._ask(loan.lender, command, _OUTCOME_PATIENCE)
        if len(self._finished) >= FINISHED_MAX:
            del self._finished[next(iter(self._finished))]
        self._finished[loan.lender.tenant_id, loan.claim_id] = finished
        loan.lender.loans.pop(loan.claim_id, None)
        worker.drop(loan.claim_id)
        return finished

    def was_finished(self, tenant_id: str, command: FinishTask) -> TaskFinished | None:
        """Return what a lender has answered when this was said before; None where it is not known."""
        return self._finished.get((tenant_id, command.claim_id))

    def _give_back(self, loan: Loan) -> None:
        """A worker has lost what was borrowed for it: the lender is to give it to others."""
        if loan.lender.loans.pop(loan.claim_id, None) is not None:
            self._owe(loan.lender, loan.number)

    def _lost(self, lender: Lender, claim_id: str) -> None:
        """A lender may have given to others what it has lent: whoever works on it here stops."""
        loan = lender.loans.get(claim_id)
        if loan is None:
            return
        self._give_back(loan)
        if loan.worker is not None:
            self._take_from(loan.worker, claim_id, tell=True)

    def _owe(self, lender: Lender, number: int) -> None:
        lender.debts.add(number)
        self._pay(lender)

    def _pay(self, lender: Lender) -> None:
        """Have a lender told which slots work on nothing, if any do."""
        if lender.debts and not lender.is_paid:
            lender.is_paid = True
            self.start_soon(self._pay_all, lender)

    async def _pay_all(self, lender: Lender) -> None:
        """Give back what a lender may have given, or leave it until it is asked again; or until its lease is over."""
        until = trio.current_time() + self._lease
        try:
            while lender.debts and trio.current_time() < until:
                number = next(iter(lender.debts))
                try:
                    await self._ask(lender, self._goodbye(number), _PATIENCE)
                except RuntaraError:
                    await trio.sleep(_PAUSE)
                else:
                    lender.debts.discard(number)
        finally:
            lender.is_paid = False

    def _goodbye(self, number: int) -> ClaimWork:
        return ClaimWork(worker_id=self._name, slot=number, programs=(), lease_ms=self._lease_ms)

    async def return_all(self) -> None:
        """Give back what was borrowed, as this node goes down; what cannot be given back in time lapses."""
        with trio.move_on_after(_FAREWELL):
            async with trio.open_nursery() as nursery:
                for lenders in self._lenders.values():
                    for loan in (loan for lender in lenders.values() for loan in lender.loans.values()):
                        nursery.start_soon(self._return, loan)

    async def _return(self, loan: Loan) -> None:
        with suppress(RuntaraError):
            await self._ask(loan.lender, self._goodbye(loan.number), _FAREWELL)

    # Saying that this node lives --------------------------------------------------------------------------------------

    def _keep_soon(self, lender: Lender) -> None:
        if not lender.is_kept:
            lender.is_kept = True
            self.start_soon(self._keep, lender)

    async def _keep(self, lender: Lender) -> None:
        """Keep what was borrowed, until nothing is left; what is lost, its worker is told."""
        try:
            while lender.loans:
                held = tuple(lender.loans)
                try:
                    lost = await self._keep_once(lender, held)
                except RuntaraError:
                    lost = held if self._is_silent(lender) else ()
                    if not lost:
                        await trio.sleep(_PAUSE)
                for claim_id in lost:
                    self._lost(lender, claim_id)
        finally:
            lender.is_kept = False

    async def _keep_once(self, lender: Lender, held: tuple[str, ...]) -> tuple[str, ...]:
        self._pay(lender)
        every = self._lease / _KEEPS
        left = max(_PAUSE, lender.heard_at + self._lease - trio.current_time())
        wait_ms = int(min(every, left / 2) * 1000)
        command = KeepClaims(worker_id=self._name, held=held, lease_ms=self._lease_ms, wait_ms=wait_ms)
        kept: ClaimsKept = await self._ask(lender, command, min(left, every + _PATIENCE))
        return kept.lost

    def _is_silent(self, lender: Lender) -> bool:
        """Return whether a lender may have given to others what it has lent, as it has not heard of this node."""
        return trio.current_time() >= lender.heard_at + self._lease

    # Questions --------------------------------------------------------------------------------------------------------

    @property
    def _lease_ms(self) -> int:
        return int(self._lease * 1000)

    async def _ask(self, lender: Lender, command: ClaimWork | KeepClaims | FinishTask, timeout: float) -> Any:
        """Have another node answer. Raises what it refuses with, and `Unreachable`."""
        assert self._neighbourhood is not None, "else there are no lenders"
        lender.asked_at = asked_at = trio.current_time()
        call = Call(InstanceKey(lender.tenant_id, _ABOUT), command)
        try:
            answer = await self._neighbourhood.ask(await self._find(lender), call, timeout, "a task waits there")
        except RuntaraError:
            self._peers = {}
            raise
        lender.heard_at = max(lender.heard_at, asked_at)
        return answer

    async def _find(self, lender: Lender) -> Holder:
        node = lender.node
        if node not in self._peers:
            assert self._neighbourhood is not None, "else there are no lenders"
            self._peers = {holder.node: holder for holder in await self._neighbourhood.list_peers()}
        if node not in self._peers:
            lender.heard_at = -inf
            raise Unreachable(f"node {node} is not there any more: whoever led an instance there is led elsewhere")
        return self._peers[node]


_ABOUT: Final = "workflows"
"""What calls about the tasks of a tenant name as their instance, as workers do: none is meant."""

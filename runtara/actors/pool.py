"""The pool: gives workers what no host launches, whole instances to lead and single tasks, and watches over both.

An instance of a pooled program is claimed by the scheduler when a slot of a worker is idle, and comes here as any other
launch goes to a runner. Its worker registers with the claimed epoch and is fenced by it ever after: the pool hands work
out, it guards nothing. Whoever leads an instance may offer some of its tasks to other workers; what comes of them is
told to the one who leads, who stores it. Nothing here is stored: after a restart an offer is made again, workers say
what they hold, and what nobody holds is launched again.
"""

from typing import Any, Final, Literal

import msgspec

from runtara.actors._deferred import Deferred
from runtara.actors._pool_board import WorkerId
from runtara.actors._pool_borrowing import Borrowing
from runtara.actors._pool_claims import Lead, Offer
from runtara.actors._pool_loans import Loan
from runtara.actors._reply import Reply
from runtara.actors._reporter import Report
from runtara.actors._service import hears
from runtara.actors.instance import Enforce, Launch, Stop, Untrack
from runtara.actors.instances import Effected
from runtara.actors.neighbours import Neighbourhood, Shared
from runtara.actors.places import PoolBegins
from runtara.actors.storage import Query
from runtara.clock import Clock
from runtara.errors import ActorStopped, Busy
from runtara.ids import InstanceKey, is_pooled
from runtara.messages import (
    Call,
    ClaimWork,
    EnforceSignals,
    FinishTask,
    Heartbeat,
    KeepClaims,
    OfferTask,
    TaskFinished,
    TaskOffered,
    TaskWithdrawn,
    TimeOutInstance,
    WithdrawTask,
)
from runtara.store import RunningInstance, Tenure

__all__ = ["OFFERS_MAX", "Pool"]

OFFERS_MAX: Final = 1_000
"""Most tasks of one instance that are offered at a time."""

_PAGE: Final = 1_000
_HANDED_OVER_MAX: Final = 10_000
"""Most instances of which it is remembered what tags their next worker needs."""


class _Quiet(msgspec.Struct, frozen=True):
    """Nothing has come of an offer for as long as the one who offers it wanted to wait."""

    offer: Offer


class _Orphaned(msgspec.Struct, frozen=True):
    """Whoever leads what an earlier life has handed out has had his time to say so."""


class _Overdue(msgspec.Struct, frozen=True):
    """An attempt may have run for as long as it may."""

    lead: Lead
    timeout_at: int


class _Verified(msgspec.Struct, frozen=True):
    """An instance has said whether it is led by the one who offers, or withdraws, a task of it."""

    call: Call
    deferred: Deferred
    refusal: BaseException | None


class Pool(Borrowing):
    """Answers what `messages` lets workers say. `instances`, `reader`, `scheduler` and `writer` are paths of actors.

    `tenure` is this node's place among those that share the store, and `shared` the way to the others, where there are
    any; what is borrowed of them is kept by telling them within every `lease` that this node lives.

    `patience` is for how many seconds a worker that an earlier life knew may say that it lives; 0 where no worker can
    have survived. `grace` is how many seconds an attempt has to act upon a signal. Times are in seconds.
    """

    AT_ONCE = False  # it answers some questions later

    def __init__(
        self,
        *,
        instances: str,
        reader: str,
        scheduler: str,
        clock: Clock,
        clock_check: float,
        patience: float,
        grace: float,
        writer: str,
        tenure: Tenure | None = None,
        shared: Shared | None = None,
        lease: float = 10.0,
    ) -> None:
        neighbourhood = None if shared is None else Neighbourhood(shared, lambda: self.system.ref(reader))
        super().__init__(
            instances=instances,
            scheduler=scheduler,
            clock=clock,
            writer=writer,
            tenure=tenure,
            neighbourhood=neighbourhood,
            lease=lease,
        )
        self._reader_path: Final = reader
        self._clock_check: Final = clock_check
        self._patience: Final = patience
        self._grace: Final = grace
        self._offers: Final[dict[InstanceKey, dict[str, Offer]]] = {}
        self._over: Final[dict[InstanceKey, dict[str, Literal["done", "withdrawn"]]]] = {}
        """What has become of offers, by place: a question and a withdrawal may be on their way at the same time."""

    # Its life --------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Take note of what an earlier life has handed out."""
        reader = self.system.ref(self._reader_path)
        after: InstanceKey | None = None
        while True:
            rows: list[RunningInstance] = await reader.ask(Query("list_running", (_PAGE, after)))
            for row in rows:
                if row.claimed_epoch is not None and row.program is not None and is_pooled(row.program):
                    self._leads[row.key] = Lead(row.key, row.claimed_epoch, row.program)
                    self._arm_timeout(self._leads[row.key], row.timeout_at)
            if len(rows) < _PAGE:
                break
            after = rows[-1].key
        self._tell_scheduler(PoolBegins())
        if self._leads:
            self.tell_later(self._patience, _Orphaned())

    async def on_stop(self, failure: BaseException | None) -> None:
        """Have all ask again who wait, and others do what was borrowed."""
        gone = ActorStopped(f"{self.ref.path} has ended: ask again")
        for worker in self._workers.values():
            for parked in worker.parked.values():
                parked.deferred.fail(gone)
            if worker.keeping is not None:
                worker.keeping.fail(gone)
        for offers in self._offers.values():
            for offer in offers.values():
                if offer.listener is not None:
                    offer.listener.fail(gone)
        if failure is None:
            await self.return_all()

    def describe(self) -> dict[str, Any]:
        """Return how many workers there are, how many of their slots are idle, and what they hold or have to do.

        ``lent`` are tasks that other nodes have, ``borrowed`` those that this one has of them.
        """
        return {
            "workers": sum(not worker_id.is_node for worker_id in self._workers),
            "idle": self._board.idle,
            "waiting": self._board.waiting,
            "leads": len(self._leads),
            "offers": sum(map(len, self._offers.values())),
            "lent": self.lent,
            "borrowed": self.borrowed,
        }

    @hears(_Orphaned)
    def orphaned(self, _: _Orphaned) -> None:
        """Report the attempts that nobody holds, if they were not handed out since."""
        for lead in tuple(self._leads.values()):
            if lead.worker is None and not self._board.discard(lead.key.tenant_id, lead):
                self._crash(lead, "the worker that had the instance is gone", counts=False)

    # What instances decide -------------------------------------------------------------------------------------------

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Find a worker for an attempt, or take note that an attempt is over."""
        key, effect = message.key, message.effect
        if isinstance(effect, Launch):
            if is_pooled(effect.program):
                self._launch(key, effect)
        elif isinstance(effect, Untrack):
            self._drop_offers(key)
        elif isinstance(effect, Stop):
            self._stop(key, effect)
        elif isinstance(effect, Enforce) and key in self._leads:
            after = self._grace if effect.after_ms is None else effect.after_ms / 1000
            self.tell_later(after, Report(key, EnforceSignals(epoch=effect.epoch)))

    def _launch(self, key: InstanceKey, launch: Launch) -> None:
        known = self._leads.get(key)
        if known is not None and known.epoch >= launch.epoch:
            if known.epoch == launch.epoch and known.worker is None:  # told again: it has found nobody yet
                self._board.discard(key.tenant_id, known)
                self._offer_work(known)
            return
        if known is not None:
            self._end(known, tell=True)
        lead = self._leads[key] = Lead(key, launch.epoch, launch.program)
        self._arm_timeout(lead, launch.timeout_at)
        self._offer_work(lead, arrived=key)

    def _stop(self, key: InstanceKey, stop: Stop) -> None:
        self._drop_offers(key)
        lead = self._leads.get(key)
        if lead is not None and lead.epoch == stop.epoch:
            self._end(lead, tell=stop.how != "leave")  # else it was told with the answer to what it has said

    def _end(self, lead: Lead, *, tell: bool) -> None:
        """An attempt is over, for whatever reason."""
        del self._leads[lead.key]
        if lead.timer is not None:
            lead.timer.cancel()
        self._take_back(lead, lead.claim_id, tell=tell)

    def _arm_timeout(self, lead: Lead, timeout_at: int | None) -> None:
        if timeout_at is not None:
            left = max(0.0, (timeout_at - self._clock.now_ms()) / 1000)
            lead.timer = self.tell_later(min(left, self._clock_check), _Overdue(lead, timeout_at))

    @hears(_Overdue)
    def time_out(self, message: _Overdue) -> None:
        """Report an attempt that has run for as long as it may, once it has."""
        lead = message.lead
        if self._leads.get(lead.key) is not lead:
            return
        if self._clock.now_ms() < message.timeout_at:
            self._arm_timeout(lead, message.timeout_at)
        else:
            self.report(Report(lead.key, TimeOutInstance(epoch=lead.epoch)))

    # What workers say ------------------------------------------------------------------------------------------------

    @hears(Call)
    def call(self, call: Call) -> object:
        """Answer, at once or when there is something to say."""
        command, tenant_id = call.command, call.key.tenant_id
        if isinstance(command, ClaimWork):
            worker_id = WorkerId(tenant_id, command.worker_id, call.passed_on)
            return self.lend(worker_id, command) if call.passed_on else self.claim_work(worker_id, command)
        if isinstance(command, KeepClaims):
            return self.keep_claims(WorkerId(tenant_id, command.worker_id, call.passed_on), command)
        if isinstance(command, FinishTask):
            return self._finish_task(tenant_id, command)
        return self._verify(call)

    def _finish_task(self, tenant_id: str, command: FinishTask) -> TaskFinished | Deferred:
        for worker in self._workers.values():
            item = worker.held.get(command.claim_id) if worker.id.tenant_id == tenant_id else None
            if isinstance(item, Loan):
                return self.finish_loan(worker, item, command)
            if isinstance(item, Offer):
                worker.drop(command.claim_id)
                item.stands(TaskOffered(status="done", outcome=command.outcome))
                return TaskFinished(accepted=True)
        return self.was_finished(tenant_id, command) or TaskFinished(accepted=self._has_counted(tenant_id, command))

    def _has_counted(self, tenant_id: str, command: FinishTask) -> bool:
        """Return whether this was said before, and has counted."""
        offers = (offer for key, row in self._offers.items() if key.tenant_id == tenant_id for offer in row.values())
        return any(offer.claim_id == command.claim_id and offer.state.status == "done" for offer in offers)

    def _verify(self, call: Call) -> Deferred:
        """Have the instance say whether it is led by who speaks."""
        deferred, mine = Deferred(), self._slot.mailbox

        def then(reply: Reply) -> None:
            mine.put_control(_Verified(call, deferred, reply.error))

        self.system.cell(self._instances, call.key).ask_then(Call(call.key, Heartbeat(), call.epoch), then)
        return deferred

    @hears(_Verified)
    def verified(self, message: _Verified) -> None:
        """Answer who leads an instance; refuse anybody else."""
        call, deferred = message.call, message.deferred
        if message.refusal is not None:
            deferred.fail(message.refusal)
            return
        offers = self._offers.get(call.key, {})
        if any(offer.epoch != call.epoch for offer in offers.values()):
            self._drop_offers(call.key)
        if isinstance(call.command, OfferTask):
            self._offer_task(call, call.command, deferred)
        elif isinstance(call.command, WithdrawTask):
            deferred.settle(TaskWithdrawn(withdrawn=self._withdraw(call.key, call.command)))

    def _offer_task(self, call: Call, command: OfferTask, listener: Deferred) -> None:
        offers = self._offers.setdefault(call.key, {})
        offer = offers.get(command.place)
        if offer is None and command.wait_ms and self._over.get(call.key, {}).get(command.place) == "withdrawn":
            listener.settle(TaskOffered(status="waiting"))  # asked before that was withdrawn: it offers nothing anew
            return
        if offer is None:
            if len(offers) >= OFFERS_MAX:
                self._forget_done(call.key)
            if len(offers) >= OFFERS_MAX:
                listener.fail(Busy(f"{OFFERS_MAX} tasks of the instance are offered already, the bound: wait for some"))
                return
            assert call.epoch is not None, "its instance has just compared it"
            self._over.get(call.key, {}).pop(command.place, None)
            offer = offers[command.place] = Offer(call.key, call.epoch, command)
            self._offer_work(offer)
        offer.tell()  # whoever has asked before, and waits
        offer.listener = listener
        is_done = offer.state.status == "done"
        if is_done or offer.state != offer.told or not command.wait_ms:
            offer.tell()
        else:
            offer.timer = self.tell_later(command.wait_ms / 1000, _Quiet(offer))
        if is_done:
            del offers[command.place]  # an answer that is lost costs another run, as any loss before the checkpoint
            self._take_note(call.key, command.place, "done")

    def _forget_done(self, key: InstanceKey) -> None:
        """Make room: what has come of a task was told, and was kept only in case that this was not heard."""
        offers = self._offers[key]
        for offer in tuple(offers.values()):
            if offer.state.status == "done" and offer.told == offer.state:
                del offers[offer.command.place]
                self._take_note(key, offer.command.place, "done")

    def _withdraw(self, key: InstanceKey, command: WithdrawTask) -> bool:
        offer = self._offers.get(key, {}).get(command.place)
        if offer is None:
            return self._over.get(key, {}).get(command.place) != "done"
        if offer.state.status != "waiting":
            return False
        if command.hand_over:
            if len(self._handed_over) >= _HANDED_OVER_MAX:
                self._handed_over.clear()
            self._handed_over[key] = frozenset(offer.command.tags)
        self._drop_offer(offer)
        self._take_note(key, command.place, "withdrawn")
        return True

    def _take_note(self, key: InstanceKey, place: str, end: Literal["done", "withdrawn"]) -> None:
        over = self._over.setdefault(key, {})
        if len(over) >= OFFERS_MAX:
            over.clear()
        over[place] = end

    def _drop_offers(self, key: InstanceKey) -> None:
        """Whoever leads an instance, it is not the one any more who has offered these tasks."""
        self._over.pop(key, None)
        for offer in tuple(self._offers.get(key, {}).values()):
            self._drop_offer(offer)
        self._offers.pop(key, None)

    def _drop_offer(self, offer: Offer) -> None:
        offers = self._offers[offer.key]
        del offers[offer.command.place]
        if not offers:
            del self._offers[offer.key]
        self._take_back(offer, offer.claim_id, tell=True)
        offer.tell()

    @hears(_Quiet)
    def quiet(self, message: _Quiet) -> None:
        """Say again how an offer stands."""
        message.offer.tell()

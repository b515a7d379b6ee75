"""What a pool knows of its workers and of what they hold; it tells nobody anything."""

from collections.abc import Callable
from math import inf
from typing import Final

import trio

from runtara.actors._deferred import Deferred
from runtara.actors._pool_board import SlotId, WorkerId
from runtara.actors._pool_loans import Loan
from runtara.ids import InstanceKey, new_id
from runtara.messages import OfferTask, TaskOffered

__all__ = ["Item", "Lead", "Offer", "Parked", "Worker", "lead_claim_id", "parse_lead"]


def lead_claim_id(key: InstanceKey, epoch: int) -> str:
    """Return the id of the claim of an attempt: a worker can tell it to a pool that has forgotten it."""
    return f"{key.instance_id}@{epoch}"


def parse_lead(claim_id: str) -> tuple[str, int] | None:
    """Return instance and epoch of the claim of an attempt; None for another claim."""
    instance_id, at, epoch = claim_id.rpartition("@")
    return (instance_id, int(epoch)) if at and epoch.isascii() and epoch.isdigit() and len(epoch) < 19 else None


class Lead:
    """An attempt that waits for a worker, or that one has taken over."""

    def __init__(self, key: InstanceKey, epoch: int, program: str) -> None:
        self.key: Final = key
        self.epoch: Final = epoch
        self.program: Final = program
        self.claim_id: Final = lead_claim_id(key, epoch)
        self.worker: WorkerId | None = None
        self.timer: trio.CancelScope | None = None
        """Until it has run for as long as it may."""


class Offer:
    """A task that is offered by who leads an instance."""

    def __init__(self, key: InstanceKey, epoch: int, command: OfferTask) -> None:
        self.key: Final = key
        self.epoch: Final = epoch
        self.command: Final = command
        self.claim_id = new_id()
        """Another one for each worker that claims it."""
        self.worker: WorkerId | None = None
        self.state = TaskOffered(status="waiting")
        self.told = self.state
        """What the one who offers it was told last."""
        self.listener: Deferred | None = None
        self.timer: trio.CancelScope | None = None
        """Until the listener is told that nothing has come of it."""

    def stands(self, state: TaskOffered) -> None:
        """Take note of how it stands now, and tell it whoever listens."""
        self.state = state
        self.tell()

    def tell(self) -> None:
        """Answer who listens, if anybody does."""
        listener, self.listener = self.listener, None
        if self.timer is not None:
            self.timer.cancel()
        if listener is not None:
            self.told = self.state
            listener.settle(self.state)


Item = Lead | Offer | Loan


class Parked:
    """A slot that waits for work until its `deadline`, on the clock of the loop. One timer serves all that wait."""

    __slots__ = ("_expired", "deadline", "deferred")

    def __init__(self, deferred: Deferred, deadline: float, expired: Callable[[], object]) -> None:
        self.deferred: Final = deferred
        self.deadline = deadline
        self._expired: Final = expired

    def expire(self) -> None:
        """Say that it has waited for so long."""
        self._expired()


class Worker:
    """One worker. It is heard of until `until`, on the clock of the loop."""

    def __init__(self, worker_id: WorkerId) -> None:
        self.id: Final = worker_id
        self.until = -inf
        self.lease = 0.0
        """Seconds that it has each time that it is heard of."""
        self.is_excused = False
        """Whether its silence was excused once, since it was heard of, by one of our own."""
        self.parked: Final[dict[int, Parked]] = {}
        self.held: Final[dict[str, Item]] = {}
        """By id of the claim."""
        self.slots: Final[dict[int, str]] = {}
        """What each slot works on: the id of the claim."""
        self.keeping: Deferred | None = None
        self.keeping_timer: trio.CancelScope | None = None

    def hold(self, claim_id: str, item: Item, number: int | None) -> None:
        """Take note of what it works on, and in which slot, if that is known."""
        item.worker = self.id
        self.held[claim_id] = item
        if number is not None:
            self.slots[number] = claim_id

    def drop(self, claim_id: str) -> Item | None:
        """Forget a claim; return what it was of."""
        item = self.held.pop(claim_id, None)
        if item is not None:
            item.worker = None
            for number in [number for number, held in self.slots.items() if held == claim_id]:
                del self.slots[number]
        return item

    def slot_id(self, number: int) -> SlotId:
        """Return the name of one of its slots."""
        return SlotId(self.id, number)

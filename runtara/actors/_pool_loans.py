"""What a pool knows of the tasks of other nodes: which nodes have some, and what they have lent; it asks nobody."""

from collections.abc import Callable
from math import inf
from typing import Final

from runtara.actors._pool_board import Kind, WorkerId
from runtara.actors._pool_checks import SLOTS_MAX
from runtara.messages import TaskClaim

__all__ = ["NEWS_MAX", "Lender", "Loan"]

NEWS_MAX: Final = 1_024
"""Most programs of which it is remembered that tasks of one tenant wait for them at one node."""


class Loan:
    """A task of another node, for a worker of this one. `give_back` is called when that is lost."""

    def __init__(self, task: TaskClaim, number: int, lender: "Lender", give_back: Callable[["Loan"], None]) -> None:
        self.task: Final = task
        self.claim_id: Final = task.claim_id
        """The same here and there."""
        self.number: Final = number
        """Of the slot that this node has there for it."""
        self.lender: Final = lender
        self.give_back: Final = give_back
        self.worker: WorkerId | None = None


class Lender:
    """Another node of the store that tasks of one tenant wait at."""

    def __init__(self, node: int, tenant_id: str) -> None:
        self.node: Final = node
        """Its number: another one when it comes back after it was lost."""
        self.tenant_id: Final = tenant_id
        self.loans: Final[dict[str, Loan]] = {}
        """By id of the claim."""
        self.debts: Final[set[int]] = set()
        """Slots that this node has there, and that work on nothing, as it has yet to be told."""
        self.heard_at = -inf
        """When the last question was asked that it has answered, on the clock of the loop."""
        self.asked_at = -inf
        """When the last question was asked."""
        self.is_asked = self.is_kept = self.is_paid = False
        """Whether somebody asks it for tasks, keeps the loans, and pays the debts."""
        self.told = 0
        """How often it has said that tasks wait."""
        self._news: Final[dict[str, float]] = {}
        self._in_vain: Final[set[Kind]] = set()

    def has_news(self, program: str, until: float) -> None:
        """Take note that tasks wait for a program, and until when that is believed."""
        self.told += 1
        if len(self._news) >= NEWS_MAX:
            self._news.clear()
        self._news[program] = until
        self._in_vain.difference_update([kind for kind in self._in_vain if program in kind.programs])

    def has_nothing(self, kind: Kind, told: int) -> None:
        """Take note that nothing waits for slots of a kind, until there are news.

        It was asked when it had said `told` times that tasks wait: what it has said since may be newer than its answer.
        """
        if told != self.told:
            return
        if len(self._in_vain) >= NEWS_MAX:
            self._in_vain.clear()
        self._in_vain.add(kind)

    def is_gone(self, told: int) -> None:
        """Believe nothing of what it has said, until it says something; `told` as in `has_nothing`."""
        if told == self.told:
            self._news.clear()

    def may_have(self, kind: Kind, now: float) -> bool:
        """Return whether something may wait for a slot of a kind."""
        return kind not in self._in_vain and any(self._news.get(program, 0.0) > now for program in kind.programs)

    def free_number(self) -> int | None:
        """Return the number of a slot that this node does not use there; None where it uses all of them."""
        used = self.debts.union(loan.number for loan in self.loans.values())
        return next((number for number in range(SLOTS_MAX) if number not in used), None)

    def is_idle(self, now: float, lease: float) -> bool:
        """Return whether nothing has to be remembered of it: debts are void once nothing was said for long."""
        busy = self.loans or self.is_asked or self.is_kept or self.is_paid
        owes = self.debts and now < self.asked_at + 2 * lease
        return not busy and not owes and all(until <= now for until in self._news.values())

"""What workers say to the pool: commands, and their replies.

A worker is a process that runs programs which no host launches: those called ``pool:…`` (see `runtara.ids`). The pool
gives it what waits, a whole instance to lead or a single task of an instance that another worker leads, and hears what
becomes of it. Frozen and tagged like all messages; the package offers them. Payloads and outcomes of tasks are bytes
that the runtime never looks into.
"""

from typing import Literal

import msgspec

from runtara.messages._requests import Request

__all__ = [
    "ClaimWork",
    "ClaimsKept",
    "FinishTask",
    "KeepClaims",
    "LeadClaim",
    "OfferTask",
    "TaskClaim",
    "TaskFinished",
    "TaskOffered",
    "TaskWithdrawn",
    "WithdrawTask",
    "WorkClaimed",
]

# Said by workers ------------------------------------------------------------------------------------------------------


class LeadClaim(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An instance that a worker is to lead: to register with this epoch, and to take to its next rest or its end."""

    claim_id: str
    instance_id: str
    epoch: int
    program: str


class TaskClaim(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A task that a worker is to run for the one who leads its instance."""

    claim_id: str
    instance_id: str
    program: str
    place: str
    payload: bytes


class WorkClaimed(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """What a slot of a worker is to do: one of both, or neither, where nothing has come in time."""

    lead: LeadClaim | None = None
    task: TaskClaim | None = None


class ClaimWork(msgspec.Struct, Request[WorkClaimed], frozen=True, gc=False, tag=True, kw_only=True):
    """Ask for something to do, for one slot of a worker; wait for it, if need be.

    A slot does one thing at a time: to ask again says that the last one is over. An instance whose end or rest was not
    told by then counts as crashed, and a task that was not finished is offered to others.
    """

    worker_id: str
    slot: int
    """Number of the slot, from 0."""
    programs: tuple[str, ...]
    """What the worker can run."""
    tags: tuple[str, ...] = ()
    """It takes what has no other tags than these; without any, it takes everything."""
    lease_ms: int = 300_000
    """What the worker holds is given to others once it was not heard of for so long."""
    wait_ms: int = 0


class ClaimsKept(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Which claims are not wanted any more: whoever works on them stops."""

    lost: tuple[str, ...] = ()


class KeepClaims(msgspec.Struct, Request[ClaimsKept], frozen=True, gc=False, tag=True, kw_only=True):
    """Say that a worker lives, and what it works on; answered early when some of that is not wanted any more."""

    worker_id: str
    held: tuple[str, ...] = ()
    """Ids of claims."""
    lease_ms: int = 300_000
    wait_ms: int = 0


class TaskFinished(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Whether the outcome of a task counts: it does not, where the claim was lost."""

    accepted: bool


class FinishTask(msgspec.Struct, Request[TaskFinished], frozen=True, gc=False, tag=True, kw_only=True):
    """Say what became of a claimed task."""

    claim_id: str
    outcome: bytes


# Said by who leads an instance ----------------------------------------------------------------------------------------


class TaskOffered(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """How an offered task stands: it waits for a worker, one works on it, or it is done, with this outcome."""

    status: Literal["waiting", "claimed", "done"]
    outcome: bytes = b""


class OfferTask(msgspec.Struct, Request[TaskOffered], frozen=True, gc=False, tag=True, kw_only=True):
    """Offer a task of one's instance to other workers, and wait for what becomes of it.

    The same place again waits on for the same offer. Answered early whenever it stands otherwise than it was last told.
    """

    place: str
    """Names the task within the instance."""
    program: str
    """Who can run this can run the task."""
    payload: bytes
    tags: tuple[str, ...] = ()
    priority: int = 0
    """The higher goes first; one more is worth five minutes of waiting."""
    wait_ms: int = 0


class TaskWithdrawn(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Whether a task is offered no more: not where a worker works on it, or has finished it."""

    withdrawn: bool


class WithdrawTask(msgspec.Struct, Request[TaskWithdrawn], frozen=True, gc=False, tag=True, kw_only=True):
    """Take an offer back that nobody has claimed."""

    place: str
    hand_over: bool = False
    """Whether the instance is about to rest until a worker leads it that has the tags of this task."""

"""The slots of one worker, on one trio loop: each claims something, does it, and asks again.

Nothing polls: a claim waits at the runtime until there is something, and one call that waits there says for all of
them that the worker lives, and hears what is not wanted any more.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec
import trio

from runtara.errors import Retry, RuntaraError, TooLarge
from runtara.logs import LOG
from runtara.messages import ClaimWork, FinishTask, KeepClaims, LeadClaim, Request, TaskClaim
from runtara.sdk._bodies import Outcome
from runtara.sdk._types import RetryConfig
from runtara.sdk.flow._help import help_out
from runtara.sdk.flow._lead import Lead
from runtara.sdk.flow._libraries import Loops
from runtara.sdk.flow._programs import Served
from runtara.sdk.flow._tries import Bench
from runtara.sdk.flow._wire import MARGIN, write_outcome
from runtara.sdk.flow.backend import Backend
from runtara.transport import Door

__all__ = ["Crew", "Terms"]

R = TypeVar("R")

_MANAGER: Final = "workflows"
_PAUSE_MIN: Final = 0.05
_PAUSE_MAX: Final = 5.0
_KEEP_EVERY_MAX: Final = 15.0


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms a worker works."""

    worker_id: str
    slots: int
    tags: tuple[str, ...]
    lease: float
    """Seconds after which what it holds is given to others, where nothing is heard of it."""
    loops: Loops
    """Choose the event loop of each async task."""
    patience: float
    """Seconds that one claim waits for something to do."""


class Crew:
    """What a worker has at work. Made and run on one loop; `go_home` may be called from any thread."""

    def __init__(self, backend: Backend, programs: Mapping[str, Served], terms: Terms) -> None:
        self._backend: Final = backend
        self._programs: Final = programs
        self._terms: Final = terms
        self._door: Final[Door] = backend.beside(_MANAGER)
        self._held: Final[dict[str, Callable[[], None]]] = {}
        """What is worked on, by its claim; called, it stops."""
        self._leads: Final[set[Lead]] = set()
        self._idle: Final[set[trio.CancelScope]] = set()
        self._keeping = trio.CancelScope()
        self._beside: trio.Nursery
        """Where tasks run that are none of the slots'."""
        self._goes_home = False
        self.is_over = False
        """Whether it works no more."""
        self._token: trio.lowlevel.TrioToken | None = None

    async def run(self) -> None:
        """Work until told to go home. Cancelled, it drops everything: others have it once the lease is over."""
        self._token = trio.lowlevel.current_trio_token()
        self._bench = Bench(trio.CapacityLimiter(self._terms.slots), self._terms.loops)
        try:
            async with trio.open_nursery() as keeping:
                self._beside = keeping
                keeping.start_soon(self._keep)
                async with trio.open_nursery() as slots:
                    for number in range(self._terms.slots):
                        slots.start_soon(self._slot, number)
                keeping.cancel_scope.cancel()
        finally:
            self.is_over = True

    def go_home(self) -> None:
        """Claim nothing more, end the tasks that run, and let others have the rest; from any thread."""
        self._goes_home = True
        if self._token is not None:
            try:
                self._token.run_sync_soon(self._stop_waiting)
            except trio.RunFinishedError:
                return

    def _stop_waiting(self) -> None:
        for scope in self._idle:
            scope.cancel()
        for lead in self._leads:
            lead.look_again()

    # Work

    async def _slot(self, number: int) -> None:
        while not self._goes_home:
            with trio.CancelScope() as waiting:
                self._idle.add(waiting)
                try:
                    claimed = await self._ask(self._claim(number), self._terms.patience)
                finally:
                    self._idle.discard(waiting)
            if waiting.cancelled_caught:
                break
            if claimed.lead is not None:
                await self._lead(claimed.lead)
            elif claimed.task is not None:
                await self._help(claimed.task)
        await self._say_goodbye(number)

    def _claim(self, number: int) -> ClaimWork:
        terms = self._terms
        return ClaimWork(
            worker_id=terms.worker_id,
            slot=number,
            programs=tuple(self._programs),
            tags=terms.tags,
            lease_ms=int(terms.lease * 1000),
            wait_ms=int(terms.patience * 1000),
        )

    async def _say_goodbye(self, number: int) -> None:
        """Let go of what the runtime may just have given to a slot that did not wait any more."""
        terms = self._terms
        lease_ms = int(terms.lease * 1000)  # no longer than before: the next of its name is held to it, too
        goodbye = ClaimWork(worker_id=terms.worker_id, slot=number, programs=(), lease_ms=lease_ms)
        try:
            await self._door.call(goodbye)
        except RuntaraError as error:
            LOG.info("a worker left without a word", extra={"reason": str(error)})

    async def _lead(self, claim: LeadClaim) -> None:
        lead = Lead(
            self._backend,
            self._programs[claim.program],
            claim,
            tags=self._terms.tags,
            bench=self._bench,
            is_over=lambda: self._goes_home,
            start_soon=self._beside.start_soon,
        )
        self._leads.add(lead)
        try:
            with self._holding(claim.claim_id, lead.lose):
                await lead.run()
        finally:
            self._leads.discard(lead)

    async def _help(self, claim: TaskClaim) -> None:
        with trio.CancelScope() as scope, self._holding(claim.claim_id, scope.cancel):
            self._keeping.cancel()  # it is to be told of this one, too
            outcome = await help_out(self._backend, self._programs[claim.program], claim, self._bench)
            try:
                await self._ask(FinishTask(claim_id=claim.claim_id, outcome=outcome), 0.0)
            except TooLarge as error:
                refused = write_outcome(Outcome(error=error), RetryConfig())
                await self._ask(FinishTask(claim_id=claim.claim_id, outcome=refused), 0.0)

    @contextmanager
    def _holding(self, claim_id: str, stop: Callable[[], None]) -> Iterator[None]:
        self._held[claim_id] = stop
        try:
            yield
        finally:
            del self._held[claim_id]

    # Talk

    async def _keep(self) -> None:
        """Say that the worker lives, and stop what is not wanted any more; all of it, where nobody answers for long."""
        terms, heard_at = self._terms, trio.current_time()
        every = min(terms.lease / 4, _KEEP_EVERY_MAX)
        while True:
            held = tuple(self._held)
            command = KeepClaims(
                worker_id=terms.worker_id, held=held, lease_ms=int(terms.lease * 1000), wait_ms=int(every * 1000)
            )
            lost: tuple[str, ...] = ()
            with trio.CancelScope() as self._keeping:
                try:
                    lost = (await self._door.call(command, timeout=every + MARGIN)).lost
                    heard_at = trio.current_time()
                except RuntaraError as error:
                    LOG.warning("a worker was not heard", extra={"worker_id": terms.worker_id, "reason": str(error)})
                    if trio.current_time() - heard_at >= terms.lease:
                        lost = held
                    await trio.sleep(_PAUSE_MIN)
            self._lose(lost)
            for lead in tuple(self._leads):
                lead.look_if_late()

    def _lose(self, lost: tuple[str, ...]) -> None:
        for claim_id in lost:
            stop = self._held.get(claim_id)
            if stop is not None:
                stop()

    async def _ask(self, command: Request[R], waits: float) -> R:
        """Have a command answered, and try again for as long as the runtime cannot. Raises what it refuses for good."""
        pause = _PAUSE_MIN
        while True:
            try:
                return await self._door.call(command, timeout=waits + MARGIN)
            except RuntaraError as error:
                if error.retry is Retry.NEVER:
                    raise
            await trio.sleep(pause)
            pause = min(pause * 2, _PAUSE_MAX)

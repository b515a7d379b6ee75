"""The runner: launches the programs of instances, watches over their attempts, and reports how they end.

It acts on what instances decide (launch, stop, come back to enforce), and tells them what became of it; it decides
nothing for them. An attempt is in its hands from the decision to launch it until its end is stored by its instance,
and the engine (see `runners`) keeps what must outlive this actor. So when the actor, or the whole host, comes back,
attempts that still run are adopted and those that have ended are reported. The end of this actor is the end of no
program.

Each attempt has a task that waits for its end. What must happen later is a message to itself.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
import trio

from runtara.actors._deferred import Deferred
from runtara.actors._runner_logs import FOLLOWERS_MAX, Logs
from runtara.actors._runner_plan import Planner
from runtara.actors._runner_run import (
    STEPS,
    Graces,
    How,
    Run,
    log_ended,
    log_launched,
    log_not_launched,
    refused,
    report_of,
    usage_of,
)
from runtara.actors._service import Actor, hears
from runtara.actors._specs import Backoff
from runtara.actors.instance import Enforce, Launch, Stop
from runtara.actors.instances import Effected
from runtara.actors.neighbours import Neighbourhood, Shared
from runtara.actors.places import AwaitEmpty, KillAttempts, ListAttempts, ListPlaces, PlaceFreed, PlacesInUse
from runtara.actors.runners import Attempt, Ended, Engine, HostFailed
from runtara.actors.storage import Query
from runtara.clock import Clock
from runtara.errors import ActorStopped, Busy, Forbidden, InvalidInput, NotFound, Retry, RuntaraError
from runtara.ids import InstanceKey, is_pooled
from runtara.lifecycle import FINAL
from runtara.messages import (
    Call,
    Command,
    CrashInstance,
    EnforceSignals,
    GetStatus,
    ReadLog,
    TimeOutInstance,
)
from runtara.store import RunningInstance

__all__ = ["Graces", "Runner"]

_PAGE: Final = 1_000
_TRY_AGAIN: Final = Backoff(first=0.1, most=10.0)
"""Between tries to read or to say something while the store is away."""
_HOST_FAILED: Final = Backoff(first=0.2, most=60.0)
"""Between a launch that failed for want of memory, disk … and the report that leads to the next."""


class _Escalate(msgspec.Struct, frozen=True):
    """A program was given its time to end."""

    run: Run
    how: How


class _Overdue(msgspec.Struct, frozen=True):
    """An attempt may have run for as long as it may, or the clock is to be looked at again."""

    run: Run
    timeout_at: int


class _Unheeded(msgspec.Struct, frozen=True):
    """A program was given its time to act upon a signal."""

    run: Run


class _Compare(msgspec.Struct, frozen=True):
    """Find out which attempts are missing. Comes behind all launches that were decided before this actor started."""

    rows: tuple[RunningInstance, ...]


class Runner(Actor):
    """Runs attempts by means of an engine. `instances`, `reader`, `scheduler` and `images` are paths of actors.

    `connection` returns what a program needs to connect to this host: environment variables, its credential included.
    `clock_check` is the longest wait, in seconds, before the wall clock is looked at again. Where several nodes share
    the store, `shared` says how the others are asked, and the registry at `images` fetches what was pushed to them.
    """

    AT_ONCE = False  # it answers some questions later

    def __init__(
        self,
        *,
        instances: str,
        reader: str,
        scheduler: str,
        engine: Engine,
        connection: Callable[[InstanceKey, int], Mapping[str, str]],
        graces: Graces,
        clock: Clock,
        clock_check: float,
        shared: Shared | None = None,
        images: str | None = None,
    ) -> None:
        self._paths: Final = (instances, reader, scheduler)
        self._images: Final = images
        self._engine: Final = engine
        self._connection: Final = connection
        self._graces: Final = graces
        self._clock: Final = clock
        self._clock_check: Final = clock_check
        self._runs: Final[dict[InstanceKey, list[Run]]] = {}
        """Oldest first; more than one only while the older ones are on their way out."""
        neighbours = None if shared is None else Neighbourhood(shared, lambda: self._reader)
        self._logs: Final = Logs(engine, self._is_over, neighbours)
        self._waiting_for_none: Final[list[Deferred]] = []
        self._host_failures = 0

    # Its life --------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Take up what an earlier life has left."""
        fetcher = None if self._images is None else partial(self.system.ref, self._images)
        self._planner = Planner(self._reader, self._connection, self.system.random, fetcher)
        rows = await self._list_running()
        holders = {(row.key, row.claimed_epoch): row for row in rows}
        for attempt in await self._engine.adopt():
            self._adopt(attempt, holders.get((attempt.key, attempt.epoch)))
        self.start_soon(self._engine.serve)
        self.ref.tell_nowait(_Compare(tuple(rows)))

    async def on_stop(self, failure: BaseException | None) -> None:
        """Leave all programs running."""
        for deferred in self._waiting_for_none:
            deferred.fail(ActorStopped(f"{self.ref.path} has ended, and its programs run on: ask again"))

    def describe(self) -> dict[str, Any]:
        """Return how many attempts there are, and how far they have come."""
        runs = [run for of_key in self._runs.values() for run in of_key]
        return {
            "launching": sum(run.attempt is None and not run.gone for run in runs),
            "running": sum(run.attempt is not None and not run.gone for run in runs),
            "reporting": sum(run.gone for run in runs),
            "followers": self._logs.followers,
        }

    def _adopt(self, attempt: Attempt, row: RunningInstance | None) -> None:
        run = Run(attempt.key, attempt.epoch, attempt, None if row is None else row.program)
        self._runs.setdefault(run.key, []).append(run)
        self.start_soon(self._watch, run)
        if row is None:
            self._stop(run, "leave")
            return
        if row.timeout_at is not None:
            self._arm_timeout(run, row.timeout_at)
        run.timers.append(self.tell_later(self._graces.leave, _Unheeded(run)))

    @hears(_Compare)
    def compare(self, message: _Compare) -> None:
        """Report the attempts that should be here and are not, and say which places are taken."""
        here = {(run.key, run.epoch) for of_key in self._runs.values() for run in of_key}
        for row in message.rows:
            epoch = row.claimed_epoch
            if epoch is not None and not is_pooled(row.program) and (row.key, epoch) not in here:
                lost = "the host has ended before it could launch the program, or lost track of it"
                self.start_soon(self._say, row.key, CrashInstance(epoch=epoch, error=lost, counts=False))
        self._tell_scheduler(PlacesInUse(self.list_places(ListPlaces())))

    async def _list_running(self) -> list[RunningInstance]:
        rows: list[RunningInstance] = []
        while True:
            after = rows[-1].key if rows else None
            page: Sequence[RunningInstance] = await self._reader.ask(Query("list_running", (_PAGE, after)))
            rows.extend(page)
            if len(page) < _PAGE:
                return rows

    # What instances decide -------------------------------------------------------------------------------------------

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Launch an attempt, or see to it that one is gone, or that signals are not ignored."""
        key, effect = message.key, message.effect
        if isinstance(effect, Launch):
            if not is_pooled(effect.program):  # those are the pool's
                self._begin(message, effect)
        elif isinstance(effect, Stop | Enforce):
            run = next((run for run in self._runs.get(key, ()) if run.epoch == effect.epoch), None)
            if run is None or run.gone:
                return
            if isinstance(effect, Stop):
                self._stop(run, effect.how)
            else:
                grace = self._graces.leave if effect.after_ms is None else effect.after_ms / 1000
                run.timers.append(self.tell_later(grace, _Unheeded(run)))

    def _begin(self, message: Effected, launch: Launch) -> None:
        key = message.key
        of_key = self._runs.get(key, [])
        if any(run.epoch >= launch.epoch for run in of_key):
            return  # decided before, and told again
        self._runs[key] = of_key
        run, older = Run(key, launch.epoch, program=launch.program), tuple(of_key)
        run.begin(self.system, message.trace)
        of_key.append(run)
        self.start_soon(self._live, run, launch.program, older)
        if launch.timeout_at is not None:
            self._arm_timeout(run, launch.timeout_at)

    def _stop(self, run: Run, how: How) -> None:
        if run.gone or not run.is_softer(how):
            return
        run.stopped = how
        if run.attempt is None:
            run.launching.cancel()
        else:
            self._carry_out(run, run.attempt, how)

    def _carry_out(self, run: Run, attempt: Attempt, how: How) -> None:
        step = STEPS[how]
        if step.signal is not None:
            attempt.stop(step.signal)
        if step.then is not None:
            run.timers.append(self.tell_later(step.after(self._graces), _Escalate(run, step.then)))

    @hears(_Escalate)
    def escalate(self, message: _Escalate) -> None:
        """Stop a program by harder means."""
        self._stop(message.run, message.how)

    @hears(_Unheeded)
    def enforce(self, message: _Unheeded) -> None:
        """Have the signals enforced that a program has not acted upon."""
        run = message.run
        if not run.gone:
            self.start_soon(self._say, run.key, EnforceSignals(epoch=run.epoch))

    @hears(_Overdue)
    def time_out(self, message: _Overdue) -> None:
        """Report an attempt that has run for as long as it may, once it has."""
        run = message.run
        if run.gone:
            return
        if self._clock.now_ms() < message.timeout_at:
            self._arm_timeout(run, message.timeout_at)
        else:
            self.start_soon(self._say, run.key, TimeOutInstance(epoch=run.epoch))

    def _arm_timeout(self, run: Run, timeout_at: int) -> None:
        left = max(0.0, (timeout_at - self._clock.now_ms()) / 1000)
        run.clock_timer = self.tell_later(min(left, self._clock_check), _Overdue(run, timeout_at))

    # An attempt's life -----------------------------------------------------------------------------------------------

    async def _live(self, run: Run, program: str, older: Sequence[Run]) -> None:
        """Launch an attempt, when no older one is left, and see it to its end."""
        failed: Ended | None = None
        with run.launching, run.traced():
            for other in older:
                other.reporting.cancel()
                self._stop(other, "kill")
                await other.done.wait()
            failed = await self._launch(run, program)
        if run.attempt is None:
            await self._conclude(run, failed)
            return
        if run.stopped is not None:
            self._carry_out(run, run.attempt, run.stopped)
        await self._watch(run)

    async def _launch(self, run: Run, program: str) -> Ended | None:
        """Launch the program; return how that failed, if it did."""
        try:
            plan = await self._planner.plan(run.key, run.epoch, program)
            run.attempt = await self._engine.launch(plan)
        except (NotFound, Forbidden) as refusal:
            return refused(run, refusal)
        except HostFailed as failure:
            log_not_launched(run, program, failure)
            self._host_failures += 1
            await trio.sleep(_HOST_FAILED.delay(self._host_failures, self.system.random))
            return Ended(exit_code=None, error=str(failure), counts=False)
        self._host_failures = 0
        log_launched(run, program)
        return None

    async def _watch(self, run: Run) -> None:
        assert run.attempt is not None, "only what was launched has an end"
        try:
            ended = await run.attempt.wait_ended()
        finally:
            run.attempt.close()
        log_ended(run, ended)
        await self._conclude(run, ended)

    async def _conclude(self, run: Run, ended: Ended | None) -> None:
        """Nothing of the attempt is left: free its place, report its end, and forget it once that is stored."""
        run.end()
        of_key = self._runs[run.key]
        if all(other.gone for other in of_key):
            self._tell_scheduler(PlaceFreed(run.key))
        self._logs.changed(run.key)
        if ended is not None:
            with run.reporting:
                await self._report(run, ended)
        if run.attempt is not None:
            await run.attempt.forget()
        of_key.remove(run)
        if not of_key:
            del self._runs[run.key]
        run.done.set()
        self._logs.changed(run.key)
        while self._waiting_for_none and not self._runs:
            self._waiting_for_none.pop().settle(None)

    async def _report(self, run: Run, ended: Ended) -> None:
        usage = usage_of(run, ended)
        if await self._say(run.key, report_of(run, ended)) and usage is not None:
            await self._say(run.key, usage)

    async def _say(self, key: InstanceKey, command: Command) -> bool:
        """Tell an instance something until it has heard it; False where it does not want to hear it."""
        failures = 0
        while True:
            try:
                await self.system.cell(self._paths[0], key).ask(Call(key, command))
                return True
            except RuntaraError as refusal:
                if refusal.retry is Retry.NEVER:
                    self.system.dead_letters.add(self.ref.path, refusal.code.wire, command)
                    return False
            failures += 1
            await trio.sleep(_TRY_AGAIN.delay(failures, self.system.random))

    # What others ask -------------------------------------------------------------------------------------------------

    @hears(ListPlaces)
    def list_places(self, _: ListPlaces) -> Mapping[InstanceKey, str | None]:
        """Return which instances have a process, or are about to get one, and what they run."""
        return {key: of_key[-1].program for key, of_key in self._runs.items() if not all(run.gone for run in of_key)}

    @hears(ListAttempts)
    def list_attempts(self, _: ListAttempts) -> tuple[tuple[InstanceKey, int], ...]:
        """Return which attempts have a process, or are about to get one."""
        return tuple((run.key, run.epoch) for of_key in self._runs.values() for run in of_key if not run.gone)

    @hears(AwaitEmpty)
    def await_empty(self, _: AwaitEmpty) -> Deferred | None:
        """Answer when no process is left, and every end is stored."""
        if not self._runs:
            return None
        deferred = Deferred()
        self._waiting_for_none.append(deferred)
        return deferred

    @hears(KillAttempts)
    def kill_attempts(self, _: KillAttempts) -> None:
        """Kill everything; nobody's fault but the host's."""
        for run in [run for of_key in self._runs.values() for run in of_key]:
            run.counts = False
            self._stop(run, "kill")

    @hears(Call)
    def read_log(self, call: Call) -> Deferred:
        """Read what programs have written."""
        if not isinstance(call.command, ReadLog):
            raise InvalidInput(f"{self.ref.path} does not answer {type(call.command).__name__}: ask the instance")
        if self._logs.followers >= FOLLOWERS_MAX:
            raise Busy(f"{FOLLOWERS_MAX} readers of logs wait already, the bound: try again later")
        self._logs.followers += 1
        deferred = Deferred()
        self.start_soon(self._logs.answer, deferred, call)
        return deferred

    async def _is_over(self, key: InstanceKey) -> bool:
        live = key in self._runs
        info = await self.system.cell(self._paths[0], key).ask(Call(key, GetStatus()))
        return not live and info.status in FINAL

    # Others ----------------------------------------------------------------------------------------------------------

    @property
    def _reader(self) -> Any:  # a Ref; its answers are of any type
        return self.system.ref(self._paths[1])

    def _tell_scheduler(self, message: PlaceFreed | PlacesInUse) -> None:
        with suppress(RuntaraError):  # it has not started yet, and asks when it does
            self.system.ref(self._paths[2]).tell_nowait(message)

"""The wake scheduler: wakes pending and suspended instances when their time has come.

It holds the next wake-ups in a heap and sleeps until the first; what lies further ahead stays in the store and is read
in time. Who is due waits in a queue, fair to every tenant, until one of the host's places is free for him; the runner
says when one is. It never changes an instance: it tells its actor that it is due, and the actor decides, so a wake-up
that comes twice does nothing the second time. One that fails goes to the back of the queue and holds up nobody. After a
restart everything is read from the store, and asked of the runner, again, so nothing is lost with this actor.
"""

import heapq
from math import inf
from typing import Any, Final

import msgspec
import trio

from runtara.actors._cell import CellRef
from runtara.actors._launch_queue import LaunchQueue
from runtara.actors._ref import Ref
from runtara.actors._reply import Reply
from runtara.actors._service import hears
from runtara.actors._specs import Backoff
from runtara.actors._waker import Waker
from runtara.actors.instance import Arm, Disarm
from runtara.actors.instances import Effected
from runtara.actors.places import PlaceFreed
from runtara.actors.storage import Query
from runtara.actors.vacancies import Vacancies
from runtara.clock import INSTANT_MAX_MS, Clock
from runtara.errors import InstanceNotFound, RuntaraError
from runtara.ids import InstanceKey, is_pooled
from runtara.messages import Call, InstanceWoken, WakeInstance
from runtara.store import DueInstance

__all__ = ["WakeScheduler"]

_TRY_AGAIN: Final = Backoff(first=1.0, most=300.0)
"""Between tries to wake an instance that cannot be woken."""

_TRACES_MAX: Final = 10_000
"""Most wake-ups whose traces are remembered while they wait for a place."""


class _Tick(msgspec.Struct, frozen=True):
    """The first wake-up is due, or the clock is to be looked at again."""


class _Settled(msgspec.Struct, frozen=True):
    """An instance has answered its wake-up."""

    due: DueInstance
    done: bool
    """False where it could not be woken, and has to be tried again."""
    claimed: bool
    """Whether it has taken a place."""


class _FoundPast(msgspec.Struct, frozen=True):
    """The store has said who comes behind a queue in which nobody may go; None where it is away."""

    rows: list[DueInstance] | None
    changes: int
    """How much had happened when it was asked."""


class WakeScheduler(Waker):
    """Wakes instances: the tenants in turn where they have to wait, of each the highest priority and then the oldest.

    `instances`, `reader`, `runner` and `pool` are paths of actors. Without `places` there are enough for all, and the
    runner is not asked; otherwise one tenant has at most `per_tenant` of them, and an image as many as its version
    says. `window` limits both what is held of the future and how many queue; whoever is beyond it waits in the store,
    in the order of time, unless nobody of the queue may go.
    """

    def __init__(
        self,
        *,
        instances: str,
        reader: str,
        clock: Clock,
        window: int,
        in_flight: int,
        clock_check: float,
        places: int | None = None,
        per_tenant: int | None = None,
        runner: str | None = None,
        pool: str | None = None,
        vacancies: Vacancies | None = None,
    ) -> None:
        super().__init__(clock, places, per_tenant, vacancies)
        self._paths = (instances, reader, runner, pool)
        self._queue = LaunchQueue()
        self._window = window
        self._most_in_flight = in_flight
        self._clock_check = clock_check
        self._heap: list[tuple[int, InstanceKey]] = []
        self._armed: dict[InstanceKey, DueInstance] = {}
        """When each instance is due; entries of the heap that say otherwise are out of date."""
        self._read_until: DueInstance | None = None
        """The last row read from the store, where there were more behind it."""
        self._past_at: float = 0
        """When to look again who comes behind a queue in which nobody may go, unless something happens before."""
        self._changes = 0
        """How often something has happened after which others may go."""
        self._looking_past = False
        self._failures: dict[InstanceKey, int] = {}
        self._traces: dict[InstanceKey, str] = {}  # of those who are due, where they are traced
        self._tick: trio.CancelScope | None = None
        self._tick_at = inf
        self._woken = self._latest_ms = 0

    async def on_start(self) -> None:
        """Read the next wake-ups from the store, and ask the runner which places are free."""
        instances, reader, runner, pool = self._paths
        self._lateness = self.system.metrics.tally("runtara_wake_lateness_seconds")
        self._instances: Ref = self.system.ref(instances)
        self._reader: Ref = self.system.ref(reader)
        await self._places.take_stock(self.system, runner, pool)
        self._vacancies.offer(self._places.idle, self._nobody_waits)
        await self._read(None)
        self._arm_tick()

    def describe(self) -> dict[str, Any]:
        """Return how many wake-ups lie ahead, are due, and were delivered, the longest delay, and the places in use."""
        return {
            "armed": len(self._armed),
            "queued": len(self._queue),
            "woken": self._woken,
            "latest_ms": self._latest_ms,
            "places_in_use": self._places.in_use,
        }

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Note when an instance is due, or that it is not due any more."""
        effect = message.effect
        if isinstance(effect, Arm):
            self._changes += 1
            self._past_at = min(self._past_at, effect.wake_at)
            if message.trace is not None and effect.wake_at <= self._clock.now_ms() and len(self._traces) < _TRACES_MAX:
                self._traces[message.key] = message.trace
            self._arm(DueInstance(effect.wake_at, message.key, message.priority, message.program))
            self._arm_tick()
        elif isinstance(effect, Disarm):
            self._armed.pop(message.key, None)
            self._queue.discard(message.key)
            self._traces.pop(message.key, None)

    @hears(PlaceFreed)
    def place_freed(self, message: PlaceFreed) -> None:
        """Give the place to whose turn it is."""
        self._places.freed(message.key)
        self.go_on()

    @hears(_Tick)
    async def tick(self, _: _Tick) -> None:
        """Wake what is due, and sleep until the next."""
        self._tick = None
        self._tick_at = inf
        self._wake_due()
        self._look_past()
        if self._read_until is not None and not self._heap and not self._is_full():
            try:
                await self._read(self._read_until)
            except RuntaraError:  # the store is away: what is in it comes late, but is not forgotten
                self._tick_in(self._clock_check)
                return
        self._arm_tick()

    @hears(_Settled)
    def settled(self, message: _Settled) -> None:
        """Hear what came of a wake-up."""
        key = message.due.key
        self._places.woken(key, message.claimed, pooled=is_pooled(message.due.program))
        if message.done:
            self._failures.pop(key, None)
            self._woken += 1
        else:
            # At the back of the queue, where it holds up nobody; its true due time is what it will be woken with.
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            again = Effected(key, Arm(message.due.wake_at), message.due.priority, message.due.program)
            self.tell_later(_TRY_AGAIN.delay(failures, self.system.random), again)
        self.rest()
        self.go_on()

    def go_on(self) -> None:
        """Wake whoever may go now."""
        self._changes += 1
        self._past_at = 0
        self._wake_due()
        self._look_past()
        self._arm_tick()

    def _nobody_waits(self) -> bool:
        """Return whether nobody is due who has no place yet."""
        is_due = bool(self._heap) and self._heap[0][0] <= self._clock.now_ms()
        return not (self._stopped or self._queue or is_due)

    def _arm(self, due: DueInstance) -> None:
        if due.key in self._queue:
            if due.wake_at <= self._clock.now_ms():
                self._queue.put(due)
                return
            self._queue.discard(due.key)
        if self._read_until is not None and due[:2] > self._read_until[:2]:
            self._armed.pop(due.key, None)  # it will be read from the store when the time comes nearer
            return
        self._armed[due.key] = due
        heapq.heappush(self._heap, due[:2])
        if len(self._heap) > 2 * self._window:
            self._shorten()

    def _shorten(self) -> None:
        """Leave the later half of the wake-ups to the store."""
        current = sorted(due[:2] for due in self._armed.values())
        for _, key in current[self._window :]:
            del self._armed[key]
        self._heap = current[: self._window]  # sorted, hence a heap
        if len(current) > self._window:
            self._read_until = DueInstance(*self._heap[-1])

    def _is_current(self, entry: tuple[int, InstanceKey]) -> bool:
        armed = self._armed.get(entry[1])
        return armed is not None and armed.wake_at == entry[0]

    async def _read(self, after: DueInstance | None) -> None:
        """Read the next window of wake-ups behind `after`."""
        rows: list[DueInstance] = await self._reader.ask(Query("list_due", (INSTANT_MAX_MS, self._window, after)))
        self._read_until = rows[-1] if len(rows) == self._window else None
        for due in rows:
            if not self._places.is_waking(due.key):
                self._arm(due)

    def _wake_due(self) -> None:
        """Tell instances whose turn it is, as many as may be under way at once and as there are places for."""
        now_ms = self._clock.now_ms()
        self._queue_due(now_ms)
        while self._queue and self._may_wake():
            try:
                due = self._queue.take(self._places.may_go)
            except KeyError:
                return
            self._wake(due, now_ms)
            self._queue_due(now_ms)

    def _queue_due(self, now_ms: int) -> None:
        """Let those queue who are due."""
        while self._heap and not self._is_full():
            is_current, (wake_at, key) = self._is_current(self._heap[0]), self._heap[0]
            if is_current and wake_at > now_ms:
                return
            heapq.heappop(self._heap)
            if is_current:
                self._let_queue(self._armed[key], now_ms)

    def _let_queue(self, due: DueInstance, now_ms: int) -> None:
        self._armed.pop(due.key, None)
        self._queue.put(due, now_ms if due.key in self._failures else None)

    def _is_full(self) -> bool:
        return len(self._queue) >= self._window

    def _may_wake(self) -> bool:
        return not self._stopped and self._places.waking < self._most_in_flight and self._places.room > 0

    # Whoever is at his cap, with more instances than fit into the queue, must not hold up the others.

    def _is_stuck(self) -> bool:
        return self._is_full() and self._may_wake()

    def _look_past(self) -> None:
        """Where the queue is full of those who may not go, ask the store for others who may."""
        if self._looking_past or not self._is_stuck() or self._past_at > self._clock.now_ms():
            return
        self._looking_past = True
        barred = self._places.barred(self._caps.bounded())
        most = int(min(self._places.room, self._most_in_flight - self._places.waking, self._window))
        mine, changes = self._slot.mailbox, self._changes

        def then(reply: Reply) -> None:
            rows: Any = reply.value
            mine.put_control(_FoundPast(rows if reply.error is None else None, changes))

        try:
            self._reader.ask_then(Query("list_due", (INSTANT_MAX_MS, most, None, barred)), then)
        except RuntaraError:
            mine.put_control(_FoundPast(None, changes))

    @hears(_FoundPast)
    def found_past(self, message: _FoundPast) -> None:
        """Let those queue who were found, and look again when the next of them is due."""
        self._looking_past = False
        now_ms = self._clock.now_ms()
        self._past_at = inf if message.rows is not None else now_ms + self._clock_check * 1000
        for due in message.rows or ():
            if due.wake_at > now_ms:
                self._past_at = min(self._past_at, due.wake_at)
            elif self._is_news(due):
                self._past_at = 0  # there may be more
                self._let_queue(due, now_ms)
        if message.changes != self._changes:
            self._past_at = 0
        self._wake_due()
        self._look_past()
        self._arm_tick()

    def _is_news(self, due: DueInstance) -> bool:
        """Whether a row of the store says what was not known: that somebody is due who is not tried again later."""
        waits = due.key in self._queue or self._places.is_waking(due.key)
        return not waits and (due.key in self._armed or due.key not in self._failures)

    def _wake(self, due: DueInstance, now_ms: int) -> None:
        self._places.wake(due)
        late_ms = max(0, now_ms - due.wake_at)
        self._latest_ms = max(self._latest_ms, late_ms)
        self._lateness.observe(late_ms / 1000)
        mine = self._slot.mailbox

        def then(reply: Reply) -> None:
            done = reply.error is None or isinstance(reply.error, InstanceNotFound)
            woken = reply.value
            mine.put_control(_Settled(due, done, isinstance(woken, InstanceWoken) and woken.claimed))

        try:
            call = Call(due.key, WakeInstance(due_at=due.wake_at), trace=self._traces.pop(due.key, None))
            CellRef(self._instances, due.key).ask_then(call, then)
        except RuntaraError:
            mine.put_control(_Settled(due, False, False))

    def _arm_tick(self) -> None:
        """Sleep until the first wake-up is due, but look at the wall clock now and then: it may have been set."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap and self._read_until is None and not self._is_stuck():
            return
        if self._stopped or self._places.waking >= self._most_in_flight or (self._is_full() and not self._is_stuck()):
            return  # those under way call again when they have settled, and those who leave when they are gone
        due_at = self._past_at if self._is_full() else self._heap[0][0] if self._heap else 0
        if due_at != inf:
            self._tick_in(min(max(0, due_at - self._clock.now_ms()) / 1000, self._clock_check))

    def _tick_in(self, delay: float) -> None:
        """Look again after so many seconds, if no earlier look is planned."""
        at = trio.current_time() + delay
        if at >= self._tick_at:
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick_at = at
        self._tick = self.tell_later(delay, _Tick())

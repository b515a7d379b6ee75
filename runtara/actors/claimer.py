"""The wake scheduler of a store that several nodes share: claims what is due, and wakes it.

It takes the place of the `WakeScheduler`, and hears the same. Nothing is held of the future but the instant of the next
look: what is due lies in the store, and the store shares it out. A node looks when something is due, when another node
says that something is, when one of its places is free, and now and then without any reason, since a notice may be lost.
What was claimed and cannot be woken is tried again by this node until it gives it back, and holds up nobody. Of whom as
many run here as may, nothing is claimed; what was claimed on top is given back at once, for other nodes to claim.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final, Literal

import msgspec
import trio

from runtara.actors._cell import CellRef
from runtara.actors._deferred import Deferred
from runtara.actors._reply import Reply
from runtara.actors._service import hears
from runtara.actors._specs import Backoff
from runtara.actors._waker import Waker
from runtara.actors.instance import Arm, Disarm
from runtara.actors.instances import Effected
from runtara.actors.places import PlaceFreed, StopWaking
from runtara.actors.storage import Act
from runtara.actors.vacancies import Vacancies
from runtara.clock import Clock
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey, is_pooled
from runtara.messages import Call, InstanceWoken, WakeInstance
from runtara.store import Claims, DueInstance, Tenure

__all__ = ["DueClaimer", "DueNoticed"]

_MOST: Final = 1_000
"""Most that are claimed at once where places are no limit."""

_NEXT_TURN: Final = 0.2
"""Seconds after which a node takes what others have left of theirs: long enough for one that is merely slow."""

_SKEW_MS: Final = 20
"""How much later than the store this node may hold an instance to be due."""

_BREATH: Final = 0.05
"""Seconds in which others may take their share, before a node that has taken its own looks again."""

_TRY_AGAIN: Final = Backoff(first=0.5, most=60.0)
"""Between tries to wake an instance that cannot be woken."""

_FAILURES_MAX: Final = 4
"""How often that is tried before the claim is given back, for another node to try."""


class DueNoticed(msgspec.Struct, frozen=True):
    """From another node: something is, or will be, due at this instant (milliseconds since 1970 UTC)."""

    at: int


class _Look(msgspec.Struct, frozen=True):
    """It is time to look what is due."""


class _Claimed(msgspec.Struct, frozen=True):
    """The store has said what this node is to wake; None where it is away."""

    claims: Claims | None


class _FoundNext(msgspec.Struct, frozen=True):
    """The store has said in how many milliseconds something is due; None where it has not, or nothing is."""

    left_ms: int | None


class _Released(msgspec.Struct, frozen=True):
    """What was claimed and nobody wakes has been given back, or could not be."""

    done: bool


class _GaveBack(msgspec.Struct, frozen=True):
    """One claim has been given back, or could not be."""

    done: bool


class _Settled(msgspec.Struct, frozen=True):
    """A claimed instance has answered its wake-up."""

    due: DueInstance
    outcome: Literal["woken", "failed", "ignored"]
    """``woken``: it has taken a place. ``ignored``: it does not wait for this instant, or not by this node's clock."""


class _Retry(msgspec.Struct, frozen=True):
    """A claimed instance that could not be woken is tried again."""

    due: DueInstance


class _GiveBack(msgspec.Struct, frozen=True):
    """A claimed instance that could not be woken is for others to try."""

    key: InstanceKey


class DueClaimer(Waker):
    """Claims and wakes. `instances`, `reader`, `writer`, `runner` and `pool` are paths of actors; times are in seconds.

    Without `places` there are enough for all, and the runner is not asked; otherwise one tenant has at most
    `per_tenant` of them, and an image as many as its version says. `look_every` is the longest wait between two looks.
    """

    def __init__(
        self,
        *,
        instances: str,
        reader: str,
        writer: str,
        tenure: Tenure,
        clock: Clock,
        in_flight: int,
        look_every: float,
        places: int | None = None,
        per_tenant: int | None = None,
        runner: str | None = None,
        pool: str | None = None,
        vacancies: Vacancies | None = None,
    ) -> None:
        super().__init__(clock, places, per_tenant, vacancies)
        self._paths = (instances, reader, writer, runner, pool)
        self._tenure = tenure
        self._most_in_flight = in_flight
        self._look_every = look_every
        self._held: dict[InstanceKey, DueInstance] = {}
        """Claimed instances of images whose caps are being read."""
        self._failures: dict[InstanceKey, int] = {}
        """Of claimed instances that could not be woken yet."""
        self._stray = True
        """Whether there may be claims that nobody acts upon: of an earlier life, or whose answer was lost."""
        self._looking = False
        self._missed = False
        """Whether there was a reason to look while it was being looked."""
        self._left = True
        """Whether the last look may have left something that is due."""
        self._look_at = inf
        self._timer: trio.CancelScope | None = None
        self._turn = 0
        self._woken = self._latest_ms = 0

    async def on_start(self) -> None:
        """Ask the runner which places are free, and look what is due."""
        instances, reader, writer, runner, pool = self._paths
        self._lateness = self.system.metrics.tally("runtara_wake_lateness_seconds")
        self._instances, self._writer = self.system.ref(instances), self.system.ref(writer)
        self._reader = self.system.ref(reader)
        await self._places.take_stock(self.system, runner, pool)
        self._vacancies.offer(self._places.idle, self._nobody_waits)
        self._look_in(0)

    def describe(self) -> dict[str, Any]:
        """Return how many wake-ups were delivered, the longest delay, and the places in use."""
        return {
            "waking": self._places.waking,
            "failing": len(self._failures),
            "woken": self._woken,
            "latest_ms": self._latest_ms,
            "places_in_use": self._places.in_use,
        }

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Look in time for what this node itself has made due."""
        if isinstance(message.effect, Arm):
            self._look_in((message.effect.wake_at - self._clock.now_ms()) / 1000)
        elif isinstance(message.effect, Disarm):
            self._failures.pop(message.key, None)
            self._held.pop(message.key, None)

    @hears(DueNoticed)
    def noticed(self, message: DueNoticed) -> None:
        """Look in time for what another node has made due."""
        self._look_in((message.at - self._clock.now_ms()) / 1000)

    @hears(PlaceFreed)
    def place_freed(self, message: PlaceFreed) -> None:
        """Look whose turn it is to have the place."""
        self._places.freed(message.key)
        self._publish()
        self._look_in(0)

    @hears(StopWaking)
    def stop_waking(self, message: StopWaking) -> Deferred | None:
        """Wake nobody any more; what is due, and what was claimed and could not be woken, is for the others."""
        self._tenure.draining = True
        for key in (*self._failures, *self._held):
            self._release(key)
        return super().stop_waking(message)

    @hears(_Look)
    def look(self, _: _Look) -> None:
        """Claim what is due, as far as there is room."""
        self._timer, self._look_at = None, inf
        self._publish()
        if self._looking:
            self._missed = True
            return
        most = min(self._room, _MOST)
        if self._stopped or most <= 0:
            return  # those under way call again when they have settled, and those who leave when they are gone
        self._looking = True
        if self._stray:
            self._act(Act("release_claims"), lambda done, _: _Released(done))
        else:
            act = Act("claim_due", (int(most), self._turn, self._places.barred(self._caps.bounded())))
            self._act(act, lambda _, claims: _Claimed(claims))

    @hears(_Released)
    def released(self, message: _Released) -> None:
        """Go on with the look, now that no claim is without somebody who acts upon it."""
        self._stray = not message.done
        if message.done:
            self._failures.clear()
            self._held.clear()
        self._looked(0 if message.done else self._look_every)

    @hears(_Claimed)
    def claimed(self, message: _Claimed) -> None:
        """Wake what was claimed."""
        claims = message.claims
        if claims is None:
            self._stray = self._left = True
            self._looked(self._look_every)  # the store is away: what is in it comes late, but is not forgotten
            return
        self._turn += 1
        self._left = claims.due > 0
        self._settle_claims(claims.claimed)
        self._publish()
        if claims.due > len(claims.claimed) and not self._tenure.alone:
            self._looked(_BREATH if claims.claimed else _NEXT_TURN)  # first of all, the rest is for the others
        elif claims.due:
            self._looked(0)
        else:
            self._turn = 0
            self._looked(self._look_every)
            self._act(Act("find_next_due"), lambda _, left_ms: _FoundNext(left_ms))

    @hears(_FoundNext)
    def found_next(self, message: _FoundNext) -> None:
        """Look when the next instance is due."""
        if message.left_ms is not None:
            self._look_in(message.left_ms / 1000)

    def _looked(self, next_in: float) -> None:
        """A look is over."""
        self._looking, missed, self._missed = False, self._missed, False
        self._look_in(0 if missed else next_in)

    def _act(self, act: Act, made: Callable[[bool, Any], object]) -> None:
        """Have the writer do something, and hear, in this life or the next, what `made` makes of the outcome."""
        mine = self._slot.mailbox

        def then(reply: Reply) -> None:
            mine.put_control(made(reply.error is None, reply.value))

        try:
            # No deadline: the writer always answers, and what it has not read yet may still be done later.
            self._writer.ask_then(act, then, timeout=inf)
        except RuntaraError:
            mine.put_control(made(False, None))

    @property
    def _room(self) -> float:
        """How many may be woken now."""
        return min(self._most_in_flight - self._places.waking, self._places.room) - len(self._held)

    def _settle_claims(self, claimed: Iterable[DueInstance]) -> None:
        """Wake what was claimed, or give it back if no more of its tenant, image or pool may run here."""
        back = []
        for due in claimed:
            if not self._stopped and self._places.may_go(due):
                self._wake(due)
            elif self._stopped or self._caps.is_known(due.key.tenant_id, due.program):
                back.append(due.key)
            else:
                self._held[due.key] = due
                self._caps.cap_of(due.key.tenant_id, due.program or "")  # which has it read
        self._release(*back)

    def slots_changed(self, had_room: bool) -> None:
        """Look who waits for a slot, unless the last look has found, while there was one, that nobody does."""
        if self._left or not had_room:
            self.go_on()

    def _nobody_waits(self) -> bool:
        """Return whether nothing is due, as far as this node can know without looking."""
        return not (self._stopped or self._looking or self._left or self._held or self._look_at <= trio.current_time())

    def go_on(self) -> None:
        """Settle what was held until a cap is known."""
        held, self._held = self._held, {}
        self._settle_claims(held.values())
        self._publish()
        self._look_in(0)

    def _wake(self, due: DueInstance) -> None:
        self._places.wake(due)
        late_ms = max(0, self._clock.now_ms() - due.wake_at)
        self._latest_ms = max(self._latest_ms, late_ms)
        self._lateness.observe(late_ms / 1000)
        mine = self._slot.mailbox

        def then(reply: Reply) -> None:
            mine.put_control(_Settled(due, _outcome(reply)))

        wake = WakeInstance(due_at=due.wake_at, found=due.found)
        try:
            CellRef(self._instances, due.key).ask_then(Call(due.key, wake), then)
        except RuntaraError:
            mine.put_control(_Settled(due, "failed"))

    @hears(_Settled)
    def settled(self, message: _Settled) -> None:
        """Hear what came of a wake-up."""
        due = message.due
        self._places.woken(due.key, message.outcome == "woken", pooled=is_pooled(due.program))
        early_ms = due.wake_at + _SKEW_MS - self._clock.now_ms()
        if message.outcome == "woken":
            self._failures.pop(due.key, None)
            self._woken += 1
        elif message.outcome == "failed":
            self._failed(due)
        elif early_ms > 0:  # by the store's clock it is due, of which ours is never ahead
            self._failures.setdefault(due.key, 0)
            self.tell_later(max(early_ms - _SKEW_MS, _SKEW_MS / 4) / 1000, _Retry(due))
        else:
            self._failures.pop(due.key, None)  # whoever has changed it since has ended the claim with that
        self.rest()
        self._look_in(0)

    def _publish(self) -> None:
        """Have the other nodes told, with the next commit, how busy this one is: who is less busy claims first."""
        self._tenure.in_use = self._places.taken

    def _failed(self, due: DueInstance) -> None:
        failures = self._failures[due.key] = self._failures.get(due.key, 0) + 1
        if self._stopped:
            self._release(due.key)
        elif failures < _FAILURES_MAX:
            self.tell_later(_TRY_AGAIN.delay(failures, self.system.random), _Retry(due))
        else:
            self.tell_later(_TRY_AGAIN.most, _GiveBack(due.key))

    @hears(_Retry)
    def retry(self, message: _Retry) -> None:
        """Try again to wake an instance, unless something else has happened to it; without room, let others try."""
        key = message.due.key
        if key not in self._failures or self._places.is_waking(key):
            return
        if self._stopped or self._room < 1 or not self._places.may_go(message.due):
            self._release(key)
        else:
            self._wake(message.due)

    @hears(_GiveBack)
    def give_back(self, message: _GiveBack) -> None:
        """Let others try, and this node when it is its turn again."""
        if message.key in self._failures:
            self._release(message.key)

    def _release(self, *keys: InstanceKey) -> None:
        """Give claims back; harmless if they are none any more."""
        for key in keys:
            self._failures.pop(key, None)
            self._held.pop(key, None)
        if keys:
            self._act(Act("release_claim", keys), lambda done, _: _GaveBack(done))

    @hears(_GaveBack)
    def gave_back(self, message: _GaveBack) -> None:
        """Remember a claim that could not be given back."""
        self._stray = self._stray or not message.done

    def _look_in(self, delay: float) -> None:
        """Look in so many seconds, if no earlier look is planned."""
        at = trio.current_time() + max(0.0, delay)
        if at >= self._look_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._look_at = at
        self._timer = self.tell_later(max(0.0, delay), _Look())


def _outcome(reply: Reply) -> Literal["woken", "failed", "ignored"]:
    if reply.error is not None:
        return "failed"
    return "woken" if isinstance(reply.value, InstanceWoken) and reply.value.claimed else "ignored"

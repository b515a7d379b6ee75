"""The wake scheduler of a store that several nodes share: claims what is due, and wakes it.

It takes the place of the `WakeScheduler`, and hears the same. Nothing is held of the future but the instant of the next
look: what is due lies in the store, and the store shares it out. A node looks when something is due, when another node
says that something is, when one of its places is free, and now and then without any reason, since a notice may be lost.
What was claimed and cannot be woken is tried again by this node until it gives it back, and holds up nobody.
"""

from math import inf
from typing import Any, Final

import msgspec
import trio

from runtara.actors._cell import CellRef
from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors._specs import Backoff
from runtara.actors.instance import Arm, Disarm
from runtara.actors.instances import Effected
from runtara.actors.places import ListPlaces, PlaceFreed, PlacesInUse, StopWaking
from runtara.actors.storage import Act
from runtara.clock import Clock
from runtara.errors import InstanceNotFound, Retry, RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import Call, InstanceWoken, WakeInstance
from runtara.store import Claims, DueInstance, Tenure

__all__ = ["DueClaimer", "DueNoticed"]

_MOST: Final = 1_000
"""Most that are claimed at once where places are no limit."""

_NEXT_TURN: Final = 0.2
"""Seconds after which a node takes what others have left of theirs: long enough for one that is merely slow."""

_TRY_AGAIN: Final = Backoff(first=0.5, most=60.0)
"""Between tries to wake an instance that cannot be woken."""

_FAILURES_MAX: Final = 4
"""How often that is tried before the claim is given back, for another node to try."""


class DueNoticed(msgspec.Struct, frozen=True):
    """From another node: something is, or will be, due at this instant (milliseconds since 1970 UTC)."""

    at: int


class _Look(msgspec.Struct, frozen=True):
    """It is time to look what is due."""


class _Settled(msgspec.Struct, frozen=True):
    """A claimed instance has answered its wake-up."""

    due: DueInstance
    done: bool
    claimed: bool
    """Whether it has taken a place."""


class _Retry(msgspec.Struct, frozen=True):
    """A claimed instance that could not be woken is tried again."""

    due: DueInstance


class _GiveBack(msgspec.Struct, frozen=True):
    """A claimed instance that could not be woken is for others to try."""

    key: InstanceKey


class DueClaimer(Actor):
    """Claims and wakes. `instances`, `writer` and `runner` are paths of actors; times are in seconds.

    Without `places` there are enough for all, and the runner is not asked. `look_every` is the longest wait between two
    looks.
    """

    def __init__(
        self,
        *,
        instances: str,
        writer: str,
        tenure: Tenure,
        clock: Clock,
        in_flight: int,
        look_every: float,
        places: int | None = None,
        runner: str | None = None,
    ) -> None:
        self._paths = (instances, writer, runner)
        self._tenure = tenure
        self._clock = clock
        self._places = inf if places is None else places
        self._most_in_flight = in_flight
        self._look_every = look_every
        self._in_use: set[InstanceKey] = set()
        self._waking: set[InstanceKey] = set()
        self._failures: dict[InstanceKey, int] = {}
        """Of claimed instances that could not be woken yet."""
        self._stopped = False
        self._looking = False
        self._missed = False
        """Whether there was a reason to look while it was being looked."""
        self._look_at = inf
        self._timer: trio.CancelScope | None = None
        self._turn = 0
        self._woken = 0
        self._latest_ms = 0

    async def on_start(self) -> None:
        """Ask the runner which places are free, and look what is due."""
        instances, writer, runner = self._paths
        self._instances, self._writer = self.system.ref(instances), self.system.ref(writer)
        if runner is not None:
            self._in_use.update(await self.system.ref(runner).ask(ListPlaces()))
        self._look_in(0)

    def describe(self) -> dict[str, Any]:
        """Return how many wake-ups were delivered, the longest delay, and the places in use."""
        return {
            "waking": len(self._waking),
            "failing": len(self._failures),
            "woken": self._woken,
            "latest_ms": self._latest_ms,
            "places_in_use": len(self._in_use),
        }

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Look in time for what this node itself has made due."""
        if isinstance(message.effect, Arm):
            self._look_in((message.effect.wake_at - self._clock.now_ms()) / 1000)
        elif isinstance(message.effect, Disarm):
            self._failures.pop(message.key, None)

    @hears(DueNoticed)
    def noticed(self, message: DueNoticed) -> None:
        """Look in time for what another node has made due."""
        self._look_in((message.at - self._clock.now_ms()) / 1000)

    @hears(PlaceFreed)
    def place_freed(self, message: PlaceFreed) -> None:
        """Look whose turn it is to have the place."""
        self._in_use.discard(message.key)
        self._publish()
        self._look_in(0)

    @hears(PlacesInUse)
    def places_in_use(self, message: PlacesInUse) -> None:
        """Believe the runner, who has just looked."""
        self._in_use = set(message.keys)
        self._look_in(0)

    @hears(StopWaking)
    def stop_waking(self, _: StopWaking) -> None:
        """Wake nobody any more; what is due is for the others."""
        self._stopped = self._tenure.draining = True

    @hears(_Look)
    def look(self, _: _Look) -> None:
        """Claim what is due, as far as there is room."""
        self._timer, self._look_at = None, inf
        self._publish()
        most = min(self._most_in_flight - len(self._waking), self._places - self._tenure.in_use, _MOST)
        if self._looking:
            self._missed = True
            return
        if self._stopped or most <= 0:
            return  # those under way call again when they have settled, and those who leave when they are gone
        self._looking = True
        self._writer.ask_then(Act("claim_due", (int(most), self._turn)), self._claimed)

    def _claimed(self, reply: Reply) -> None:
        self._looking, missed, self._missed = False, self._missed, False
        if missed:
            self._look_in(0)
        claims: Any = reply.value
        if not isinstance(claims, Claims):
            self._look_in(self._look_every)  # the store is away: what is in it comes late, but is not forgotten
            return
        self._turn += 1
        for due in claims.claimed:
            self._wake(due)
        self._publish()
        if claims.due > len(claims.claimed):
            self._look_in(0 if claims.claimed else _NEXT_TURN)
        elif claims.due:
            self._look_in(0)
        else:
            self._turn = 0
            self._writer.ask_then(Act("find_next_due"), self._found_next)

    def _found_next(self, reply: Reply) -> None:
        left_ms: Any = reply.value
        left = self._look_every if not isinstance(left_ms, int) else left_ms / 1000
        self._look_in(min(left, self._look_every))

    def _wake(self, due: DueInstance) -> None:
        self._waking.add(due.key)
        self._latest_ms = max(self._latest_ms, self._clock.now_ms() - due.wake_at)
        mine = self._slot.mailbox

        def then(reply: Reply) -> None:
            error = reply.error
            done = error is None or isinstance(error, InstanceNotFound)
            done = done or (isinstance(error, RuntaraError) and error.retry is Retry.NEVER)
            woken = reply.value
            mine.put_control(_Settled(due, done, isinstance(woken, InstanceWoken) and woken.claimed))

        try:
            CellRef(self._instances, due.key).ask_then(Call(due.key, WakeInstance(due_at=due.wake_at)), then)
        except RuntaraError:
            mine.put_control(_Settled(due, False, False))

    @hears(_Settled)
    def settled(self, message: _Settled) -> None:
        """Hear what came of a wake-up."""
        key = message.due.key
        self._waking.discard(key)
        if message.claimed and self._places != inf:
            self._in_use.add(key)
        if message.done:
            self._failures.pop(key, None)
            self._woken += 1
        else:
            self._failed(message.due)
        self._look_in(0)

    def _publish(self) -> None:
        """Have the other nodes told, with the next commit, how busy this one is: who is less busy claims first."""
        self._tenure.in_use = len(self._in_use | self._waking)

    def _failed(self, due: DueInstance) -> None:
        failures = self._failures[due.key] = self._failures.get(due.key, 0) + 1
        if failures < _FAILURES_MAX:
            self.tell_later(_TRY_AGAIN.delay(failures, self.system.random), _Retry(due))
            return
        del self._failures[due.key]
        self.tell_later(_TRY_AGAIN.most, _GiveBack(due.key))

    @hears(_Retry)
    def retry(self, message: _Retry) -> None:
        """Try again to wake an instance, unless something else has happened to it."""
        if message.due.key in self._failures and not self._stopped:
            self._wake(message.due)

    @hears(_GiveBack)
    def give_back(self, message: _GiveBack) -> None:
        """Let others try, and this node when it is its turn again."""
        self._writer.ask_then(Act("release_claim", (message.key,)), _ignore)

    def _look_in(self, delay: float) -> None:
        """Look in so many seconds, if no earlier look is planned."""
        at = trio.current_time() + max(0.0, delay)
        if at >= self._look_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._look_at = at
        self._timer = self.tell_later(max(0.0, delay), _Look())


def _ignore(_: Reply) -> None:
    """Hear what came of giving a claim back: whatever it is, a node that is lost gives all of them back."""

"""The heartbeat monitor: notices attempts that nothing was heard of for too long.

Any message of an attempt counts as a heartbeat. Messages are not forwarded here: the region of the instances notes who
spoke, and a few times per time-out this actor takes those notes, has them stored in one batch, and declares silent whom
it misses. It never changes an instance itself: the instance's actor decides. After a restart, of this actor or of the
whole system, everybody has the full time again; and time in which this process itself stood still counts for nobody.
"""

from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import Any, Final

import msgspec
import trio

from runtara.actors._ref import Ref
from runtara.actors._reply import Reply
from runtara.actors._service import Actor, hears
from runtara.actors.instance import Track, Untrack
from runtara.actors.instances import Effected, TakeHeard
from runtara.actors.storage import Query, RecordHeartbeats
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import Call, DeclareSilent
from runtara.store import RunningInstance

__all__ = ["HeartbeatMonitor"]

_PAGE: Final = 10_000
_LOOKS: Final = 3
"""How often per time-out the monitor looks; silence is noticed within the time-out and one part of it."""


class _Look(msgspec.Struct, frozen=True):
    """It is time to look who was heard of."""


class HeartbeatMonitor(Actor):
    """Watches running attempts. `instances`, `reader` and `writer` are paths of actors; `timeout` is in seconds."""

    def __init__(self, *, instances: str, reader: str, writer: str, timeout: float) -> None:
        self._paths = (instances, reader, writer)
        self._every = timeout / _LOOKS
        self._timeout = timeout
        self._last: dict[InstanceKey, tuple[int, float]] = {}
        """Epoch of each attempt, and when it was last heard of, on the monotonic clock."""
        self._look_at = inf
        self._silenced = 0

    async def on_start(self) -> None:
        """Give every running attempt the full time."""
        self._instances, self._reader, self._writer = map(self.system.ref, self._paths)
        after: InstanceKey | None = None
        while True:
            rows: list[RunningInstance] = await self._reader.ask(Query("list_running", (_PAGE, after)))
            now = trio.current_time()
            self._last.update({row.key: (row.epoch, now) for row in rows})
            if len(rows) < _PAGE:
                break
            after = rows[-1].key
        self._plan()

    def describe(self) -> dict[str, Any]:
        """Return how many attempts are watched, and how many were declared silent."""
        return {"watched": len(self._last), "silenced": self._silenced}

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Begin or cease to watch an attempt."""
        if isinstance(message.effect, Track):
            self._last[message.key] = (message.effect.epoch, trio.current_time())
            self._plan()
        elif isinstance(message.effect, Untrack):
            self._last.pop(message.key, None)

    @hears(_Look)
    async def look(self, _: _Look) -> None:
        """Take note of who was heard of, and declare silent whom nothing was heard of for too long."""
        stall = trio.current_time() - self._look_at
        self._look_at = inf
        try:
            heard = await self._instances.ask(TakeHeard())
        except RuntaraError:  # nobody could be heard: this part of the time counts for nobody
            self._last = {key: (epoch, last + stall + self._every) for key, (epoch, last) in self._last.items()}
        else:
            self._judge(heard, stall)
        self._plan()

    def _judge(self, heard: Mapping[InstanceKey, int], stall: float) -> None:
        now = trio.current_time()
        for key, (epoch, last) in list(self._last.items()):
            if key in heard:
                self._last[key] = (epoch, now)
            else:
                self._last[key] = (epoch, last + stall)
        beats = tuple((key, at) for key, at in heard.items() if key in self._last)
        if beats:
            with suppress(RuntaraError):  # a lost flush costs nothing: the next one says more
                self._writer.ask_then(RecordHeartbeats(beats), _ignore)
        for key, (epoch, last) in list(self._last.items()):
            if now - last >= self._timeout:
                self._declare_silent(key, epoch)

    def _declare_silent(self, key: InstanceKey, epoch: int) -> None:
        instances: Ref = self._instances

        def then(reply: Reply) -> None:
            # Only on success: whoever could not be told is missed again with the next look.
            if reply.error is None and self._last.get(key, (epoch, 0.0))[0] == epoch:
                self._last.pop(key, None)
                self._silenced += 1
                self.system.metrics.count("runtara_heartbeat_silent_total").add()

        try:
            self.system.cell(instances.path, key).ask_then(Call(key, DeclareSilent(epoch=epoch)), then)
        except RuntaraError:
            return  # missed again with the next look

    def _plan(self) -> None:
        """Look again after a part of the time-out, as long as there is anybody to look for."""
        if self._last and self._look_at == inf:
            self._look_at = trio.current_time() + self._every
            self.tell_later(self._every, _Look())


def _ignore(_: Reply) -> None:
    """Hear what came of a flush, whatever it is."""

"""Whether a system serves: what a load balancer, or whoever supervises the process, wants to know.

*Alive* means that the event loop turns: whoever gets an answer knows it. *Ready* means that work can be done: the store
takes changes and answers questions, every actor runs, and the host is not going down. Looking costs a transaction
without content and two questions, so what was seen is good for a moment, however many ask.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import trio

from runtara import __version__
from runtara.actors._system import System
from runtara.actors.storage import Commit, Query
from runtara.errors import RuntaraError
from runtara.metrics import Count, Counts
from runtara.store import Tenure

__all__ = ["OK", "Fitness", "Readiness"]

OK: Final = "ok"

_GOOD_FOR: Final = 1.0
"""Seconds until it is looked again."""

_PATIENCE: Final = 2.0
"""Seconds in which each part must answer."""

_FORGIVEN_AFTER: Final = 10.0
"""Seconds after which a transaction that failed counts no more, if none was stored since."""


class Fitness(msgspec.Struct, frozen=True):
    """What was found; as JSON it is the body of an answer."""

    status: str
    """``alive``, ``ready`` or ``unready``."""
    version: str
    checks: Mapping[str, str] = {}
    """What was looked at, and `OK` or what is wrong with it, in words."""

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return self.status != "unready"

    def body(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)


class Readiness:
    """Looks after one system. `writer` and `reader` are paths of actors; all on the loop of the system."""

    def __init__(
        self, system: System, *, writer: str, reader: str, is_draining: Callable[[], bool], tenure: Tenure | None
    ) -> None:
        self._system: Final = system
        self._writer: Final = writer
        self._reader: Final = reader
        self._is_draining: Final = is_draining
        self._tenure: Final = tenure
        self._failures: Final = _Failures(
            system.metrics.counts("runtara_store_failures_total"), system.metrics.count("runtara_transitions_total")
        )
        self._looking: Final = trio.Lock()
        self._seen: tuple[float, Mapping[str, str]] | None = None

    def alive(self) -> Fitness:
        """Return that it is alive: there is nothing to be found out that the answer does not say by itself."""
        return Fitness("alive", __version__)

    async def ready(self) -> Fitness:
        """Return whether work can be done, and if not, why; at most some seconds later."""
        async with self._looking:
            now = trio.current_time()
            if self._seen is None or now - self._seen[0] >= _GOOD_FOR:
                checks = await self._look()
                self._seen = trio.current_time(), checks
            checks = {**self._seen[1], "draining": "the host is going down" if self._is_draining() else OK}
        return Fitness("ready" if set(checks.values()) == {OK} else "unready", __version__, checks)

    async def _look(self) -> dict[str, str]:
        checks = {"write": OK, "read": OK, "actors": self._actors()}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask, checks, "write", self._writer, Commit(()))
            nursery.start_soon(self._ask, checks, "read", self._reader, Query("next_schedule_at"))
        if checks["write"] == OK and self._failures.are_recent(trio.current_time()):
            checks["write"] = "the last changes could not be stored"
        if self._tenure is not None:
            checks["lease"] = OK if self._tenure.holds else "this node is out of touch with the others"
        return checks

    async def _ask(self, checks: dict[str, str], name: str, path: str, question: object) -> None:
        try:
            await self._system.ref(path).ask(question, timeout=_PATIENCE)
        except RuntaraError as error:
            checks[name] = error.code.wire  # not its text: whoever asks may be anybody

    def _actors(self) -> str:
        down = [actor.path for actor in self._system.inspect().walk() if actor.state != "running"]
        return f"not running: {', '.join(down)}" if down else OK


class _Failures:
    """Whether transactions fail: a look at the store does not tell that its disk is full."""

    def __init__(self, failures: Counts, transitions: Count) -> None:
        self._failures = failures
        self._transitions = transitions
        self._known = self._total()
        self._stored = transitions.value
        self._until = 0.0

    def are_recent(self, now: float) -> bool:
        """Whether some failed since the last look, or not long ago, and nothing was stored since."""
        total, stored = self._total(), self._transitions.value
        if total > self._known:
            self._known, self._stored, self._until = total, stored, now + _FORGIVEN_AFTER
        elif stored > self._stored:
            self._until = now
        return now < self._until

    def _total(self) -> int:
        return sum(self._failures.values.values())

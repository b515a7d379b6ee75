"""The runner of programs that live in this process: functions that an embedding service has registered by name.

It launches an attempt when its instance says so, and reports attempts that ended without a report of their own. Those
that ran when the process died are reported when it is back, and are then launched again. It decides nothing: whether
and when a lost attempt is followed by another, its instance knows.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import trio

from runtara.actors._reporter import Report, Reporter
from runtara.actors._service import hears
from runtara.actors._specs import Backoff
from runtara.actors.instance import Enforce, Launch, Stop
from runtara.actors.instances import Effected
from runtara.actors.storage import Query
from runtara.errors import Retry, RuntaraError
from runtara.ids import InstanceKey, is_pooled
from runtara.logs import about
from runtara.messages import CrashInstance, EnforceSignals
from runtara.store import RunningInstance

__all__ = ["Program", "Programs"]

Program = Callable[[InstanceKey, int], Awaitable[None]]
"""Runs one attempt, given its instance and its epoch, and reports its end to the instance."""

_PAGE: Final = 1_000
_TROUBLE: Final = Backoff(first=0.2, most=60.0)
"""Between an attempt that this host could not run, and its report: these do not count, so they must not come fast."""
_TROUBLES_MAX: Final = 10_000
"""Most instances whose troubles are remembered; beyond it all are forgotten, and wait shortly again."""


class _Over(msgspec.Struct, frozen=True):
    """An attempt's task has ended."""

    key: InstanceKey
    epoch: int
    error: str | None = None
    """None where it has said itself how it ended."""
    is_trouble: bool = False
    """Whether it was the host that could not do its part."""


class Programs(Reporter):
    """Runs attempts as tasks. `instances` and `reader` are paths of actors.

    `grace` is how many seconds a program has to leave by itself once its attempt is over, and to act upon a cancel.
    """

    def __init__(self, *, instances: str, reader: str, programs: Mapping[str, Program], grace: float = 10.0) -> None:
        super().__init__(instances)
        self._reader_path = reader
        self._programs = programs
        self._grace = grace
        self._running: dict[InstanceKey, dict[int, trio.CancelScope]] = {}
        self._troubles: dict[InstanceKey, int] = {}
        """How often in a row this host could not run an instance."""

    async def on_start(self) -> None:
        """Report the attempts that ran in this process's earlier life."""
        reader = self.system.ref(self._reader_path)
        self._launches = self.system.metrics.counts("runtara_launches_total")
        after: InstanceKey | None = None
        while True:
            rows: list[RunningInstance] = await reader.ask(Query("list_running", (_PAGE, after)))
            for row in rows:
                if row.claimed_epoch is None or is_pooled(row.program):
                    continue
                if row.claimed_epoch not in self._running.get(row.key, ()):
                    error = "the process that ran the attempt has ended"
                    self.report(Report(row.key, CrashInstance(epoch=row.claimed_epoch, error=error, counts=False)))
            if len(rows) < _PAGE:
                return
            after = rows[-1].key

    def describe(self) -> dict[str, Any]:
        """Return how many attempts run, and how many programs are known."""
        return {"running": sum(map(len, self._running.values())), "programs": len(self._programs)}

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Launch an attempt, make sure that one is gone, or come back later to see whether it should be."""
        key, effect = message.key, message.effect
        if isinstance(effect, Launch):
            if is_pooled(effect.program):
                return  # the pool's
            self._launch(key, effect, message.trace)
        elif isinstance(effect, Stop):
            self._stop(key, effect)
        elif isinstance(effect, Enforce):
            after = self._grace if effect.after_ms is None else effect.after_ms / 1000
            self.tell_later(after, Report(key, EnforceSignals(epoch=effect.epoch)))

    def _launch(self, key: InstanceKey, effect: Launch, trace: str | None) -> None:
        attempts = self._running.setdefault(key, {})
        if effect.epoch in attempts:
            return  # told again after a failure of the store
        for older in attempts.values():
            older.cancel()
        scope = attempts[effect.epoch] = trio.CancelScope()
        self.start_soon(self._run_traced, key, effect, scope, trace)

    def _stop(self, key: InstanceKey, effect: Stop) -> None:
        scope = self._running.get(key, {}).get(effect.epoch)
        if scope is None:
            return
        if effect.how == "leave":
            scope.deadline = min(scope.deadline, trio.current_time() + self._grace)
        else:
            scope.cancel()

    @hears(_Over)
    def over(self, message: _Over) -> None:
        """Forget an attempt that has ended, and report it where it has not done so itself."""
        key = message.key
        attempts = self._running[key]
        del attempts[message.epoch]
        if not attempts:
            del self._running[key]
        troubles = self._troubles.pop(key, 0)
        if message.error is None:
            return
        command = CrashInstance(epoch=message.epoch, error=message.error, counts=not message.is_trouble)
        if not message.is_trouble:
            self.report(Report(key, command))
            return
        if len(self._troubles) >= _TROUBLES_MAX:
            self._troubles.clear()
        self._troubles[key] = troubles + 1
        self.tell_later(_TROUBLE.delay(troubles + 1, self.system.random), Report(key, command))

    async def _run_traced(self, key: InstanceKey, effect: Launch, scope: trio.CancelScope, trace: str | None) -> None:
        """Run an attempt, and have what it logs and asks for meanwhile known as its own."""
        traces = self.system.traces
        with about(tenant_id=key.tenant_id, instance_id=key.instance_id, epoch=effect.epoch):
            if traces is None:
                await self._run(key, effect.program, effect.epoch, scope)
                return
            span = traces.begin("launch", trace, program=effect.program, epoch=effect.epoch)
            try:
                with span.active():
                    await self._run(key, effect.program, effect.epoch, scope)
            finally:
                span.end()

    @trio.lowlevel.enable_ki_protection  # an interrupt from the keyboard is for the host, not for some program
    async def _run(self, key: InstanceKey, name: str, epoch: int, scope: trio.CancelScope) -> None:
        over = _Over(key, epoch)
        try:
            with scope:
                program = self._programs.get(name)
                if program is None:
                    error = f"no program called {name!r} is registered in this process: register it, or cancel it"
                    over = _Over(key, epoch, error, True)
                    self._launches.add("refused")
                else:
                    self._launches.add("launched")
                    await program(key, epoch)
        except trio.Cancelled:
            raise
        except BaseException as failure:  # noqa: BLE001 - whatever a program does, an exit included, ends only itself
            trouble = isinstance(failure, RuntaraError) and failure.retry is not Retry.NEVER
            over = _Over(key, epoch, repr(failure), trouble)
        finally:
            self._slot.mailbox.put_control(over)

"""The runner of programs that live in this process: functions that an embedding service has registered by name.

It launches an attempt when its instance says so, and reports attempts that ended without a report of their own. Those
that ran when the process died are reported when it is back, and are then launched again.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import trio

from runtara.actors._service import Actor, hears
from runtara.actors._specs import Backoff
from runtara.actors.instance import Launch, Stop
from runtara.actors.instances import Effected
from runtara.actors.storage import Query
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import Call, CrashInstance
from runtara.store import RunningInstance

__all__ = ["Program", "Programs"]

Program = Callable[[InstanceKey, int], Awaitable[None]]
"""Runs one attempt, given its instance and its epoch, and reports its end to the instance."""

_PAGE: Final = 1_000
_RELAUNCH: Final = Backoff(first=0.2, most=60.0)
"""Between the crash of an attempt and the report that has it launched again."""


class _Over(msgspec.Struct, frozen=True):
    """An attempt's task has ended."""

    key: InstanceKey
    epoch: int
    error: str | None


class Programs(Actor):
    """Runs attempts as tasks. `instances` and `reader` are paths of actors."""

    def __init__(self, *, instances: str, reader: str, programs: Mapping[str, Program]) -> None:
        self._paths = (instances, reader)
        self._programs = programs
        self._running: dict[tuple[InstanceKey, int], trio.CancelScope] = {}
        self._crashes: dict[InstanceKey, int] = {}

    async def on_start(self) -> None:
        """Report the attempts that ran in this process's earlier life."""
        instances, reader = self._paths
        self._instances = instances
        after: InstanceKey | None = None
        while True:
            rows: list[RunningInstance] = await self.system.ref(reader).ask(Query("list_running", (_PAGE, after)))
            for row in rows:
                if row.program is not None and (row.key, row.epoch) not in self._running:
                    self._report_crash(row.key, row.epoch, "the process that ran the attempt has ended")
            if len(rows) < _PAGE:
                return
            after = rows[-1].key

    def describe(self) -> dict[str, Any]:
        """Return how many attempts run, and how many programs are known."""
        return {"running": len(self._running), "programs": len(self._programs)}

    @hears(Effected)
    def effected(self, message: Effected) -> None:
        """Launch an attempt, or make sure that one is gone."""
        effect = message.effect
        if isinstance(effect, Launch):
            scope = self._running[message.key, effect.epoch] = trio.CancelScope()
            self.start_soon(self._run, message.key, effect.program, effect.epoch, scope)
        elif isinstance(effect, Stop):
            running = self._running.get((message.key, effect.epoch))
            if running is not None:
                running.cancel()

    @hears(_Over)
    def over(self, message: _Over) -> None:
        """Forget an attempt that has ended; if it crashed, report it after a while, longer with each crash in a row."""
        del self._running[message.key, message.epoch]
        if message.error is None:
            self._crashes.pop(message.key, None)
            return
        crashes = self._crashes[message.key] = self._crashes.get(message.key, 0) + 1
        delay = _RELAUNCH.delay(crashes, self.system.random)
        self.start_soon(self._report_later, delay, message.key, message.epoch, message.error)

    @trio.lowlevel.enable_ki_protection  # an interrupt from the keyboard is for the host, not for some program
    async def _run(self, key: InstanceKey, name: str, epoch: int, scope: trio.CancelScope) -> None:
        error: str | None = None
        try:
            with scope:
                program = self._programs.get(name)
                if program is None:
                    error = (
                        f"no program called {name!r} is registered in this process: register it, or cancel the instance"
                    )
                else:
                    await program(key, epoch)
        except trio.Cancelled:
            raise
        except BaseException as failure:  # noqa: BLE001 - whatever a program does, an exit included, ends only itself
            error = repr(failure)
        finally:
            self._slot.mailbox.put_control(_Over(key, epoch, error))

    async def _report_later(self, delay: float, key: InstanceKey, epoch: int, error: str) -> None:
        await trio.sleep(delay)
        self._report_crash(key, epoch, error)

    def _report_crash(self, key: InstanceKey, epoch: int, error: str) -> None:
        call = Call(key, CrashInstance(epoch=epoch, error=error))
        try:
            self.system.cell(self._instances, key).tell_nowait(call)
        except RuntaraError as refusal:
            self.system.dead_letters.add(self._slot.path, refusal.code.wire, call)

"""Waiting for what comes of a call, without a task or a thread for it."""

from typing import Any

import trio

from runtara.transport.frames import Ask
from runtara.transport.gate import Caller, Gate, Outcome

__all__ = ["asked"]


async def asked(gate: Gate, caller: Caller, ask: Ask) -> Any:
    """Return the reply to a call; Any: each command has its own. Raises what it is refused with.

    Whoever is cancelled meanwhile waits no more; what comes of the call then goes nowhere.
    """
    answer = _Answer()
    gate.ask(caller, ask, answer)
    if not answer.is_there:
        await answer.arrived()
    if answer.error is not None:
        raise answer.error
    return answer.value


class _Answer:
    """What comes of one call, once."""

    __slots__ = ("_task", "error", "is_there", "value")

    def __init__(self) -> None:
        self.is_there = False
        self.value: Any = None
        self.error: BaseException | None = None
        self._task: trio.lowlevel.Task | None = None

    def __call__(self, outcome: Outcome) -> None:
        """Take what came of it. Runs in the task of whoever answers, so it must not raise."""
        self.value, self.error, self.is_there = outcome.value, outcome.error, True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def arrived(self) -> None:
        """Wait for it."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._forget)

    def _forget(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

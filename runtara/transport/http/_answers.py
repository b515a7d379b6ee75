"""Waiting for what comes of a call, without a task or a thread for it."""

from typing import Any, NamedTuple

import trio

from runtara.transport.frames import Ask
from runtara.transport.gate import Caller, Gate, Outcome

__all__ = ["Asked", "Client"]


class Client(NamedTuple):
    """Somebody who was let in."""

    gate: Gate
    caller: Caller

    async def ask(self, call: Ask) -> Any:
        """Return the reply to a call; Any: each command has its own. Raises what it is refused with.

        Whoever is cancelled meanwhile waits no more; what comes of the call then goes nowhere.
        """
        return await Asked(self, call).reply()


class Asked:
    """A call that was made, and what comes of it. Raises at once what the gate refuses with."""

    __slots__ = ("_error", "_is_there", "_task", "_value")

    def __init__(self, client: Client, call: Ask) -> None:
        self._is_there = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._task: trio.lowlevel.Task | None = None
        client.gate.ask(client.caller, call, self._settle)

    async def reply(self) -> Any:
        """Wait for the reply and return it. Raises what the call is refused with."""
        if not self._is_there:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._forget)
        if self._error is not None:
            raise self._error
        return self._value

    def _settle(self, outcome: Outcome) -> None:
        """Take what came of it. Runs in the task of whoever answers, so it must not raise."""
        self._value, self._error, self._is_there = outcome.value, outcome.error, True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _forget(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

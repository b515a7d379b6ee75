"""Answers questions for what programs have written, and lets those wait who want to read on.

It reads through the runner's engine and polls nothing: a wait ends when the engine hears of something new, when the
runner says that an attempt is over, or when the asker's time is.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from runtara.actors._service import Deferred
from runtara.actors.runners import Engine
from runtara.errors import ActorStopped, RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import LogRead, ReadLog

__all__ = ["FOLLOWERS_MAX", "Logs"]

FOLLOWERS_MAX: Final = 256
"""Most questions for logs at a time."""

_ANSWER_BEFORE: Final = 1.0
"""Seconds before the asker gives up at which a wait ends."""


class Logs:
    """The logs of all programs. `is_over` tells whether an instance is finished and has no process left."""

    def __init__(self, engine: Engine, is_over: Callable[[InstanceKey], Awaitable[bool]]) -> None:
        self._engine = engine
        self._is_over = is_over
        self._changes: dict[InstanceKey, trio.Event] = {}
        self.followers = 0
        """How many questions there are; whoever begins one counts it."""

    def changed(self, key: InstanceKey) -> None:
        """Have those look again who wait for this instance: one of its attempts is over."""
        change = self._changes.pop(key, None)
        if change is not None:
            change.set()

    async def answer(self, deferred: Deferred, key: InstanceKey, command: ReadLog) -> None:
        """Answer a question, at once or when there is something to read."""
        deadline = min(trio.current_time() + command.wait_ms / 1000, deferred.deadline - _ANSWER_BEFORE)
        try:
            deferred.settle(await self._read(key, command, deadline))
        except RuntaraError as refusal:
            deferred.fail(refusal)
        finally:
            self.followers -= 1
            deferred.fail(ActorStopped("the runner has ended before it could read the log: ask again"))

    async def _read(self, key: InstanceKey, command: ReadLog, deadline: float) -> LogRead:
        data, offset = await self._engine.read_log(key, command.stream, command.offset, command.limit)
        if not data:
            await self._is_over(key)  # whatever the answer: an unknown instance is refused before it is waited for
        while not data:
            # Everything that may change is watched before it is looked at, so that nothing is missed in between.
            written, change = self._engine.watch_log(key), self._changes.setdefault(key, trio.Event())
            over = await self._is_over(key)
            data, offset = await self._engine.read_log(key, command.stream, offset, command.limit)
            if over or trio.current_time() >= deadline:
                return LogRead(data=data, offset=offset, ended=over and not data)
            if not data:
                with trio.move_on_at(deadline):
                    await _wait_any(written, change)
        return LogRead(data=data, offset=offset, ended=False)


async def _wait_any(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(_wait_and_cancel, event, nursery.cancel_scope)


async def _wait_and_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

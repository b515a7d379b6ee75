"""Answers questions for what programs have written, and lets those wait who want to read on.

It reads through the runner's engine and polls nothing: a wait ends when the engine hears of something new, when the
runner says that an attempt is over, or when the asker's time is. What another node keeps is asked for there, once.
"""

from collections.abc import Awaitable, Callable
from typing import Final, cast

import trio
from msgspec.structs import replace

from runtara.actors._deferred import Deferred
from runtara.actors.neighbours import Neighbourhood
from runtara.actors.runners import Engine
from runtara.errors import ActorStopped, NotFound, RuntaraError, Unreachable
from runtara.ids import InstanceKey
from runtara.messages import Call, LogRead, ReadLog
from runtara.records import Holder

__all__ = ["FOLLOWERS_MAX", "Logs"]

FOLLOWERS_MAX: Final = 2_500
"""Most questions for logs at a time: two for each instance that somebody watches, and some more."""

_ANSWER_BEFORE: Final = 1.0
"""Seconds before the asker gives up at which a wait ends."""

_ANSWER_WITHIN: Final = 30.0
"""Seconds that another node may take beside what the asker wants to wait for more."""


class Logs:
    """The logs of all programs. `is_over` tells whether an instance is finished and has no process left here.

    `neighbours` are the other nodes, where several share the store.
    """

    def __init__(
        self,
        engine: Engine,
        is_over: Callable[[InstanceKey], Awaitable[bool]],
        neighbours: Neighbourhood | None = None,
    ) -> None:
        self._engine = engine
        self._is_over = is_over
        self._neighbours = neighbours
        self._node = "" if neighbours is None else neighbours.node
        self._changes: dict[InstanceKey, trio.Event] = {}
        self.followers = 0
        """How many questions there are; whoever begins one counts it."""

    def changed(self, key: InstanceKey) -> None:
        """Have those look again who wait for this instance: one of its attempts is over."""
        change = self._changes.pop(key, None)
        if change is not None:
            change.set()

    async def answer(self, deferred: Deferred, call: Call) -> None:
        """Answer a question, at once or when there is something to read."""
        try:
            deferred.settle(await self._find(call, deferred.deadline))
        except RuntaraError as refusal:
            deferred.fail(refusal)
        finally:
            self.followers -= 1
            deferred.fail(ActorStopped("the runner has ended before it could read the log: ask again"))

    async def _find(self, call: Call, asker_until: float) -> LogRead:
        """Read the log here, or have the node read it that keeps it."""
        if call.passed_on or self._neighbours is None:
            return await self._read_here(call, asker_until)
        holder = await self._neighbours.find_log_node(call.key)
        if holder is None:
            found = await self._read_here(call, asker_until)
        else:
            found = await self._read_there(self._neighbours, holder, call, asker_until)
        if found.ended and await self._neighbours.find_log_node(call.key) != holder:
            return replace(found, ended=False)  # it went on elsewhere meanwhile, and there is more
        return found

    async def _read_there(self, neighbours: Neighbourhood, holder: Holder, call: Call, asker_until: float) -> LogRead:
        name = f"node {holder.name!r}" if holder.name else "a node that nobody remembers"
        where = f"what instance {call.key.instance_id!r} has written is kept by {name}"
        if holder.lost:
            raise await self._refusal(where, call)
        if holder.address is None:
            raise NotFound(f"{where}, which cannot be asked from here: ask that node")
        patience = cast("ReadLog", call.command).wait_ms / 1000 + _ANSWER_WITHIN
        try:
            found = await neighbours.ask(holder, call, min(patience, asker_until - trio.current_time()), where)
        except Unreachable as error:
            raise Unreachable(
                f"{where}, which does not answer ({error}): try again when it is back; all else that is known of the "
                "instance is answered here"
            ) from error
        return replace(cast("LogRead", found), node=holder.name)

    async def _refusal(self, where: str, call: Call) -> RuntaraError:
        """Return what is said of a log that was lost with its node. Whoever follows may wait for the next one."""
        if cast("ReadLog", call.command).wait_ms and not await self._is_over(call.key):
            return Unreachable(f"{where}, which is gone: ask again when another node has launched the program")
        return NotFound(
            f"{where}, which is gone: start that node again; all else that is known of the instance is answered here"
        )

    async def _read_here(self, call: Call, asker_until: float) -> LogRead:
        command = cast("ReadLog", call.command)
        if command.offset > 0 and command.node not in ("", self._node):
            command = replace(command, offset=0)
        deadline = min(trio.current_time() + command.wait_ms / 1000, asker_until - _ANSWER_BEFORE)
        return replace(await self._read(call.key, command, deadline), node=self._node)

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

"""Follows one instance for somebody who watches it: its events, its status, and what its program writes.

All of it is stored, so a place in the stream is one in the store: the last event, and how much of each output was told.
It is good for ever, also at another process. Nothing is dropped for a slow connection: this waits.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec
import trio
from msgspec.structs import replace

from runtara.errors import InstanceNotFound, InvalidInput, NotFound, Retry, RuntaraError
from runtara.live import Item, Outlet, Refused, Watching
from runtara.messages import EventPage, GetStatus, InstanceInfo, LogRead, ReadLog, Request
from runtara.store import cursor_of_seq

__all__ = ["Follower", "Place"]

_EVENTS: Final = 200
"""Events that are read at once."""

_ROUND_S: Final = 0.05
"""Seconds between two looks at an instance of which something is stored all the time."""

_LOG_WAIT_MS: Final = 30_000
_TRY_AGAIN_S: Final = 1.0
"""Seconds until it is tried again to read what could not be read."""

_PLACE: Final = re.compile(r"(\d{1,18})(?:\.(\d{1,18})\.(\d{1,18}))?\Z", re.ASCII)

_encoder: Final = msgspec.json.Encoder()


class Place:
    """How much was told: the last event's place in the log, and bytes of each output."""

    def __init__(self, text: str | None) -> None:
        """Read a place that was told before. Raises `InvalidInput` for anything else."""
        found = _PLACE.match("0" if text is None else text)
        if found is None:
            raise InvalidInput(f"the place {text!a:.100} is not one of an instance: begin without one")
        self.event = int(found[1])
        self.written = {"stdout": int(found[2] or 0), "stderr": int(found[3] or 0)}

    def __str__(self) -> str:
        return f"{self.event}.{self.written['stdout']}.{self.written['stderr']}"


class Follower:
    """One watch of one instance.

    `ask` asks the instance, as whoever manages its tenant; `read_events` reads a page of its events behind a cursor;
    `read_log` asks the keeper of logs, None where nobody keeps any.
    """

    def __init__(
        self,
        outlet: Outlet,
        number: int,
        place: Place,
        *,
        ask: Callable[[Request[Any]], Awaitable[Any]],
        read_events: Callable[[int, str], Awaitable[EventPage]],
        read_log: Callable[[ReadLog, float], Awaitable[LogRead]] | None,
    ) -> None:
        self._outlet = outlet
        self._number = number
        self._place = place
        self._ask = ask
        self._read_events = read_events
        self._read_log = read_log
        self._change = trio.Event()
        self._last: InstanceInfo | None = None

    def changed(self) -> None:
        """Hear that something was stored of the instance."""
        self._change.set()

    async def follow(self) -> None:
        """Tell all that happens, until this is cancelled, the outlet has ended, or there is no such instance."""
        self._outlet.put(self._number, Watching(str(self._place)))
        async with trio.open_nursery() as nursery:
            if self._read_log is not None:
                nursery.start_soon(self._follow_log, self._read_log, "stdout")
                nursery.start_soon(self._follow_log, self._read_log, "stderr")
            while not self._outlet.ended:
                self._change = trio.Event()
                if not await self._look():
                    break
                await trio.sleep(_ROUND_S)
                await self._change.wait()
            nursery.cancel_scope.cancel()

    async def _look(self) -> bool:
        """Tell what is new; False where there is nothing to follow any more."""
        try:
            await self._tell_events()
            info: InstanceInfo = await self._ask(GetStatus())
        except (NotFound, InstanceNotFound) as error:
            self._outlet.put(self._number, Refused(error.code.wire, str(error)))
            return False
        except RuntaraError:  # of whatever kind: the instance may be somebody else's just now, or the store away
            await trio.sleep(_TRY_AGAIN_S)
            self._change.set()
            return True
        told = replace(info, output=None, heartbeat_at=None)
        if told != self._last:
            self._last = told
            await self._tell({"status": told})
        return True

    async def _tell_events(self) -> None:
        while True:
            page = await self._read_events(_EVENTS, cursor_of_seq(self._place.event))
            for event in page.events:
                self._place.event = event.seq
                await self._tell({"event": event})
            if page.cursor is None:
                return

    async def _follow_log(
        self, read: Callable[[ReadLog, float], Awaitable[LogRead]], stream: Literal["stdout", "stderr"]
    ) -> None:
        """Tell what the program writes; where its instance has ended and goes on nowhere, there is no more."""
        node = ""
        while not self._outlet.ended:
            wanted = ReadLog(stream=stream, offset=self._place.written[stream], wait_ms=_LOG_WAIT_MS, node=node)
            try:
                found = await read(wanted, _LOG_WAIT_MS / 1000 + 30)
            except RuntaraError as error:
                if error.retry is Retry.NEVER:
                    return  # nobody keeps it
                await trio.sleep(_TRY_AGAIN_S)
                continue
            node = found.node
            if found.data:
                self._place.written[stream] = found.offset + len(found.data)
                await self._tell({"log": _Log(stream, found.offset, found.data)})
            if found.ended:
                return

    async def _tell(self, data: object) -> None:
        item = Item(str(self._place), msgspec.Raw(_encoder.encode(data)))
        await self._outlet.put_in_time(self._number, item)


class _Log(msgspec.Struct, frozen=True):
    """A piece of what a program has written."""

    stream: str
    offset: int
    data: bytes

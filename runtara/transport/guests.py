"""Who is connected by something that may become worthless: a key, a certificate, a token. Sends them away when it has.

What is still good, it does not decide. It looks whenever the keys may have changed, whoever has changed them (this
server, a command on this machine, another node of the same store: all of them put a file in its place), and at the
moment at which something ends.
"""

import errno
from collections.abc import Callable
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Final, NoReturn

import trio

from runtara.clock import Clock
from runtara.errors import Unauthenticated
from runtara.inotify import REPLACED, FolderWatch
from runtara.transport.callers import Caller

__all__ = ["Guest", "Guests", "SendAway"]

SendAway = Callable[[Unauthenticated], None]
"""Ends a connection, saying why; must neither wait nor raise."""

_CLOCK_S: Final = 60.0
"""Longest wait for an end that is known: somebody may set the clock."""

_LOOK_EVERY_S: Final = 1.0
"""How often one looks where the system does not tell that a file has changed."""

_MUTE: Final = {errno.ENOENT, errno.EMFILE, errno.ENOSPC, errno.ENOSYS, errno.EACCES, errno.EPERM}
"""What the system says where it does not tell."""


class Guest:
    """One connection."""

    __slots__ = ("caller", "send_away")

    def __init__(self, caller: Caller, send_away: SendAway) -> None:
        self.caller: Final = caller
        self.send_away: Final = send_away

    @property
    def until_ms(self) -> float:
        """When that ends by which it was let in, as far as is known."""
        until = self.caller.token_until if self.caller.token_only else self.caller.good_until
        return inf if until is None else until


class Guests:
    """Those of one gate. `check` raises `Unauthenticated` for a caller who is not to be here any more."""

    def __init__(self, check: Callable[[Caller], None], clock: Clock) -> None:
        self._check = check
        self._clock = clock
        self._guests: dict[Guest, None] = {}
        self._next_ms = inf
        self._news = trio.Event()

    def __len__(self) -> int:
        return len(self._guests)

    def add(self, guest: Guest) -> None:
        """Have somebody sent away, once, when there is reason to; unless it is removed before."""
        self._guests[guest] = None
        if guest.until_ms < self._next_ms:
            self._news.set()

    def remove(self, guest: Guest) -> None:
        """Take note that somebody has gone; harmless when repeated."""
        self._guests.pop(guest, None)

    async def serve(self, folder: Path) -> None:
        """Look whenever there is reason to, until cancelled. `folder` is where the keys are."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear, folder)
            while True:
                self._news = trio.Event()
                self.look()
                left = (self._next_ms - self._clock.now_ms()) / 1000
                with trio.move_on_after(min(max(left, 0) + 0.001, _CLOCK_S)):
                    await self._news.wait()

    def look(self) -> None:
        """Send away whoever is not to be here any more."""
        for guest in tuple(self._guests):
            try:
                self._check(guest.caller)
            except Unauthenticated as error:
                self.remove(guest)
                guest.send_away(error)
        self._next_ms = min((guest.until_ms for guest in self._guests), default=inf)

    async def _hear(self, folder: Path) -> None:
        """Take note that the keys may have changed."""
        try:
            watch = FolderWatch(REPLACED)
        except (OSError, AttributeError):  # what the system does not have, it does not know by name
            await self._look_always()
        else:
            with closing(watch):
                await self._listen(watch, folder)

    async def _listen(self, watch: FolderWatch, folder: Path) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.serve)
            while True:
                try:
                    changed = watch.watch(folder)
                except OSError as error:
                    if error.errno not in _MUTE:
                        raise
                    await self._look_always()
                self._news.set()  # what has changed before it was watched, too
                await changed.wait()

    async def _look_always(self) -> NoReturn:
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            self._news.set()

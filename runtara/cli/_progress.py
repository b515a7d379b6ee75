"""How an instance is getting on, on the last line of a terminal.

It is a picture for people: redrawn a few times a second, and out of the way while anything else is printed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from runtara.cli._reach import Door
from runtara.cli._words import instant, plain
from runtara.errors import RuntaraError
from runtara.lifecycle import Status
from runtara.messages import GetStatus, InstanceInfo

__all__ = ["Progress", "summary"]

FRAMES: Final = 5
"""Pictures in a second."""


def summary(info: InstanceInfo) -> str:
    """Return in a few words how an instance is getting on."""
    words = [info.status.value]
    if info.status is Status.SUSPENDED:
        words = [f"suspended ({info.termination_reason})"]
        if info.wake_at is not None:
            words.append(f"until {instant(info.wake_at)}")
    count = info.checkpoint_count
    words += [f"attempt {info.epoch}", f"{count} checkpoint{'' if count == 1 else 's'}"]
    if info.checkpoint_id is not None:
        words.append(f"last: {plain(info.checkpoint_id)}")
    return " · ".join(words)


class Progress:
    """The last line of a terminal; nothing at all where stderr is no terminal."""

    def __init__(self, door: Door, console: Console | None = None) -> None:
        self._door = door
        console = console or Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._line_is_free = True

    async def draw(self) -> None:
        """Keep the picture up to date until cancelled."""
        if self._live is None:
            return
        spinner = Spinner("dots")
        try:
            while True:
                try:
                    info = await self._door.call(GetStatus())
                except RuntaraError:
                    info = None  # the next picture may show more
                if info is not None and self._line_is_free:
                    spinner.update(text=Text(summary(info), no_wrap=True, overflow="ellipsis"))
                    self._live.start()
                    self._live.update(spinner, refresh=True)
                await trio.sleep(1 / FRAMES)
        finally:
            self._live.stop()

    @contextmanager
    def hidden(self, last: bytes) -> Iterator[None]:
        """Make room for something to be printed; the picture comes back once a line has ended."""
        if self._live is None:
            yield
            return
        self._live.stop()
        self._line_is_free = False
        yield
        self._line_is_free = last.endswith(b"\n") or not sys.stdout.isatty()

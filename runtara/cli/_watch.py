"""`runtara watch`: how all instances of a tenant get on, as it happens.

Where the server's HTTP door is known, its live stream tells every change. Elsewhere, every unfinished instance that is
shown is watched through the door, so its changes are pushed; what is new is then looked for now and then, since nobody
is told of an instance before it is there.
"""

import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import trio
from rich.console import Console
from rich.live import Live

from runtara.cli._board import Board, Change, summary_of
from runtara.cli._filters import filter_of, filter_options, of_many
from runtara.cli._follow import BREATH, RECHECK, wait_for_push
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._words import instant
from runtara.clock import SystemClock
from runtara.errors import Forbidden, Retry, RuntaraError
from runtara.lifecycle import FINAL, Status
from runtara.messages import (
    CountInstances,
    GetStatus,
    InstanceFilter,
    InstanceSummary,
    ListInstances,
    ListNodes,
    Request,
)

if TYPE_CHECKING:
    from runtara.transport.websocket.live import LiveSpec

__all__ = ["Watch", "watch"]

R = TypeVar("R")

Follow = Callable[[Callable[[InstanceSummary | None], None]], Awaitable[None]]
"""Tells of every change until it raises; None is told where any may have been missed. See `follow_instances`."""

ROWS: Final = 200
"""Instances that are known at a time, the newest."""
WATCHED: Final = 128
"""Most instances whose changes are pushed; a server lets a connection watch twice as many."""
LOOK_EVERY: Final = 2.0
"""Seconds after which it is looked for what is new, where nothing tells it."""
LOOK_AGAIN: Final = 0.5
"""Seconds between two looks, however much is told."""
FRAMES: Final = 10
"""Most pictures in a second."""


@click.command(cls=of_many("events ID --follow"))
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only those that stand so.")
@filter_options
@client_options
def watch(reach: Reach, **wanted: Any) -> None:  # the filter's options
    """Show the newest instances of a tenant as they change, until q or Ctrl-C.

    Where the output is no terminal, a line is printed for each change instead.
    """
    console = Console()
    with reach.door() as door:
        live = reach.live()
        follow = None if live is None else partial(_follow, live)
        trio.run(_until_told, Watch(door, filter_of(door, **wanted), console, follow))


async def _follow(live: "LiveSpec", told: Callable[[InstanceSummary | None], None]) -> None:
    from runtara.transport.websocket.live import follow_instances

    await follow_instances(live, told)


async def _until_told(watching: "Watch") -> None:
    """Watch until a key or a signal ends it."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, ExitStack() as terminal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watching.run)
            if sys.stdin.isatty() and watching.console.is_terminal:
                nursery.start_soon(_wait_for_q, terminal, nursery.cancel_scope.cancel)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def _wait_for_q(terminal: ExitStack, end: Callable[[], None]) -> None:
    """Call `end` once q is pressed; keys come at once, and are not shown, until the terminal is given back."""
    import os
    import termios
    import tty

    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    terminal.callback(termios.tcsetattr, keys, termios.TCSADRAIN, before)
    tty.setcbreak(keys)
    while True:
        await trio.lowlevel.wait_readable(keys)
        pressed = os.read(keys, 64).lower()
        if b"q" in pressed or not pressed:
            end()
            return


class Watch:
    """Keeps a board up to date through a door, and shows it on a console, until it is cancelled."""

    def __init__(self, door: Door, wanted: InstanceFilter, console: Console, follow: Follow | None = None) -> None:
        self.console: Final = console
        self._follow = follow
        self._is_told = False
        """Whether a live stream tells every change."""
        self._settled = trio.Event()
        """Set once it is known whether one does."""
        self._door = door
        self._wanted = wanted
        self._board = Board(ROWS)
        self._watched: set[str] = set()
        self._to_draw = trio.Event()
        self._to_look = trio.Event()
        self._has_nodes = True

    async def run(self) -> None:
        """Watch. Raises what the server refuses for good."""
        async with trio.open_nursery() as nursery:
            if self.console.is_terminal:
                nursery.start_soon(self._draw)
            if self._follow is not None:
                nursery.start_soon(self._be_told, self._follow)
                with trio.move_on_after(BREATH):
                    await self._settled.wait()
            while True:
                self._to_look, looked_at = trio.Event(), trio.current_time()
                await self._look()
                for name in () if self._is_told else self._board.unfinished:
                    if name not in self._watched and len(self._watched) < WATCHED:
                        self._watched.add(name)
                        nursery.start_soon(self._stay_with, name)
                with trio.move_on_after(RECHECK if self._is_told else LOOK_EVERY):
                    await self._to_look.wait()
                if self._is_told:
                    await trio.sleep_until(looked_at + LOOK_AGAIN)

    async def _be_told(self, follow: Follow) -> None:
        """Hear of every change for as long as the server tells them; look for them oneself meanwhile."""
        while True:
            try:
                await follow(self._hear)
            except RuntaraError as error:
                self._is_told = False
                self._settled.set()
                self._to_look.set()
                if error.retry is Retry.NEVER:
                    return
            await trio.sleep(BREATH)

    def _hear(self, row: InstanceSummary | None) -> None:
        """Take note of how an instance stands; None where that of any may have changed."""
        self._is_told = True
        self._settled.set()
        if row is not None and row.instance_id in self._board:
            change = self._board.put(row)
            if change is None:
                return
            self._tell(change)
        self._to_look.set()  # for it, or for the totals

    async def _look(self) -> None:
        """Take what there is now."""
        self._board.look()
        page = await self._ask(ListInstances(filter=self._wanted, order="-created", limit=ROWS))
        counts = (await self._ask(CountInstances())).counts
        nodes = (await self._ask(ListNodes())).nodes if self._has_nodes else ()
        self._has_nodes = bool(nodes)
        self._tell(*self._board.show(page.instances, counts, [node for node in nodes if node.lost_at is None]))

    async def _stay_with(self, instance_id: str) -> None:
        """Take note of what happens to an instance, until it has ended."""
        door = self._door.beside(instance_id, watch=True)
        try:
            while True:
                since = door.session.pushes
                info = await self._ask(GetStatus(), door)
                change = self._board.put(summary_of(info))
                if change is not None:
                    self._tell(change)
                    self._to_look.set()  # the totals have changed, too
                if info.status in FINAL:
                    return
                await wait_for_push(door.session, since)
        except Forbidden:
            return
        finally:
            self._watched.discard(instance_id)
            door.close()

    async def _ask(self, command: Request[R], door: Door | None = None) -> R:
        """Have a command answered, however long the server is away, of which the board tells."""
        while True:
            try:
                reply = await (door or self._door).call(command)
            except RuntaraError as error:
                if error.retry is Retry.NEVER:
                    raise
                self._board.trouble = str(error)
                self._to_draw.set()
            else:
                if self._board.trouble is not None:
                    self._board.trouble = None
                    self._to_draw.set()
                return reply
            await trio.sleep(BREATH)

    def _tell(self, *changes: Change) -> None:
        self._to_draw.set()
        if not self.console.is_terminal:
            for change in changes:
                self.console.file.write(f"{instant(SystemClock().now_ms())}  {change}\n")
            self.console.file.flush()

    async def _draw(self) -> None:
        """Keep the picture up to date."""
        with Live(console=self.console, screen=True, auto_refresh=False) as live:
            while True:
                await self._to_draw.wait()
                self._to_draw = trio.Event()
                live.update(self._board.picture(self.console.height), refresh=True)
                await trio.sleep(1 / FRAMES)

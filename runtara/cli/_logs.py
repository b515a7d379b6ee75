"""`runtara logs`: what a launched program has written to stdout and stderr, byte for byte."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, TypeAlias

import click
import trio

from runtara.cli._completion import instance_argument
from runtara.cli._follow import ask_patiently
from runtara.cli._reach import Door, Reach, client_options
from runtara.messages import GetStatus, LogRead, ReadLog

__all__ = ["STREAMS", "LogCopy", "Stream", "logs"]

Stream: TypeAlias = Literal["stdout", "stderr"]

STREAMS: Final[dict[str, tuple[Stream, ...]]] = {
    "stdout": ("stdout",),
    "stderr": ("stderr",),
    "both": ("stdout", "stderr"),
}

WAIT_MS: Final = 20_000
"""How long the server holds a question for more, before it is asked again."""

TAIL_BYTES: Final = 64 * 1024
"""How far before the end the last lines are looked for first; then ever farther."""


@click.command()
@instance_argument
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the instance has ended.")
@click.option("--stream", type=click.Choice(list(STREAMS)), default="both", show_default=True, help="What to print.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Begin with the last N lines.")
@client_options
def logs(reach: Reach, instance_id: str, follow: bool, stream: str, tail: int | None) -> None:
    """Print what the program of an instance has written.

    Its stdout goes to stdout and its stderr to stderr. Only programs that a server has launched have logs; of several
    servers with one database, any may be asked.
    """
    with reach.door(instance_id) as door:
        door.call_from_thread(GetStatus())  # is it known, and is there a server at all?
        trio.run(_print_logs, door, STREAMS[stream], tail, follow)


async def _print_logs(door: Door, streams: Sequence[Stream], tail: int | None, follow: bool) -> None:
    copies = [LogCopy(door, stream) for stream in streams]
    if tail is not None:
        for copy in copies:
            await copy.seek(tail)
    if not follow:
        for copy in copies:  # one after the other: nobody knows how their lines were interleaved
            await copy.rest()
        return
    async with trio.open_nursery() as nursery:
        for copy in copies:
            nursery.start_soon(copy.follow)


class LogCopy:
    """Copies what a program writes to a stream to the same stream here.

    `around` is entered with every piece before it is printed, to make room for it.
    """

    def __init__(
        self, door: Door, stream: Stream, around: Callable[[bytes], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._door = door
        self._stream: Final = stream
        self._around = around
        self._offset = 0
        """Of the next byte to be printed."""
        self._node = ""
        """Where that is counted."""

    async def follow(self) -> None:
        """Print what there is and what comes, until the instance has ended. May be cancelled, and gone on with."""
        while not await self._copy(WAIT_MS):
            pass

    async def rest(self) -> None:
        """Print what there is now."""
        before = -1
        while before != self._offset:
            before = self._offset
            await self._copy(0)

    async def skip(self) -> None:
        """Leave out what there is now."""
        await self.seek(0)

    async def seek(self, lines: int) -> None:
        """Go to the last lines, looking ever farther back from the end until there are enough of them."""
        back = TAIL_BYTES
        while True:
            start, data = await self._last(back)
            if data.count(b"\n") > lines or len(data) < back:
                self._offset = start + _start_of_tail(data, lines)
                return
            back *= 4

    async def _copy(self, wait_ms: int) -> bool:
        """Print a piece; return whether it was the last one."""
        piece = await self._read(self._offset, wait_ms)
        if piece.data:
            with self._around(piece.data):
                await trio.to_thread.run_sync(self._write, piece.data)
        self._offset = piece.offset + len(piece.data)
        return piece.ended

    def _write(self, data: bytes) -> None:
        click.echo(data, nl=False, err=self._stream == "stderr")

    async def _last(self, back: int) -> tuple[int, bytes]:
        """Return the last bytes that there are, and the offset of the first of them."""
        piece = await self._read(-back, 0)
        start, data = piece.offset, piece.data
        while piece.data and not piece.ended:
            piece = await self._read(start + len(data), 0)
            data += piece.data
        return start, data

    async def _read(self, offset: int, wait_ms: int) -> LogRead:
        question = ReadLog(stream=self._stream, offset=offset, wait_ms=wait_ms, node=self._node)
        piece = await ask_patiently(self._door, question)
        self._node = piece.node
        return piece


def _start_of_tail(data: bytes, lines: int) -> int:
    """Return where in `data` its last lines begin; an unfinished line at the end counts as one."""
    position = len(data) - data.endswith(b"\n")
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1 if lines else len(data)

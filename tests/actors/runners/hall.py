"""An engine with programs to launch, and ways to wait for what they do without ever looking twice in vain."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import trio
import trio.testing
from msgspec.structs import replace

from runtara.actors.runners import Attempt, Ended, Engine, Plan
from runtara.actors.runners._run_folder import RunFolder, ShimNote, read_markers
from runtara.actors.runners._shim import start_time
from runtara.actors.runners.native import NativeEngine
from runtara.ids import InstanceKey
from runtara.settings import Settings, inherited_environment
from tests.requirements import require

__all__ = [
    "KEY",
    "PATIENCE_S",
    "Hall",
    "children",
    "descriptors",
    "is_alive",
    "kill_child",
    "open_hall",
    "plain",
    "processes_of",
    "serving",
    "wait_gone",
]

KEY = InstanceKey("acme", "order-7")
PATIENCE_S = 60.0
"""How long anything may take that is waited for, before the test fails instead of hanging."""

if sys.platform != "linux":
    require("linux", "programs are launched as processes of Linux")


class Hall:
    """A folder of programs, and an engine that launches them. Another one on the same folder finds its attempts."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir(exist_ok=True)
        given: dict[str, Any] = {"data_dir": str(folder / "data"), "programs": str(self.programs)}
        self.settings = Settings(**given | {"kill_grace_ms": 60_000} | settings)
        self.engine = self.make_engine()
        self.home = folder / "data" / "runs"
        self._programs = 0

    def make_engine(self) -> NativeEngine:
        """An engine of this folder."""
        return NativeEngine(self.settings, inherited_environment())

    def another(self) -> "Hall":
        """The hall of a host that has come back."""
        return type(self)(self.folder)

    def write(self, text: str, name: str = "program", mode: int = 0o755) -> str:
        """Make a program: a script for the shell, or for Python where its name says so."""
        path = self.programs / name
        path.write_text(text if name.endswith(".py") else f"#!/bin/sh\n{text}")
        path.chmod(mode)
        return str(path)

    def plan(self, program: str, **more: Any) -> Plan:
        """What it takes to launch a program."""
        plain: dict[str, Any] = {"key": KEY, "epoch": 1, "program": program}
        return Plan(**plain | more)

    async def launch(self, text: str, name: str = "program", **plan: Any) -> Attempt:
        """Launch a new program, in a file of its own: one that is just being executed cannot be written."""
        self._programs += 1
        return await self.engine.launch(self.plan(self.write(text, f"{self._programs}-{name}"), **plan))

    async def act(self, acts: str, **plan: Any) -> Attempt:
        """Launch a program that does simple things, told in the words of the fake engine's lines."""
        return await self.launch("\n".join(shell_of(act.strip()) for act in acts.split(";")), **plan)

    async def run(self, text: str, name: str = "program", **plan: Any) -> Ended:
        """Launch a new program and wait for its end."""
        attempt = await self.launch(text, name, **plan)
        return await self.end(attempt)

    async def end(self, attempt: Attempt) -> Ended:
        """Wait for the end of an attempt, and forget it."""
        try:
            with trio.fail_after(PATIENCE_S):
                ended = await attempt.wait_ended()
        finally:
            attempt.close()
        await attempt.forget()
        return ended

    async def read(self, stream: str = "stdout", key: InstanceKey = KEY) -> bytes:
        """All that is kept of a stream."""
        found, offset = b"", 0
        while True:
            data, offset = await self.engine.read_log(key, stream, offset, 1 << 20)
            if not data:
                return found
            found, offset = found + data, offset + len(data)

    async def wait_written(self, text: str, stream: str = "stdout", key: InstanceKey = KEY) -> str:
        """Wait until a program has written something; return all of the stream."""
        while True:
            written = self.engine.watch_log(key)
            found = (await self.read(stream, key)).decode()
            if text in found:
                return found
            with trio.fail_after(PATIENCE_S):
                await written.wait()

    def gate(self, name: str, key: InstanceKey = KEY) -> Path:
        """Make a pipe for which a program waits: it finds it in its work folder."""
        folder = RunFolder(self.home, key)
        folder.make()
        os.mkfifo(folder.work / name)
        (folder.work / name).chmod(0o666)
        return folder.work / name

    async def pid_of(self, name: str) -> int:
        """The process whose number a program has written behind a name."""
        text = await self.wait_written(f"{name}=")
        line = next(line for line in text.splitlines() if line.startswith(f"{name}="))
        return self.outside(int(line.partition("=")[2]))

    def outside(self, pid: int) -> int:
        """The number that a process has here, from the one that it has for itself."""
        return pid

    def shim(self, key: InstanceKey = KEY) -> ShimNote:
        """Who looks after the only attempt of an instance."""
        marker = next(marker for marker in read_markers(self.home) if marker.key == key)
        note = RunFolder(self.home, key).read_shim(marker.launch_id)
        assert note is not None
        return note


def shell_of(act: str) -> str:
    """A step of the fake engine's lines, in the words of a shell."""
    verb, _, rest = act.partition(" ")
    words = {
        "say": f"echo {rest}",
        "warn": f"echo {rest} >&2",
        "output": f'printf {rest} >"$RUNTARA_OUTPUT_FILE"',
        "echo": 'cat "$RUNTARA_INPUT_FILE" >"$RUNTARA_OUTPUT_FILE"',
        "hang": "trap 'exit 143' TERM; sleep 1000 & wait",
        "exit": f"exit {rest}",
    }
    return words[verb]


class _Serving(Protocol):
    """Whatever has an engine, and can wait for the end of an attempt."""

    @property
    def engine(self) -> Engine: ...

    async def end(self, attempt: Attempt) -> Ended: ...


_H = TypeVar("_H", bound=_Serving)


@asynccontextmanager
async def serving(hall: _H) -> AsyncIterator[_H]:
    """Have an engine for the length of the block; whatever it has launched and not forgotten is killed then."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hall.engine.serve)
        await trio.testing.wait_all_tasks_blocked()
        try:
            yield hall
        finally:
            with trio.CancelScope(shield=True):
                for attempt in await hall.engine.adopt():
                    attempt.stop("kill")
                    await hall.end(attempt)
        nursery.cancel_scope.cancel()


def open_hall(folder: Path, **settings: Any) -> AbstractAsyncContextManager[Hall]:
    """Have an engine that launches programs as processes of this machine (see `serving`)."""
    return serving(Hall(folder, **settings))


def plain(ended: Ended) -> Ended:
    """What a program has left, without what it has used."""
    return replace(ended, memory_peak=None, cpu_seconds=None)


def processes_of(namespace: str) -> dict[int, int]:
    """The processes of a process namespace: their number in it, and here."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, StopIteration):
            if folder.name.isdigit() and (folder / "ns/pid").readlink().name == namespace:
                lines = (folder / "status").read_text().splitlines()
                numbers = next(line for line in lines if line.startswith("NSpid:")).split()
                found[int(numbers[-1])] = int(folder.name)
    return found


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number that has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX" and start_time(pid) is not None


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[int]:
    """The children of this process, zombies among them."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in lists for pid in path.read_text().split()}


def kill_child(pid: int) -> None:
    """Kill a child of this process, and let it leave the process table."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


async def wait_gone(pid: int) -> None:
    """Wait until a process has ended, whoever its parent is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)

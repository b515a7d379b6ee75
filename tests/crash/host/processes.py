"""Processes that a test has brought about without being their parent: told apart by number and start, held by pidfd."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Born", "Process", "processes_at", "started_at"]

_STARTED = 19
"""Place of the start time in /proc/PID/stat, counted from behind the name."""


def started_at(pid: int) -> int | None:
    """Return when a process has started, in ticks since the machine has; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[_STARTED])


class Born(NamedTuple):
    """Who a process is: numbers of processes are used again, so each comes with the time at which it started."""

    pid: int
    started: int
    parent: int
    parent_started: int

    @classmethod
    def here(cls) -> "Born":
        """Return what this process is."""
        parent = os.getppid()
        return cls(os.getpid(), started_at(os.getpid()) or 0, parent, started_at(parent) or 0)

    def __str__(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def read(cls, text: str) -> "Born":
        """Return what was written down."""
        return cls(*map(int, text.split()))


class Process:
    """One process, for as long as this object is open, whatever becomes of its number."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    @classmethod
    def find(cls, pid: int, started: int) -> "Process | None":
        """Return the process with that number, if it is still the one that started then."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if started_at(pid) != started:
            os.close(descriptor)
            return None
        return cls(pid, descriptor)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; harmless if it is gone."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def is_gone(self, within: float = 0.0) -> bool:
        """Whether it has ended, or does so within so many seconds."""
        ready, _, _ = select.select([self._descriptor], [], [], within)
        return bool(ready)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def processes_at(folder: Path, variable: str, *, also: str = "", like: str = "") -> Iterator[Process]:
    """Find every other process that works in a folder, or was started with ``NAME=value`` in its environment.

    Of those, only the ones with the variable `also` in their environment, and `like` in their command line.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        started = started_at(int(entry.name))
        try:
            environment = b"\0" + (entry / "environ").read_bytes()
            found = (
                (folder in (entry / "cwd").readlink().parents or f"\0{variable}\0".encode() in environment)
                and (not also or f"\0{also}=".encode() in environment)
                and like.encode() in (entry / "cmdline").read_bytes()
            )
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        process = Process.find(int(entry.name), started) if found and started is not None else None
        if process is not None:
            yield process

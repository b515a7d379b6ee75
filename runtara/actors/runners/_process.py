"""Processes by more than their number: a number is given to somebody else as soon as its process is gone.

A process is known by its number and the time of its start, and is held by a descriptor (pidfd), which never comes to
mean another one. Linux only.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from runtara.actors.runners._shim import start_time

__all__ = ["LAUNCH_ID", "boot_id", "kill_all", "kill_launched", "kill_process", "open_process", "reap"]

LAUNCH_ID: Final = "RUNTARA_LAUNCH_ID"
"""The environment variable by which every process of a launch is known, unless it has changed its environment."""

_PROC: Final = Path("/proc")
_KILL_TIMEOUT_MS: Final = 10_000
"""A killed process is gone at once, unless it hangs in the kernel; then it does no harm any more."""


def boot_id() -> str:
    """Return what tells this run of the machine from every other."""
    return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def open_process(pid: int, started: int) -> int | None:
    """Return a descriptor of the process that has this number and began then; None if it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if start_time(pid) == started:  # looked at after the number was pinned down
        return descriptor
    os.close(descriptor)
    return None


def reap(descriptor: int) -> None:
    """Let an ended process leave the process table, if it is a child of this one; harmless if not."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)


def kill_process(pid: int, started: int) -> None:
    """Kill the process that has this number and began then, if there still is one, and wait until it is gone."""
    descriptor = open_process(pid, started)
    if descriptor is not None:
        kill_all([descriptor])


def kill_launched(launch_id: str) -> None:
    """Kill every process that carries the mark of a launch, and wait until they are gone."""
    mark = f"{LAUNCH_ID}={launch_id}".encode()
    while descriptors := list(_open_marked(mark)):
        if not kill_all(descriptors):
            return


def kill_all(descriptors: list[int]) -> bool:
    """Kill processes, close their descriptors, and return whether all of them are gone."""
    for descriptor in descriptors:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    gone = [_wait_gone(descriptor) for descriptor in descriptors]
    return all(gone)


def _open_marked(mark: bytes) -> Iterator[int]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and _is_marked(folder, mark):
            with suppress(OSError):
                descriptor = os.pidfd_open(int(folder.name))
                if _is_marked(folder, mark):  # still the same one, now that the number was pinned down
                    yield descriptor
                else:
                    os.close(descriptor)


def _is_marked(folder: Path, mark: bytes) -> bool:
    try:
        return mark in (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or belongs to somebody else
        return False


def _wait_gone(descriptor: int) -> bool:
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(_KILL_TIMEOUT_MS))
    finally:
        os.close(descriptor)

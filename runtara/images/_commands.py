"""Runs the programs that images are prepared with: no shell, a clean environment, a time limit, little memory."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from runtara.errors import ConfigError, InvalidInput

__all__ = ["find_program", "run_command"]

_TAIL_BYTES: Final = 4_096
"""How much of what a program said is shown."""


def find_program(name: str, environment: Mapping[str, str], hint: str) -> str:
    """Return the path of a program of the system. Raises `ConfigError` with `hint` where it is not installed."""
    path = shutil.which(name, path=environment.get("PATH", os.defpath))
    if path is None:
        raise ConfigError(f"the program {name} is not installed on this machine: {hint}")
    return path


def run_command(
    arguments: Sequence[str], *, what: str, folder: Path, environment: Mapping[str, str], timeout_s: float
) -> None:
    """Run a program in `folder` to its end; it and all that it has started are killed when its time is over.

    Raises `InvalidInput` with the last of what it said where it fails; `what` says what it was to do.
    """
    with tempfile.TemporaryFile(dir=folder) as output:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            in_time = _ends(process, timeout_s)
        finally:
            _kill_group(process)
        if not in_time:
            raise InvalidInput(f"{what} took more than {timeout_s:g} seconds{_tail(output)}")
        if process.returncode:
            raise InvalidInput(f"{what} has failed{_tail(output)}")


def _ends(process: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
    """Wait for the end of a program, without taking note of it: until then nobody else gets its number."""
    if not hasattr(os, "pidfd_open"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout_s) is not None
        return False
    descriptor = os.pidfd_open(process.pid)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """End what a program has left running, and itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL_BYTES))
    text = output.read().decode(errors="replace").strip()
    return f"; it said: {text}" if text else ", and said nothing"

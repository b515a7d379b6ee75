"""A terminal for tests: types a command, and holds what came of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result

from runtara.cli import main
from runtara.cli._reach import OpenDoor
from runtara.sdk.embedded import Embedded
from tests.house.source import ROOT

__all__ = ["SECONDS", "Server", "Terminal", "popen", "type_command"]

SECONDS: Final = 100
"""How long a test waits for what comes soon."""


_PATIENT: Final = {"RUNTARA_CONNECT_TIMEOUT_MS": "30000"}  # a server of the tests may have other things to do
_ENVIRONMENT: Final = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | _PATIENT


def type_command(
    *arguments: str, obj: OpenDoor | None = None, stdin: bytes | None = None, **environment: str
) -> Result:
    """Run a command in this process, as if typed by somebody who works with no other server."""
    return CliRunner(env={"XDG_CONFIG_HOME": "/nonexistent", **_PATIENT} | environment).invoke(
        main, arguments, obj=obj, input=stdin, catch_exceptions=False
    )


class Terminal:
    """A terminal whose commands reach a system in this process."""

    def __init__(self, system: Embedded) -> None:
        self.system = system

    def __call__(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> Result:
        return type_command(
            *arguments, obj=lambda where: self.system.open_door("cli", where.tenant), stdin=stdin, **environment
        )

    def lines(self, *arguments: str, **options: Any) -> list[str]:
        """The lines that a command prints; it must succeed."""
        done = self(*arguments, **options)
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()


class Server:
    """`runtara serve` as a process of its own, at a free port of this machine."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder
        """Working directory, below which programs lie, too."""
        self.environment = environment
        self.process = popen("serve", "--port", "0", "--http-port", "0", *options, cwd=folder, **environment)
        self.greeting = self.process.stdout.readline() if self.process.stdout else b""

    def __call__(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> Result:
        """Run a client command in this process."""
        return type_command(*arguments, "--data-dir", str(self.folder / ".data"), obj=None, stdin=stdin, **environment)

    def write_program(self, name: str, text: str) -> str:
        """Write a program; return its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, list[str]]:
        """Send a signal, wait for the end, and return exit code and log."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, list[str]]:
        """Wait for the end, and return exit code and log."""
        _, log = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, log.decode().splitlines()


def popen(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Run a command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "runtara", *arguments],
        cwd=cwd,
        env=_ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

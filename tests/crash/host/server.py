"""A server in a process of its own, as `runtara serve` starts it, and what can be done to it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Final

from tests.crash.host.site import FOLDER, ROOT, Site

__all__ = ["SETTINGS", "Server"]

READY_S = 100.0
STOP_S = 100.0

SETTINGS: Final = {
    "heartbeat_timeout_ms": "10000",
    "heartbeat_interval_ms": "1000",
    "park_after_ms": "30",
    "max_concurrent_instances": "3",
    "max_auto_restarts": "100",
    "relaunch_after_ms": "20",
    "relaunch_after_max_ms": "200",
    "cancel_grace_ms": "2000",
    "kill_grace_ms": "1000",
    "shutdown_grace_ms": "10000",
}
"""Those of a host on which much happens in a short time."""


SICK = "from tests.crash.planted import PLANTED; PLANTED[{bug!r}].plant(); from runtara.cli import main; main()"
"""A server with a bug on purpose."""


class Server:
    """At most one process at a time; each start writes into a log file of its own."""

    def __init__(self, site: Site, planted: str | None = None, **settings: object) -> None:
        self._site = site
        self.main = ["-m", "runtara"] if planted is None else ["-c", SICK.format(bug=planted)]
        """What Python runs; a test may put something in its place."""
        self._settings = SETTINGS | {name: str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def log(self) -> Path:
        """What the newest process has written to stderr."""
        return self._site.path / f"server-{self.starts:04}.log"

    def launch(self) -> None:
        """Start a process, and do not wait for it."""
        assert self._process is None, "one at a time"
        self.starts += 1
        command = [sys.executable, *self.main, "serve"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )

    def _environment(self) -> dict[str, str]:
        ours = {
            "data_dir": str(self._site.data_dir),
            "quic_port": str(self._site.port),
            "env_http_port": str(self._site.port),
            "core_addr": self._site.address,
            "programs": str(self._site.path / "programs"),
        } | self._settings
        return {
            "PATH": os.defpath,
            "PYTHONUNBUFFERED": "1",
            FOLDER: self._site.folder,
            **{f"RUNTARA_{name.upper()}": value for name, value in ours.items()},
        }

    def await_ready(self) -> None:
        """Wait until it says where it listens."""
        stdout = self._running.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], READY_S)
        if not ready or not stdout.readline():
            raise AssertionError(f"the server did not start in {READY_S} s; its log {self.log}:\n{self.tail()}")

    def start(self) -> None:
        """Start a process and wait until it serves."""
        self.launch()
        self.await_ready()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running.send_signal(number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone. Its programs live on."""
        self._running.kill()
        self._end(STOP_S)

    def drain(self, within: float = STOP_S) -> tuple[int, float]:
        """Ask it to go down; return its exit code, and how many seconds it took."""
        began = monotonic()
        self.send(signal.SIGTERM)
        return self._end(within), monotonic() - began

    def wait(self, within: float) -> int:
        """Wait until it has ended by itself; return its exit code."""
        return self._end(within)

    def _end(self, within: float) -> int:
        process = self._running
        try:
            code = process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not end in {within} s; its log {self.log}:\n{self.tail()}") from None
        finally:
            assert process.stdout is not None
            process.stdout.close()
            self._process = None
        return code

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def tail(self, size: int = 4_000) -> str:
        """Return the end of the log."""
        return self.log.read_bytes()[-size:].decode(errors="replace")

"""A host as `runtara serve` runs it, and its programs, each in a process of its own, over the QUIC door."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from runtara.messages import StartInstance
from runtara.sdk import RuntaraSdk, SdkConfig
from runtara.transport.connection_file import read_connection_file

STARTS = 5
KILLS = 7
SIGNALS = 200
PAUSE_S = 0.02
CHECKPOINTS = 2_000
STATE = bytes(300)

WAITING = """
import os, time
from runtara.sdk import RuntaraSdk

with RuntaraSdk.from_env() as sdk, open(os.environ["TOLD"], "w", buffering=1) as told:
    sdk.checkpoint(f"attempt-{sdk.epoch}", b"")  # progress, so that its deaths are not counted up
    print("begun", os.getpid(), time.monotonic(), file=told)
    while sdk.wait_for_signal("go"):
        print("seen", os.getpid(), time.monotonic(), file=told)
"""
"""A program that waits for signals, and says when it has one."""


class Told(NamedTuple):
    """A line of the waiting program. The monotonic clock is the same in all processes of a machine."""

    what: str
    pid: int
    at: float


class Host:
    """A running host in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._pipe = folder / "told"
        self._program = folder / "waiting.py"
        self._program.write_text(WAITING)
        os.mkfifo(self._pipe)
        # For writing, too: so it never comes to its end.
        self._told: IO[str] = os.fdopen(os.open(self._pipe, os.O_RDWR), "r")
        found = read_connection_file(folder / "data")
        assert found is not None, "the host has not said where it is"
        self._config = SdkConfig("manager", server_addr=found.address, ca_file=found.ca_file)

    def sdk(self, instance_id: str) -> RuntaraSdk:
        """Return the SDK of this process for one instance."""
        return RuntaraSdk.new(
            SdkConfig(instance_id, server_addr=self._config.server_addr, ca_file=self._config.ca_file)
        )

    def start_waiting(self) -> Told:
        """Start the waiting program; return when it has begun."""
        door = self._config.open_door()
        door.beside("waiting").call_from_thread(
            StartInstance(program=str(self._program), env={"TOLD": str(self._pipe)})
        )
        door.close()
        return self.hear()

    def hear(self) -> Told:
        """Return what the waiting program says next."""
        what, pid, at = self._told.readline().split()
        return Told(what, int(pid), float(at))

    def close(self) -> None:
        """Listen no more."""
        self._told.close()


def ready() -> float:
    """Seconds from starting `runtara serve` on a store that exists until it serves, median."""
    taken = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(STARTS + 1):
            began = time.perf_counter()
            with _serving(Path(name)):
                if number:  # the first time, it makes its certificate and its store
                    taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def running_again() -> float:
    """Seconds from `kill -9` of a program until its next attempt has registered, median."""
    taken = []
    with _host() as host:
        alive = host.start_waiting()
        for _ in range(KILLS):
            time.sleep(PAUSE_S)
            killed = time.monotonic()
            os.kill(alive.pid, signal.SIGKILL)
            alive = host.hear()
            assert alive.what == "begun"
            taken.append(alive.at - killed)
    return statistics.median(taken)


def signal_p50() -> float:
    """Milliseconds from sending a signal until the waiting program has it, median."""
    taken = []
    with _host() as host:
        host.start_waiting()
        with host.sdk("beside") as sdk:
            for _ in range(SIGNALS):
                time.sleep(PAUSE_S)
                sent = time.monotonic()
                sdk.send_custom_signal("waiting", "go")
                taken.append(host.hear().at - sent)
    return statistics.median(taken) * 1000


def checkpoint_p50() -> float:
    """Milliseconds of a checkpoint by one client after the other, our own sync client, median."""
    taken = []
    with _host() as host, host.sdk("sequential") as sdk:
        for number in range(CHECKPOINTS):
            began = time.perf_counter()
            sdk.checkpoint(f"step-{number}", STATE)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


@contextmanager
def _host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as name, _serving(Path(name)):
        host = Host(Path(name))
        try:
            yield host
        finally:
            host.close()


@contextmanager
def _serving(folder: Path) -> Iterator[None]:
    """Run `runtara serve` for the length of the block; drain it at the end."""
    environment = {
        "PATH": os.defpath,
        "RUNTARA_DATA_DIR": str(folder / "data"),
        "RUNTARA_PROGRAMS": str(folder),
        "RUNTARA_QUIC_PORT": "0",
        "RUNTARA_ENV_HTTP_PORT": "0",
        "RUNTARA_CANCEL_GRACE_MS": "500",
        "RUNTARA_SHUTDOWN_GRACE_MS": "1000",
        "RUNTARA_MAX_AUTO_RESTARTS": "1000",
    }
    command = [sys.executable, "-m", "runtara", "serve", "--quiet"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline(), "the host did not start"
        try:
            yield
        finally:
            server.terminate()

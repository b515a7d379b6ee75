"""A server, somebody who manages it, and programs that do what a test tells them, on one site."""

import os
import subprocess
import sys
from functools import partial
from typing import Any, Final, TypeVar

from runtara.ids import new_id
from runtara.messages import GetStatus, InstanceInfo, ListEvents, Request, SendSignal, StartInstance
from runtara.sdk import StatusResponse
from runtara.sdk import _flows as flows
from runtara.sdk._drive import drive_blocking, perform_blocking
from tests.crash.host.client import config_of
from tests.crash.host.processes import Born
from tests.crash.host.server import Server
from tests.crash.host.site import FOLDER, ROOT, Bell, Site
from tests.crash.journal import Line

__all__ = ["LIMIT_S", "PATIENT", "Scene"]

R = TypeVar("R")

LIMIT_S = 100.0
PATIENT: Final = {"heartbeat_timeout_ms": "60000"}
"""The server's patience where nobody is meant to be silent: a busy machine may keep one from speaking for a while."""
"""What has not happened by then never will."""


class Scene:
    """What a test of a whole system needs."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.server = Server(site, park_after_ms=600_000, **PATIENT)
        self.bell = Bell(site)
        self.door = config_of(site, "manager").open_door()
        self._processes: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """End everything that this process has started."""
        self.door.close()
        if self.server.is_running:
            self.server.kill()
        for process in self._processes:
            process.kill()
            process.communicate()
        self.bell.close()

    # Instances

    def start(self, who: str, module: str = "patient", **options: Any) -> None:
        """Start a launched program; `module` is one of this folder."""
        program = self.site.program(f"tests.crash.host.{module}")
        self.ask(who, StartInstance(program=program, env={FOLDER: self.site.folder}, **options))

    def register(self, who: str) -> "subprocess.Popen[str]":
        """Start a patient program that registers by itself, and is told what to do by lines."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.host.patient"],
            cwd=ROOT,
            env={
                FOLDER: self.site.folder,
                "PATH": os.defpath,
                "RUNTARA_INSTANCE_ID": who,
                "RUNTARA_SERVER_ADDR": self.site.address,
                "RUNTARA_CA_FILE": str(self.site.ca_file),
                "RUNTARA_HEARTBEAT_INTERVAL_MS": "300",
            },
            stdin=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def ask(self, who: str, command: Request[R]) -> R:
        """Ask something about an instance, as its manager."""
        return self.door.beside(who).call_from_thread(command)

    def say(self, who: str, *words: str) -> None:
        """Tell a launched patient program what to do."""
        for word in words:
            self.ask(who, SendSignal(kind="custom", name="go", signal_id=new_id(), payload=word.encode()))

    def status(self, who: str) -> InstanceInfo:
        """Return how an instance stands."""
        return self.ask(who, GetStatus())

    def story(self, who: str) -> list[str]:
        """Return the audit log of an instance, for whoever reads what went wrong."""
        page = self.ask(who, ListEvents(limit=1000))
        return [f"{event.created_at} {event.type} {event.epoch} {event.payload!r}" for event in page.events]

    def await_end(self, who: str, within: float = LIMIT_S) -> StatusResponse:
        """Wait until an instance has ended."""
        door = self.door.beside(who, watch=True)
        try:
            flow = flows.wait_until_finished(door.session, within)
            return drive_blocking(flow, partial(perform_blocking, door))
        finally:
            door.close()

    # The journal

    def await_lines(self, mark: str, who: str, count: int = 1, within: float = LIMIT_S) -> list[Line]:
        """Wait until the journal holds so many lines with a mark about an instance; return all of these."""

        def of_mark(lines: list[Line]) -> list[Line]:
            return [line for line in lines if line.mark == mark and line.who == who]

        return of_mark(self.bell.await_lines(lambda lines: len(of_mark(lines)) >= count, within))

    def await_begun(self, who: str, count: int = 1) -> Born:
        """Wait until the `count`-th process of an instance has begun; return who it is."""
        return Born.read(self.await_lines("begun", who, count)[count - 1].value)

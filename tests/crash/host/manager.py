"""Whoever manages the programs of a campaign: ``python -m tests.crash.host.manager FOLDER SLOTS``.

Each of its threads starts a program, signals it, perhaps cancels or pauses and resumes it, and waits for its end. A
server that is away is waited for. When the standard input has come to an end, every thread waits for the end of the
program that it is at, and then ends.
"""

import random
import sys
import threading
import traceback
from functools import partial
from itertools import count
from typing import TypeVar

from runtara.errors import InvalidState, Retry, RuntaraError
from runtara.lifecycle import Status
from runtara.messages import Request, SendSignal, SignalKind, StartInstance
from runtara.sdk import _flows as flows
from runtara.sdk._drive import drive_blocking, perform_blocking
from runtara.transport.door import Door
from tests.crash.host.client import config_of, is_over
from tests.crash.host.site import FOLDER, Site
from tests.crash.journal import Journal, digest
from tests.crash.workload import SIGNAL_NAMES

__all__ = ["Manager", "main"]

R = TypeVar("R")


def main(folder: str, slots: str) -> None:
    """Manage programs until told to end."""
    site = Site.load(folder)
    journal = site.open_journal()
    manager = Manager(site, journal)
    threads = [threading.Thread(target=manager.work, args=(slot,)) for slot in range(int(slots))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manager.close()


class Manager:
    """Starts programs on a site, and sees them through."""

    def __init__(self, site: Site, journal: Journal) -> None:
        self._site = site
        self._journal = journal
        self._door = config_of(site, "manager").open_door()

    def close(self) -> None:
        """Let go of the server."""
        self._door.close()

    def work(self, slot: int) -> None:
        """See one program after the other through."""
        for number in count():
            try:
                self._see_through(f"p{slot}.{number}")
            except Exception as error:  # noqa: BLE001 - a finding, whatever it is
                self._journal.write("error", "manager", value="".join(traceback.format_exception(error)))
                return
            if is_over():
                return

    def _see_through(self, who: str) -> None:
        door = self._door.beside(who, watch=True)
        rng = random.Random(f"manage {who}")
        try:
            self.start(door, who)
            for number in range(rng.randint(0, 6)):
                self._send(door, who, rng.choice(SIGNAL_NAMES), number)
            self._turn(door, who, rng.random())
            self._await_end(door, who)
        finally:
            door.close()

    def start(self, door: Door, who: str) -> None:
        """Start a program, once."""
        self._journal.write("intent", "start", who)
        _ask(door, StartInstance(program=self._site.program(), env={FOLDER: self._site.folder}))
        self._journal.write("ack", "start", who)

    def _send(self, door: Door, who: str, name: str, number: int) -> None:
        payload = f"{name} manager {number}"
        self._journal.write("intent", "send", who, payload)
        command = SendSignal(kind="custom", name=name, signal_id=f"{who}-{number}", payload=payload.encode())
        try:
            _ask(door, command)
        except InvalidState:
            self._journal.write("refused", "send", who, payload)
        else:
            self._journal.write("ack", "send", who, payload)

    def _turn(self, door: Door, who: str, chance: float) -> None:
        """Turn the fate of every third program or so."""
        if chance < 0.1:
            self._signal(door, who, "cancel")
        elif chance < 0.35:
            self._signal(door, who, "pause")
            self._signal(door, who, "resume")

    def _signal(self, door: Door, who: str, kind: SignalKind) -> None:
        self._journal.write("intent", kind, who)
        try:
            _ask(door, SendSignal(kind=kind, signal_id=f"{who}-{kind}"))
        except InvalidState:
            self._journal.write("refused", kind, who)
        else:
            self._journal.write("ack", kind, who)

    def _await_end(self, door: Door, who: str) -> None:
        flow = flows.wait_until_finished(door.session, None)  # the campaign knows how long is too long
        status = drive_blocking(flow, partial(perform_blocking, door))
        if status.status is Status.COMPLETED:
            self._journal.write("ack", "complete", who, value=digest(status.output or b""))
        self._journal.write("ended", str(status.status), who, value=status.error or "")


def _ask(door: Door, command: Request[R]) -> R:
    """Have a command answered, asking again as often as it is allowed: each has an id of its own."""
    while True:
        try:
            return door.call_from_thread(command)
        except RuntaraError as error:
            if error.retry is Retry.NEVER:
                raise


if __name__ == "__main__":
    main(*sys.argv[1:])

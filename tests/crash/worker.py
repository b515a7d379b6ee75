"""The process that is killed: an embedded system under load, life after life.

``python -m tests.crash.worker EVENTS`` imports everything once and then forks a life for every line of its standard
input, so that a life costs milliseconds. It tells what happens, a byte each, through the descriptor EVENTS, which the
campaign reads all the time. The line ``kill`` kills the life that runs; the end of the input ends everything.
"""

import asyncio
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from sqlite3 import Connection, Cursor
from typing import Any

import msgspec
import sqlite_utils.migrations  # noqa: F401 - imported before the first fork, like all that a life needs
import trio

import runtara.system
from runtara.errors import InvalidState
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL
from runtara.messages import ListInstances
from runtara.sdk import AsyncRuntaraSdk, RuntaraSdk, SignalType, embedded
from runtara.store import Store
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SQL
from tests.crash import planted, workload
from tests.crash.journal import Journal, Line, digest

__all__ = ["LIMIT_S", "TENANT", "Event", "Life"]

TENANT = "default"

LIMIT_S = 100
"""Seconds after which a life ends itself, whatever keeps it."""


class Event:
    """What the campaign is told of a life, in a byte each."""

    OPENING = b"o"
    WORKING = b"w"
    ACKNOWLEDGED = b"a"
    CLOSING = b"c"
    CLOSED = b"z"
    KILLED = b"K"
    ENDED = b"E"
    FAILED = b"F"


class Life(msgspec.Struct, kw_only=True):
    """One life of the worker."""

    folder: str
    number: int
    acks: int
    """Acknowledgements after which it closes the system by itself."""
    seconds: float = 3.0
    """The same, as time."""
    edge: tuple[str, int] | None = None
    """Die right before, or right after, the COMMIT of this number."""
    planted: str | None = None
    calm: bool = False
    """Let everything that was begun come to its end, and begin nothing more."""

    @property
    def journal(self) -> Path:
        return Path(self.folder) / f"journal-{self.number:04}.jsonl"

    @property
    def data_dir(self) -> Path:
        return Path(self.folder) / "data"


# The process that stays -----------------------------------------------------------------------------------------------


def main(events: int) -> None:
    """Fork a life per line until the input ends. One runs at a time."""
    running: dict[int, int] = {}
    for line in _lines(running, events):
        if line != b"kill":
            pid = os.fork()
            if pid == 0:
                _live(msgspec.json.decode(line, type=Life), events)
            running[pid] = os.pidfd_open(pid)
        for pid in running if line == b"kill" else ():
            os.kill(pid, signal.SIGKILL)  # nobody has waited for it, so nobody else can have its number
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _lines(running: dict[int, int], events: int) -> Iterator[bytes]:
    """Yield the lines of the input, and meanwhile wait for lives that end."""
    rest = b""
    while True:
        ready, _, _ = select.select([0, *running.values()], [], [])
        for pid in [pid for pid, descriptor in running.items() if descriptor in ready]:
            _, status = os.waitpid(pid, 0)
            os.close(running.pop(pid))
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            os.write(events, Event.KILLED if killed else Event.ENDED if status == 0 else Event.FAILED)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from lines


# The process that is killed -------------------------------------------------------------------------------------------


def _live(life: Life, events: int) -> None:
    """Live one life; never returns."""
    status = 70
    try:
        signal.alarm(LIMIT_S)
        _Worker(life, events).live()
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may leave the child of a fork
        traceback.print_exc()
    finally:
        os._exit(status)


class _Worker:
    SLOTS = 4
    """Instances of each face that run at a time."""

    def __init__(self, life: Life, events: int) -> None:
        self._life = life
        self._events = events
        self._left = life.acks
        self._full = threading.Event()
        self._closing = False
        self._journal = Journal(life.journal, self._told)

    def live(self) -> None:
        """Open the system, work until there are enough acknowledgements, close it."""
        life = self._life
        if life.planted:
            planted.PLANTED[life.planted].plant()
        if life.edge:
            runtara.system.open_store = partial(_deadly_store, *life.edge)  # type: ignore[attr-defined]  # not its own
        self._phase("opening", Event.OPENING)
        with embedded.open(str(life.data_dir), programs={"nap": self._nap, "doze": self._doze}) as system:
            self._phase("working", Event.WORKING)
            clients = [threading.Thread(target=client, daemon=True) for client in self._clients(system)]
            for client in clients:
                client.start()
            if life.calm:
                for client in clients:
                    client.join()
            else:
                self._full.wait(life.seconds)
            self._closing = True
            self._phase("closing", Event.CLOSING)
        self._phase("closed", Event.CLOSED)

    def _phase(self, name: str, event: bytes) -> None:
        self._journal.write("phase", name)
        os.write(self._events, event)

    def _told(self, line: Line) -> None:
        if line.mark == "ack":
            os.write(self._events, Event.ACKNOWLEDGED)
            self._left -= 1
            if self._left <= 0:
                self._full.set()

    def _clients(self, system: embedded.Embedded) -> list[Callable[[], None]]:
        blocking = [partial(self._guard, self._work_blocking, system, f"s{slot}") for slot in range(self.SLOTS)]
        half = self.SLOTS // 2
        tasks = [
            partial(self._guard, self._work_on_asyncio, system, range(half)),
            partial(self._guard, trio.run, self._work_on_trio, system, range(half, self.SLOTS)),
        ]
        return [*blocking, *tasks, partial(self._guard, self._finish_all if self._life.calm else self._manage, system)]

    def _guard(self, work: Callable[..., object], *args: object) -> None:
        """Work until the system closes; whatever goes wrong before that is a finding."""
        try:
            work(*args)
        except BaseException as error:  # noqa: BLE001 - a finding, whatever it is
            if not self._closing:
                self._journal.write("error", "client", value="".join(traceback.format_exception(error)))

    # Programs that register by themselves

    def _work_blocking(self, system: embedded.Embedded, slot: str) -> None:
        for number in count():
            sdk = system.sdk(f"{slot}.{number}")
            lived = workload.run_blocking(workload.registered(self._journal, sdk.instance_id), sdk)
            sdk.close()
            if lived and self._life.calm:
                return

    async def _work_async(self, system: embedded.AsyncEmbedded, slot: str) -> None:
        for number in count():
            sdk = system.sdk(f"{slot}.{number}")
            lived = await workload.run(workload.registered(self._journal, sdk.instance_id), sdk)
            sdk.close()
            if lived and self._life.calm:
                return

    def _work_on_asyncio(self, system: embedded.Embedded, slots: range) -> None:
        entry = _with_async_face(system)

        async def work() -> None:
            await asyncio.gather(*(self._work_async(entry, f"a{slot}") for slot in slots))

        asyncio.run(work())

    async def _work_on_trio(self, system: embedded.Embedded, slots: range) -> None:
        entry = _with_async_face(system)
        async with trio.open_nursery() as nursery:
            for slot in slots:
                nursery.start_soon(self._work_async, entry, f"a{slot}")

    # Programs that the system launches

    async def _nap(self, sdk: AsyncRuntaraSdk) -> Any:
        return await workload.run(workload.launched(self._journal, sdk), sdk)

    def _doze(self, sdk: RuntaraSdk) -> Any:
        return workload.run_blocking(workload.launched(self._journal, sdk), sdk)

    def _manage(self, system: embedded.Embedded) -> None:
        """Start programs, cancel some of them, and wait for some."""
        for number in count():
            program = ("nap", "doze")[number % 2]
            who = f"{program}-{self._life.number}-{number}"
            self._journal.write("intent", "start", who)
            system.start(program, who)
            self._journal.write("ack", "start", who)
            if number % 4 == 3:
                self._cancel(system, who)
            elif number % 4 == 1:
                self._finish(system, who)

    def _cancel(self, system: embedded.Embedded, who: str) -> None:
        self._journal.write("intent", "cancel", who)
        try:
            system.signal(who, SignalType.CANCEL)
        except InvalidState:
            self._journal.write("refused", "cancel", who)
        else:
            self._journal.write("ack", "cancel", who)

    def _finish(self, system: embedded.Embedded, who: str) -> None:
        status = system.wait(who, timeout=LIMIT_S)
        if status.status == "completed":
            self._journal.write("ack", "complete", who, value=digest(status.output or b""))

    def _finish_all(self, system: embedded.Embedded) -> None:
        """Wait for every program that was ever started and has not ended."""
        page = system.runtime.dispatch.call_from_thread(InstanceKey(TENANT, "any"), ListInstances(limit=1000))
        assert page.cursor is None, "a store holds fewer instances than fit on a page"
        for info in page.instances:
            if info.program is not None and info.status not in FINAL:
                self._finish(system, info.instance_id)


def _with_async_face(system: embedded.Embedded) -> embedded.AsyncEmbedded:
    """The same system for programs that await: a host has one face or the other, a campaign has both."""
    entry = embedded.AsyncEmbedded.__new__(embedded.AsyncEmbedded)
    entry.__dict__.update(system.__dict__)
    return entry


# Death at an edge -----------------------------------------------------------------------------------------------------


def _deadly_store(edge: str, number: int, url: str, *_: object, **__: object) -> Store:
    commits = count(1)

    def run(execute: Callable[..., Any], sql: str, *parameters: Any) -> Any:
        """Execute; kill this process right before or right after the `number`-th COMMIT."""
        is_last = sql == SQL["commit"] and next(commits) == number
        if is_last and edge == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = execute(sql, *parameters)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    class DeadlyCursor(Cursor):
        def execute(self, sql: str, *parameters: Any) -> Any:
            return run(super().execute, sql, *parameters)

    class DeadlyConnection(Connection):
        def execute(self, sql: str, *parameters: Any) -> Any:
            return self.cursor().execute(sql, *parameters)

        def cursor(self, *_: Any) -> Any:
            return super().cursor(DeadlyCursor)

    return SqliteStore(url.removeprefix("sqlite:///"), factory=DeadlyConnection)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Servers that share one PostgreSQL database, each a process of its own, and clients that work with them.

Clients live in this process and write down what they were told; launched programs write lines into a ledger file. Both
are outside the faulty world, and `audit` holds them against what is stored.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from msgspec.structs import replace

import runtara
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey, new_id
from runtara.lifecycle import Status
from runtara.messages import (
    CheckpointSaved,
    CompleteInstance,
    GetCheckpoint,
    GetStatus,
    InstanceInfo,
    ListEvents,
    RegisterInstance,
    SaveCheckpoint,
    SendSignal,
    StartInstance,
)
from runtara.transport.client.door import RemoteDoor, ServerSpec
from runtara.transport.connection_file import read_connection_file
from runtara.transport.remote import open_remote_door
from tests.crash.host.server import Server
from tests.crash.host.site import Site
from tests.ports import free_port
from tests.postgres import Cluster

__all__ = ["LEASE_S", "LEDGER", "LONG_MS", "Client", "Fleet", "Node", "open_fleet"]

LEASE_S = 2.0
LONG_MS = "60000"
"""A lease that lasts though the machine stalls for a while, for tests in which no node is lost."""
LIMIT_S = 100.0
"""What has not happened by then never will."""

_EARLIER = ("PYTHONPATH", "PYTHONSAFEPATH")
"""Environment variables by which another copy of the package is found before the one in the working directory."""

LEDGER = "FLEET_LEDGER"
"""Environment variable that tells a launched program where to write."""

PROGRAM = """import os, sys
from runtara.sdk import RuntaraSdk

ledger = os.open(os.environ["FLEET_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words):
    os.write(ledger, (" ".join(map(str, words)) + "\\n").encode())

with RuntaraSdk.from_env() as sdk:
    name = os.environ["RUNTARA_INSTANCE_ID"]
    for step in range(int(sdk.load_input())):
        if sdk.get_checkpoint(f"step {step}") is None:
            note("begin", name, step, sdk.epoch)
            sdk.checkpoint(f"step {step}", str(sdk.epoch).encode())
            note("saved", name, step, sdk.epoch)
        if step == 1:
            note("waits", name, step, sdk.epoch)
            sdk.wait_for_signal("go")
        sdk.sleep(0.05, f"pause {step}")
    sdk.completed(b"done")
"""


class Node(Server):
    """One server of the fleet, with a data folder and a port of its own."""

    def __init__(self, site: Site, name: str, database: str, ledger: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.port = free_port()
        self.folder = site.path / name
        self._extra = {LEDGER: str(ledger)} | environment
        super().__init__(
            site,
            data_dir=str(self.folder),
            quic_port=str(self.port),
            env_http_port="0",
            core_addr=f"127.0.0.1:{self.port}",
            database_url=database,
            database_timeout_ms="3000",
            node_lease_ms=str(int(LEASE_S * 1000)),
            node_name=name,
            park_after_ms="600000",
            max_concurrent_instances="8",
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self._site.path / f"{self.name}-{self.starts:04}.log"

    def _environment(self) -> dict[str, str]:
        return super()._environment() | self._extra

    def upgrade(self) -> None:
        """Start again, drained before, as the version that is tested."""
        self._extra = {name: value for name, value in self._extra.items() if name not in _EARLIER}
        self.start()

    def spec(self, *others: "Node") -> ServerSpec:
        """How a client finds this server, and others where it will do with any of them."""
        found = read_connection_file(self.folder)
        assert found is not None, "it has said where it is"
        addresses = ",".join(node.address for node in (self, *others))
        return ServerSpec(address=addresses, fingerprint=found.fingerprint, connect_timeout=LIMIT_S, request_timeout=30)


class Told(NamedTuple):
    """What a client was told of a step: what is stored, and whether it was stored before."""

    state: bytes
    found: bool


class Client:
    """An instance that registers by itself, and works in a thread of this process: saves numbered steps.

    Without a number of `steps` it goes on until it is told to `finish`.
    """

    def __init__(self, name: str, spec: ServerSpec, steps: int | None = None) -> None:
        self.name = name
        self._enough = threading.Event()
        self.told: dict[int, Told] = {}
        self.error: BaseException | None = None
        self._steps = steps
        self._door = open_remote_door(spec, InstanceKey("default", name))
        self._thread = threading.Thread(target=self._work, name=name)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def finish(self) -> None:
        """Let the step that is under way be the last one."""
        self._enough.set()

    def join(self) -> None:
        """Wait for the end of the work, and raise what it has failed with."""
        self._thread.join(LIMIT_S)
        assert self.is_done, f"{self.name} still works; it was told of {len(self.told)} steps"
        self._door.close()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        try:
            self._ask(RegisterInstance(attempt_id=new_id()))
            for step in count() if self._steps is None else range(self._steps):
                if self._enough.is_set():
                    break
                state = f"{self.name} {step} {new_id()}".encode()
                saved: CheckpointSaved = self._ask(
                    SaveCheckpoint(checkpoint_id=str(step), state=state, request=step + 1)
                )
                self.told[step] = Told(saved.state if saved.found and saved.state is not None else state, saved.found)
            self._ask(CompleteInstance(output=b"done"))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error

    def _ask(self, command: Any) -> Any:
        """Have a command answered; as a program does, ask again with the same ids while it may help."""
        until = monotonic() + LIMIT_S
        while True:
            try:
                return self._door.call_from_thread(command)
            except RuntaraError as error:
                if error.retry.value == "never" or monotonic() > until:
                    raise


class Fleet:
    """All of it."""

    def __init__(self, site: Site, cluster: Cluster, database: str) -> None:
        self.site = site
        self.cluster = cluster
        self.database = database
        self.ledger = site.path / "ledger"
        self.ledger.touch()
        program = site.path / "programs" / "steps.py"
        program.write_text(PROGRAM)
        self.nodes: list[Node] = []
        self._doors: dict[tuple[str, int], RemoteDoor] = {}

    def start(self, more: int, **environment: str) -> list[Node]:
        """Start so many servers more."""
        first = len(self.nodes) + 1
        for number in range(first, first + more):
            node = Node(self.site, f"node-{number}", self.database, self.ledger, environment)
            self.nodes.append(node)
            node.start()
        return self.nodes[first - 1 :]

    def start_earlier(self, more: int, version: str, **environment: str) -> list[Node]:
        """Start so many servers more that are, by their own words, of an earlier version."""
        package = self.site.path / "earlier" / "runtara"
        half_written = shutil.ignore_patterns("*.pyc.*")  # others may be compiling
        shutil.copytree(Path(runtara.__file__).parent, package, ignore=half_written)
        front = package / "__init__.py"
        front.write_text(front.read_text().replace(runtara.__version__, version))
        return self.start(more, **dict(zip(_EARLIER, (str(package.parent), "1"), strict=True)), **environment)

    def manager(self, node: Node) -> RemoteDoor:
        """Return a door to one server, of somebody who manages the tenant: one and the same for each of its lives."""
        life = node.name, node.starts
        if life not in self._doors:
            spec = replace(node.spec(), request_timeout=LIMIT_S)  # whoever manages asks once
            self._doors[life] = open_remote_door(spec, InstanceKey("default", "manager"))
        return self._doors[life]

    def start_programs(self, node: Node, many: int, steps: int, first: int = 0) -> list[str]:
        """Have programs launched, asked for at one server."""
        names = [f"program-{number}" for number in range(first, first + many)]
        door = self.manager(node)
        for name in names:
            start = StartInstance(program="steps.py", input=str(steps).encode(), env={LEDGER: str(self.ledger)})
            door.beside(name).call_from_thread(start)
        return names

    def say_go(self, node: Node, names: list[str]) -> None:
        """Let programs go on that wait in the middle."""
        door = self.manager(node)
        for name in names:
            door.beside(name).call_from_thread(SendSignal(kind="custom", name="go", signal_id=f"go-{name}"))

    def lines(self, mark: str) -> list[tuple[str, int, int]]:
        """What the programs have written with a mark: instance, step, epoch."""
        found = (line.split() for line in self.ledger.read_text().splitlines())
        return [(name, int(step), int(epoch)) for what, name, step, epoch in found if what == mark]

    def await_lines(self, mark: str, names: list[str]) -> None:
        """Wait until every program has written a line with a mark."""
        self.await_true(lambda: set(names) <= {name for name, _, _ in self.lines(mark)}, f"{mark} of all programs")

    def query(self, statement: str) -> list[Any]:
        """Look into the database."""
        return self.cluster.execute(statement, self.database.rpartition("/")[2])

    def owners(self) -> dict[str, int]:
        """How many instances each node owns, by name."""
        return dict(
            self.query(
                "SELECT name, count(*) FROM runtara.instances JOIN runtara.nodes ON owner = nodes.number GROUP BY name"
            )
        )

    def tenures(self) -> dict[str, int]:
        """The number of each node that is not lost, by name: another one where it was lost and came back."""
        return dict(self.query("SELECT name, number FROM runtara.nodes WHERE lost_at IS NULL"))

    def await_true(self, condition: Any, what: str, within: float = LIMIT_S) -> None:
        """Wait for something that only looking can tell."""
        until = monotonic() + within
        pause = threading.Event()
        while not condition():
            assert monotonic() < until, f"not within {within} s: {what}\n{self.tails()}"
            pause.wait(0.05)

    def pause(self, seconds: float) -> None:
        """Let something last that is meant to last so long."""
        threading.Event().wait(seconds)

    def await_completed(self, node: Node, names: list[str]) -> None:
        """Wait until programs have completed, asked at one server."""
        for name in names:
            self.await_true(lambda name=name: self.status(node, name).status is Status.COMPLETED, f"the end of {name}")

    def status(self, node: Node, name: str) -> InstanceInfo:
        """How an instance stands, asked at one server."""
        info: InstanceInfo = self.manager(node).beside(name).call_from_thread(GetStatus(), timeout=LIMIT_S)
        return info

    def audit(self, node: Node, clients: list[Client], programs: list[str]) -> None:
        """Hold what everybody was told against what is stored, asked at one server."""
        door = self.manager(node)
        for client in clients:
            beside = door.beside(client.name)
            assert beside.call_from_thread(GetStatus()).status is Status.COMPLETED, client.name
            for step, told in client.told.items():
                found = beside.call_from_thread(GetCheckpoint(checkpoint_id=str(step)))
                assert found.state == told.state, f"{client.name} was told another state of step {step}"
                assert not told.found, f"step {step} of {client.name} was somebody else's"
        self._audit_programs(door, programs)
        verdict = self.verify()
        assert verdict == [], verdict

    def _audit_programs(self, door: RemoteDoor, programs: list[str]) -> None:
        saved = Counter((name, step) for name, step, _ in self.lines("saved"))
        assert not {key: count for key, count in saved.items() if count > 1}, "a saved step ran again"
        for name in programs:
            info = door.beside(name).call_from_thread(GetStatus())
            assert (info.status, info.output) == (Status.COMPLETED, b"done"), f"{name}: {info}"
            events = door.beside(name).call_from_thread(ListEvents(event_type="completed")).events
            assert len(events) == 1, f"{name} has completed {len(events)} times"

    def verify(self) -> list[str]:
        """What the store finds wrong with itself."""
        from runtara.store import open_store

        reader = open_store(self.database).open_reader()
        try:
            return reader.verify()
        finally:
            reader.close()

    def tails(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"{node.name}:\n{node.tail(2_000)}" for node in self.nodes)

    def close(self) -> None:
        """End everything."""
        for door in self._doors.values():
            door.close()
        for node in self.nodes:
            if node.is_running:
                node.kill()
        for process in _processes_with(f"{LEDGER}={self.ledger}"):
            with suppress(ProcessLookupError):
                os.kill(process, 9)


def _processes_with(variable: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if f"{variable}\0".encode() in (entry / "environ").read_bytes():
                    yield int(entry.name)


@contextmanager
def open_fleet(site: Site, cluster: Cluster, database: str) -> Iterator[Fleet]:
    """A fleet without servers yet; nothing of it is left behind the block."""
    fleet = Fleet(site, cluster, database)
    try:
        yield fleet
    finally:
        fleet.close()


def run_cli(*words: str, data_dir: Path) -> str:
    """What a command of the command line prints."""
    environment = {"PATH": os.defpath, "RUNTARA_DATA_DIR": str(data_dir), "RUNTARA_CONNECT_TIMEOUT_MS": "30000"}
    done = subprocess.run(
        [sys.executable, "-m", "runtara", *words], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr

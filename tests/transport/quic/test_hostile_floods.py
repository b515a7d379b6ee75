"""Many hostile clients at a server in a process of its own, for some seconds; an honest one is timed meanwhile."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from tests.house.source import ROOT
from tests.transport.quic.attack import Attacker, resident_mib
from tests.transport.quic.door import Client
from tests.transport.quic.floods import DEEDS, gap

pytestmark = pytest.mark.slow

SECONDS = 8.0
P99_S = 0.25
RESIDENT_MIB = 512

SERVE = """
import sys, trio
from runtara.host import open_host
from runtara.settings import Settings

async def main():
    async with open_host(Settings(data_dir=sys.argv[1], programs=sys.argv[1], quic_port=0, env_http_port=0)) as host:
        print(host.address, host.identity.ca_file, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)

trio.run(main)
"""


class Server:
    """The process, where it listens, and what it was signed by."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        address, self.ca_file = process.stdout.readline().split()
        self.address = ("127.0.0.1", int(address.rsplit(":", 1)[1]))
        self.pid = process.pid


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    command = [sys.executable, "-c", SERVE, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


@contextmanager
def attacking(server: Server, deed: str) -> Iterator[None]:
    """Have it done by a process of its own."""
    command = [sys.executable, "-m", "tests.transport.quic.floods", deed, str(server.address[1])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"begun\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Client]:
    """The honest client."""
    async with trio.open_nursery() as nursery:
        client = Client(server.address, "honest", ca_file=server.ca_file)
        nursery.start_soon(client.pump)
        await client.until(lambda: client.connected)
        await client.register()
        yield client
        nursery.cancel_scope.cancel()


async def save_often(client: Client) -> list[float]:
    """Save checkpoints one after the other, and return how long each took."""
    took: list[float] = []
    until = trio.current_time() + SECONDS
    while trio.current_time() < until:
        began = trio.current_time()
        saved = await client.save(f"step-{len(took)}")
        took.append(trio.current_time() - began)
        assert not saved.found
        await trio.sleep(0.01)
    return took


@pytest.mark.parametrize("deed", sorted(DEEDS))
async def test_an_honest_client_is_served_in_time_by_a_server_that_stays_small(tmp_path: Path, deed: str) -> None:
    with serving(tmp_path) as server:
        async with connected(server) as honest:
            with attacking(server, deed):
                took = sorted(await save_often(honest))
            resident = resident_mib(server.pid)

    assert took[int(len(took) * 0.99)] < P99_S
    assert resident < RESIDENT_MIB


async def test_many_connections_with_as_much_as_each_may_hold_stay_below_the_bound(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        attackers: list[Attacker] = []
        for _ in range(200):
            attacker = await Attacker(server.address).__aenter__()
            attackers.append(attacker)
            await attacker.connect()
            gap(attacker)
            for _ in range(20):
                attacker.flush()
                await trio.lowlevel.checkpoint()
        async with connected(server) as honest:
            await honest.save("a")
        resident = resident_mib(server.pid)
        for attacker in attackers:
            await attacker.__aexit__()

    assert resident < RESIDENT_MIB

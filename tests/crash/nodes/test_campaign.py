"""A fleet under load, to which one thing after the other happens, drawn from a seed; then everybody's word is audited.

Nodes are killed, stopped for longer than their lease, replaced in order; the database is shut down at once, frozen, and
loses its connections. Clients and programs go on meanwhile, or wait until they can.
"""

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtara.transport.client.door import ServerSpec
from tests.crash.host.site import leave_nothing_running, open_site
from tests.crash.nodes.fleet import LEASE_S, Client, Fleet, Node, open_fleet
from tests.postgres import open_cluster

NODES, CLIENTS = 3, 5
FAST, SLOW = 7, 60
"""How many things happen."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on a server of its own, which may be hurt."""
    site = open_site(tmp_path / "site")
    try:
        with open_cluster() as cluster:
            cluster.execute("CREATE DATABASE fleet")
            with open_fleet(site, cluster, cluster.url_of("fleet")) as fleet:
                yield fleet
    finally:
        leave_nothing_running(site)


def kill(fleet: Fleet, node: Node) -> None:
    """A node dies; it is started again, sometimes within its lease and sometimes not."""
    node.kill()
    node.start()


def kill_for_good(fleet: Fleet, node: Node) -> None:
    """A node dies, and others take over before it comes back."""
    node.kill()
    fleet.await_true(lambda: fleet.owners().get(node.name, 0) == 0, f"the takeover from {node.name}")
    node.start()


def stop(fleet: Fleet, node: Node) -> None:
    """A node stands still until others have taken over, and then goes on as if nothing had happened."""
    node.send(signal.SIGSTOP)
    fleet.await_true(lambda: fleet.owners().get(node.name, 0) == 0, f"the takeover from {node.name}")
    node.send(signal.SIGCONT)


def replace(fleet: Fleet, node: Node) -> None:
    """A node goes down in order, and a new process takes its place."""
    node.drain()
    node.start()


def crash_database(fleet: Fleet, _node: Node) -> None:
    """The database is shut down as by a power failure, and started again."""
    fleet.cluster.stop("immediate")
    fleet.cluster.start()


def freeze_database(fleet: Fleet, _node: Node) -> None:
    """The database stands still for longer than the nodes wait for it."""
    fleet.cluster.signal(signal.SIGSTOP)
    try:
        fleet.pause(2 * LEASE_S)
    finally:
        fleet.cluster.signal(signal.SIGCONT)


def cut_connections(fleet: Fleet, _node: Node) -> None:
    """Every connection to the database is cut."""
    fleet.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runtara'")


FAULTS: list[Callable[[Fleet, Node], None]] = [
    kill,
    kill_for_good,
    stop,
    replace,
    crash_database,
    freeze_database,
    cut_connections,
]


@pytest.mark.slow
def test_whatever_happens_nothing_acknowledged_is_lost_and_nothing_is_doubled(fleet: Fleet) -> None:
    happened = campaign(fleet, seed=1, many=FAST)

    assert len(happened) == len(FAULTS), "each fault has happened"


@pytest.mark.slow
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_whatever_happens_for_long_nothing_acknowledged_is_lost(fleet: Fleet, seed: int) -> None:
    happened = campaign(fleet, seed, many=SLOW)

    assert happened.total() >= SLOW
    assert len(happened) == len(FAULTS)


def campaign(fleet: Fleet, seed: int, many: int) -> Counter[str]:
    """Let `many` things happen, each to some node; return how often each has."""
    chance = random.Random(seed)
    nodes = fleet.start(NODES)
    clients = [Client(f"client-{number}", _any_of(nodes, number)) for number in range(CLIENTS)]
    programs: list[str] = []
    happened: Counter[str] = Counter()
    faults = chance.sample(FAULTS, len(FAULTS))
    for number in range(many):
        before = {client.name: len(client.told) for client in clients}
        programs += fleet.start_programs(chance.choice(nodes), 1, steps=3, first=len(programs))
        fault = faults[number % len(faults)]
        fault(fleet, chance.choice(nodes))
        happened[fault.__name__] += 1
        fleet.await_true(
            lambda before=before: all(len(client.told) > before[client.name] + 1 for client in clients),
            f"progress of all clients after {fault.__name__}",
        )
    for client in clients:
        client.finish()
    for client in clients:
        client.join()
    fleet.say_go(nodes[0], programs)
    fleet.await_completed(nodes[-1], programs)
    fleet.audit(nodes[1], clients, programs)
    return happened


def _any_of(nodes: list[Node], first: int) -> ServerSpec:
    """How a client finds the servers, each client beginning with another one."""
    turned = nodes[first % len(nodes) :] + nodes[: first % len(nodes)]
    return turned[0].spec(*turned[1:])

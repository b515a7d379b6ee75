"""Workers on several nodes, of which one dies or stands still while they work: every workflow comes to its end."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from runtara.sdk.flow import Backend, Flow, PooledWorker, RemoteBackend, Workflow, WorkflowClient, task
from tests.crash.nodes.fleet import LEASE_S, LIMIT_S, Fleet, Node

ORDERS = 12
NODES = 3
SLOTS = 3
BEHIND = {"pick": "charge", "charge": "ship"}
"""Which task begins only once the result of another one is stored."""


class Journal:
    """What tasks have begun, in the order in which they did; outside the faulty world."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.many_began = threading.Event()

    def task(self, name: str) -> Callable[[str], str]:
        """Return a task that takes note of its beginning, and hands on the order."""

        @task(name)
        def run(order: str) -> str:
            self.begun.append((name, order))
            if len(self.begun) >= ORDERS:
                self.many_began.set()
            return order

        return run

    def runs(self) -> Counter[tuple[str, str]]:
        """How often each task of each order has begun."""
        return Counter(self.begun)


def workflow(journal: Journal) -> Workflow[Any, Any]:
    """An order: two things at a time, then a pause that is slept in the store, then two more."""
    return (
        Flow("order")
        .fork()
        .branch(journal.task("pick"))
        .branch(journal.task("print"))
        .join(lambda outputs: outputs["pick"], name="ready")
        .delay("rest", 0.5)
        .then(journal.task("charge"))
        .then(journal.task("ship"))
        .build()
    )


def backend_of(*nodes: Node) -> RemoteBackend:
    """The way to the first of some nodes, and to the others where that is gone."""
    spec = nodes[0].spec(*nodes[1:])
    return RemoteBackend(spec.address, server_fingerprint=spec.fingerprint, request_timeout_ms=30_000)


@contextmanager
def staff(nodes: list[Node], order: Workflow[Any, Any]) -> Iterator[list[Backend]]:
    """Have a worker at each node, which goes to another one when its own is gone."""
    with ExitStack() as stack:
        backends: list[Backend] = []
        for number in range(len(nodes)):
            backend = stack.enter_context(backend_of(*nodes[number:], *nodes[:number]))
            worker = PooledWorker(f"worker-{number}", backend, [order], max_concurrent_tasks=SLOTS, claim_ttl=5)
            stack.enter_context(worker.spawn())
            backends.append(backend)
        yield backends


def die(fleet: Fleet, node: Node) -> None:
    """A node is killed, and comes back when others have taken over."""
    node.kill()
    fleet.await_true(lambda: fleet.owners().get(node.name, 0) == 0, f"the takeover from {node.name}")
    node.start()


def stand_still(fleet: Fleet, node: Node) -> None:
    """A node stands still for longer than its lease, and goes on as if nothing had happened."""
    node.send(signal.SIGSTOP)
    fleet.pause(2 * LEASE_S)
    node.send(signal.SIGCONT)


def leave(fleet: Fleet, node: Node) -> None:
    """A node goes down in order, and another process takes its place."""
    node.drain()
    node.start()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [die, stand_still, leave])
def test_every_order_is_shipped_though_a_node_is_lost_while_workers_work(
    fleet: Fleet, fault: Callable[[Fleet, Node], None]
) -> None:
    journal = Journal()
    order = workflow(journal)
    nodes = fleet.start(NODES)
    names = [f"order-{number}" for number in range(ORDERS)]
    with staff(nodes, order) as backends:
        client = WorkflowClient(backends[1])
        for name in names:
            client.submit(order, name, name)
        assert journal.many_began.wait(LIMIT_S)

        fault(fleet, nodes[0])
        outputs = [client.wait(name, LIMIT_S).output for name in names]

    assert outputs == names
    check(journal)
    assert fleet.verify() == []


def check(journal: Journal) -> None:
    """What was stored before something else began has not run again; what was under way has, here and there."""
    for name, order in journal.runs():
        first_behind = (BEHIND.get(name), order)
        if first_behind in journal.begun:
            later = journal.begun[journal.begun.index(first_behind) :]
            assert (name, order) not in later, f"{name} of {order} was stored, and ran again"
    assert journal.runs().total() <= len(journal.runs()) + ORDERS

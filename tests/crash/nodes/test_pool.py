"""Workers on several nodes, of which one dies or stands still while they work: every workflow comes to its end.

Forks are shared across the nodes: what is led at one is done at all of them.
"""

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
PARTS = ("left", "middle", "right")
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


# One fork at three nodes ----------------------------------------------------------------------------------------------


class Parts:
    """What parts of a fork have begun at which worker; each goes on when it may."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.may_go_on = threading.Event()

    def task(self, name: str, worker: int) -> Callable[[str], str]:
        """Return a part of the fork, as one worker knows it."""

        @task(name)
        def run(order: str) -> str:
            self.begun.append((name, worker))
            assert self.may_go_on.wait(LIMIT_S)
            return f"{name} of {order}"

        return run

    def workflow(self, worker: int) -> Workflow[Any, Any]:
        """A fork of three parts, as one worker knows it: of the same definition for all of them."""
        fork = Flow("parts").fork()
        for name in PARTS:
            fork = fork.branch(self.task(name, worker))
        return fork.join(lambda outputs: outputs, name="whole").build()

    def are_everywhere(self) -> bool:
        """Whether every part has begun, each at another worker."""
        return len({name for name, _ in self.begun}) == len({worker for _, worker in self.begun}) == len(PARTS)


@contextmanager
def lone_hands(nodes: list[Node], parts: Parts) -> Iterator[Backend]:
    """Have a worker with one slot at each node: a fork has to be shared, or takes its parts one after the other."""
    with ExitStack() as stack:
        for number in range(len(nodes)):
            backend = stack.enter_context(backend_of(*nodes[number:], *nodes[:number]))
            known = [parts.workflow(number)]
            worker = PooledWorker(f"hand-{number}", backend, known, max_concurrent_tasks=1, claim_ttl=5)
            stack.enter_context(worker.spawn())
        yield stack.enter_context(backend_of(*nodes))


def where_it_is_led(fleet: Fleet) -> Node:
    (name,) = fleet.owners()
    return next(node for node in fleet.nodes if node.name == name)


def where_it_is_helped(fleet: Fleet) -> Node:
    led = where_it_is_led(fleet)
    return next(node for node in fleet.nodes if node is not led)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", [where_it_is_led, where_it_is_helped])
@pytest.mark.parametrize("fault", [die, stand_still, leave])
def test_a_fork_is_shared_across_nodes_and_comes_to_its_end_though_one_of_them_is_lost(
    fleet: Fleet, fault: Callable[[Fleet, Node], None], victim: Callable[[Fleet], Node]
) -> None:
    parts = Parts()
    nodes = fleet.start(NODES)
    with lone_hands(nodes, parts) as backend:
        client = WorkflowClient(backend)
        client.submit(parts.workflow(0), "whole", "whole")
        fleet.await_true(parts.are_everywhere, "a part at each node")

        fault(fleet, victim(fleet))
        parts.may_go_on.set()
        output = client.wait("whole", LIMIT_S).output

    assert output == {name: f"{name} of whole" for name in PARTS}
    # Again for the next who leads, and once more where a node that stood still believes that its own time goes on.
    assert max(Counter(name for name, _ in parts.begun).values()) <= 3
    assert fleet.verify() == []

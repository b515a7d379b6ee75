"""Two workers, processes of their own on a server, one of which is killed with SIGKILL at some step of an order."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any, Self

import pytest

from runtara.sdk.flow import Backend, RemoteBackend, WorkflowClient
from tests.house.source import ROOT, environment
from tests.sdk.flow.orders import ORDER
from tests.sdk.flow.pools import A_WHILE, wait_until
from tests.transport.quic.serving import Serving
from tests.transport.websocket.serving import TcpServing

TASKS = ("reserve", "label", "charge", "ship", "unlabel", "refund")
LINES = 20
"""More than two workers say of one order."""

SHIPPED = {"branch": "ship", "result": "shipped"}
REFUNDED = {"branch": "undo", "result": "refunded"}

_numbers = count(1)


@pytest.fixture(scope="module", params=["quic", "http"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that workers reach over a network."""
    folder = tmp_path_factory.mktemp("orders")
    options: dict[str, Any] = {"relaunch_after_ms": 1, "max_auto_restarts": 1_000}
    made = Serving(folder, **options) if request.param == "quic" else TcpServing(folder, scheme="http", **options)
    with made as running:
        yield running


@pytest.fixture
def remote(server: Serving) -> Iterator[Backend]:
    """The way to it from here."""
    with RemoteBackend(server.address, ca_file=str(server.identity.ca_file)) as backend:
        yield backend


class Process:
    """A worker, whose lines are put into a queue."""

    def __init__(self, server: Serving, said: queue.Queue[tuple[Process | None, str]]) -> None:
        name, ca_file = f"worker-{next(_numbers)}", str(server.identity.ca_file)
        command = [sys.executable, "-m", "tests.sdk.flow.order_worker", server.address, ca_file, name]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, args=(said,), name=name, daemon=True)
        self._reader.start()

    def _read(self, said: queue.Queue[tuple[Process | None, str]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said.put((self, line.strip()))

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it goes home, if it lives
        self._process.wait(A_WHILE)
        self._reader.join(A_WHILE)
        self._process.stdout.close()


class Crew:
    """Two workers; whoever is killed is replaced."""

    def __init__(self, server: Serving) -> None:
        self._server = server
        self._said: queue.Queue[tuple[Process | None, str]] = queue.Queue()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._hire()
        self._hire()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hire(self) -> None:
        """Start a worker, and wait until it works."""
        worker = self._stack.enter_context(Process(self._server, self._said))
        while self._said.get(timeout=A_WHILE) != (worker, "ready"):
            pass

    def live(self, client: WorkflowClient, order: Order, until: int) -> list[str]:
        """Have an order run while one of the workers is killed at the `until`-th line; return all that was said."""
        lines: list[str] = []
        killed = False
        client.submit(ORDER, order.id, {"item": "lamp"})
        order.then(lambda: self._said.put((None, "over")))
        while (one := self._said.get(timeout=2 * A_WHILE))[0] is not None:
            worker, line = one
            lines.append(line)
            if len(lines) == until and worker is not None:
                worker.kill()
                killed = True
        if killed:
            self._hire()
        return lines


class Order:
    """One order, which is approved or not as soon as it asks for that."""

    def __init__(self, backend: Backend, *, approved: bool) -> None:
        self.id = f"order-{next(_numbers)}"
        self._backend = backend
        self._approved = approved
        self.output: object = None

    def then(self, over: Callable[[], object]) -> None:
        """Have `over` called once the order has come to its end."""
        threading.Thread(target=self._follow, args=(over,), name=self.id, daemon=True).start()

    def _follow(self, over: Callable[[], object]) -> None:
        client = WorkflowClient(self._backend)
        try:
            wait_until(self._backend, self.id, lambda status: status.is_awaiting_signal())
            client.send_signal(self.id, "approval", {"approved": self._approved})
            self.output = client.wait(self.id, A_WHILE).output
        finally:
            over()


def check(lines: list[str], order: Order, output: dict[str, str]) -> None:
    """Hold what was said to what two workers may say of which one has died."""
    assert order.output == output
    for name in TASKS:
        begun = [number for number, line in enumerate(lines) if line == f"begin {name}"]
        assert len(begun) <= 2, f"{name} ran {len(begun)} times: {lines}"
        behind = [number for number, line in enumerate(lines) if line == f"begin {BEHIND.get(name)}"]
        assert not behind or max(begun) < min(behind), f"{name} was kept, and ran again: {lines}"


BEHIND = {"reserve": "label", "label": "ship", "charge": "ship", "unlabel": "refund"}
"""Which task begins only once the result of another one is kept."""


def lives(server: Serving, backend: Backend, deaths: Iterable[int], *, approved: bool) -> int:
    """Kill a worker at each of these lines; return how often one was."""
    killed = 0
    with Crew(server) as crew:
        for until in deaths:
            order = Order(backend, approved=approved)
            lines = crew.live(WorkflowClient(backend), order, until)
            check(lines, order, SHIPPED if approved else REFUNDED)
            if len(lines) < until:
                return killed
            killed += 1
    return killed


@pytest.mark.slow
def test_an_order_is_shipped_once_though_a_worker_is_killed_here_and_there(server: Serving, remote: Backend) -> None:
    assert lives(server, remote, (2, 7), approved=True) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("approved", [True, False], ids=["approved", "refused"])
def test_an_order_comes_to_its_end_though_a_worker_is_killed_at_any_line(
    server: Serving, remote: Backend, approved: bool
) -> None:
    assert lives(server, remote, range(1, LINES), approved=approved) >= 8

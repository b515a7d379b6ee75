"""A server that is killed with SIGKILL under its workers, and started again: they go on, and nothing is done twice."""

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from runtara.sdk.flow import Flow, PooledWorker, RemoteBackend, WorkflowClient, task
from tests.cli.terminal import popen
from tests.ports import free_port
from tests.sdk.flow.pools import A_WHILE


def serve(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start the server, and wait until it serves."""
    server = popen("serve", "--quiet", "--port", str(port), "--http-port", "0", cwd=folder)
    assert server.stdout is not None
    assert server.stdout.readline()
    return server


@pytest.mark.slow
def test_workers_go_on_with_what_they_hold_when_the_server_is_killed_and_comes_back(tmp_path: Path) -> None:
    met, go_on, begun = threading.Barrier(3), threading.Event(), []

    def branch(name: str) -> Any:
        def run(x: int) -> str:
            begun.append(name)
            if begun.count(name) == 1:
                met.wait(A_WHILE)
            assert go_on.wait(A_WHILE)
            return name

        return task(name)(run)

    flow = (
        Flow("restarted")
        .fork()
        .branch(branch("left"))
        .branch(branch("right"))
        .join(lambda x: sorted(x.values()))
        .build()
    )
    port = free_port()
    server = serve(tmp_path, port)
    try:
        with RemoteBackend(f"127.0.0.1:{port}", data_dir=str(tmp_path / ".data")) as backend:
            client = WorkflowClient(backend)
            with PooledWorker("survivor", backend, [flow], max_concurrent_tasks=2).spawn():
                client.submit(flow, "order", 1)
                met.wait(A_WHILE)
                server.kill()
                server.communicate()
                server = serve(tmp_path, port)
                go_on.set()

                assert client.wait("order", 2 * A_WHILE).output == ["left", "right"]
    finally:
        server.terminate()
        server.communicate()
    assert len(begun) <= 3  # a helper's outcome is nowhere before the one who leads has stored it

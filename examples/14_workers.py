"""Orders that two workers process. One of them is killed while it charges, and the other one goes on.

The server, the workers and this program are processes of their own: `14_workers.py ADDRESS` is a worker.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtara.sdk.flow import Flow, PooledWorker, RemoteBackend, WorkflowClient


def reserve(order: dict[str, Any]) -> str:
    """Take the goods out of the stock."""
    return f"shelf of {order['item']}"


def charge(order: dict[str, Any]) -> str:
    """Take the money; the first worker that is about to, dies."""
    with suppress(FileExistsError):
        Path("died").touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return f"receipt over {order['euros']} €"


def ship(answer: dict[str, Any]) -> str:
    """Send the parcel."""
    return "shipped"


def refund(answer: dict[str, Any]) -> str:
    """Give back the money and the goods: the compensation of what was done."""
    return "refunded"


order = (
    Flow("order")
    .fork()
    .branch(reserve)
    .branch(charge)
    .join(lambda done: done, name="prepared")
    .wait_for_signal("approval", timeout="48h")
    .route(lambda answer: "ship" if answer["approved"] else "undo", keys=["ship", "undo"])
    .branch("ship", ship)
    .branch("undo", refund)
    .done()
    .build()
)


def work(address: str) -> None:
    """Be a worker until the standard input is closed. Others get what it holds one second after its death."""
    with RemoteBackend(address) as backend, PooledWorker(backend=backend, workflows=[order], claim_ttl="1s").spawn():
        sys.stdin.read()


def main() -> None:
    """Start a server and two workers, and have two orders processed, of which one is not approved."""
    environment = {**os.environ, "RUNTARA_QUIC_PORT": "0", "RUNTARA_ENV_HTTP_PORT": "0"}  # noqa: TID251 - handed on
    pipe: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen([sys.executable, "-m", "runtara", "serve", "--quiet"], env=environment, **pipe)
    address = server.stdout.readline().split()[-1] if server.stdout else sys.exit("the server did not start")
    workers = [subprocess.Popen([sys.executable, __file__, address], **pipe) for _ in range(2)]
    with RemoteBackend(address) as backend:
        client = WorkflowClient(backend)
        for name, approved in [("order-1", True), ("order-2", False)]:
            client.submit(order, name, {"item": "lamp", "euros": 40})
            client.send_signal(name, "approval", {"approved": approved})
        for name in ("order-1", "order-2"):
            print(name, client.wait(name, timeout="3m").output)
    print([worker.poll() for worker in workers].count(None), "of 2 workers is left")
    for worker in workers:
        worker.communicate()  # closes its standard input
    server.terminate()
    server.communicate()


if __name__ == "__main__":
    work(sys.argv[1]) if len(sys.argv) > 1 else main()

# Output:
# order-1 {'branch': 'ship', 'result': 'shipped'}
# order-2 {'branch': 'undo', 'result': 'refunded'}
# 1 of 2 workers is left

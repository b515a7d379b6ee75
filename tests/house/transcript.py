"""A session at the command line, as documentation shows it: played, and held against what it says.

A line that begins with ``$ `` is a command; the lines below it are what it must print on its standard output, ``...``
standing for anything. ``$ runtara serve &`` leaves a server running until the session ends; where no command of a
session is a `serve` or a `run`, there is one from the beginning. Sessions are played in a copy of the examples' folder;
what they ask of http://127.0.0.1:8002 goes to the port at which that server listens.
"""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runtara.transport.connection_file import read_connection_file
from tests.house.source import ROOT, environment, squash
from tests.requirements import require

__all__ = ["commands_of", "play"]

PATIENCE_S = 120


def commands_of(session: str) -> list[tuple[str, str]]:
    """The commands of a session, each with what it must print."""
    parts = re.split(r"(?m)^\$ (.+)$", session)
    assert not parts[0].strip(), f"a session begins with a command, not with {parts[0]!r}"
    return list(zip(parts[1::2], [text.strip() for text in parts[2::2]], strict=True))


def play(session: str, folder: Path) -> None:
    """Play a session in a copy of the examples below `folder`; fail where it goes another way than it says."""
    here = folder / "examples"
    shutil.copytree(ROOT / "examples", here, ignore=shutil.ignore_patterns("__pycache__", ".data"))
    commands = commands_of(session)
    with ExitStack() as servers:
        if not any(re.search(r"\bruntara (serve|run)\b", command) for command, _ in commands):
            servers.enter_context(serving("runtara serve", here))
        for command, expected in commands:
            if command.startswith("curl "):
                require("curl", "documented commands use it")
            if command.endswith("&"):
                servers.enter_context(serving(command.removesuffix("&"), here))
                continue
            done = subprocess.run(
                ["bash", "-c", command.replace(_HTTP, _http_address(here))],
                cwd=here,
                env=environment() | _PORT,
                capture_output=True,
                encoding="utf-8",
                timeout=PATIENCE_S,
                check=False,
            )
            printed = done.stdout.strip()
            assert squash(expected).fullmatch(printed), f"{command}\nprinted:\n{printed}\n{done.stderr}"


_PORT = {
    "RUNTARA_QUIC_PORT": "0",
    "RUNTARA_ENV_HTTP_PORT": "0",
    "RUNTARA_SHUTDOWN_GRACE_MS": "1000",
    "PYTHONWARNINGS": "default",
}
"""Any free port, so that sessions can be played side by side: clients find the server by its data folder."""


_HTTP = "http://127.0.0.1:8002"


def _http_address(folder: Path) -> str:
    found = read_connection_file(folder / ".data")
    return _HTTP if found is None or found.http_address is None else found.http_address


@contextmanager
def serving(command: str, folder: Path) -> Iterator[None]:
    """Run a server for the length of the block; it is there as soon as it has said so."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=folder, env=environment() | _PORT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline(), f"{command} ended before it was ready"
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE_S)

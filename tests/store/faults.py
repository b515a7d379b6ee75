"""Ways to break an SQLite store: connections that fail on purpose, and processes that are killed at a statement."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SQL, Connection, SqliteLimits
from tests.store.samples import KEY, loaded, numbered_save, put

__all__ = [
    "IMPATIENT",
    "ROOT",
    "Plan",
    "current_version",
    "faulty",
    "run_module",
    "sqlite_error",
    "stored_ids",
]

ROOT = Path(__file__).parents[2]

IMPATIENT = SqliteLimits(busy_timeout_ms=0, wal_patience_ms=0)
"""Limits for tests in which somebody else holds a lock."""


def sqlite_error(code: int, text: str = "planned fault") -> sqlite3.OperationalError:
    """The error that the sqlite3 module raises for a result code."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class Fault(NamedTuple):
    """What happens to a statement: the error's code, whether the statement takes effect all the same, and how often."""

    code: int
    after_effect: bool
    lasting: bool


class Plan:
    """Which named statements of a connection fail."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.executed: list[str] = []

    def fail(self, statement: str, code: int, *, after_effect: bool = False, lasting: bool = False) -> None:
        """Let the next execution of a named statement fail; all of them, where the fault is `lasting`."""
        self.faults[SQL[statement]] = Fault(code, after_effect, lasting)

    def heal(self) -> None:
        """Let everything work again."""
        self.faults.clear()

    def run(self, statement: str, execute: Callable[[], Any]) -> Any:
        """Execute a statement, or fail as planned."""
        self.executed.append(statement)
        fault = self.faults.get(statement)
        if fault is None:
            return execute()
        if not fault.lasting:
            del self.faults[statement]
        if fault.after_effect:
            execute()
        raise sqlite_error(fault.code)


def faulty(plan: Plan) -> type[Connection]:
    """A class of connections that fail by plan."""

    class FaultyCursor(sqlite3.Cursor):
        def execute(self, sql: str, *parameters: Any) -> Any:
            return plan.run(sql, lambda: super(FaultyCursor, self).execute(sql, *parameters))

        def executemany(self, sql: str, *parameters: Any) -> Any:
            return plan.run(sql, lambda: super(FaultyCursor, self).executemany(sql, *parameters))

    class FaultyConnection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> Any:
            return plan.run(sql, lambda: super(FaultyConnection, self).execute(sql, *parameters))

        def cursor(self, factory: Any = None) -> Any:
            return super().cursor(FaultyCursor)

    return FaultyConnection


def run_module(name: str, *arguments: object, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a module of the tests in a process of its own, to its end."""
    command = [*prefix, sys.executable, "-m", name, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def stored_ids(path: Path) -> tuple[str, ...]:
    """The checkpoints of the sample instance, as a process that starts now finds them; the file must be sound."""
    store = SqliteStore(str(path))
    with contextlib.closing(store.open_writer()) as writer:
        with contextlib.closing(store.open_reader()) as reader:
            assert reader.verify() == []
            found = reader.load([KEY])
            ids = loaded(reader).checkpoint_ids if found else ()
        put(writer, numbered_save(len(ids) + 1))
    return ids


def current_version(store: SqliteStore) -> int:
    """The stored version of the sample instance; 0 where there is none."""
    with contextlib.closing(store.open_reader()) as reader:
        return loaded(reader).instance.version if reader.load([KEY]) else 0

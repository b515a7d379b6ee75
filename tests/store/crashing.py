"""A process to be broken: it saves one checkpoint after another and writes down what it was told about each.

``python -m tests.store.crashing once FOLDER MANNER`` does so once; the disk may be made to fail from outside.

``python -m tests.store.crashing die FOLDER MANNER STEP`` forks a child for every STEP-th statement that a writer
executes; the child kills itself where that statement begins. One line of output per death says how the store compares
with what the child was told; the last line says ``survived``.

``python -m tests.store.crashing upgrade FOLDER MANNER STEP`` does the same while a file of schema 1 is brought up to
date; the lines say which schema the file has after each death, and whether anything of it was lost.

The manner ``honest`` notes an acknowledgement when the commit has returned. The others are planted bugs, to prove that
the comparison can fail: ``hasty`` notes it before the commit, ``reckless`` when the outcome is unknown, and ``torn``
brings the file up to date without a transaction.
"""

import contextlib
import functools
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from runtara.errors import OutcomeUnknown, RuntaraError
from runtara.store import Writer
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SqliteLimits, connect_writer, run_script
from runtara.store._statements import load_migrations
from tests.store.faults import current_version, stored_ids
from tests.store.old_files import contents, first_file, schema_of
from tests.store.samples import numbered_save

__all__ = ["compare", "save_and_tell"]

SAVES = 4


def save_and_tell(folder: Path, manner: str, factory: type[sqlite3.Connection] = sqlite3.Connection) -> None:
    """Save checkpoints, and note before and after each what is known about it."""
    store = SqliteStore(str(folder / "runtara.db"), factory=factory)
    with contextlib.suppress(RuntaraError), contextlib.ExitStack() as stack:
        told = stack.enter_context((folder / "told").open("a", buffering=1))
        writer = stack.enter_context(contextlib.closing(store.open_writer()))
        for _ in range(SAVES):
            with contextlib.suppress(RuntaraError):
                writer.commit([])  # settles what is not known, if anything
                save_one(store, writer, told, manner)


def save_one(store: SqliteStore, writer: Writer, told: TextIO, manner: str) -> None:
    number = current_version(store) + 1
    told.write(f"{'acknowledged' if manner == 'hasty' else 'trying'} step-{number}\n")
    try:
        assert writer.commit([numbered_save(number)]) == [True]
    except OutcomeUnknown:
        told.write(f"{'acknowledged' if manner == 'reckless' else 'unknown'} step-{number}\n")
    except RuntaraError:
        told.write(f"refused step-{number}\n")
    else:
        told.write(f"acknowledged step-{number}\n")


def compare(folder: Path) -> str:
    """Say where the store is not what was told about it, or ``sound``."""
    told = folder / "told"
    lines = told.read_text().splitlines() if told.exists() else []
    last = {name: verdict for verdict, name in (line.split() for line in lines)}
    stored = stored_ids(folder / "runtara.db")
    wrong = [
        f"{name} was acknowledged but lost" for name in last if last[name] == "acknowledged" and name not in stored
    ]
    wrong += [f"{name} was {last.get(name)} but stored" for name in stored if last.get(name) in ("refused", None)]
    return ", ".join(wrong) or "sound"


def dying_at(statement: int) -> type[sqlite3.Connection]:
    """A class of connections that kill their process where they begin the n-th statement."""
    executed = 0

    def count(_: str) -> None:
        nonlocal executed
        executed += 1
        if executed == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    class DyingConnection(sqlite3.Connection):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.set_trace_callback(count)

    return DyingConnection


def upgrade(folder: Path, manner: str, factory: type[sqlite3.Connection]) -> None:
    """Bring a file of schema 1 up to date."""
    path = folder / "runtara.db"
    path.write_bytes(first_file())
    if manner == "torn":
        connection = connect_writer(path, SqliteLimits(), factory)
        for migration in load_migrations("sqlite")[1:]:
            run_script(connection, migration.script)
    else:
        SqliteStore(str(path), factory=factory).open_writer().close()


def compare_upgraded(folder: Path) -> str:
    """Say which schema the file has, ``old`` or ``new``, or what is wrong with it; after that it must be usable."""
    path, expected = folder / "runtara.db", expected_of_upgrade()
    found = schema_of(path)
    if found not in (expected.old, expected.new):
        return "torn: neither the old schema nor the new one"
    if contents(path) != expected.contents:
        return "something was lost"
    if problems := open_and_verify(path):
        return ", ".join(problems)
    if (schema_of(path), contents(path)) != (expected.new, expected.contents):
        return "the next one who opened it did not complete it"
    return "old" if found == expected.old else "new"


class Expected(NamedTuple):
    """The schema of a file before and after it was brought up to date, and what lies in it."""

    old: Any
    new: Any
    contents: Any


@functools.cache
def expected_of_upgrade() -> Expected:
    """What becomes of the file of schema 1 where nobody dies."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runtara.db")
        path.write_bytes(first_file())
        old, held = schema_of(path), contents(path)
        assert open_and_verify(path) == []
        return Expected(old, schema_of(path), held)


def open_and_verify(path: Path) -> list[str]:
    """Open a store, as a process that starts now would, and return what is wrong with it."""
    store = SqliteStore(str(path))
    with contextlib.closing(store.open_writer()), contextlib.closing(store.open_reader()) as reader:
        return reader.verify()


Work = Callable[[Path, str, type[sqlite3.Connection]], None]
Judge = Callable[[Path], str]


def die_everywhere(folder: Path, manner: str, step: int, work: Work, judge: Judge) -> None:
    """Kill children, each a few statements later than the one before, until one survives."""
    import sqlite_utils.migrations  # noqa: F401 # once, not in every child

    for statement in range(1, 10_000, step):
        own = folder / f"statement-{statement}"
        own.mkdir()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            work(own, manner, dying_at(statement))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{statement}: {judge(own)}\n")
        if os.WIFEXITED(status):
            sys.stdout.write("survived\n" if os.WEXITSTATUS(status) == 0 else "failed\n")
            return


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["once", folder, manner]:
            save_and_tell(Path(folder), manner)
        case ["die", folder, manner, step]:
            die_everywhere(Path(folder), manner, int(step), save_and_tell, compare)
        case ["upgrade", folder, manner, step]:
            die_everywhere(Path(folder), manner, int(step), upgrade, compare_upgraded)

"""A server that dies when a schedule is to move on: the start is made, and nobody has noted that it is.

Its one argument before those of the command line says where: ``before`` the note is stored, or right ``after``.
"""

import os
import signal
import sys
from typing import Any

from runtara.cli import main
from runtara.records import Schedule
from runtara.store._sqlite_writer import SqliteWriter

__all__: list[str] = []


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def _plant(where: str) -> None:
    put: Any = SqliteWriter.put_schedule

    def put_and_die(writer: SqliteWriter, schedule: Schedule) -> bool:
        if where == "before" and schedule.version > 1:
            _die()
        stored: bool = put(writer, schedule)
        if schedule.version > 1:
            _die()
        return stored

    setattr(SqliteWriter, "put_schedule", put_and_die)  # noqa: B010 - that is the point


if __name__ == "__main__":
    _plant(sys.argv.pop(1))
    main()

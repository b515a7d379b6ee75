"""A process to be broken: it changes images and schedules, copies an instance, replaces one, deletes one, and notes it.

``python -m tests.store.changing FOLDER MANNER STEP`` forks a child for every STEP-th statement that a writer executes;
the child kills itself where that statement begins. One line of output per death says whether the store is as it is
after what the child has noted, or after one change more: ``sound``, or how far it differs. The last line says
``survived``.

The manner ``honest`` notes a change when the call has returned. The others are planted bugs, to prove that the
comparison can fail: ``hasty`` notes it before, and ``torn`` changes the file without transactions.
"""

import contextlib
import functools
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtara.ids import ImageRef
from runtara.lifecycle import Status
from runtara.store import Copies, Finished, Writer
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SQL
from tests.store.crashing import die_everywhere
from tests.store.samples import NOW, checkpoint, event, image_version, opened, put, save, schedule, signal, wait
from tests.store.test_model import IMAGE_IDS, KEYS, NAMES, view

SOURCE, FORK, *_ = KEYS
TENANT, NAME, IMAGE = SOURCE.tenant_id, NAMES[0], IMAGE_IDS[0]
ENDED: dict[str, Any] = {"status": Status.COMPLETED, "finished_at": NOW}
HISTORY: dict[str, Any] = {
    "checkpoints": tuple(checkpoint(name) for name in NAMES),
    "signals": (signal("s"),),
    "waits": (wait("t", ended_at=NOW, signal_id="s"),),
}

NEW: dict[str, Any] = {"epoch": 2, "program": "new", "checkpoints": (checkpoint(NAMES[0], b"new"),)}

CHANGES: tuple[Callable[[Writer], object], ...] = (
    lambda writer: put(writer, save(SOURCE, input=b"in", program=ImageRef(IMAGE, 1).program, **HISTORY)),
    lambda writer: writer.push_image(TENANT, NAME, IMAGE, image_version("one")),
    lambda writer: writer.push_image(TENANT, NAME, IMAGE, image_version("two")),
    lambda writer: put(writer, save(FORK, input=b"in", copies=Copies(SOURCE))),
    lambda writer: writer.put_schedule(schedule(NAME, tenant_id=TENANT)),
    lambda writer: writer.push_image(TENANT, NAME, IMAGE, image_version("three")),
    lambda writer: writer.use_image_version(TENANT, IMAGE, 1, NOW + 1),
    lambda writer: writer.collect_images(NOW, 1, 9, False),
    lambda writer: writer.put_schedule(schedule(NAME, 2, tenant_id=TENANT, next_at=None)),
    lambda writer: put(writer, save(FORK, 2, replaces=True, input=b"new", events=(event("created"),), **NEW)),
    lambda writer: put(writer, save(SOURCE, 2, **ENDED)),
    lambda writer: writer.prune_finished(Finished(before_ms=NOW + 1), 9, False),
    lambda writer: writer.delete_image(TENANT, IMAGE, NOW),
    lambda writer: writer.collect_images(NOW + 1, 1, 9, False),
    lambda writer: writer.delete_schedule(TENANT, NAME),
)
"""Each is one transaction, and each changes what a reader sees."""


def change_and_tell(folder: Path, manner: str, factory: type[sqlite3.Connection]) -> None:
    """Do one change after the other, and note each."""
    store = SqliteStore(str(folder / "runtara.db"), factory=factory)
    with (folder / "told").open("a", buffering=1) as told, contextlib.closing(store.open_writer()) as writer:
        if manner == "torn":
            SQL.update(begin_write="SELECT 1", commit="SELECT 1")  # type: ignore[attr-defined]  # a dict; it dies anyway
        for change in CHANGES:
            if manner == "hasty":
                told.write("done\n")
            change(writer)
            if manner != "hasty":
                told.write("done\n")


def compare(folder: Path) -> str:
    """Say how far the store is from what was told about it, or ``sound``."""
    told = len((folder / "told").read_text().splitlines())
    with opened(SqliteStore(str(folder / "runtara.db"))) as (_, reader):
        if problems := reader.verify():
            return ", ".join(problems)
        seen = view(reader)
    states = [place for place, state in enumerate(expected()) if state == seen]
    return "sound" if {told, told + 1} & set(states) else f"told of {told} changes, but as after {states}"


@functools.cache
def expected() -> list[Any]:
    """What a reader sees before the first change and after each."""
    with opened("memory://") as (writer, reader):
        states = [view(reader)]
        for change in CHANGES:
            change(writer)
            states.append(view(reader))
    return states


if __name__ == "__main__":
    die_everywhere(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), change_and_tell, compare)

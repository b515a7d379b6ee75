"""A process to be killed: it writes a backup, restores one, or prunes a store, and dies on the way.

``python -m tests.store.moving restore URL FILE STEP`` forks a child for every STEP-th thing that it says to the
database (statements, rows); the child kills itself there. One line of output per death says what the next one finds:
``empty`` or ``complete``, or what is wrong. ``backup`` and ``prune`` do the same; of a store that is pruned, ``sound``
means that every instance is there completely or not at all, and those that may not go are all there. The last line says
``survived``.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psycopg

from runtara.errors import AlreadyExists
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.store import Finished, LoadError, back_up, open_store, open_upkeep, restore
from runtara.store import _postgres_upkeep as postgres_upkeep
from runtara.store import _sqlite_upkeep as sqlite_upkeep
from runtara.store._archive import open_archive
from runtara.store._postgres_door import Connection
from runtara.store._sqlite_door import connect_writer
from tests.store.crashing import dying_at
from tests.store.samples import NOW, checkpoint, event, image_version, put, retry, save, schedule, signal, wait

__all__ = ["GOES", "INSTANCES", "STAYS", "fill"]

INSTANCES = 4
STAYS = [InstanceKey("acme", f"running-{number}") for number in range(INSTANCES)]
GOES = [InstanceKey("acme", f"finished-{number}") for number in range(INSTANCES)]


def fill(url: str) -> None:
    """Store instances that go on, and as many that have finished, with something in every table."""
    with contextlib.closing(open_store(url).open_writer()) as writer:
        for key in (*STAYS, *GOES):
            finished = {"finished_at": NOW} if key in GOES else {}
            put(
                writer,
                save(
                    key,
                    status=Status.COMPLETED if key in GOES else Status.SUSPENDED,
                    input=b"in",
                    output=b"out",
                    env={"A": "b"},
                    checkpoint_id="step",
                    checkpoints=(checkpoint("step"), checkpoint("other", b"")),
                    events=(event(), event(payload=b"\0")),
                    signals=(signal("go"),),
                    waits=(wait("here", ended_at=NOW, signal_id="go"),),
                    retries=(retry("step", 1, error="n\0t good"),),
                    **finished,
                ),
            )
        for number in range(2):
            writer.push_image("acme", "orders", "a" * 32, image_version(digest=f"{number}" * 64, defaults=b"{}"))
        writer.push_image("globex", "gone", "b" * 32, image_version())
        writer.delete_image("globex", "b" * 32, NOW)
        writer.put_schedule(schedule("nightly"))
        writer.put_schedule(schedule("paused", next_at=None))


def main(task: str, url: str, file: str, step: int) -> None:
    """Kill children, each a little later than the one before, until one survives."""
    work: Callable[[], Any] = functools.partial(TASKS[task], url, Path(file))
    for place in range(1, 10_000, step):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _die_at(place)
            work()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{place}: {_judge(task, url, Path(file))}\n")
        if os.WIFEXITED(status):
            sys.stdout.write("survived\n" if os.WEXITSTATUS(status) == 0 else "failed\n")
            return


def _back_up(url: str, file: Path) -> None:
    with contextlib.suppress(AlreadyExists):  # the one before has died behind its last step
        back_up(open_upkeep(url), file, look_on)


def _restore(url: str, file: Path) -> None:
    with contextlib.suppress(AlreadyExists):
        restore(file, open_upkeep(url), look_on)


def _prune(url: str, _: Path) -> None:
    open_upkeep(url).prune(Finished(before_ms=NOW + 1), look_on)


def look_on(*_: object) -> None:
    """Somebody who looks on; to be told something is a place to die at, too."""


TASKS: dict[str, Callable[[str, Path], None]] = {"backup": _back_up, "restore": _restore, "prune": _prune}


def _die_at(place: int) -> None:
    """Let this process kill itself where it says the n-th thing to a database."""
    said = 0

    def counting(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **names: Any) -> Any:
            nonlocal said
            said += 1
            if said == place:
                os.kill(os.getpid(), SIGKILL)
            return method(*arguments, **names)

        return call

    global look_on  # noqa: PLW0603 # this process is about to die
    look_on = counting(look_on)
    sqlite_upkeep.connect_writer = functools.partial(  # type: ignore[attr-defined]  # its own name for it
        connect_writer, factory=dying_at(place)
    )
    Connection.execute = counting(Connection.execute)  # type: ignore[method-assign]
    for module in (sqlite_upkeep, postgres_upkeep):
        module.INSTANCES_AT_ONCE = 1  # type: ignore[attr-defined]  # more places to die at
    psycopg.Copy.write_row = counting(psycopg.Copy.write_row)  # type: ignore[method-assign]
    psycopg.Copy.read_row = counting(psycopg.Copy.read_row)  # type: ignore[method-assign]


def _judge(task: str, url: str, file: Path) -> str:
    """Say what somebody who comes after a death finds."""
    if task == "backup":
        return _judge_file(file)
    open_store(url).open_writer().close()
    if problems := open_upkeep(url).verify():
        return ", ".join(problems)
    with contextlib.closing(open_store(url).open_reader()) as reader:
        found = reader.load([*STAYS, *GOES])
        for key, snapshot in found.items():
            if isinstance(snapshot, LoadError) or len(snapshot.checkpoint_ids) != 2 or not reader.read_input(key):
                return f"{key} is not complete"
    if task == "prune":
        return "sound" if set(STAYS) <= found.keys() else "too much is gone"
    return {0: "empty", 2 * INSTANCES: "complete"}.get(len(found), f"{len(found)} instances")


def _judge_file(file: Path) -> str:
    if not file.exists():
        return "empty"
    with open_archive(file) as archive:
        archive.check()
    return "complete"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))

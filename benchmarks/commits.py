"""Persisted transitions at 256 concurrent clients: our group commit, and one commit each, on SQLite with FULL sync.

Each transition updates an instance and inserts a checkpoint of 200 bytes. There are two peers: the same system, allowed
one transition per transaction, which shows what group commit is worth; and what one writes first, a pykka actor that
commits every message it is asked to with the same store code, and knows nothing of epochs, signals or states.
"""

import tempfile
import threading
import time
from typing import Any

import pykka
import trio
from msgspec.structs import replace

from runtara.lifecycle import Status
from runtara.records import Checkpoint, Instance
from runtara.sdk import AsyncRuntaraSdk, embedded
from runtara.store import Save, open_store

CLIENTS = 256
EACH = 40
ONE_EACH = 4
STATE = b"x" * 200


def grouped() -> float:
    """Checkpoints per second through the whole embedded system, 256 instances at once."""
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(through_the_system, EACH, {"data_dir": folder})


def one_each() -> float:
    """The same through the same system, one transition per transaction."""
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(through_the_system, ONE_EACH, {"data_dir": folder, "commit_max_saves": 1})


async def through_the_system(each: int, options: dict[str, Any]) -> float:
    """Checkpoints per second, `each` by every client; `options` say where they are kept."""

    async def work(sdk: AsyncRuntaraSdk) -> None:
        for number in range(each):
            await sdk.checkpoint(f"step-{number}", STATE)

    async with embedded.open(**options) as system:
        programs = [system.sdk(f"instance-{number}") for number in range(CLIENTS)]
        async with trio.open_nursery() as nursery:
            for sdk in programs:
                nursery.start_soon(sdk.register)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for sdk in programs:
                nursery.start_soon(work, sdk)
        return CLIENTS * each / (time.perf_counter() - began)


class _OneEach(pykka.ThreadingActor):
    """Commits every save on its own."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def on_start(self) -> None:
        """Open the store in the actor's thread."""
        self._writer = open_store(self._url).open_writer()

    def on_stop(self) -> None:
        """Close it there, too."""
        self._writer.close()

    def on_receive(self, message: Any) -> bool:
        """Commit one save."""
        return self._writer.commit([message])[0]


def one_each_pykka() -> float:
    """The same rows per second, each asked for by one of 256 threads and committed alone."""
    with tempfile.TemporaryDirectory() as folder:
        writer = _OneEach.start(f"sqlite:///{folder}/runtara.db")
        rows = [_row(number) for number in range(CLIENTS)]
        for row in rows:
            writer.ask(Save(instance=row, expected_version=0))

        def work(row: Instance) -> None:
            for number in range(ONE_EACH):
                after = replace(row, version=row.version + 1, checkpoint_id=f"step-{number}")
                checkpoint = Checkpoint(checkpoint_id=f"step-{number}", state=STATE, epoch=1, created_at=1)
                assert writer.ask(Save(instance=after, expected_version=row.version, checkpoints=(checkpoint,)))
                row = after

        threads = [threading.Thread(target=work, args=(row,)) for row in rows]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - began
        writer.stop()
    return CLIENTS * ONE_EACH / elapsed


def _row(number: int) -> Instance:
    return Instance(
        tenant_id="default",
        instance_id=f"instance-{number}",
        status=Status.RUNNING,
        version=1,
        epoch=1,
        created_at=1,
        started_at=1,
    )

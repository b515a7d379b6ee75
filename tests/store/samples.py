"""Instances and saves to store, short to write and different where it matters."""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runtara.ids import InstanceKey
from runtara.lifecycle import Status, TerminationReason
from runtara.records import Checkpoint, Event, ImageVersion, Instance, Retry, Schedule, Signal, Snapshot, Wait
from runtara.store import LoadError, Reader, Save, Store, Writer, open_store

__all__ = [
    "FULL_INSTANCE",
    "KEY",
    "NOW",
    "checkpoint",
    "event",
    "image_version",
    "instance",
    "loaded",
    "numbered_save",
    "opened",
    "pages_of",
    "put",
    "retry",
    "save",
    "schedule",
    "signal",
    "torn_while_written",
    "wait",
]

NOW = 1_750_000_000_000
KEY = InstanceKey("acme", "order-1")

FULL_INSTANCE = Instance(
    tenant_id="acme",
    instance_id="order-1",
    status=Status.SUSPENDED,
    version=1,
    epoch=3,
    created_at=NOW,
    program="orders",
    attempt_id="attempt",
    checkpoint_id="step é",
    wake_at=NOW + 1,
    started_at=NOW + 2,
    finished_at=NOW + 3,
    heartbeat_at=NOW + 4,
    termination_reason=TerminationReason.SLEEPING,
    exit_code=-9,
    error="it broke: \N{SNOWMAN}",
    timeout_ms=60_000,
    claimed_at=NOW + 5,
    ran_ms=1_234,
    losses=2,
    claimed_epoch=4,
    priority=-7,
)
"""Every field has a value of its own, so that no two can be mixed up."""


def instance(key: InstanceKey = KEY, status: Status = Status.RUNNING, version: int = 1, **fields: Any) -> Instance:
    """An instance with the usual fields; `fields` are those of `Instance`."""
    plain: dict[str, Any] = {"tenant_id": key.tenant_id, "instance_id": key.instance_id, "epoch": 1, "created_at": NOW}
    return Instance(**(plain | {"status": status, "version": version} | fields))


def save(key: InstanceKey = KEY, version: int = 1, **fields: Any) -> Save:
    """A change of an instance to `version`, expecting the one before; `fields` are those of `Save` or `Instance`."""
    own = {name: fields.pop(name) for name in Save.__struct_fields__ if name in fields}
    plain: dict[str, Any] = {"instance": instance(key, version=version, **fields), "expected_version": version - 1}
    return Save(**(plain | own))


def checkpoint(checkpoint_id: str, state: bytes = b"state", **fields: Any) -> Checkpoint:
    plain: dict[str, Any] = {"checkpoint_id": checkpoint_id, "state": state, "epoch": 1, "created_at": NOW}
    return Checkpoint(**(plain | fields))


def event(type_: str = "custom", **fields: Any) -> Event:
    plain: dict[str, Any] = {"type": type_, "epoch": 1, "created_at": NOW}
    return Event(**(plain | fields))


def signal(signal_id: str, seq: int = 1, **fields: Any) -> Signal:
    plain: dict[str, Any] = {"signal_id": signal_id, "kind": "custom", "sent_at": NOW, "name": "go", "seq": seq}
    return Signal(**(plain | fields))


def wait(place: str, **fields: Any) -> Wait:
    plain: dict[str, Any] = {"place": place, "name": "go", "started_at": NOW}
    return Wait(**(plain | fields))


def retry(checkpoint_id: str, attempt: int, **fields: Any) -> Retry:
    plain: dict[str, Any] = {"checkpoint_id": checkpoint_id, "attempt": attempt, "recorded_at": NOW}
    return Retry(**(plain | fields))


def image_version(content: str = "", **fields: Any) -> ImageVersion:
    """What is pushed: another `content` is another digest; `fields` are those of `ImageVersion`."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    plain: dict[str, Any] = {"version": 1, "digest": digest, "size": 3, "kind": "python", "created_at": NOW}
    return ImageVersion(**(plain | fields))


def schedule(name: str = "nightly", version: int = 1, **fields: Any) -> Schedule:
    plain: dict[str, Any] = {"tenant_id": "acme", "name": name, "plan": b"\0plan", "next_at": NOW, "version": version}
    return Schedule(**(plain | {"created_at": NOW, "updated_at": NOW} | fields))


def put(writer: Writer, *saves: Save) -> None:
    """Store all saves, each of which must apply."""
    assert writer.commit(saves) == [True] * len(saves)


def loaded(reader: Reader, key: InstanceKey = KEY) -> Snapshot:
    """The snapshot of an instance that exists."""
    snapshot = reader.load([key])[key]
    assert not isinstance(snapshot, LoadError)
    return snapshot


def numbered_save(number: int) -> Save:
    """The save that brings the sample instance from version `number` - 1 to `number`, with a checkpoint."""
    return save(KEY, number, checkpoint_id=f"step-{number}", checkpoints=(checkpoint(f"step-{number}"),))


def pages_of(ask: Callable[[str | None], Any], field: str) -> list[Sequence[Any]]:
    """Every page of a list, each asked for with the cursor of the one before."""
    answer = ask(None)
    pages = [getattr(answer, field)]
    while answer.cursor is not None:
        answer = ask(answer.cursor)
        pages.append(getattr(answer, field))
    return pages


@contextlib.contextmanager
def opened(where: Store | str) -> Iterator[tuple[Writer, Reader]]:
    """Have the writer and a reader of a store, or of the one at a URL, for the length of the block."""
    store = open_store(where) if isinstance(where, str) else where
    with contextlib.closing(store.open_writer()) as writer, contextlib.closing(store.open_reader()) as reader:
        yield writer, reader


def torn_while_written(store: Store, saves: int) -> list[Snapshot]:
    """Save so often, while another thread reads; return what it has seen that no save has left."""
    torn: list[Snapshot] = []
    done = threading.Event()

    def look() -> None:
        with contextlib.closing(store.open_reader()) as own:
            while not done.is_set():
                snapshot = loaded(own)
                if len(snapshot.checkpoint_ids) != snapshot.instance.version:
                    torn.append(snapshot)

    with opened(store) as (writer, _):
        put(writer, numbered_save(1))
        thread = threading.Thread(target=look)
        thread.start()
        for number in range(2, saves + 1):
            put(writer, numbered_save(number))
        done.set()
        thread.join()
    return torn

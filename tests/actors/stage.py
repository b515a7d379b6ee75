"""A whole system under a clock that jumps, on a store in memory that can be watched and made to fail.

The store passes everything through to a real one; it only counts, and raises where it was told to. It outlives the
system, so that a second one continues where the first has ended.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from runtara.actors import System, open_system
from runtara.actors.dispatch import Dispatch
from runtara.actors.programs import Program
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Request
from runtara.records import Schedule
from runtara.settings import Settings
from runtara.store import Listener, LoadError, Reader, Save, Store, Writer
from runtara.store._memory import MemoryStore
from runtara.system import INSTANCES, MANY, POOL, READER, SCHEDULES, Launcher, in_process, tree
from tests.store.samples import NOW, save

__all__ = [
    "NOW",
    "Stage",
    "TrioClock",
    "WatchedStore",
    "crash_actor",
    "key_of",
    "nothing",
    "once",
    "open_stage",
    "sleeper",
]


class TrioClock:
    """A wall clock that shows the time of the loop, until it is set."""

    def __init__(self) -> None:
        self._set_by_ms = 0

    def now_ms(self) -> int:
        return NOW + self._set_by_ms + int(trio.current_time() * 1000 + 1e-6)

    def jump_ms(self, span_ms: int) -> None:
        self._set_by_ms += span_ms


class WatchedStore:
    """A store that counts, and fails on purpose."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store or MemoryStore()
        self.url = self._store.url
        self.inline = self._store.inline
        self.ends_with_process = self._store.ends_with_process
        self.tenure = self._store.tenure
        self.commits: list[int] = []
        """The number of saves in each commit that was tried, empty ones left out."""
        self.heartbeats: list[int] = []
        """The same for heartbeats."""
        self.writers = 0
        self.writer: Writer | None = None
        """The real one that was opened last."""
        self.poison: set[InstanceKey] = set()
        """Instances that cannot be loaded."""
        self.loads: list[InstanceKey] = []
        self.before_commit: Callable[[Sequence[Save]], object] = lambda saves: None
        self.after_commit: Callable[[Sequence[Save]], object] = lambda saves: None
        self.before_read: Callable[[str], object] = lambda method: None
        self.before_put: Callable[[Schedule], None] = lambda schedule: None
        """The same for schedules."""
        self.forestall_put: Callable[[Schedule], bool] = lambda schedule: False
        """Whether somebody else has been quicker to change a schedule."""

    def put(self, *saves: Save) -> None:
        """Store rows before there is a system."""
        writer = self._store.open_writer()
        assert all(writer.commit(saves))
        writer.close()

    def agree(self, offers: Mapping[str, bytes]) -> dict[str, tuple[bytes, int]]:
        return self._store.agree(offers)

    def publish(self, name: str, content: bytes, version: int) -> bool:
        return self._store.publish(name, content, version)

    def open_listener(self) -> Listener:
        return self._store.open_listener()

    def open_writer(self) -> "_WatchedWriter":
        self.writers += 1
        self.writer = self._store.open_writer()
        return _WatchedWriter(self, self.writer)

    def open_reader(self) -> Any:  # a reader, most of whose methods are passed on by `__getattr__`
        return _WatchedReader(self, self._store.open_reader())


class _WatchedWriter:
    def __init__(self, store: WatchedStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def commit(self, saves: Sequence[Save]) -> list[bool]:
        if saves:
            self._store.commits.append(len(saves))
        self._store.before_commit(saves)
        stored = self._writer.commit(saves)
        self._store.after_commit(saves)
        return stored

    def record_heartbeats(self, beats: Sequence[tuple[InstanceKey, int]]) -> None:
        self._store.heartbeats.append(len(beats))
        self._writer.record_heartbeats(beats)

    def put_schedule(self, schedule: Schedule) -> bool:
        self._store.before_put(schedule)
        return not self._store.forestall_put(schedule) and self._writer.put_schedule(schedule)

    def close(self) -> None:
        self._writer.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


class _WatchedReader:
    def __init__(self, store: WatchedStore, reader: Reader) -> None:
        self._store = store
        self._reader = reader

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Any]:
        self._store.before_read("load")
        self._store.loads.extend(keys)
        found = dict(self._reader.load(keys))
        return found | {key: LoadError("its rows are garbled") for key in keys if key in self._store.poison}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("close"):
            self._store.before_read(name)
        return getattr(self._reader, name)


def nothing(saves: Sequence[Save]) -> None:
    """Let a commit pass."""


def once(store: WatchedStore, hook: str, error: Exception) -> None:
    """Make the next commit raise, before or after it is stored."""

    def fail(saves: Sequence[Save]) -> None:
        setattr(store, hook, nothing)
        raise error

    setattr(store, hook, fail)


class Stage(msgspec.Struct, frozen=True):
    """A running system, and all that a test may want to touch."""

    system: System
    dispatch: Dispatch
    clock: TrioClock
    store: WatchedStore

    async def ask(self, instance_id: str, command: Request[Any], epoch: int | None = None) -> Any:
        return await self.dispatch.call(key_of(instance_id), command, epoch)

    def facts(self, path: str) -> Mapping[str, Any]:
        """What an actor says about itself."""
        info = self.system.inspect()
        for name in path.split("/")[1:]:
            info = next(child for child in info.children if child.name == name)
        return info.facts

    async def crash(self, path: str) -> None:
        """Crash an actor, as a bug in one of its handlers would, and wait until it is back."""
        slot = self.system.ref(path).slot
        life = slot.incarnation
        await crash_actor(self.system, path)
        await trio.sleep(0.5)
        while slot.incarnation == life:  # noqa: ASYNC110 - it tells nobody, and a busy machine takes longer
            await trio.sleep(0.01)
        assert slot.incarnation == life + 1


async def crash_actor(system: System, path: str) -> None:
    """Crash an actor of a system; what it is asked from then on, its next life answers."""
    slot = system.ref(path).slot
    actor: Any = slot.actor
    with pytest.MonkeyPatch.context() as patches:
        patches.setitem(type(actor).HEARS, _Poison, _fail)
        system.ref(path).tell_nowait(_Poison())
        await trio.testing.wait_all_tasks_blocked()
        while slot.actor is actor:  # noqa: ASYNC110 - it has yet to hear it, and waits for a thread
            await trio.sleep(0.001)


class _Poison:
    """A message that crashes whoever hears it."""


def _fail(_actor: object, _message: object) -> None:
    raise ZeroDivisionError("a bug")


@asynccontextmanager
async def open_stage(
    store: WatchedStore | None = None,
    *,
    programs: Mapping[str, Program] | None = None,
    launcher: Launcher | None = None,
    clock: TrioClock | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """Run a system for the length of the block."""
    store, clock = store or WatchedStore(), clock or TrioClock()
    patient = {"heartbeat_timeout_ms": 10**15}  # programs of tests may end without a word
    all_settings = Settings(database_url="memory://", **patient | settings)
    root = tree(all_settings, store, clock, launcher or in_process(programs or {}))
    async with open_system(root, name="stage", rng=random.Random(0)) as system:
        dispatch = Dispatch(
            system,
            instances=INSTANCES,
            reader=READER,
            payload_max_bytes=all_settings.state_max_bytes,
            pool=POOL,
            many=MANY,
            schedules=SCHEDULES,
        )
        yield Stage(system, dispatch, clock, store)


def key_of(instance_id: str) -> InstanceKey:
    return InstanceKey("acme", instance_id)


def sleeper(instance_id: str, wake_at: int, program: str = "nap", **fields: Any) -> Save:
    """A row of an instance that sleeps until `wake_at`."""
    return save(key_of(instance_id), status=Status.SUSPENDED, program=program, wake_at=wake_at, **fields)

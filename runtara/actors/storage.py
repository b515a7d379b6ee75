"""The actors that touch the store: one writer with group commit, and readers beside it.

The writer takes whatever waits in its mailbox and stores it in one transaction; while that is on its way to the disk,
the next batch collects. A store that fails is not a crash: the writer answers with the store's error and carries on,
and the store heals itself with a later call. For a store that never waits (memory), the same runs on the loop.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, cast

import msgspec

from runtara.actors._blocking import BlockingActor, Delivery
from runtara.actors._commit_meter import CommitMeter
from runtara.actors._service import Actor, hears
from runtara.actors.instance import Need, Source
from runtara.errors import Internal, RuntaraError, StoreInUse
from runtara.ids import InstanceKey
from runtara.messages import Request
from runtara.records import Snapshot
from runtara.store import LeaseLost, LoadError, Reader, Save, Store, Wanted, Writer

__all__ = [
    "Act",
    "Answer",
    "Commit",
    "InlineReader",
    "InlineWriter",
    "Load",
    "Query",
    "RecordHeartbeats",
    "StoreReader",
    "StoreWriter",
]


class Commit(msgspec.Struct, Request[list[bool]], frozen=True):
    """Store these changes; True per save that was stored, False per one that lost a race."""

    saves: tuple[Save, ...]
    traces: tuple[str, ...] = ()
    """The ``traceparent`` of each traced call that it is a part of."""


class RecordHeartbeats(msgspec.Struct, Request[None], frozen=True):
    """Note when instances were last heard of (milliseconds since 1970 UTC)."""

    beats: tuple[tuple[InstanceKey, int], ...]


class Load(msgspec.Struct, Request[Mapping[InstanceKey, Snapshot | LoadError]], frozen=True):
    """Read what cells need to live. The reply may hold what others asked for at the same time."""

    keys: tuple[InstanceKey, ...]


class Answer(msgspec.Struct, Request[Mapping[Need, object]], frozen=True):
    """Read what one message needs to be decided."""

    key: InstanceKey
    needs: tuple[Need, ...]


class Query(msgspec.Struct, Request[Any], frozen=True):
    """Call a method of the reader."""

    method: Literal[
        "list_due",
        "list_running",
        "list_instances",
        "find_instances",
        "count_instances",
        "measure_tenant",
        "list_steps",
        "list_checkpoints",
        "list_events",
        "list_newest_events",
        "read_retries",
        "read_image",
        "read_image_version",
        "list_images",
        "list_image_versions",
        "list_digests",
        "read_schedule",
        "list_schedules",
        "list_due_schedules",
        "next_schedule_at",
        "count_by_status",
        "list_nodes",
        "list_peers",
        "find_log_node",
        "find_changed",
        "read_documents",
        "verify",
    ]
    arguments: tuple[Any, ...] = ()


class Act(msgspec.Struct, Request[Any], frozen=True):
    """Call a method of the writer that is a transaction of its own; the first seven are those of a `SharedWriter`."""

    method: Literal[
        "claim_due",
        "find_next_due",
        "release_claim",
        "release_claims",
        "take_over",
        "present",
        "tell_tasks",
        "push_image",
        "use_image_version",
        "delete_image",
        "collect_images",
        "put_schedule",
        "delete_schedule",
        "prune_finished",
    ]
    arguments: tuple[Any, ...] = ()


class StoreWriter(BlockingActor):
    """Stores batches in a thread of its own."""

    BATCH: ClassVar[int] = 4096

    def __init__(self, store: Store, max_saves: int, max_bytes: int) -> None:
        super().__init__()
        self._store = store
        self._max_saves = max_saves
        self._max_bytes = max_bytes
        self._writer: Writer | None = None

    def on_start(self) -> None:
        """Take the store over."""
        self._meter = CommitMeter(self.system.metrics, self.system.traces)
        self._writer = self._store.open_writer()

    def on_stop(self) -> None:
        """Let go of the store."""
        self._close()

    def on_failure(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Let go of the store, so that the next life can take it over."""
        self._close()  # not on_stop(), which would say that the actor has ended well

    def on_batch(self, deliveries: Sequence[Delivery]) -> None:
        """Store a batch in as few transactions as the limits allow."""
        assert self._writer is not None, "mail comes after on_start"
        for group in _transactions(deliveries, self._max_saves, self._max_bytes):
            _store(self._writer, group, self._meter)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class InlineWriter(Actor):
    """Stores on the loop, for a store that never waits."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def on_start(self) -> None:
        """Take the store over."""
        self._meter = CommitMeter(self.system.metrics, self.system.traces)
        self._writer = self._store.open_writer()

    async def on_stop(self, failure: BaseException | None) -> None:
        """Let go of the store."""
        with suppress(AttributeError):  # it never started
            self._writer.close()

    @hears(Commit)
    def commit(self, message: Commit) -> list[bool]:
        """Store changes."""
        return self._meter.commit(self._writer, message.saves, message.traces)

    @hears(RecordHeartbeats)
    def record_heartbeats(self, message: RecordHeartbeats) -> None:
        """Note heartbeats."""
        self._writer.record_heartbeats(message.beats)

    @hears(Act)
    def act(self, message: Act) -> Any:
        """Call a method of the writer."""
        return getattr(self._writer, message.method)(*message.arguments)


def _transactions(deliveries: Sequence[Delivery], max_saves: int, max_bytes: int) -> Iterator[list[Delivery]]:
    """Split a batch so that no transaction grows beyond its limits; one message always fits."""
    group: list[Delivery] = []
    saves = size = 0
    for delivery in deliveries:
        commit = delivery.message if isinstance(delivery.message, Commit) else None
        more = len(commit.saves) if commit else 0
        weight = sum(map(_weight, commit.saves)) if commit else 0
        if group and (commit is None or saves + more > max_saves or size + weight > max_bytes):
            yield group
            group, saves, size = [], 0, 0
        group.append(delivery)
        saves, size = saves + more, size + weight
        if commit is None:
            yield group
            group, saves, size = [], 0, 0
    if group:
        yield group


def _weight(save: Save) -> int:
    """Return how many bytes of the user's a save holds."""
    weight = len(save.input or b"") + len(save.output or b"")
    for name, value in save.env.items():
        weight += len(name) + len(value)
    for checkpoint in save.checkpoints:
        weight += len(checkpoint.state)
    for signal in save.signals:
        weight += len(signal.payload)
    for event in save.events:
        weight += len(event.payload or b"")
    return weight


def _store(writer: Writer, group: Sequence[Delivery], meter: CommitMeter) -> None:
    """Store one transaction's worth of messages and answer them."""
    try:
        alone = _ALONE.get(type(group[0].message))
        if alone is not None:
            group[0].settle(alone(writer, group[0].message))
        else:
            _commit(writer, group, meter)
    except Internal as error:
        # Nothing was stored, because of one of them. Alone, only that one fails.
        if len(group) == 1:
            group[0].fail(error)
        else:
            for delivery in group:
                _store(writer, [delivery], meter)
    except RuntaraError as error:
        for delivery in group:
            delivery.fail(error)
        if isinstance(error, LeaseLost | StoreInUse):
            raise  # this node is nobody any more: everything that it holds in memory goes with the writer


def _commit(writer: Writer, group: Sequence[Delivery], meter: CommitMeter) -> None:
    commits = [cast("Commit", delivery.message) for delivery in group]
    batches = [commit.saves for commit in commits]
    traces = [trace for commit in commits for trace in commit.traces]
    stored = iter(meter.commit(writer, [save for saves in batches for save in saves], traces))
    for delivery, saves in zip(group, batches, strict=True):
        delivery.settle([next(stored) for _ in saves])


_ALONE: Final[dict[type, Callable[[Any, Any], object]]] = {  # Any: each row takes its own message and kind of writer
    RecordHeartbeats: lambda writer, message: writer.record_heartbeats(message.beats),
    Act: lambda writer, message: getattr(writer, message.method)(*message.arguments),
}
"""What is not stored together with anything else."""


_NEEDS: Final[dict[str, Callable[[Reader, InstanceKey, str], object]]] = {
    "checkpoint": lambda reader, key, name: reader.read_checkpoint(key, name),
    "short": lambda reader, key, name: reader.read_all([Wanted(key, "short", name)])[0],
    "signal": lambda reader, key, name: reader.read_signal(key, name),
    "input": lambda reader, key, _: reader.read_input(key),
    "env": lambda reader, key, _: reader.read_env(key),
    "output": lambda reader, key, _: reader.read_output(key),
    "origin": lambda reader, key, _: _origin(reader, key),
    "source": lambda reader, key, name: _source(reader, InstanceKey(key.tenant_id, name)),
}


def _origin(reader: Reader, key: InstanceKey) -> bytes | None:
    events = reader.list_events(key, "created", None, 1, None).events
    return events[0].payload if events else None


def _source(reader: Reader, key: InstanceKey) -> Source | None:
    """Read all that a fork takes over; the row last, so that nothing was read of an instance that is gone since."""
    start = reader.read_input(key), reader.read_env(key)
    snapshot = reader.load((key,)).get(key)
    return None if snapshot is None else Source(snapshot, *start)


_READ_TOGETHER: Final = frozenset({"input", "output", "checkpoint", "short"})
"""The needs that one question to the reader answers for several instances."""


class _Reads:
    """What both kinds of reader hear."""

    reader: Reader

    @hears(Load)
    def load(self, message: Load) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Read what cells need to live."""
        return self.reader.load(message.keys)

    @hears(Answer)
    def answer(self, message: Answer) -> Mapping[Need, object]:
        """Read what one message needs to be decided."""
        return {need: _NEEDS[need.kind](self.reader, message.key, need.id or "") for need in message.needs}

    @hears(Query)
    def query(self, message: Query) -> Any:
        """Call a method of the reader."""
        return getattr(self.reader, message.method)(*message.arguments)


class StoreReader(_Reads, BlockingActor):
    """Reads in a thread and over a connection of its own, so that no read waits for a commit.

    What is to be loaded is loaded together: a database that is far away is asked once for all that waits.
    """

    BATCH: ClassVar[int] = 32  # the first of a batch is answered with the last

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def on_start(self) -> None:
        """Open the connection."""
        self.reader = self._store.open_reader()

    def on_batch(self, deliveries: Sequence[Delivery]) -> None:
        """Answer all of them, loads first."""
        loads = [delivery for delivery in deliveries if type(delivery.message) is Load]
        if loads:
            self._load_together(loads)
        self._answer_together([delivery for delivery in deliveries if type(delivery.message) is Answer])
        super().on_batch([delivery for delivery in deliveries if not delivery.settled])

    def _load_together(self, loads: Sequence[Delivery]) -> None:
        with suppress(RuntaraError):  # then one by one, so that only those fail that must
            found = self.reader.load([key for load in loads for key in cast("Load", load.message).keys])
            for load in loads:
                load.settle(found)

    def _answer_together(self, answers: Sequence[Delivery]) -> None:
        """Answer those whose needs are of the frequent kinds, if that saves a question to the database."""
        asked = [(answer, cast("Answer", answer.message)) for answer in answers]
        asked = [(answer, asks) for answer, asks in asked if _READ_TOGETHER.issuperset(n.kind for n in asks.needs)]
        wanted = [Wanted(asks.key, cast(Any, need.kind), need.id) for _, asks in asked for need in asks.needs]
        if len(wanted) < 2:
            return
        with suppress(RuntaraError):  # then one by one, so that only those fail that must
            found = iter(self.reader.read_all(wanted))
            for answer, asks in asked:
                answer.settle({need: next(found) for need in asks.needs})

    def on_stop(self) -> None:
        """Close the connection."""
        self._close()

    def on_failure(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Close the connection; the next life opens its own."""
        self._close()  # not on_stop(), which would say that the actor has ended well

    def _close(self) -> None:
        with suppress(AttributeError):  # it never started
            self.reader.close()


class InlineReader(_Reads, Actor):
    """Reads on the loop, from a store that never waits."""

    def __init__(self, store: Store) -> None:
        self.reader = store.open_reader()

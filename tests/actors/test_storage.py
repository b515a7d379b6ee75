import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.actors import Backoff, Reply, Strategy, System, SystemFailed, child, open_system, supervisor
from runtara.actors.instance import Need
from runtara.actors.storage import (
    Act,
    Answer,
    Commit,
    InlineReader,
    InlineWriter,
    Load,
    Query,
    RecordHeartbeats,
    StoreReader,
    StoreWriter,
)
from runtara.errors import ActorFailed, AlreadyExists, DeadlineExceeded, Internal, OutcomeUnknown, Retry, StoreFull
from runtara.ids import ImageRef
from runtara.lifecycle import Status
from runtara.records import Snapshot
from runtara.store import Finished, LoadError, Save, open_store
from tests.actors.stage import WatchedStore, key_of
from tests.store.samples import NOW, checkpoint, event, image_version, save, schedule, signal

KINDS = ("memory", "sqlite")
PATIENCE_S = 60.0


@pytest.fixture(params=KINDS)
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> WatchedStore:
    return WatchedStore(open_store("memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 's.db'}"))


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    return WatchedStore(open_store(f"sqlite:///{tmp_path / 's.db'}"))


class Gate:
    """Holds up the first commit until it is opened."""

    def __init__(self, store: WatchedStore) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()
        store.before_commit = self._hold

    def _hold(self, saves: Sequence[Save]) -> None:
        self.reached.set()
        assert self._opened.wait(PATIENCE_S)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate(store: WatchedStore) -> Iterator[Gate]:
    gate = Gate(store)
    yield gate
    gate.open()


@asynccontextmanager
async def open_storage(store: WatchedStore, max_saves: int = 8_192, max_bytes: int = 2**25) -> AsyncIterator[System]:
    writer = (
        child("writer", InlineWriter, store)
        if store.inline
        else child("writer", StoreWriter, store, max_saves, max_bytes)
    )
    reader = child("reader", InlineReader if store.inline else StoreReader, store)
    root = supervisor("root", writer, reader, strategy=Strategy.ONE_FOR_ALL, backoff=Backoff(first=0.01))
    async with open_system(root, ask_timeout=PATIENCE_S) as system:
        yield system


def new(name: str, **fields: Any) -> Commit:
    """A commit of one new instance."""
    return Commit((save(key_of(name), **fields),))


async def collect(system: System, gate: Gate, messages: Sequence[object]) -> list[Any]:
    """Send messages, all but the first while that one is on its way to the disk; return the outcome of each."""
    replies: dict[int, Reply] = {}
    writer = system.ref("root/writer")
    writer.ask_then(messages[0], partial(replies.__setitem__, 0))
    assert await trio.to_thread.run_sync(gate.reached.wait, PATIENCE_S)
    for number in range(1, len(messages)):
        writer.ask_then(messages[number], partial(replies.__setitem__, number))
    gate.open()
    while len(replies) < len(messages):
        await writer.ask(Commit(()))  # whoever comes last is answered last
    return [replies[number].error or replies[number].value for number in range(len(messages))]


# Group commit ---------------------------------------------------------------------------------------------------------


async def test_what_collects_during_a_commit_is_stored_in_one_transaction(store: WatchedStore, gate: Gate) -> None:
    async with open_storage(store) as system:
        outcomes = await collect(system, gate, [new(f"i{n}") for n in range(500)])

    assert outcomes == [[True]] * 500
    assert store.commits == [1, 499]


async def test_a_transaction_takes_no_more_saves_than_allowed(store: WatchedStore, gate: Gate) -> None:
    commits = [Commit(tuple(save(key_of(f"i{n}-{m}")) for m in range(3))) for n in range(40)]
    async with open_storage(store, max_saves=10) as system:
        outcomes = await collect(system, gate, commits)

    assert outcomes == [[True] * 3] * 40
    assert store.commits == [3] + [9] * 13


async def test_what_collects_during_a_read_is_loaded_at_once(store: WatchedStore) -> None:
    reached, opened, reads = threading.Event(), threading.Event(), list[str]()

    def hold(method: str) -> None:
        reads.append(method)
        reached.set()
        assert opened.wait(PATIENCE_S)

    store.put(*(save(key_of(f"i{n}")) for n in range(20)))
    store.before_read = hold
    async with open_storage(store) as system, trio.open_nursery() as nursery:
        reader = system.ref("root/reader")
        replies = dict[int, Reply]()
        nursery.start_soon(reader.ask, Query("count_instances", (key_of("i0").tenant_id,)))
        assert await trio.to_thread.run_sync(reached.wait, PATIENCE_S)
        for n in range(20):
            reader.ask_then(Load((key_of(f"i{n}"),)), partial(replies.__setitem__, n))
        opened.set()
        await reader.ask(Query("count_instances", (key_of("i0").tenant_id,)))

    values: list[Any] = [replies[n].value for n in range(20)]
    assert [key_of(f"i{n}") in value for n, value in enumerate(values)] == [True] * 20
    assert reads == ["count_instances", "load", "count_instances"]


async def test_what_collects_during_a_read_is_answered_at_once_where_it_is_of_the_frequent_kinds(
    store: WatchedStore,
) -> None:
    reached, opened, reads = threading.Event(), threading.Event(), list[str]()

    def hold(method: str) -> None:
        reads.append(method)
        reached.set()
        assert opened.wait(PATIENCE_S)

    store.put(*(save(key_of(f"i{n}"), input=b"%d" % n, env={"N": str(n)}) for n in range(20)))
    store.before_read = hold
    async with open_storage(store) as system, trio.open_nursery() as nursery:
        reader, count = system.ref("root/reader"), Query("count_instances", (key_of("i0").tenant_id,))
        replies = dict[int, Reply]()
        nursery.start_soon(reader.ask, count)
        assert await trio.to_thread.run_sync(reached.wait, PATIENCE_S)
        for n in range(20):
            need = Need("env") if n == 7 else Need("input")
            reader.ask_then(Answer(key_of(f"i{n}"), (need,)), partial(replies.__setitem__, n))
        opened.set()
        await reader.ask(count)

    values: list[Any] = [replies[n].value for n in range(20)]
    assert [value.get(Need("input")) for value in values] == [None if n == 7 else b"%d" % n for n in range(20)]
    assert values[7] == {Need("env"): {"N": "7"}}
    assert reads == ["count_instances", "read_all", "read_env", "count_instances"]


PAYLOADS: dict[str, dict[str, Any]] = {
    "state": {"checkpoints": (checkpoint("step", bytes(1_000)),)},
    "output": {"output": bytes(1_000)},
    "input": {"input": bytes(1_000)},
    "env": {"env": {"NAME": "x" * 996}},
    "signal": {"signals": (signal("s", payload=bytes(1_000)),)},
    "event": {"events": (event(payload=bytes(1_000)),)},
}


@pytest.mark.parametrize("kind", PAYLOADS)
async def test_a_transaction_takes_nothing_more_beyond_its_bytes(kind: str, store: WatchedStore, gate: Gate) -> None:
    async with open_storage(store, max_bytes=10_000) as system:
        outcomes = await collect(system, gate, [new(f"i{n}", **PAYLOADS[kind]) for n in range(41)])

    assert outcomes == [[True]] * 41
    assert store.commits == [1, 10, 10, 10, 10]


async def test_a_message_beyond_the_limits_is_stored_alone(store: WatchedStore, gate: Gate) -> None:
    large = Commit(tuple(save(key_of(f"large-{n}")) for n in range(30)))
    heavy = new("heavy", checkpoints=(checkpoint("step", bytes(100_000)),))
    async with open_storage(store, max_saves=10, max_bytes=10_000) as system:
        outcomes = await collect(system, gate, [new("a"), new("b"), large, heavy, new("c")])

    assert outcomes == [[True], [True], [True] * 30, [True], [True]]
    assert store.commits == [1, 1, 30, 1, 1]


async def test_a_save_that_lost_a_race_is_told_so_and_disturbs_nobody(any_store: WatchedStore) -> None:
    async with open_storage(any_store) as system:
        ask = system.ref("root/writer").ask
        first = await ask(new("one"))
        both = await ask(Commit((save(key_of("one")), save(key_of("two")))))

    assert first == [True]
    assert both == [False, True]


# Failures -------------------------------------------------------------------------------------------------------------


async def test_one_change_that_must_never_be_fails_alone(store: WatchedStore, gate: Gate) -> None:
    finished = save(key_of("done"), status=Status.COMPLETED, finished_at=NOW)
    impossible = save(key_of("done"), version=2, status=Status.RUNNING)
    commits = [Commit((finished,)), new("a"), Commit((impossible,)), new("b"), new("c")]
    async with open_storage(store) as system:
        outcomes = await collect(system, gate, commits)

    assert outcomes[:2] + outcomes[3:] == [[True]] * 4
    assert isinstance(outcomes[2], Internal)
    assert store.commits == [1, 4, 1, 1, 1, 1]


async def test_an_error_of_the_store_is_told_to_its_transaction_and_to_no_other(any_store: WatchedStore) -> None:
    async with open_storage(any_store) as system:
        ask = system.ref("root/writer").ask
        await ask(new("before"))
        any_store.before_commit = _raiser(StoreFull("no room"))
        with pytest.raises(StoreFull, match="no room"):
            await ask(new("during"))
        any_store.before_commit = lambda saves: None
        await ask(new("after"))
        found = await system.ref("root/reader").ask(Load(tuple(map(key_of, ("before", "during", "after")))))
        restarts = system.ref("root/writer").slot.restarts

    assert found.keys() == {key_of("before"), key_of("after")}
    assert restarts == 0


async def test_a_bug_in_the_writer_restarts_it_and_whoever_was_in_flight_is_told_that_it_is_unknown(
    store: WatchedStore, gate: Gate
) -> None:
    def crash(saves: Sequence[Save]) -> None:
        gate._hold(saves)
        store.before_commit = lambda saves: None
        raise ZeroDivisionError("a bug in the store")

    async with open_storage(store) as system:
        store.before_commit = lambda saves: None
        await system.ref("root/writer").ask(new("acknowledged"))
        store.before_commit = crash
        outcomes = await collect(system, gate, [new("in-flight"), new("waiting-1"), new("waiting-2")])
        names = ("acknowledged", "in-flight", "waiting-1", "waiting-2")
        found = await system.ref("root/reader").ask(Load(tuple(map(key_of, names))))

    assert isinstance(outcomes[0], ActorFailed)
    assert outcomes[0].retry is Retry.SAME_ID
    assert outcomes[1:] == [[True], [True]]
    assert found.keys() == {key_of(name) for name in names if name != "in-flight"}
    assert store.writers == 2


async def test_a_bug_after_the_commit_leaves_what_was_stored(any_store: WatchedStore) -> None:
    def crash(saves: Sequence[Save]) -> None:
        any_store.after_commit = lambda saves: None
        raise ZeroDivisionError("a bug in the store")

    async with open_storage(any_store) as system:
        any_store.after_commit = crash
        with pytest.raises(ActorFailed):
            await system.ref("root/writer").ask(new("one"))
        again = await system.ref("root/writer").ask(new("one"))

    assert again == [False], "it was stored the first time"


async def test_a_store_that_refuses_to_open_is_told_with_its_own_reason(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"{number}.db"
        path.write_bytes(b"x" * 10_000)
        with pytest.raises(SystemFailed) as caught:
            async with open_storage(WatchedStore(open_store(f"sqlite:///{path}"))):
                pass

        assert "StoreCorrupt" in str(caught.value)


async def test_mail_that_nobody_waits_for_any_more_is_not_stored(store: WatchedStore, gate: Gate) -> None:
    async with open_storage(store) as system:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.ref("root/writer").ask, new("first"))
            assert await trio.to_thread.run_sync(gate.reached.wait, PATIENCE_S)
            with pytest.raises(DeadlineExceeded):
                await system.ref("root/writer").ask(new("late"), timeout=0.01)
            gate.open()
        found = await system.ref("root/reader").ask(Load((key_of("first"), key_of("late"))))

    assert found.keys() == {key_of("first")}


async def test_a_writer_that_is_stopped_finishes_what_is_on_its_way(store: WatchedStore, gate: Gate) -> None:
    async with open_storage(store) as system:
        outcomes = await collect(system, gate, [new(f"i{n}") for n in range(10)])
    async with open_storage(store) as system:
        found = await system.ref("root/reader").ask(Load(tuple(key_of(f"i{n}") for n in range(10))))

    assert outcomes == [[True]] * 10
    assert len(found) == 10


# Reads and heartbeats -------------------------------------------------------------------------------------------------


async def test_heartbeats_are_stored_in_a_transaction_of_their_own(store: WatchedStore, gate: Gate) -> None:
    beats = RecordHeartbeats(((key_of("i0"), NOW + 5), (key_of("unknown"), NOW)))
    async with open_storage(store) as system:
        outcomes = await collect(system, gate, [new("i0"), new("i1"), beats, new("i2")])
        found = await system.ref("root/reader").ask(Load((key_of("i0"),)))

    assert outcomes == [[True], [True], None, [True]]
    assert (store.commits, store.heartbeats) == ([1, 1, 1], [2])
    stored = found[key_of("i0")]
    assert isinstance(stored, Snapshot)
    assert stored.instance.heartbeat_at == NOW + 5


async def test_reads_do_not_wait_for_a_commit(store: WatchedStore, gate: Gate) -> None:
    async with open_storage(store) as system, trio.open_nursery() as nursery:
        nursery.start_soon(system.ref("root/writer").ask, new("one"))
        assert await trio.to_thread.run_sync(gate.reached.wait, PATIENCE_S)
        found = await system.ref("root/reader").ask(Load((key_of("one"),)))
        gate.open()

    assert found == {}


async def test_a_reader_answers_what_cells_need(any_store: WatchedStore) -> None:
    history: dict[str, Any] = {"checkpoints": (checkpoint("step", b"state"),), "signals": (signal("s"),)}
    payloads = (Need("input"), Need("output"), Need("env"), Need("checkpoint", "none"))
    needs = (Need("checkpoint", "step"), Need("signal", "s"), *payloads)
    async with open_storage(any_store) as system:
        await system.ref("root/writer").ask(new("one", input=b"in", output=b"out", env={"A": "1"}, **history))
        found: Mapping[Need, Any] = await system.ref("root/reader").ask(Answer(key_of("one"), needs))

    assert list(found) == list(needs)
    assert found[needs[0]].state == b"state"
    assert found[needs[1]].signal_id == "s"
    assert [found[need] for need in payloads] == [b"in", b"out", {"A": "1"}, None]


async def test_an_instance_that_cannot_be_loaded_does_not_keep_others_from_it(any_store: WatchedStore) -> None:
    any_store.poison = {key_of("bad")}
    async with open_storage(any_store) as system:
        await system.ref("root/writer").ask(new("good"))
        found = await system.ref("root/reader").ask(Load((key_of("bad"), key_of("good"))))

    assert isinstance(found[key_of("bad")], LoadError)
    assert isinstance(found[key_of("good")], Snapshot)


async def test_a_reader_answers_queries(any_store: WatchedStore) -> None:
    async with open_storage(any_store) as system:
        await system.ref("root/writer").ask(new("one"))
        counts = await system.ref("root/reader").ask(Query("count_by_status"))
        problems = await system.ref("root/reader").ask(Query("verify"))

    assert counts == {Status.RUNNING: 1}
    assert problems == []


async def test_a_writer_acts_and_a_reader_sees_it(any_store: WatchedStore) -> None:
    ref = ImageRef("a" * 32, 1)
    ended: dict[str, Any] = {"status": Status.COMPLETED, "finished_at": NOW}
    async with open_storage(any_store) as system:
        writer, reader = system.ref("root/writer"), system.ref("root/reader")
        await writer.ask(new("ended", **ended))
        image, version = await writer.ask(Act("push_image", ("acme", "orders", ref.image_id, image_version())))
        found = [
            await reader.ask(Query("read_image", ("acme", "orders"))),
            await reader.ask(Query("read_image_version", ("acme", ref))),
            (await reader.ask(Query("list_images", ("acme", 9, None)))).images,
            (await reader.ask(Query("list_image_versions", ("acme", ref.image_id, 9, None)))).versions,
            await reader.ask(Query("list_digests", (9, ""))),
            await writer.ask(Act("use_image_version", ("acme", ref.image_id, 1, NOW))),
            await writer.ask(Act("delete_image", ("acme", ref.image_id, NOW))),
            await writer.ask(Act("collect_images", (NOW + 1, 1, 9, False))),
            await writer.ask(Act("prune_finished", (Finished(before_ms=NOW + 1), 9, False))),
        ]

    assert found == [
        *(image, version, (image,), (version,), [version.digest]),
        *(image, (), [("acme", ref)], [key_of("ended")]),
    ]


async def test_schedules_are_kept_and_found(any_store: WatchedStore) -> None:
    async with open_storage(any_store) as system:
        writer, reader = system.ref("root/writer"), system.ref("root/reader")
        kept = [await writer.ask(Act("put_schedule", (schedule(),))) for _ in range(2)]
        found = [
            await reader.ask(Query("read_schedule", ("acme", "nightly"))),
            *(await reader.ask(Query("list_schedules", ("acme", 9, None)))).schedules,
            *await reader.ask(Query("list_due_schedules", (NOW, 9))),
        ]
        next_at = await reader.ask(Query("next_schedule_at"))
        forgotten = await writer.ask(Act("delete_schedule", ("acme", "nightly")))

    assert (kept, found, next_at, forgotten) == ([True, False], [schedule()] * 3, NOW, True)


async def test_what_the_writer_refuses_is_told_to_who_asked(any_store: WatchedStore) -> None:
    push = Act("push_image", ("acme", "orders", "a" * 32, image_version()))
    other = Act("push_image", ("acme", "other", "a" * 32, image_version()))
    async with open_storage(any_store) as system:
        await system.ref("root/writer").ask(push)
        with pytest.raises(AlreadyExists):
            await system.ref("root/writer").ask(other)
        assert await system.ref("root/writer").ask(new("one")) == [True]


async def test_an_unknown_outcome_is_passed_on_as_such(any_store: WatchedStore) -> None:
    any_store.after_commit = _raiser(OutcomeUnknown("the disk did not say"))
    async with open_storage(any_store) as system:
        with pytest.raises(OutcomeUnknown):
            await system.ref("root/writer").ask(new("one"))


def _raiser(error: Exception) -> Any:
    def fail(saves: Sequence[Save]) -> None:
        raise error

    return fail

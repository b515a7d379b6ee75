"""What every store promises of a save that puts a new instance in the place of another one with its id."""

from typing import Any

import pytest

from runtara.errors import Internal
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Instance, Snapshot
from runtara.store import Copies, Reader, Save, Writer
from tests.store.samples import (
    FULL_INSTANCE,
    KEY,
    NOW,
    checkpoint,
    event,
    instance,
    loaded,
    put,
    retry,
    save,
    signal,
    wait,
)

OTHER = InstanceKey("acme", "order-2")
FOREIGN = InstanceKey("globex", "order-1")

OLD: dict[str, Any] = {
    "input": b"old",
    "env": {"OLD": "1"},
    "program": "old",
    "timeout_ms": 9,
    "checkpoints": (checkpoint("step", b"old", request=1), checkpoint("old")),
    "events": (event("created"), event(subtype="old", request=1)),
    "signals": (signal("s", 1, payload=b"old"), signal("t", 2)),
    "waits": (wait("p", ended_at=NOW, signal_id="s"),),
    "retries": (retry("step", 1, error="old"),),
}
"""A history with something of everything."""


def replacing(version: int = 2, key: InstanceKey = KEY, **fields: Any) -> Save:
    """The save that puts a new instance in the place of the one of the version before."""
    return save(key, version, replaces=True, **fields)


def seen(reader: Reader, key: InstanceKey = KEY) -> list[Any]:
    """All that is stored of an instance, but for the seqs of its events."""
    events = reader.list_events(key, None, None, 99, None).events
    return [
        reader.load([key]).get(key),
        *(reader.read_input(key), reader.read_env(key), reader.read_output(key)),
        [(one.type, one.subtype) for one in events],
        [reader.read_checkpoint(key, name) for name in ("step", "old", "new")],
        [reader.read_signal(key, name) for name in ("s", "t")],
        [reader.read_retries(key, name) for name in ("step", "new")],
    ]


NOTHING: list[Any] = [None, {}, None, [], [None] * 3, [None] * 2, [[]] * 2]
"""What is seen of an instance beside its row, where there is nothing."""


@pytest.mark.parametrize("status", list(Status))
def test_an_instance_of_any_status_is_replaced_with_all_that_belongs_to_it(
    writer: Writer, reader: Reader, status: Status
) -> None:
    ended: dict[str, Any] = {"finished_at": NOW, "output": b"old", "error": "old"} if status in FINAL else {}
    put(writer, save(status=status, **OLD, **ended), save(OTHER, **OLD), save(FOREIGN, **OLD))
    others = seen(reader, OTHER), seen(reader, FOREIGN)
    new = instance(status=Status.PENDING, version=2, epoch=2, created_at=NOW + 7, program="new", priority=5)

    put(writer, replacing(instance=new))

    assert seen(reader) == [Snapshot(instance=new), *NOTHING]
    assert (seen(reader, OTHER), seen(reader, FOREIGN)) == others


def test_every_field_of_the_new_row_is_the_new_ones(writer: Writer, reader: Reader) -> None:
    new = Instance(**{name: getattr(FULL_INSTANCE, name) for name in Instance.__struct_fields__} | {"version": 2})
    put(writer, save(**OLD))

    put(writer, replacing(instance=new))

    assert loaded(reader) == Snapshot(instance=new)


def test_what_the_new_one_brings_is_all_that_it_has(writer: Writer, reader: Reader) -> None:
    put(writer, save(**OLD))
    step = checkpoint("step", b"new", epoch=2, request=1)
    sent, waited, tried = signal("s", 1, payload=b"new"), wait("p"), retry("step", 1, error="new")

    put(
        writer,
        replacing(
            input=b"new",
            env={"NEW": "2"},
            output=b"",
            checkpoints=(step,),
            events=(event("created", subtype="replaced"), event(subtype="new", request=1)),
            signals=(sent,),
            waits=(waited,),
            retries=(tried,),
        ),
    )

    assert (reader.read_input(KEY), reader.read_env(KEY), reader.read_output(KEY)) == (b"new", {"NEW": "2"}, b"")
    assert (reader.read_checkpoint(KEY, "step"), reader.read_checkpoint(KEY, "old")) == (step, None)
    assert (reader.read_signal(KEY, "s"), reader.read_retries(KEY, "step")) == (sent, [tried])
    assert (loaded(reader).checkpoint_ids, loaded(reader).signal_ids, loaded(reader).waits) == (
        ("step",),
        ("s",),
        (waited,),
    )
    events = reader.list_events(KEY, None, None, 9, None).events
    assert [(one.type, one.subtype) for one in events] == [("created", "replaced"), ("custom", "new")]


def test_the_new_one_goes_on_like_any_other(writer: Writer, reader: Reader) -> None:
    put(writer, save(**OLD), replacing(events=(event("created"),)))

    put(writer, save(version=3, checkpoints=(checkpoint("new"),), acknowledged=(("s", NOW),), events=(event("woken"),)))
    put(writer, save(version=4, status=Status.COMPLETED, finished_at=NOW, output=b"new"))

    assert loaded(reader).checkpoint_ids == ("new",)
    assert [one.type for one in reader.list_events(KEY, None, None, 9, None).events] == ["created", "woken"]
    assert reader.read_output(KEY) == b"new"
    with pytest.raises(Internal):
        writer.commit([save(version=5, status=Status.FAILED, finished_at=NOW)])


def test_whoever_reads_events_on_from_the_old_ones_finds_the_new_ones(writer: Writer, reader: Reader) -> None:
    put(writer, save(OTHER, events=(event("other"),)), save(events=tuple(event(subtype="old") for _ in range(5))))
    cursor = reader.list_events(KEY, None, None, 4, None).cursor
    last = reader.list_events(KEY, None, None, 9, None).events[-1].seq

    put(writer, replacing(events=(event("created"), event("woken"))), save(version=3, events=(event("completed"),)))

    found = reader.list_events(KEY, None, None, 9, cursor).events
    assert [one.type for one in found] == ["created", "woken", "completed"]
    assert found[0].seq > last


@pytest.mark.parametrize("expected", [1, 3])
def test_nothing_happens_to_one_of_another_version(writer: Writer, reader: Reader, expected: int) -> None:
    put(writer, save(**OLD), save(version=2))
    before = seen(reader)

    stored = writer.commit([replacing(expected + 1, input=b"new", events=(event("created"),)), save(OTHER)])

    assert stored == [False, True]
    assert seen(reader) == before


def test_one_that_does_not_exist_is_not_replaced(writer: Writer, reader: Reader) -> None:
    assert writer.commit([replacing(2), replacing(1, OTHER, input=b"in")]) == [False, True]

    assert (reader.load([KEY]), reader.read_input(OTHER)) == ({}, b"in")


def test_what_a_batch_stores_before_goes_and_what_it_stores_after_stays(writer: Writer, reader: Reader) -> None:
    saves = (
        save(**OLD),
        save(version=2, checkpoints=(checkpoint("late"),), events=(event("late"),)),
        replacing(3, events=(event("created"),), checkpoints=(checkpoint("new"),)),
        save(version=4, checkpoints=(checkpoint("newer"),), events=(event("newer"),)),
        replacing(5, events=(event("created", subtype="again"),)),
        save(version=6, checkpoints=(checkpoint("newest"),)),
    )

    put(writer, *saves)

    assert loaded(reader).checkpoint_ids == ("newest",)
    events = reader.list_events(KEY, None, None, 9, None).events
    assert [(one.type, one.subtype) for one in events] == [("created", "again")]


def test_a_fork_takes_what_its_source_has_at_that_moment(writer: Writer, reader: Reader) -> None:
    early, late = InstanceKey("acme", "early"), InstanceKey("acme", "late")
    put(writer, save(**OLD))

    put(
        writer,
        save(early, copies=Copies(KEY)),
        replacing(checkpoints=(checkpoint("new"),)),
        save(late, copies=Copies(KEY)),
    )

    assert writer.commit([save(OTHER, copies=Copies(KEY, "old"))]) == [False]
    assert loaded(reader, early).checkpoint_ids == ("step", "old")
    assert loaded(reader, late).checkpoint_ids == ("new",)


def test_a_fork_of_one_that_is_gone_takes_nothing_of_its_successor(writer: Writer, reader: Reader) -> None:
    put(writer, save(**OLD))
    put(writer, replacing(created_at=NOW + 1, checkpoints=(checkpoint("step"),)))

    stored = writer.commit(
        [save(OTHER, copies=Copies(KEY, None, NOW)), save(FOREIGN), save(OTHER, copies=Copies(KEY, None, NOW + 1))]
    )

    assert stored == [False, True, True]
    assert loaded(reader, OTHER).checkpoint_ids == ("step",)


def test_lists_and_counts_show_the_new_one_only(writer: Writer, reader: Reader) -> None:
    put(writer, save(status=Status.COMPLETED, finished_at=NOW), save(OTHER))

    put(writer, replacing(status=Status.PENDING, program="p", wake_at=NOW))

    page = reader.list_instances("acme", None, 9, None).instances
    assert [(row.instance_id, row.status) for row in page] == [("order-1", "pending"), ("order-2", "running")]
    assert reader.count_by_status() == {Status.PENDING: 1, Status.RUNNING: 1}
    assert [due.key for due in reader.list_due(NOW, 9)] == [KEY]
    assert reader.verify() == []

"""What every store promises of an instance that begins with the history of another one."""

from typing import Any

import pytest
from msgspec.structs import replace

from runtara.errors import Internal
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.records import Snapshot
from runtara.store import Copies, Reader, Save, Writer
from tests.store.samples import KEY, NOW, checkpoint, event, instance, loaded, put, retry, save, signal, wait

FORK = InstanceKey("acme", "fork")
SECOND = InstanceKey("acme", "second")
FOREIGN = InstanceKey("globex", "fork")

STEPS = tuple(
    checkpoint(
        f"step {number}", bytes([number]), epoch=number, created_at=NOW + number, wake_at=NOW + 9, request=number
    )
    for number in (3, 1, 2)
)
"""Not in the order of their ids, instants or epochs: the order in which they were saved counts."""


def fork(last: str | None = None, key: InstanceKey = FORK, source: InstanceKey = KEY, **fields: Any) -> Save:
    """The save that makes an instance with the history of another one."""
    return save(key, copies=Copies(source, last), **fields)


def history(reader: Reader, key: InstanceKey = FORK) -> list[Any]:
    """All that belongs to an instance but its row."""
    snapshot = loaded(reader, key)
    checkpoints = [reader.read_checkpoint(key, name) for name in snapshot.checkpoint_ids]
    signals = [reader.read_signal(key, name) for name in snapshot.signal_ids]
    retries = [one for name in snapshot.checkpoint_ids for one in reader.read_retries(key, name)]
    return [checkpoints, signals, list(snapshot.waits), retries, reader.list_events(key, None, None, 9, None).events]


@pytest.mark.parametrize(("last", "count"), [("step 3", 1), ("step 1", 2), ("step 2", 3), (None, 3)])
def test_checkpoints_are_copied_up_to_the_one_that_is_meant(
    writer: Writer, reader: Reader, last: str | None, count: int
) -> None:
    put(writer, save(checkpoints=STEPS[:2]), save(version=2, checkpoints=STEPS[2:]))
    put(writer, save(SECOND, checkpoints=(checkpoint("other"),)))

    put(writer, fork(last, program="orders", status=Status.PENDING, checkpoint_id="step 3", input=b"in"))

    assert history(reader)[0] == [replace(step, request=None) for step in STEPS[:count]]
    row = instance(FORK, program="orders", status=Status.PENDING, checkpoint_id="step 3")
    assert (loaded(reader, FORK).instance, reader.read_input(FORK)) == (row, b"in")
    page = reader.list_checkpoints(FORK, 9, None).checkpoints
    assert [one.checkpoint_id for one in page] == [step.checkpoint_id for step in STEPS[:count]]


def test_the_source_stays_as_it_is(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS, signals=(signal("s"),), waits=(wait("p", ended_at=NOW, signal_id="s"),)))
    before = loaded(reader), history(reader, KEY)

    put(writer, fork())
    put(writer, save(FORK, 2, checkpoints=(checkpoint("own"),), acknowledged=(("s", NOW),)))

    assert (loaded(reader), history(reader, KEY)) == before


def test_waits_that_had_ended_come_along_with_the_signals_that_they_found(writer: Writer, reader: Reader) -> None:
    found = wait("found", started_at=NOW, deadline_at=NOW + 8, ended_at=NOW + 3, signal_id="b")
    timed_out = wait("timed out", ended_at=NOW + 2)
    late = wait("late", ended_at=NOW + 4, signal_id="c")
    sent = (signal("a", 1), signal("b", 2, payload=b"\0", acknowledged_at=NOW + 3), signal("c", 3), signal("d", 4))
    put(writer, save(checkpoints=STEPS, signals=sent, waits=(found, timed_out, late, wait("open"))))

    put(writer, fork("step 3"), fork(None, SECOND))

    assert history(reader)[1:3] == [[sent[1]], [found, timed_out]]
    assert history(reader, SECOND)[1:3] == [[sent[1], sent[2]], [found, timed_out, late]]
    assert loaded(reader, SECOND).signals == (sent[2],)


def test_retries_and_events_are_not_copied(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS, retries=(retry("step 1", 1),), events=(event(),)))

    put(writer, fork(events=(event("forked"),)))

    copied = history(reader)
    assert copied[3] == []
    assert [one.type for one in copied[4]] == ["forked"]


def test_an_instance_without_a_history_may_be_copied_too(writer: Writer, reader: Reader) -> None:
    put(writer, save())

    put(writer, fork())

    assert loaded(reader, FORK) == Snapshot(instance=instance(FORK))


@pytest.mark.parametrize(
    "refused",
    [
        fork("unknown"),
        fork(source=InstanceKey("acme", "unknown")),
        fork("step 1", source=SECOND),
        fork(key=FOREIGN),
        fork(source=FORK),
    ],
    ids=["no checkpoint", "no source", "the checkpoint of another one", "another tenant", "itself"],
)
def test_what_cannot_be_copied_makes_no_instance_and_does_not_disturb_its_neighbours(
    writer: Writer, reader: Reader, refused: Save
) -> None:
    put(writer, save(checkpoints=STEPS), save(SECOND))
    key = InstanceKey(refused.instance.tenant_id, refused.instance.instance_id)
    refused = replace(refused, input=b"in", env={"A": "1"}, events=(event(),))

    stored = writer.commit([save(version=2), refused, save(SECOND, 2)])

    assert stored == [True, False, True]
    assert reader.load([key]) == {}
    assert (reader.read_input(key), reader.read_env(key)) == (None, {})
    assert reader.list_events(key, None, None, 9, None).events == ()
    assert reader.list_checkpoints(key, 9, None).checkpoints == ()
    put(writer, fork("step 1"))


def test_an_instance_that_there_is_is_not_made_again(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS), save(FORK, checkpoints=(checkpoint("own"),)))

    stored = writer.commit([fork(), fork()])

    assert stored == [False, False]
    assert loaded(reader, FORK).checkpoint_ids == ("own",)


def test_a_later_change_copies_nothing(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS), save(FORK))

    put(writer, save(FORK, 2, copies=Copies(KEY), checkpoints=(checkpoint("own"),)))

    assert loaded(reader, FORK).checkpoint_ids == ("own",)


def test_what_a_copy_saves_itself_comes_behind_what_it_has_copied(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS))

    put(writer, fork("step 1"), save(FORK, 2, checkpoints=(checkpoint("own"), checkpoint("step 1", b"again"))))

    assert loaded(reader, FORK).checkpoint_ids == ("step 3", "step 1", "own")
    assert reader.read_checkpoint(FORK, "step 1") == replace(STEPS[1], request=None)


def test_a_copy_may_be_copied(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS), fork("step 1"), fork("step 3", SECOND, FORK))

    assert loaded(reader, SECOND).checkpoint_ids == ("step 3",)
    assert writer.commit([fork("step 2", InstanceKey("acme", "third"), FORK)]) == [False]


def test_within_a_batch_what_was_saved_before_is_copied_and_what_is_saved_later_is_not(
    writer: Writer, reader: Reader
) -> None:
    one, two, three = STEPS

    put(
        writer,
        save(checkpoints=(one,)),
        fork(key=FORK),
        save(version=2, checkpoints=(two,)),
        fork(key=SECOND),
        save(version=3, checkpoints=(three,), signals=(signal("late"),)),
    )

    assert loaded(reader, FORK).checkpoint_ids == ("step 3",)
    assert loaded(reader, SECOND).checkpoint_ids == ("step 3", "step 1")
    assert len(loaded(reader).checkpoint_ids) == 3


def test_a_batch_may_hold_a_copy_of_what_it_saves_afterwards(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS[:1]), save(SECOND))

    stored = writer.commit([save(FORK, 9), fork(), save(version=2, checkpoints=STEPS[1:]), save(SECOND, 2)])

    assert stored == [False, True, True, True]
    assert loaded(reader, FORK).checkpoint_ids == ("step 3",)


def test_a_copy_that_would_also_write_a_history_is_a_bug(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS))

    for own in (
        {"checkpoints": (checkpoint("own"),)},
        {"signals": (signal("s"),)},
        {"acknowledged": (("s", NOW),)},
        {"waits": (wait("p"),)},
        {"retries": (retry("step 1", 1),)},
    ):
        with pytest.raises(Internal, match="history of its own"):
            writer.commit([save(SECOND), fork(**own)])

    assert reader.load([FORK, SECOND]) == {}


def test_a_store_with_copies_verifies(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=STEPS, signals=(signal("s"),), waits=(wait("p", ended_at=NOW, signal_id="s"),)))

    put(writer, fork("step 1", checkpoint_id="step 1"), fork(None, SECOND, checkpoint_id="step 2"))

    assert reader.verify() == []

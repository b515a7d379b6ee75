"""The promises of the contract, kept by every store. The numbers are those of runtara/store/_contract.py."""

import contextlib
from typing import Any

import pytest
from msgspec.structs import replace

from runtara.errors import Internal, InvalidInput, StoreInUse, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.messages import CheckpointInfo, InstanceSummary
from runtara.records import Checkpoint, Event, Retry, Signal, Snapshot, Wait
from runtara.store import SHORT_MAX_BYTES, Barred, DueInstance, Finished, Reader, RunningInstance, Store, Wanted, Writer
from tests.store.samples import (
    FULL_INSTANCE,
    KEY,
    NOW,
    checkpoint,
    event,
    image_version,
    instance,
    loaded,
    pages_of,
    put,
    retry,
    save,
    schedule,
    signal,
    wait,
)

OTHER = InstanceKey("acme", "order-2")
FOREIGN = InstanceKey("globex", "order-1")

# 1 and 7: what goes in comes out --------------------------------------------------------------------------------------


def test_every_field_of_an_instance_comes_back(writer: Writer, reader: Reader) -> None:
    put(writer, save(instance=FULL_INSTANCE))

    assert loaded(reader) == Snapshot(instance=FULL_INSTANCE)


def test_every_field_of_an_update_comes_back(writer: Writer, reader: Reader) -> None:
    put(writer, save(program="orders", timeout_ms=60_000, priority=-7), save(version=2, instance=instance(version=2)))
    new = replace(FULL_INSTANCE, version=3)

    put(writer, save(version=3, instance=new))

    assert loaded(reader).instance == new


def test_every_field_of_a_running_instance_comes_back(writer: Writer, reader: Reader) -> None:
    running: dict[str, Any] = {
        "epoch": 7,
        "attempt_id": "b",
        "checkpoint_id": "c",
        "started_at": NOW + 5,
        "heartbeat_at": NOW + 6,
        "timeout_ms": 9,
        "claimed_at": NOW + 7,
        "ran_ms": 8,
        "losses": 3,
        "claimed_epoch": 5,
    }
    put(writer, save(epoch=6, attempt_id="a", timeout_ms=9))

    put(writer, save(version=2, **running))

    assert loaded(reader).instance == instance(version=2, **running)


@pytest.mark.parametrize(
    "field",
    [
        {"status": Status.SUSPENDED},
        {"wake_at": NOW},
        {"termination_reason": TerminationReason.PAUSED},
        {"exit_code": 0},
        {"error": ""},
        {"finished_at": NOW},
    ],
    ids=lambda field: next(iter(field)),
)
def test_a_running_instance_may_follow_on_any_row_and_any_row_on_it(
    writer: Writer, reader: Reader, field: dict[str, Any]
) -> None:
    put(writer, save(**field), save(version=2), save(version=3, **field))
    before = loaded(reader).instance

    put(writer, save(version=4))

    assert (before, loaded(reader).instance) == (instance(version=3, **field), instance(version=4))


def test_every_field_of_the_history_comes_back(writer: Writer, reader: Reader) -> None:
    saved = Checkpoint(checkpoint_id="step é", state=b"\0\xff", epoch=2, created_at=NOW + 1, wake_at=NOW + 2, request=5)
    sent = Signal(signal_id="s", kind="custom", sent_at=NOW, name="n", payload=b"\0p", acknowledged_at=NOW + 7, seq=4)
    waited = Wait(place="p", name="n", started_at=NOW, deadline_at=NOW + 1, ended_at=NOW + 2, signal_id="s")
    tried = Retry(checkpoint_id="step é", attempt=2, recorded_at=NOW, error="e", retry_at=NOW + 9)
    noted = Event(
        type="custom", epoch=2, created_at=NOW, subtype="sub", checkpoint_id="step é", payload=b"\0", request=6
    )

    put(writer, save(checkpoints=(saved,), signals=(sent,), waits=(waited,), retries=(tried,), events=(noted,)))

    assert reader.read_checkpoint(KEY, "step é") == saved
    assert reader.read_signal(KEY, "s") == sent
    assert loaded(reader).waits == (waited,)
    assert reader.read_retries(KEY, "step é") == [tried]
    (found,) = reader.list_events(KEY, None, None, 10, None).events
    assert found.seq > 0
    assert found == replace(noted, seq=found.seq)


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(range(256)) * 300], ids=["empty", "nul", "large"])
def test_payloads_come_back_as_they_went_in(writer: Writer, reader: Reader, payload: bytes) -> None:
    put(
        writer,
        save(
            status=Status.COMPLETED,
            input=payload,
            output=payload,
            checkpoints=(checkpoint("step", payload),),
            events=(event(payload=payload),),
            signals=(signal("s", payload=payload),),
        ),
    )

    assert reader.read_input(KEY) == payload
    assert reader.read_output(KEY) == payload
    found = reader.read_checkpoint(KEY, "step")
    assert found is not None
    assert found.state == payload
    assert reader.list_events(KEY, None, None, 1, None).events[0].payload == payload
    assert loaded(reader).signals[0].payload == payload


def test_several_things_are_read_at_once_as_each_is_read_alone(writer: Writer, reader: Reader) -> None:
    put(writer, save(status=Status.COMPLETED, input=b"in", output=b"", checkpoints=(checkpoint("a"), checkpoint("b"))))
    put(writer, save(OTHER, checkpoints=(checkpoint("a", b""),)))

    found = reader.read_all(
        [
            Wanted(OTHER, "checkpoint", "a"),
            Wanted(KEY, "checkpoint", "b"),
            Wanted(KEY, "output"),
            Wanted(FOREIGN, "input"),
            Wanted(KEY, "input"),
            Wanted(KEY, "input"),
            Wanted(OTHER, "input"),
            Wanted(OTHER, "output"),
            Wanted(OTHER, "checkpoint", "b"),
        ]
    )

    one, other = checkpoint("b"), checkpoint("a", b"")
    assert found == [other, one, b"", None, b"in", b"in", None, None, None]
    assert reader.read_all([]) == []


def test_a_checkpoint_that_is_wanted_only_if_it_is_short_is_left_where_it_is_not(
    writer: Writer, reader: Reader
) -> None:
    short, long = checkpoint("a", bytes(SHORT_MAX_BYTES)), checkpoint("b", bytes(SHORT_MAX_BYTES + 1))
    put(writer, save(checkpoints=(short, long)))

    found = reader.read_all([Wanted(KEY, "short", "b"), Wanted(KEY, "short", "a"), Wanted(KEY, "short", "c")])

    assert found == [None, short, None]
    assert reader.read_checkpoint(KEY, "a", SHORT_MAX_BYTES) == short
    assert reader.read_checkpoint(KEY, "b", SHORT_MAX_BYTES) is None


def test_what_has_much_of_a_history_is_loaded_beside_what_has_none(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=(checkpoint("b"), checkpoint("a"))))
    put(writer, save(OTHER, checkpoints=(checkpoint("c"),), signals=(signal("s"),), waits=(wait("w"),)))
    put(writer, save(FOREIGN))

    found = {key: row for key, row in reader.load([KEY, OTHER, FOREIGN]).items() if isinstance(row, Snapshot)}

    assert {key: row.checkpoint_ids for key, row in found.items()} == {KEY: ("b", "a"), OTHER: ("c",), FOREIGN: ()}
    assert [(found[key].signal_ids, len(found[key].waits)) for key in (KEY, OTHER, FOREIGN)] == [
        ((), 0),
        (("s",), 1),
        ((), 0),
    ]


def test_what_was_not_given_is_absent_and_not_empty(writer: Writer, reader: Reader) -> None:
    put(writer, save(events=(event(),)))

    assert reader.read_input(KEY) is None
    assert reader.read_env(KEY) == {}
    assert reader.read_env(OTHER) == {}
    assert reader.read_output(KEY) is None
    assert reader.read_checkpoint(KEY, "step") is None
    assert reader.read_signal(KEY, "s") is None
    assert reader.read_retries(KEY, "step") == []
    assert reader.list_events(KEY, None, None, 1, None).events[0].payload is None


def test_an_environment_comes_back_as_it_went_in(writer: Writer, reader: Reader) -> None:
    env = {"Z": "last comes first", "EMPTY": "", "MANY": 'é "quoted"\n\0\t=' * 5_000}
    put(writer, save(env=dict(env)), save(FOREIGN, env={"Z": "foreign"}))

    reader.read_env(KEY).clear()

    assert list(reader.read_env(KEY).items()) == list(env.items())


def test_an_environment_does_not_change_with_the_dictionary_that_it_came_in(writer: Writer, reader: Reader) -> None:
    env = {"A": "1"}
    put(writer, save(env=env))

    env["A"] = "2"

    assert reader.read_env(KEY) == {"A": "1"}


def test_what_was_stored_is_there_for_the_next_writer(store: Store) -> None:
    with contextlib.closing(store.open_writer()) as first:
        put(first, save(checkpoints=(checkpoint("step"),)))

    with contextlib.closing(store.open_writer()) as second, contextlib.closing(store.open_reader()) as reader:
        found = loaded(reader)
        put(second, save(version=2))

    assert found.checkpoint_ids == ("step",)


# 2: versions ----------------------------------------------------------------------------------------------------------


def test_an_instance_is_inserted_once(writer: Writer, reader: Reader) -> None:
    put(writer, save(program="first", input=b"first", env={"A": "first"}))

    stored = writer.commit([save(program="second", input=b"second", env={"A": "second"})])

    assert stored == [False]
    assert (loaded(reader).instance.program, reader.read_input(KEY)) == ("first", b"first")
    assert reader.read_env(KEY) == {"A": "first"}


@pytest.mark.parametrize("expected", [0, 1, 3, 4])
def test_a_save_applies_only_to_the_version_that_it_expects(writer: Writer, reader: Reader, expected: int) -> None:
    put(writer, save(), save(version=2))

    stored = writer.commit([save(version=5, expected_version=expected)])

    assert stored == [False]
    assert loaded(reader).instance.version == 2


def test_a_save_of_an_unknown_instance_does_not_apply(writer: Writer, reader: Reader) -> None:
    stored = writer.commit([save(version=2)])

    assert stored == [False]
    assert reader.load([KEY]) == {}


def test_input_and_environment_are_stored_with_the_insert_only(writer: Writer, reader: Reader) -> None:
    put(writer, save(), save(version=2, input=b"late", env={"A": "late"}))

    assert (reader.read_input(KEY), reader.read_env(KEY)) == (None, {})


def test_an_output_stays_until_another_one_is_given(writer: Writer, reader: Reader) -> None:
    put(writer, save(output=b"a"), save(version=2))
    kept = reader.read_output(KEY)

    put(writer, save(version=3, output=b""))

    assert (kept, reader.read_output(KEY)) == (b"a", b"")


@pytest.mark.parametrize("status", [Status.RUNNING, Status.SUSPENDED])
def test_program_creation_time_limit_and_priority_never_change(writer: Writer, reader: Reader, status: Status) -> None:
    put(writer, save(program="orders", timeout_ms=9, priority=2))

    put(writer, save(version=2, program="other", created_at=NOW + 1, timeout_ms=10, priority=3, status=status))

    kept: dict[str, Any] = {"program": "orders", "timeout_ms": 9, "priority": 2}
    assert loaded(reader).instance == instance(version=2, status=status, **kept)


# 3: conflicts within a batch ------------------------------------------------------------------------------------------


def test_a_conflict_leaves_no_trace_and_does_not_disturb_its_neighbours(writer: Writer, reader: Reader) -> None:
    put(writer, save())
    stale = save(
        version=9,
        output=b"x",
        checkpoints=(checkpoint("step"),),
        events=(event(), event(request=1)),
        signals=(signal("s"),),
        waits=(wait("p"),),
        retries=(retry("step", 1),),
    )

    stored = writer.commit([save(OTHER), stale, save(version=2), save(FOREIGN)])

    assert stored == [True, False, True, True]
    assert loaded(reader) == Snapshot(instance=instance(version=2))
    assert reader.read_output(KEY) is None
    assert reader.list_events(KEY, None, None, 1, None).events == ()
    assert reader.read_retries(KEY, "step") == []
    assert {OTHER, FOREIGN} <= reader.load([OTHER, FOREIGN]).keys()


def test_saves_of_a_batch_apply_in_order(writer: Writer, reader: Reader) -> None:
    third = save(version=3, checkpoints=(checkpoint("c"),))
    first, second = save(checkpoints=(checkpoint("b"),)), save(version=2, checkpoints=(checkpoint("a"),))

    stored = writer.commit([third, first, second, third, second])

    assert stored == [False, True, True, True, False]
    assert loaded(reader).checkpoint_ids == ("b", "a", "c")


def test_an_empty_batch_is_stored_at_once(writer: Writer) -> None:
    assert writer.commit([]) == []


# 4: written once ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_never_overwritten(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=(checkpoint("step", b"first"), checkpoint("step", b"second"))))

    put(writer, save(version=2, checkpoints=(checkpoint("step", b"third"),)))

    assert reader.read_checkpoint(KEY, "step") == checkpoint("step", b"first")
    assert loaded(reader).checkpoint_ids == ("step",)


def test_a_checkpoint_with_an_empty_state_is_not_overwritten_either(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=(checkpoint("step", b""),)))

    put(writer, save(version=2, checkpoints=(checkpoint("step", b"late"),)))

    assert reader.read_checkpoint(KEY, "step") == checkpoint("step", b"")


def test_a_signal_is_never_overwritten_and_acknowledged_once(writer: Writer, reader: Reader) -> None:
    put(writer, save(signals=(signal("s", payload=b"first"),)))
    put(writer, save(version=2, signals=(signal("s", payload=b"second"),)))
    before = loaded(reader).signals

    put(writer, save(version=3, acknowledged=(("s", NOW + 1), ("s", NOW + 2), ("unknown", NOW))))

    assert before == (signal("s", payload=b"first"),)
    assert reader.read_signal(KEY, "s") == signal("s", payload=b"first", acknowledged_at=NOW + 1)
    assert (loaded(reader).signals, loaded(reader).signal_ids) == ((), ("s",))


def test_a_signal_may_be_sent_and_acknowledged_in_one_save(writer: Writer, reader: Reader) -> None:
    put(writer, save(signals=(signal("s"),), acknowledged=(("s", NOW + 1),)))

    assert reader.read_signal(KEY, "s") == signal("s", acknowledged_at=NOW + 1)


def test_a_retry_is_never_overwritten(writer: Writer, reader: Reader) -> None:
    put(writer, save(retries=(retry("step", 2), retry("step", 1), retry("other", 1))))

    put(writer, save(version=2, retries=(retry("step", 1, error="late"),)))

    assert reader.read_retries(KEY, "step") == [retry("step", 1), retry("step", 2)]


def test_an_event_of_a_request_is_written_once(writer: Writer, reader: Reader) -> None:
    put(writer, save(events=(event(subtype="first", request=1), event(subtype="same save", request=1))))
    put(writer, save(version=2, events=(event(subtype="again", request=1), event(subtype="next", request=2))))

    put(writer, save(version=3, events=(event(subtype="late", request=2), event(subtype="after"))))

    found = reader.list_events(KEY, None, None, 10, None).events
    assert [(one.subtype, one.request) for one in found] == [("first", 1), ("next", 2), ("after", None)]
    assert [one.seq - found[0].seq for one in found] == [0, 1, 2]


def test_events_of_other_attempts_instances_and_of_no_request_are_written_each(writer: Writer, reader: Reader) -> None:
    same = event(request=1)
    put(writer, save(events=(same, event(), event())), save(OTHER, events=(same,)), save(FOREIGN, events=(same,)))

    put(writer, save(version=2, events=(event(epoch=2, request=1), event())))

    found = reader.list_events(KEY, None, None, 10, None).events
    assert [(one.epoch, one.request) for one in found] == [(1, 1), (1, None), (1, None), (2, 1), (1, None)]
    assert [len(reader.list_events(key, None, None, 10, None).events) for key in (OTHER, FOREIGN)] == [1, 1]


def test_of_many_events_in_one_batch_each_request_is_written_once(writer: Writer, reader: Reader) -> None:
    numbers = [*range(1, 61), *range(1, 61), *range(30, 91)]
    put(writer, save(), *(save(version=2 + n, events=(event(request=i),)) for n, i in enumerate(numbers)))

    found = reader.list_events(KEY, None, None, 200, None).events

    assert [one.request for one in found] == list(range(1, 91))


def test_a_wait_ends_once(writer: Writer, reader: Reader) -> None:
    put(writer, save(waits=(wait("p", deadline_at=NOW + 9),)))
    put(writer, save(version=2, waits=(wait("p", started_at=NOW + 1, ended_at=NOW + 2, signal_id="s"),)))

    put(writer, save(version=3, waits=(wait("p", ended_at=NOW + 3), wait("p"))))

    assert loaded(reader).waits == (wait("p", deadline_at=NOW + 9, ended_at=NOW + 2, signal_id="s"),)


@pytest.mark.parametrize("status", sorted(FINAL))
@pytest.mark.parametrize(
    "change",
    [{"status": Status.RUNNING}, {"finished_at": NOW + 1}, {"error": "late"}, {"output": b"late"}],
    ids=lambda change: next(iter(change)),
)
def test_a_finished_instance_never_changes(
    writer: Writer, reader: Reader, status: Status, change: dict[str, Any]
) -> None:
    end: dict[str, Any] = {"status": status, "finished_at": NOW, "error": "e"}
    put(writer, save(**end, output=b"o"))

    with pytest.raises(Internal):
        writer.commit([save(OTHER), save(version=2, **{**end, **change})])

    assert (loaded(reader).instance, reader.read_output(KEY)) == (instance(**end), b"o")
    assert reader.load([OTHER]) == {}


def test_a_finished_instance_may_still_hear_of_signals(writer: Writer, reader: Reader) -> None:
    put(writer, save(status=Status.COMPLETED, finished_at=NOW, output=b"o"))

    put(writer, save(version=2, status=Status.COMPLETED, finished_at=NOW, output=b"o", signals=(signal("s"),)))

    assert loaded(reader).signal_ids == ("s",)


# 6: a reader sees what was committed before ---------------------------------------------------------------------------


def test_every_reader_sees_what_was_committed_before_it_looked(store: Store, writer: Writer, reader: Reader) -> None:
    with contextlib.closing(store.open_reader()) as second:
        for version in range(1, 5):
            put(writer, save(version=version))

            assert [loaded(each).instance.version for each in (reader, second)] == [version, version]


# Heartbeats -----------------------------------------------------------------------------------------------------------


def test_heartbeats_are_noted_without_a_new_version(writer: Writer, reader: Reader) -> None:
    put(writer, save(), save(OTHER, status=Status.SUSPENDED))

    writer.record_heartbeats([(KEY, NOW + 5), (OTHER, NOW + 5), (FOREIGN, NOW + 5)])

    assert loaded(reader).instance == instance(heartbeat_at=NOW + 5)
    assert loaded(reader, OTHER).instance == instance(OTHER, status=Status.SUSPENDED)
    assert reader.load([FOREIGN]) == {}


def test_a_late_heartbeat_moves_nothing_back(writer: Writer, reader: Reader) -> None:
    put(writer, save(heartbeat_at=NOW + 9))

    writer.record_heartbeats([(KEY, NOW + 5)])

    assert loaded(reader).instance.heartbeat_at == NOW + 9


# Reading --------------------------------------------------------------------------------------------------------------


def test_many_instances_are_loaded_at_once_and_unknown_ones_left_out(writer: Writer, reader: Reader) -> None:
    keys = [InstanceKey("acme", f"i{number}") for number in range(450)]
    put(writer, *(save(key, checkpoints=(checkpoint(key.instance_id),)) for key in keys))

    found = reader.load([*keys, FOREIGN, keys[0]])

    assert list(found) == keys
    assert all(found[key] == Snapshot(instance=instance(key), checkpoint_ids=(key.instance_id,)) for key in keys)


def test_signals_are_in_order_of_arrival_and_waits_in_order_of_their_begin(writer: Writer, reader: Reader) -> None:
    put(writer, save(signals=(signal("c", 3), signal("a", 1)), waits=(wait("z"), wait("a"))))
    put(writer, save(version=2, signals=(signal("b", 2),), acknowledged=(("a", NOW),), waits=(wait("m"),)))

    snapshot = loaded(reader)

    assert [one.signal_id for one in snapshot.signals] == ["b", "c"]
    assert snapshot.signal_ids == ("a", "b", "c")
    assert [one.place for one in snapshot.waits] == ["z", "a", "m"]


def test_two_tenants_may_use_the_same_ids_without_noticing_each_other(writer: Writer, reader: Reader) -> None:
    put(writer, save(checkpoints=(checkpoint("step", b"acme"),), signals=(signal("s"),), events=(event(),)))
    put(writer, save(FOREIGN, status=Status.COMPLETED, output=b"o", retries=(retry("step", 1),)))

    assert reader.read_checkpoint(FOREIGN, "step") is None
    assert reader.read_signal(FOREIGN, "s") is None
    assert reader.list_events(FOREIGN, None, None, 10, None).events == ()
    assert reader.list_checkpoints(FOREIGN, 10, None).checkpoints == ()
    assert reader.read_output(KEY) is None
    assert reader.read_retries(KEY, "step") == []
    assert [row.status for row in reader.list_instances("acme", None, 10, None).instances] == [Status.RUNNING]


def test_due_instances_are_those_that_can_be_launched_earliest_first(writer: Writer, reader: Reader) -> None:
    def due(name: str, wake_at: int | None, status: Status, program: str | None = "p") -> InstanceKey:
        key = InstanceKey("acme", name)
        put(writer, save(key, wake_at=wake_at, status=status, program=program))
        return key

    later = due("a", NOW + 2, Status.SUSPENDED)
    same = [due(name, NOW + 1, Status.PENDING) for name in ("b", "c")]
    due("too-late", NOW + 3, Status.PENDING)
    due("waits", None, Status.SUSPENDED)
    due("by-itself", NOW, Status.SUSPENDED, None)
    due("runs", NOW, Status.RUNNING)
    due("ended", NOW, Status.FAILED)
    expected = [DueInstance(NOW + 1, same[0]), DueInstance(NOW + 1, same[1]), DueInstance(NOW + 2, later)]

    assert reader.list_due(NOW + 2, 10) == expected
    assert reader.list_due(NOW + 2, 1) == expected[:1]
    assert reader.list_due(NOW + 2, 10, expected[0]) == expected[1:]
    assert reader.list_due(NOW + 2, 10, expected[2]) == []


def test_due_instances_come_with_their_priority_and_program_in_the_order_of_their_instants(
    writer: Writer, reader: Reader
) -> None:
    put(writer, save(KEY, status=Status.PENDING, wake_at=NOW, program="p"))
    put(writer, save(OTHER, status=Status.SUSPENDED, wake_at=NOW + 1, program="image:x", priority=2**31))
    put(writer, save(FOREIGN, status=Status.SUSPENDED, wake_at=NOW + 2, program="q", priority=-1))

    found = reader.list_due(NOW + 2, 10)

    assert [tuple(row) for row in found] == [
        (NOW, KEY, 0, "p", None),
        (NOW + 1, OTHER, 2**31, "image:x", None),
        (NOW + 2, FOREIGN, -1, "q", None),
    ]
    assert reader.list_due(NOW + 2, 10, DueInstance(NOW, KEY)) == found[1:]


def test_due_instances_of_barred_tenants_and_programs_are_left_out(writer: Writer, reader: Reader) -> None:
    for key, program in ((KEY, "p"), (OTHER, "image:x"), (FOREIGN, "q")):
        put(writer, save(key, status=Status.PENDING, wake_at=NOW, program=program))

    def keys(*tenants: str, programs: tuple[str, ...] = ()) -> set[InstanceKey]:
        return {due.key for due in reader.list_due(NOW, 10, None, Barred(tenants, programs))}

    assert keys() == {KEY, OTHER, FOREIGN}
    assert keys(KEY.tenant_id) == {FOREIGN}
    assert keys(programs=("image:x", "p")) == {FOREIGN}
    assert keys(FOREIGN.tenant_id, "nobody", programs=("p",)) == {OTHER}


def test_of_pooled_programs_only_those_are_listed_that_somebody_can_run(writer: Writer, reader: Reader) -> None:
    for key, program in ((KEY, "pool:a@1"), (OTHER, "plain"), (FOREIGN, "pool:a@1")):
        put(writer, save(key, status=Status.PENDING, wake_at=NOW, program=program))

    def keys(pools: tuple[tuple[str, str], ...] | None, *, only_pools: bool = False) -> set[InstanceKey]:
        return {due.key for due in reader.list_due(NOW, 10, None, Barred((), (), pools, only_pools))}

    assert keys(None) == {KEY, OTHER, FOREIGN}
    assert keys(()) == {OTHER}
    assert keys(((KEY.tenant_id, "pool:a@1"),)) == {KEY, OTHER}
    assert keys(((KEY.tenant_id, "pool:a@1"), (FOREIGN.tenant_id, "pool:b@1")), only_pools=True) == {KEY}
    assert keys(None, only_pools=True) == {KEY, FOREIGN}


def test_running_instances_are_listed_by_key(writer: Writer, reader: Reader) -> None:
    put(writer, save(FOREIGN, epoch=4), save(OTHER), save(program="p"))
    put(writer, save(InstanceKey("acme", "a"), status=Status.PENDING))
    expected = [RunningInstance(KEY, 1, "p"), RunningInstance(OTHER, 1, None), RunningInstance(FOREIGN, 4, None)]

    assert reader.list_running(10) == expected
    assert reader.list_running(2) == expected[:2]
    assert reader.list_running(10, after=OTHER) == expected[2:]


@pytest.mark.parametrize(
    ("fields", "timeout_at"),
    [
        ({"timeout_ms": 50, "claimed_at": NOW}, NOW + 50),
        ({"timeout_ms": 50, "claimed_at": NOW, "ran_ms": 20}, NOW + 30),
        ({"timeout_ms": 50, "claimed_at": NOW, "ran_ms": 70}, NOW - 20),
        ({"timeout_ms": 50}, None),
        ({"claimed_at": NOW, "ran_ms": 20}, None),
    ],
)
def test_a_running_instance_is_listed_with_the_end_of_its_time(
    writer: Writer, reader: Reader, fields: dict[str, Any], timeout_at: int | None
) -> None:
    put(writer, save(epoch=3, program="p", claimed_epoch=2, **fields))

    assert reader.list_running(10) == [RunningInstance(KEY, 3, "p", timeout_at, 2)]


def test_instances_are_paged_by_id(writer: Writer, reader: Reader) -> None:
    names = ["b", "a", "d", "c", "e"]
    put(writer, *(save(InstanceKey("acme", name), program="p", wake_at=1) for name in names))
    put(writer, save(FOREIGN))

    found = pages_of(lambda cursor: reader.list_instances("acme", None, 2, cursor), "instances")

    assert [[row.instance_id for row in page] for page in found] == [["a", "b"], ["c", "d"], ["e"]]
    assert found[0][0] == InstanceSummary(
        instance_id="a", status=Status.RUNNING, epoch=1, created_at=NOW, program="p", wake_at=1
    )


def test_instances_may_be_listed_by_status(writer: Writer, reader: Reader) -> None:
    put(writer, save(), save(OTHER, status=Status.FAILED), save(InstanceKey("acme", "z"), status=Status.FAILED))

    found = pages_of(lambda cursor: reader.list_instances("acme", Status.FAILED, 1, cursor), "instances")

    assert [row.instance_id for page in found for row in page] == ["order-2", "z"]


def test_checkpoints_are_paged_in_the_order_in_which_they_were_saved(writer: Writer, reader: Reader) -> None:
    ids = [f"step {number * 7 % 100}" for number in range(100)]
    put(writer, save(checkpoints=tuple(checkpoint(name, name.encode()) for name in ids)))
    put(writer, save(OTHER, checkpoints=(checkpoint("other"),)))

    found = pages_of(lambda cursor: reader.list_checkpoints(KEY, 33, cursor), "checkpoints")

    assert [len(page) for page in found] == [33, 33, 33, 1]
    assert [row.checkpoint_id for page in found for row in page] == ids
    assert found[0][0] == CheckpointInfo(checkpoint_id="step 0", epoch=1, created_at=NOW, size=6)


def test_events_are_paged_and_filtered(writer: Writer, reader: Reader) -> None:
    put(writer, save(events=(event("registered"), event(subtype="a"), event(subtype="b"))))
    put(writer, save(version=2, events=(event(subtype="a"), event("completed"))))

    def types(type_: str | None, subtype: str | None) -> list[list[str]]:
        pages = pages_of(lambda cursor: reader.list_events(KEY, type_, subtype, 2, cursor), "events")
        return [[row.type for row in page] for page in pages]

    assert types(None, None) == [["registered", "custom"], ["custom", "custom"], ["completed"]]
    assert types("custom", None) == [["custom", "custom"], ["custom"]]
    assert types("custom", "a") == [["custom", "custom"]]
    assert types(None, "b") == [["custom"]]
    assert types("other", None) == [[]]


def test_events_are_paged_from_the_last_one_on_where_that_is_wanted(writer: Writer, reader: Reader) -> None:
    put(writer, save(events=(event("registered"), *(event(subtype="ab"[number % 2]) for number in range(5)))))
    put(writer, save(OTHER, events=(event("other"),)))
    seqs = [row.seq for row in reader.list_events(KEY, None, None, 9, None).events]

    def found(type_: str | None, subtype: str | None) -> list[list[int]]:
        pages = pages_of(lambda cursor: reader.list_newest_events(KEY, type_, subtype, 2, cursor), "events")
        return [[seqs.index(row.seq) for row in page] for page in pages]

    assert found(None, None) == [[5, 4], [3, 2], [1, 0]]
    assert found("custom", "a") == [[5, 3], [1]]
    assert found("other", None) == [[]]


@pytest.mark.parametrize("cursor", ["", "x", "aWQ6YQ", "cursor", "aWQ6YQ==x", "ü", "bm9uZTox", "c2VxOi0x", "//79"])
def test_a_malformed_cursor_is_refused(reader: Reader, cursor: str) -> None:
    for ask in (
        lambda: reader.list_instances("acme", None, 1, cursor),
        lambda: reader.list_checkpoints(KEY, 1, cursor),
        lambda: reader.list_events(KEY, None, None, 1, cursor),
        lambda: reader.list_newest_events(KEY, None, None, 1, cursor),
        lambda: reader.list_images("acme", 1, cursor),
        lambda: reader.list_image_versions("acme", "a" * 32, 1, cursor),
        lambda: reader.list_schedules("acme", 1, cursor),
    ):
        with pytest.raises(InvalidInput):
            ask()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_has_at_least_one_row(reader: Reader, limit: int) -> None:
    for ask in (
        lambda: reader.list_instances("acme", None, limit, None),
        lambda: reader.list_checkpoints(KEY, limit, None),
        lambda: reader.list_events(KEY, None, None, limit, None),
        lambda: reader.list_due(NOW, limit),
        lambda: reader.list_running(limit),
        lambda: reader.list_images("acme", limit, None),
        lambda: reader.list_image_versions("acme", "a" * 32, limit, None),
        lambda: reader.list_digests(limit, ""),
        lambda: reader.list_schedules("acme", limit, None),
        lambda: reader.list_due_schedules(NOW, limit),
    ):
        with pytest.raises(InvalidInput):
            ask()


def test_instances_are_counted_by_status(writer: Writer, reader: Reader) -> None:
    put(writer, save(), save(FOREIGN), save(OTHER, status=Status.FAILED))

    assert reader.count_by_status() == {Status.RUNNING: 2, Status.FAILED: 1}


def test_a_sound_store_verifies(writer: Writer, reader: Reader) -> None:
    put(
        writer, save(checkpoint_id="step", checkpoints=(checkpoint("step"),), events=(event(),), signals=(signal("s"),))
    )

    assert reader.verify() == []


# Opening and closing --------------------------------------------------------------------------------------------------


def test_a_closed_writer_refuses(store: Store) -> None:
    writer = store.open_writer()

    writer.close()
    writer.close()

    with pytest.raises(StoreUnavailable):
        writer.commit([])
    for call in (
        lambda: writer.record_heartbeats([]),
        lambda: writer.push_image("acme", "orders", "a" * 32, image_version()),
        lambda: writer.use_image_version("acme", "a" * 32, 1, NOW),
        lambda: writer.delete_image("acme", "a" * 32, NOW),
        lambda: writer.collect_images(NOW, 1, 1, False),
        lambda: writer.put_schedule(schedule()),
        lambda: writer.delete_schedule("acme", "nightly"),
        lambda: writer.prune_finished(Finished(before_ms=NOW), 1, False),
    ):
        with pytest.raises(StoreUnavailable):
            call()


def test_a_reader_may_be_closed_twice(store: Store, writer: Writer) -> None:
    reader = store.open_reader()

    reader.close()
    reader.close()

    put(writer, save())


def test_a_second_writer_is_refused_until_the_first_is_closed(quick_store: Store) -> None:
    with contextlib.closing(quick_store.open_writer()), pytest.raises(StoreInUse):
        quick_store.open_writer()

    quick_store.open_writer().close()

import pytest

from runtara.actors._instance_state import EVOLVE, InstanceState, Ledger, evolve
from runtara.actors.instance import decide, save_of
from runtara.lifecycle import Status
from runtara.messages import Call, CheckpointSaved, RegisterInstance, SaveCheckpoint
from runtara.records import Instance, Signal, Snapshot, Wait
from tests.actors.world import KEY, NOW, unmanaged


def save(state: InstanceState, checkpoint_id: str) -> tuple[InstanceState, object]:
    decision = decide(state, Call(KEY, SaveCheckpoint(checkpoint_id=checkpoint_id, state=b""), 1), NOW)
    for event in decision.events:
        state = evolve(state, event)
    return state, decision.reply


# The ledger ----------------------------------------------------------------------------------------------------------


def test_a_ledger_holds_what_was_added_in_order() -> None:
    ledger = Ledger.of([("a", 1)]).adding("b", 2)

    assert ledger.entries() == [("a", 1), ("b", 2)]
    assert (len(ledger), "a" in ledger, "c" in ledger) == (2, True, False)
    assert (ledger.get("b"), ledger.get("c")) == (2, None)
    assert ledger == Ledger.of([("a", 1), ("b", 2)])
    assert ledger != [("a", 1), ("b", 2)]


def test_a_name_is_written_once() -> None:
    with pytest.raises(ValueError, match="'a' is in the ledger already"):
        Ledger.of([("a", 1)]).adding("a", 2)


def test_an_older_ledger_does_not_see_what_was_added_later() -> None:
    older = Ledger.of([("a", 1)])
    older.adding("b", 2)

    assert "b" not in older
    assert (len(older), older.get("b"), older.entries()) == (1, None, [("a", 1)])


def test_two_ways_on_from_one_ledger_do_not_meet() -> None:
    older = Ledger.of([("a", 1)])
    first = older.adding("b", 2)
    second = older.adding("c", 3).adding("b", 4)

    assert first.entries() == [("a", 1), ("b", 2)]
    assert second.entries() == [("a", 1), ("c", 3), ("b", 4)]
    assert older.entries() == [("a", 1)]


def test_successive_ledgers_share_what_they_hold() -> None:
    older: Ledger[None] = Ledger.of()
    newer = older.adding("a", None)

    assert newer._values is older._values


# The state -----------------------------------------------------------------------------------------------------------


def test_what_is_not_stored_does_not_exist() -> None:
    state = InstanceState.from_snapshot(KEY, None)

    assert (state.key, state.instance, state.checkpoint_count, state.signals) == (KEY, None, 0, ())


def test_a_snapshot_becomes_the_state_it_was_taken_of() -> None:
    row = Instance(tenant_id="acme", instance_id="order-7", status=Status.RUNNING, version=3, epoch=1, created_at=NOW)
    signal = Signal(signal_id="s2", kind="pause", sent_at=NOW, seq=2)
    open_wait = Wait(place="p", name="go", started_at=NOW)
    ended_wait = Wait(place="q", name="go", started_at=NOW, ended_at=NOW, signal_id="s1")

    state = InstanceState.from_snapshot(
        KEY,
        Snapshot(
            instance=row,
            checkpoint_ids=("a", "b"),
            signals=(signal,),
            signal_ids=("s1", "s2"),
            waits=(open_wait, ended_wait),
        ),
    )

    assert (state.instance, state.signals, state.checkpoint_count) == (row, (signal,), 2)
    assert [name for name, _ in state.signal_ids.entries()] == ["s1", "s2"]
    assert (state.wait_at("p"), state.wait_at("q"), state.wait_at("r")) == (open_wait, ended_wait, None)


def test_deciding_again_on_an_older_state_is_right() -> None:
    before = unmanaged().state
    newer, _ = save(before, "a")

    other, reply = save(before, "a")
    _, later = save(other, "b")

    assert reply == later == CheckpointSaved(found=False)
    assert other == newer
    assert before.checkpoint_count == 0


def test_a_checkpoint_copies_nothing_however_many_there_are() -> None:
    before = state = unmanaged().state
    for number in range(1_000):
        state, _ = save(state, f"step-{number}")

    assert state.checkpoint_count == 1_000
    assert state.checkpoint_ids._values is before.checkpoint_ids._values


def test_a_stored_state_has_the_version_of_its_save() -> None:
    before = InstanceState.from_snapshot(KEY, None)
    decision = decide(before, Call(KEY, RegisterInstance(attempt_id="first")), NOW)
    after = before
    for event in decision.events:
        after = evolve(after, event)

    stored = after.stored(save_of(before, after, decision.events))

    assert after.instance is not None
    assert stored.instance is not None
    assert (after.instance.version, stored.instance.version) == (0, 1)


def test_nothing_happens_to_an_instance_that_does_not_exist() -> None:
    state = InstanceState.from_snapshot(KEY, None)
    events = decide(unmanaged().state, Call(KEY, SaveCheckpoint(checkpoint_id="a", state=b""), 1), NOW).events

    with pytest.raises(AssertionError):
        evolve(state, events[0])


def test_every_row_of_the_table_is_an_event() -> None:
    assert all(event.__module__.endswith("_instance_events") for event in EVOLVE)

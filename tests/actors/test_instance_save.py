import pytest

from runtara.actors._instance_save import save_of
from runtara.lifecycle import Status
from runtara.messages import (
    AcknowledgeSignal,
    Call,
    Command,
    CompleteInstance,
    RecordRetry,
    SaveCheckpoint,
    SendSignal,
    SignalKind,
    StartInstance,
    TakeSignal,
)
from runtara.records import NOTE_MAX_BYTES
from runtara.store import Save
from tests.actors.world import KEY, NOW, World, unmanaged


def saved(world: World, *calls: tuple[Command, int | None]) -> Save:
    world.ask_burst([Call(KEY, command, epoch) for command, epoch in calls])
    assert world.saved is not None
    return world.saved


def test_a_new_instance_is_expected_not_to_exist() -> None:
    save = saved(World(), (StartInstance(program="ship", input=b""), None))

    assert (save.expected_version, save.instance.version, save.input) == (0, 1, b"")
    assert [event.type for event in save.events] == ["created"]


def test_a_burst_is_one_version_more_than_what_was_stored() -> None:
    save = saved(
        unmanaged(),
        (SaveCheckpoint(checkpoint_id="a", state=b"1"), 1),
        (RecordRetry(checkpoint_id="b", attempt=1), 1),
        (SaveCheckpoint(checkpoint_id="b", state=b"2"), 1),
        (CompleteInstance(output=b"done"), 1),
    )

    assert (save.expected_version, save.instance.version) == (1, 2)
    assert [checkpoint.checkpoint_id for checkpoint in save.checkpoints] == ["a", "b"]
    assert [retry.attempt for retry in save.retries] == [1]
    assert (save.instance.status, save.output, save.input) == (Status.COMPLETED, b"done", None)
    assert [event.type for event in save.events] == ["completed"]


def test_a_signal_sent_and_acknowledged_in_one_burst_is_one_finished_row() -> None:
    save = saved(
        unmanaged(),
        (SendSignal(kind="custom", signal_id="s", name="go"), None),
        (AcknowledgeSignal(signal_id="s"), 1),
    )

    assert [(signal.signal_id, signal.acknowledged_at) for signal in save.signals] == [("s", NOW)]
    assert save.acknowledged == ()
    assert [(event.type, event.payload) for event in save.events] == [
        ("signal-sent", b"s"),
        ("signal-acknowledged", b"s"),
    ]


@pytest.mark.parametrize("kind", ["cancel", "pause", "resume", "shutdown"])
def test_what_a_signal_to_the_whole_instance_carries_is_kept_in_the_log(kind: SignalKind) -> None:
    def line(payload: bytes) -> bytes | None:
        save = saved(unmanaged(), (SendSignal(kind=kind, signal_id="s", payload=payload), None))
        return next(event.payload for event in save.events if event.type == "signal-sent")

    assert line(b"why\nnot\0") == b"s\nwhy\nnot\0"
    assert line(b"") == b"s"
    assert line(b"x" * NOTE_MAX_BYTES) == b"s\n" + b"x" * NOTE_MAX_BYTES
    assert line(b"x" * (NOTE_MAX_BYTES + 1)) == b"s"


def test_what_a_custom_signal_carries_is_not_in_the_log() -> None:
    save = saved(unmanaged(), (SendSignal(kind="custom", signal_id="s", name="go", payload=b"secret"), None))

    assert [event.payload for event in save.events] == [b"s"]


def test_a_signal_sent_earlier_is_acknowledged_by_its_id() -> None:
    world = unmanaged()
    world.send("custom", "s", name="go")

    save = saved(world, (AcknowledgeSignal(signal_id="s"), 1))

    assert (save.signals, save.acknowledged) == ((), (("s", NOW),))


def test_a_wait_begun_and_ended_in_one_burst_is_one_ended_row() -> None:
    save = saved(
        unmanaged(),
        (TakeSignal(name="go", place="p", timeout_ms=100), 1),
        (SendSignal(kind="custom", signal_id="s", name="go"), None),
        (TakeSignal(name="go", place="p"), 1),
    )

    assert [(wait.place, wait.signal_id, wait.deadline_at) for wait in save.waits] == [("p", "s", NOW + 100)]


def test_without_events_the_row_is_all_there_is() -> None:
    state = unmanaged().state

    save = save_of(state, state, ())

    assert (save.expected_version, save.instance.version, save.events) == (1, 2, ())

import typing
from copy import copy

import msgspec
import pytest

from runtara import messages
from runtara.endpoints import ENDPOINTS, Endpoint
from runtara.messages import Command
from tests.actors.world import Rows, World, managed
from tests.test_messages import reply_of

BETWEEN_ACTORS = {
    messages.WakeInstance,
    messages.DeclareSilent,
    messages.CrashInstance,
    messages.ExitInstance,
    messages.TimeOutInstance,
    messages.EnforceSignals,
    messages.RecordUsage,
    messages.SaveCheckpoints,
}
"""Commands that no door offers."""

RESULT = messages.StepResult(checkpoint_id="a", state=b"1")

OF_INSTANCES: list[Command] = [
    messages.StartInstance(program="ship", input=b"input"),
    messages.ForkInstance(source="order-6", input=b"input"),
    messages.RegisterInstance(attempt_id="second"),
    messages.SaveCheckpoint(checkpoint_id="a", state=b"1", request=1),
    messages.GetCheckpoint(checkpoint_id="a"),
    messages.Sleep(checkpoint_id="a", duration_ms=5, request=1),
    messages.Sleep(checkpoint_id="a", duration_ms=5, park=True, request=1),
    messages.Heartbeat(),
    messages.CompleteInstance(output=b"done"),
    messages.FailInstance(error="no"),
    messages.SuspendInstance(wake_at=5),
    messages.RestInstance(results=(RESULT,), subtype="why", checkpoint_id="nap", duration_ms=5),
    messages.RestInstance(results=(RESULT,), subtype="why", wake_at=5),
    messages.RestInstance(awaits=(messages.AwaitedSignal(name="gone", place="p"),)),
    messages.FinishInstance(results=(RESULT,), output=b"done"),
    messages.RecordEvent(subtype="note", request=1),
    messages.GetStatus(),
    messages.GetInput(),
    messages.PollSignals(),
    messages.TakeSignal(name="go", place="p"),
    messages.TakeSignal(name="stay", place="p", timeout_ms=5, park=True),
    messages.AcknowledgeSignal(signal_id="other"),
    messages.SendSignal(kind="cancel", signal_id="c"),
    messages.SendSignal(kind="custom", signal_id="s", name="go"),
    messages.RecordRetry(checkpoint_id="a", attempt=1),
]
"""At least one of every command that an instance's own actor answers."""


def test_every_command_is_offered_or_is_said_only_between_actors() -> None:
    assert set(ENDPOINTS) | BETWEEN_ACTORS == set(typing.get_args(Command))
    assert not set(ENDPOINTS) & BETWEEN_ACTORS


@pytest.mark.parametrize("row", ENDPOINTS.values(), ids=lambda row: row.command.__name__)
def test_the_reply_in_the_row_is_the_reply_in_the_type(row: Endpoint) -> None:
    assert row.reply is reply_of(row.command)


def test_no_command_to_an_instance_is_left_out_below() -> None:
    assert {type(command) for command in OF_INSTANCES} == {
        row.command for row in ENDPOINTS.values() if row.owner == "instance"
    }


@pytest.mark.parametrize("command", OF_INSTANCES, ids=str)
def test_a_command_that_is_sent_again_changes_nothing_more_and_gets_the_same_answer(command: Command) -> None:
    world = managed()
    world.send("custom", "go", name="go")
    world.send("custom", "other", name="other")
    if isinstance(command, messages.ForkInstance):
        world, source = World(), world
        world.others[command.source] = source
    epoch = None if ENDPOINTS[type(command)].caller == "manager" else 1
    first = world.ask(command, epoch)
    rows = _contents(world.rows)

    again = world.ask(command, epoch)

    assert _as_if_created(again) == _as_if_created(first)
    assert _contents(world.rows) == rows


def _contents(rows: Rows) -> dict[str, object]:
    assert rows.instance is not None
    row = msgspec.structs.replace(rows.instance, version=0)  # it counts what is stored, whatever it is
    return {name: copy(value) for name, value in vars(rows).items()} | {"instance": row}


def _as_if_created(reply: object) -> object:
    """Whether it was this call that has created something is the one thing that a resend does not tell."""
    if isinstance(reply, messages.InstanceStarted | messages.SignalAccepted):
        return msgspec.structs.replace(reply, created=True)
    return reply

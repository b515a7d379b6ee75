"""A call that is sent again after its answer was lost is done once and gets the answer that was lost, on every way."""

from collections.abc import Callable
from typing import Any, Final

from runtara.ids import new_id
from runtara.messages import (
    AcknowledgeSignal,
    CompleteInstance,
    FailInstance,
    FinishInstance,
    Heartbeat,
    RecordEvent,
    RecordRetry,
    RegisterInstance,
    RestInstance,
    SaveCheckpoint,
    SendSignal,
    Sleep,
    StepResult,
    SuspendInstance,
    TakeSignal,
)
from runtara.sdk import SignalType
from tests.doors.matrix import Way, ask, events_of

SIGNAL: Final = "signal-0"

COMMANDS: Final[dict[str, Callable[[], Any]]] = {
    "checkpoint": lambda: SaveCheckpoint(checkpoint_id="a", state=b"state", request=7),
    "found checkpoint": lambda: SaveCheckpoint(checkpoint_id="before", state=b"other", request=7),
    "sleep": lambda: Sleep(checkpoint_id="nap", state=b"state", until=1, request=7),
    "heartbeat": Heartbeat,
    "event": lambda: RecordEvent(subtype="kind", payload=b"payload", request=7),
    "retry": lambda: RecordRetry(checkpoint_id="step", attempt=1, error="no"),
    "take": lambda: TakeSignal(name="go", place="here", timeout_ms=0),
    "acknowledge": lambda: AcknowledgeSignal(signal_id=SIGNAL),
    "complete": lambda: CompleteInstance(output=b"output"),
    "fail": lambda: FailInstance(error="no"),
    "suspend": SuspendInstance,
    "rest for a delay": lambda: RestInstance(
        results=(StepResult(checkpoint_id="a", state=b"state"),),
        subtype="kind",
        payload=b"why",
        checkpoint_id="nap",
        duration_ms=3_600_000,
    ),
    "rest for no time": lambda: RestInstance(
        results=(StepResult(checkpoint_id="a", state=b"state"),), checkpoint_id="nap", duration_ms=0
    ),
    "rest until a resume": lambda: RestInstance(
        results=(StepResult(checkpoint_id="a", state=b"state"),), subtype="kind"
    ),
    "finish": lambda: FinishInstance(
        results=(StepResult(checkpoint_id="a", state=b"state"), StepResult(checkpoint_id="before", state=b"state")),
        output=b"output",
    ),
}
"""What a program may say twice, because it did not hear the answer."""


def test_a_command_that_is_sent_again_is_done_once_and_answered_alike(way: Way) -> None:
    async def conversation(system: Any) -> None:
        for name, command in COMMANDS.items():
            who = name.replace(" ", "-")
            sdk = system.sdk(who)
            await sdk.register()
            await sdk.checkpoint("before", b"state")
            await ask(sdk, SendSignal(kind="custom", name="go", signal_id=SIGNAL, payload=b"0"), who)

            first = await ask(sdk, command())
            after = await _seen(system, sdk)
            again = [await ask(sdk, command()) for _ in range(2)]

            assert again == [first, first], name
            assert await _seen(system, sdk) == after, name
            sdk.close()

    way.hold(conversation)


def test_a_signal_that_is_sent_again_is_one_signal_and_the_sender_is_told(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            signal = SendSignal(kind="custom", name="go", signal_id=SIGNAL, payload=b"0")

            created = [(await ask(sdk, signal, "i")).created for _ in range(3)]

            assert created == [True, False, False]
            assert (await sdk.poll_custom_signal("go")).payload == b"0"
            assert await sdk.poll_custom_signal("go") is None

    way.hold(conversation)


async def _seen(system: Any, sdk: Any) -> Any:
    """Return everything that can be seen of an instance, but for when it was heard of last."""
    status = await system.status(sdk.instance_id)
    return status, [(event.type, event.payload, event.epoch) for event in await events_of(sdk)]


def test_a_registration_that_is_sent_again_is_one_attempt_until_another_comes(way: Way) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        first, other = RegisterInstance(attempt_id=new_id()), RegisterInstance(attempt_id=new_id())

        epochs = [(await ask(system.sdk("i"), command)).epoch for command in (first, first, other, other)]

        assert epochs == [1, 1, 2, 2]
        await sdk.register()
        assert sdk.epoch == 3

    way.hold(conversation)


def test_two_calls_that_look_alike_are_two(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for _ in range(2):
                await sdk.custom_event("kind", b"payload")
            found = [(await sdk.checkpoint("a", b"")).found for _ in range(2)]

            assert found == [False, True]
            assert len(await events_of(sdk, event_type="custom")) == 2

    way.hold(conversation)


def test_a_pause_that_is_sent_again_after_the_resume_pauses_nothing(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            pause = SendSignal(kind="pause", signal_id=new_id())
            await ask(sdk, pause, "i")
            await sdk.suspended()
            await system.signal("i", SignalType.RESUME)
        async with system.sdk("i") as sdk:
            await ask(sdk, pause, "i")

            await sdk.check_paused()
            assert not (await sdk.checkpoint("a", b"")).should_pause

    way.hold(conversation)

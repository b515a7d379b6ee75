"""What a program may get wrong: a clear error naming what and what to try, at every door, and nothing lost."""

from collections.abc import Callable
from typing import Any

import pytest

from runtara.errors import Fenced, InvalidInput, InvalidState
from runtara.ids import CHECKPOINT_ID_MAX_BYTES
from runtara.sdk import InstanceStatus
from tests.sdk.faces import Face

WRONG: dict[str, Callable[[Any], Any]] = {
    "a state of text": lambda sdk: sdk.checkpoint("a", "text"),
    "a state of nothing": lambda sdk: sdk.checkpoint("a", None),
    "an id of a number": lambda sdk: sdk.checkpoint(1, b""),
    "an id of nothing": lambda sdk: sdk.get_checkpoint(None),
    "an id over its limit": lambda sdk: sdk.checkpoint("x" * (CHECKPOINT_ID_MAX_BYTES + 1), b""),
    "an empty id": lambda sdk: sdk.checkpoint("", b""),
    "a duration of text": lambda sdk: sdk.sleep("1", "nap"),
    "a negative duration": lambda sdk: sdk.sleep(-1, "nap"),
    "an instant of a number": lambda sdk: sdk.sleep_until(5, "nap"),
    "an output of a dict": lambda sdk: sdk.completed({"a": 1}),
    "an error of bytes": lambda sdk: sdk.failed(b"out of stock"),
    "a subtype of a number": lambda sdk: sdk.custom_event(1),
    "a payload of text": lambda sdk: sdk.custom_event("a", "text"),
    "a name of nothing": lambda sdk: sdk.poll_custom_signal(None),
    "a name over its limit": lambda sdk: sdk.wait_for_signal("x" * (CHECKPOINT_ID_MAX_BYTES + 1)),
    "a time-out of text": lambda sdk: sdk.wait_for_signal("go", "1"),
    "an attempt of text": lambda sdk: sdk.record_retry_attempt("a", "1"),
    "a signal of a number": lambda sdk: sdk.acknowledge_signal(5),
    "an instance of nothing": lambda sdk: sdk.get_instance_status(None),
    "a signal type of text": lambda sdk: sdk.send_signal("other", "cancel"),
    "a status of a path": lambda sdk: sdk.get_instance_status("../other"),
}


def test_what_no_call_can_mean_is_refused_and_the_program_goes_on(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for what, wrong in WRONG.items():
                with pytest.raises(InvalidInput) as refused:
                    await wrong(sdk)
                assert len(str(refused.value)) > 10, what

            assert not (await sdk.checkpoint("after", b"")).found
            status = await sdk.get_status()
            assert (status.status, status.checkpoint_count) == (InstanceStatus.RUNNING, 1)

    any_face.hold(conversation)


CALLS: dict[str, Callable[[Any], Any]] = {
    "checkpoint": lambda sdk: sdk.checkpoint("b", b""),
    "sleep": lambda sdk: sdk.sleep(0, "nap"),
    "custom_event": lambda sdk: sdk.custom_event("e"),
    "suspended": lambda sdk: sdk.suspended(),
    "failed": lambda sdk: sdk.failed("again"),
    "poll_custom_signal": lambda sdk: sdk.poll_custom_signal("go"),
    "progress": lambda sdk: sdk.progress(1),
    "record_retry_attempt": lambda sdk: sdk.record_retry_attempt("b", 1),
}


def test_a_call_before_the_attempt_is_registered_says_what_to_do(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        for call in CALLS.values():
            with pytest.raises(InvalidInput, match=r"i is not registered by this program: call register\(\) first"):
                await call(sdk)

        await sdk.register()
        assert not (await sdk.checkpoint("a", b"")).found

    any_face.hold(conversation)


def test_a_call_after_the_end_is_refused_and_the_output_stays(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.completed(b"output")
            for call in CALLS.values():
                with pytest.raises(InvalidState, match="completed"):
                    await call(sdk)
        status = await system.status("i")
        assert (status.status, status.output) == (InstanceStatus.COMPLETED, b"output")

    any_face.hold(conversation)


def test_of_two_programs_with_one_instance_id_the_older_one_is_refused(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as older, system.sdk("i") as newer:
            for call in CALLS.values():
                with pytest.raises(Fenced):
                    await call(older)
            assert not (await newer.checkpoint("b", b"newer")).found
            assert (await newer.get_status()).status is InstanceStatus.RUNNING

    any_face.hold(conversation)

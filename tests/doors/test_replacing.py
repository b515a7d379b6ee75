"""A new instance in the place of another one with its id, on every way."""

from typing import Any

import pytest

from runtara.errors import Fenced, InvalidState
from runtara.ids import new_id
from runtara.messages import GetStatus, RegisterInstance, SendSignal, StartInstance
from runtara.sdk import InstanceStatus
from tests.doors.matrix import Way, ask, events_of


def test_a_program_that_replaces_begins_anew_and_fences_whoever_was_there(way: Way) -> None:
    async def conversation(system: Any) -> None:
        old, new = system.sdk("i"), system.sdk("i")
        await old.register()
        await old.checkpoint("step", b"old")
        await ask(old, SendSignal(kind="custom", name="go", signal_id=new_id(), payload=b"old"), "i")

        reply = await new.register(replace=True)

        assert (reply.epoch, reply.resumed, reply.checkpoint_id) == (2, False, None)
        with pytest.raises(Fenced):
            await old.checkpoint("late", b"old")
        assert (await new.checkpoint("step", b"new")).existing_state is None
        assert await new.poll_custom_signal("go") is None
        assert [(one.type, one.subtype) for one in await events_of(new)] == [
            ("created", "replaced"),
            ("registered", None),
        ]
        old.close()
        new.close()

    way.hold(conversation)


def test_one_that_has_ended_is_replaced_but_not_changed(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.completed(b"old")
        again = system.sdk("i")
        with pytest.raises(InvalidState):
            await again.register()

        await again.register(replace=True)

        status = await system.status("i")
        assert (status.status, status.output) == (InstanceStatus.RUNNING, None)
        await again.completed(b"new")
        assert (await system.status("i")).output == b"new"
        again.close()

    way.hold(conversation)


def test_what_is_sent_again_replaces_once(way: Way) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        await sdk.register()
        register = RegisterInstance(attempt_id=new_id(), replace=True)
        other = system.sdk("i")

        epochs = [(await ask(other, register)).epoch for _ in range(3)]

        assert epochs == [2, 2, 2]
        assert (await events_of(sdk))[0].subtype == "replaced"
        sdk.close()
        other.close()

    way.hold(conversation)


def test_a_start_replaces_and_sent_again_replaces_once(way: Way) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        await sdk.register()
        await sdk.checkpoint("step", b"old")
        tomorrow = sdk.now_ms() + 86_400_000  # nobody here could launch it
        start = StartInstance(program="p", input=b"new", start_at=tomorrow, replace=True)

        replies = [await ask(sdk, start, "i") for _ in range(3)]

        assert [reply.created for reply in replies] == [True, False, False]
        info = await ask(sdk, GetStatus(), "i")
        assert (info.status, info.program, info.checkpoint_count, info.epoch) == ("pending", "p", 0, 2)
        with pytest.raises(Fenced):
            await sdk.checkpoint("late", b"old")
        sdk.close()

    way.hold(conversation)

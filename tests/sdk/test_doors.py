import gc
from typing import Any

import pytest
import trio

from runtara import messages
from runtara.errors import ActorStopped, InvalidInput
from runtara.ids import InstanceKey
from runtara.sdk import embedded
from runtara.sdk._doors import Doors
from runtara.transport import Session

KEY = InstanceKey("t", "i")


def connected(doors: Doors) -> int:
    tree = doors.runtime.system.inspect()
    instances = next(child for child in tree.children if child.name == "instances")
    return int(next(child for child in instances.children if child.name == "sessions").facts["connected"])


async def test_a_door_hears_of_signals_from_its_first_call_until_it_is_closed() -> None:
    async with embedded.open(url="memory://") as system:
        doors = system._doors
        door = doors.open(KEY)
        assert connected(doors) == 0

        await door.call(messages.RegisterInstance(attempt_id="a"))
        await trio.testing.wait_all_tasks_blocked()
        pushes = door.session.pushes
        await system.custom_signal("i", "go", tenant_id="t")
        await trio.testing.wait_all_tasks_blocked()
        assert (connected(doors), door.session.pushes) == (1, pushes + 1)

        door.close()
        await system.custom_signal("i", "go", tenant_id="t")
        await trio.testing.wait_all_tasks_blocked()
        assert (connected(doors), door.session.pushes) == (0, pushes + 1)


async def test_who_manages_an_instance_hears_of_nothing() -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i", "t"):
        door = system._doors.open_beside(KEY)
        assert (await door.call(messages.GetStatus())).instance_id == "i"
        await system.custom_signal("i", "go", tenant_id="t")
        await trio.testing.wait_all_tasks_blocked()
        assert door.session.pushes == 0


async def test_an_attempt_that_was_launched_speaks_under_its_epoch_at_once() -> None:
    async with embedded.open(url="memory://") as system, system.sdk("i", "t"):
        door = system._doors.open(KEY, 1)
        assert (await door.call(messages.Heartbeat())).status == "running"


async def test_ids_are_checked_when_a_door_is_opened() -> None:
    async with embedded.open(url="memory://") as system:
        for opened in (system._doors.open, system._doors.open_beside):
            with pytest.raises(InvalidInput):
                opened(InstanceKey("t", "../i"))


async def test_hanging_up_wakes_who_waits_and_forgets_who_has_gone() -> None:
    async with embedded.open(url="memory://") as system:
        doors: Any = system._doors
        door, gone = doors.open(KEY), doors.open(InstanceKey("t", "gone"))
        for each, name in ((door, "a"), (gone, "b")):
            await each.call(messages.RegisterInstance(attempt_id=name))
        await trio.testing.wait_all_tasks_blocked()
        woken: list[str] = []
        door.session.on_push(door.session.pushes, lambda: woken.append("door"))
        gone.session.on_push(gone.session.pushes, lambda: woken.append("gone"))

        del gone, each
        gc.collect()
        doors.hang_up()

        assert woken == ["door"]


async def test_after_the_end_of_the_system_calls_are_refused_and_closing_is_harmless() -> None:
    async with embedded.open(url="memory://") as system:
        door, late = system._doors.open(KEY), system._doors.open(KEY)
        await door.call(messages.RegisterInstance(attempt_id="a"))
    for each in (door, late):
        with pytest.raises(ActorStopped):
            await each.call(messages.GetStatus())
        each.close()


async def test_who_attaches_while_the_system_ends_is_woken_or_refused() -> None:
    class Ending:
        """The way to the actor of sessions, of a system that ends as soon as a message is on its way."""

        def tell_nowait(self, message: Any) -> None:
            doors.hang_up()

    async with embedded.open(url="memory://") as system:
        doors = system._doors
        doors._sessions = Ending()  # type: ignore[assignment]  # nothing else is asked of it
        session = Session(KEY)
        doors._attach(session)
        pushes = session.pushes

    assert pushes == 1

import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
import trio

from runtara.errors import ConfigError, InvalidInput, InvalidState, NotFound
from runtara.sdk import register_sdk, sdk, stop_heartbeat, try_sdk, use_sdk
from runtara.sdk._base import SdkBase, registered_sdk
from tests.sdk.faces import Face


class Named(SdkBase):
    """An SDK of which only the name matters."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def instance_id(self) -> str:
        return self.name


ONE, TWO, THREE = Named("one"), Named("two"), Named("three")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    registered_sdk.clear()


def on_thread(function: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_without_an_sdk_there_is_none() -> None:
    assert try_sdk() is None
    with pytest.raises(ConfigError, match="register_sdk"):
        sdk()


def test_the_registered_sdk_is_found_everywhere() -> None:
    register_sdk(ONE)
    register_sdk(ONE)  # harmless

    assert sdk() is try_sdk() is on_thread(sdk) is ONE


def test_a_second_sdk_is_refused_and_the_first_stays_registered() -> None:
    register_sdk(ONE)

    with pytest.raises(InvalidState, match="the SDK of instance one is registered already: close it first"):
        register_sdk(TWO)

    assert sdk() is ONE


@pytest.mark.parametrize("wrong", [None, "one", SdkBase])
def test_what_is_no_sdk_is_not_registered(wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="is no SDK"):
        register_sdk(wrong)

    assert try_sdk() is None


def test_an_sdk_that_is_closed_makes_room_for_another(any_face: Face) -> None:
    def who() -> str:
        return sdk().instance_id

    step = any_face.durable(who)

    async def conversation(system: Any) -> None:
        for name in ("one", "two"):
            mine = system.sdk(name)
            assert (await mine.init()).epoch == 1
            assert await step() == name
            mine.close()
            assert try_sdk() is None

    any_face.hold(conversation)


def test_an_init_that_is_refused_registers_nothing(face: Face) -> None:
    async def conversation(system: Any) -> None:
        first, second = system.sdk("one"), system.sdk("two")
        await first.init()
        with pytest.raises(InvalidState, match="instance one is registered already"):
            await second.init()

        assert not second.is_registered
        assert not (await system.status("two")).found
        first.close()
        with pytest.raises(NotFound):
            await second.init("no-such-checkpoint")
        assert try_sdk() is None

    face.hold(conversation)


def test_the_sdk_in_use_counts_more_than_the_registered_one_and_the_inner_one_most() -> None:
    register_sdk(ONE)

    with use_sdk(TWO):
        assert sdk() is TWO
        with use_sdk(THREE):
            assert sdk() is THREE
        assert sdk() is TWO
    assert sdk() is ONE


def test_an_sdk_is_in_use_on_its_own_thread_only_or_where_the_context_is_taken_along() -> None:
    with use_sdk(ONE):
        assert on_thread(try_sdk) is None
        taken = copy_context()
        assert on_thread(lambda: taken.run(sdk)) is ONE


def test_an_sdk_that_was_entered_is_in_use_until_it_is_left(face: Face) -> None:
    def who() -> str:
        return sdk().instance_id

    step = face.durable(who)

    async def conversation(system: Any) -> None:
        async with system.sdk("outer"):
            async with system.sdk("inner"):
                assert await step() == "inner"
            assert await step() == "outer"
        assert try_sdk() is None

    face.hold(conversation)


def test_an_sdk_that_could_not_be_entered_is_not_in_use(face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as mine:
            await mine.completed()
        with pytest.raises(InvalidState):
            async with system.sdk("i"):
                raise AssertionError("never begins")
        assert try_sdk() is None

    face.hold(conversation)


async def test_every_task_uses_its_own_and_passes_it_on_to_those_that_it_starts() -> None:
    found: dict[Any, Any] = {}

    async def task(mine: Any) -> None:
        with use_sdk(mine):
            await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, mine)
            assert sdk() is mine

    async def child(mine: Any) -> None:
        await trio.lowlevel.checkpoint()
        found[mine] = sdk()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, ONE)
        nursery.start_soon(task, TWO)

    assert found == {ONE: ONE, TWO: TWO}
    assert try_sdk() is None


def test_heartbeats_are_stopped_of_the_one_in_use() -> None:
    class Beating(Named):
        stopped = 0

        def stop_heartbeat(self) -> None:
            self.stopped += 1

    used, registered = Beating("used"), Beating("registered")
    stop_heartbeat()  # nobody's: harmless

    register_sdk(registered)
    with use_sdk(used):
        stop_heartbeat()
    stop_heartbeat()

    assert (used.stopped, registered.stopped) == (1, 1)


def test_heartbeats_of_a_program_in_the_same_process_go_on(face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as mine:
            with face.use(mine):
                stop_heartbeat()
            assert not (await mine.checkpoint("a", b"")).found

    face.hold(conversation)

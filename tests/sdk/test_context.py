import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
import trio

from runtara.errors import ConfigError, InvalidState
from runtara.sdk import context, register_sdk, sdk, try_sdk, use_sdk
from tests.sdk.faces import Face

ONE: Any = "one"
TWO: Any = "two"
THREE: Any = "three"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    context._registered.clear()


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


def test_the_registered_sdk_is_found_everywhere_and_the_last_one_counts() -> None:
    register_sdk(ONE)
    register_sdk(TWO)

    assert sdk() is try_sdk() is on_thread(sdk) is TWO


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
    found: dict[str, Any] = {}

    async def task(mine: Any) -> None:
        with use_sdk(mine):
            await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, mine)
            assert sdk() is mine

    async def child(name: str) -> None:
        await trio.lowlevel.checkpoint()
        found[name] = sdk()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, ONE)
        nursery.start_soon(task, TWO)

    assert found == {"one": ONE, "two": TWO}
    assert try_sdk() is None

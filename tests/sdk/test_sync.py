"""The two faces are twins; what the blocking one does is held by the conversations in test_aio."""

import inspect
import threading
from typing import Any

import pytest

from runtara.sdk import AsyncRuntaraSdk, InstanceCancelled, RuntaraSdk, SignalType, embedded
from runtara.sdk.embedded import AsyncEmbedded, Embedded
from tests.sdk.faces import when_it_waits

TWINS = [(RuntaraSdk, AsyncRuntaraSdk), (Embedded, AsyncEmbedded)]
ALWAYS_PLAIN = {
    "close",
    "stop_heartbeat",
    "embedded",
    "now_ms",
    "open_door",
    "open_beside",
    "hand_in",
    "sdk",
    "tree",
    "in_face",
    "look_for_signals",
    "pause",
    "program",
    "each",
}
"""What answers at once with either face."""


def published(face: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(face, inspect.isfunction) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "awaited"), TWINS, ids=["sdk", "system"])
def test_both_faces_have_the_same_calls(blocking: type, awaited: type) -> None:
    assert published(blocking).keys() == published(awaited).keys()


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        pytest.param(published(one)[name], published(two)[name], id=f"{one.__name__}.{name}")
        for one, two in TWINS
        for name in published(one)
    ],
)
def test_a_call_of_both_faces_is_the_same_call(blocking: Any, awaited: Any) -> None:
    ours, theirs = inspect.signature(blocking), inspect.signature(awaited)

    assert list(map(str, ours.parameters.values())) == list(map(str, theirs.parameters.values()))
    assert inspect.getdoc(blocking), "a call promises something"
    if blocking.__name__ != "embedded":  # closing is another thing where it has to be awaited
        assert inspect.getdoc(blocking) == str(inspect.getdoc(awaited)).replace("async with", "with")
    assert not inspect.iscoroutinefunction(blocking)
    assert inspect.iscoroutinefunction(awaited) is (blocking.__name__ not in ALWAYS_PLAIN)


def test_a_call_blocks_its_own_thread_and_no_other() -> None:
    with embedded.open(url="memory://") as system, system.sdk("sleeper") as sleeper, system.sdk("other") as other:
        asleep = threading.Event()
        when_it_waits(sleeper, asleep.set)

        def sleep() -> None:
            with pytest.raises(InstanceCancelled):
                sleeper.sleep(600, "nap")

        thread = threading.Thread(target=sleep)
        thread.start()
        assert asleep.wait(100)

        other.checkpoint("a", b"A")
        system.signal("sleeper", SignalType.CANCEL)
        thread.join(100)

        assert not thread.is_alive()


def test_one_sdk_may_be_used_by_several_threads() -> None:
    with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        found: list[bool] = []
        threads = [
            threading.Thread(target=lambda: found.extend(sdk.checkpoint(f"c{n}", b"").found for n in range(50)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert found.count(False) == 50  # each was saved once, by whoever came first
        assert sdk.get_status().checkpoint_count == 50


async def test_a_blocking_call_on_the_systems_own_loop_is_refused_rather_than_stuck() -> None:
    async with embedded.open(url="memory://") as system:
        blocking = Embedded(system._doors, {})
        with pytest.raises(RuntimeError, match="use await"):
            blocking.status("i")

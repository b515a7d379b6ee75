"""Calls of programs in this process are counted like those of other doors."""

import threading
from typing import Any

import pytest
import trio

from runtara.errors import Busy
from runtara.messages import GetStatus
from runtara.metrics import Metrics
from runtara.sdk import embedded
from runtara.transport.calls import Calls
from runtara.transport.counted import CountedLine


class Line:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.outcome: Any = "reply"

    async def call(self, command: Any, epoch: int | None = None, *, timeout: float | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        return self.call_from_thread(command, epoch, timeout=timeout)

    def call_from_thread(self, _: Any, epoch: int | None = None, *, timeout: float | None = None) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome, epoch, timeout

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int | None) -> bool:
        return (checkpoint_id, state, epoch) == ("a", b"1", 3)

    def is_left_alone(self, epoch: int | None) -> bool:
        return epoch == 3


class Scene:
    """A line that is counted."""

    def __init__(self) -> None:
        self.metrics, self.inner = Metrics(), Line()
        self.line = CountedLine(self.inner, Calls(self.metrics))

    @property
    def counted(self) -> dict[tuple[str, ...], int]:
        return self.metrics.counts("runtara_door_calls_total").values


async def test_a_call_is_counted_with_what_came_of_it_and_handed_on() -> None:
    scene = Scene()

    found: list[Any] = [await scene.line.call(GetStatus(), 3, timeout=4), scene.line.call_from_thread(GetStatus(), 5)]
    for scene.inner.outcome in (Busy("later"), ZeroDivisionError()):
        with pytest.raises(type(scene.inner.outcome)):
            await scene.line.call(GetStatus())

    assert found == [("reply", 3, 4), ("reply", 5, None)]
    assert scene.counted == {("embedded", "ok"): 2, ("embedded", "busy"): 1, ("embedded", "internal"): 1}
    assert sum(scene.metrics.tallies("runtara_door_call_seconds").of("embedded").counts) == 4


def test_none_is_lost_where_many_threads_call_at_once() -> None:
    scene = Scene()

    def work() -> None:
        for _ in range(2_000):
            scene.line.call_from_thread(GetStatus())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert scene.counted == {("embedded", "ok"): 8_000}


async def test_a_system_counts_the_calls_of_its_programs() -> None:
    async with embedded.open(url="memory://") as system:
        async with system.sdk("one") as sdk:
            await sdk.checkpoint("a", b"A")
        page = (await system.runtime.gauges.render()).decode()

    (line,) = [
        one for one in page.splitlines() if one.startswith('runtara_door_calls_total{code="ok",door="embedded"}')
    ]
    assert float(line.split()[-1]) >= 2


def test_what_is_handed_in_is_no_call() -> None:
    scene = Scene()

    assert scene.line.hand_in("a", b"1", 3)
    assert (scene.line.is_left_alone(3), scene.line.is_left_alone(None)) == (True, False)
    assert scene.counted == {}

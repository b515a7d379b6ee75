import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from runtara.ids import InstanceKey
from runtara.sdk._drive import drive, drive_blocking, perform, perform_blocking
from runtara.sdk._flows import AwaitPush, Flow
from runtara.transport import EmbeddedDoor, Session

Drive = Callable[[Flow[Any], Callable[[Any], Any]], Any]


def _drive_async(flow: Flow[Any], do: Callable[[Any], Any]) -> Any:
    async def main() -> Any:
        async def perform(wish: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return do(wish)

        return await drive(flow, perform)

    return trio.run(main)


@pytest.fixture(params=[drive_blocking, _drive_async], ids=["blocking", "async"])
def driven(request: pytest.FixtureRequest) -> Drive:
    found: Drive = request.param
    return found


def test_a_flow_is_sent_what_came_of_each_of_its_wishes(driven: Drive) -> None:
    def flow() -> Flow[list[int]]:
        return [(yield 1), (yield 2)]

    assert driven(flow(), lambda wish: wish * 10) == [10, 20]


def test_a_flow_without_wishes_just_returns(driven: Drive) -> None:
    def flow() -> Flow[str]:
        yield from ()
        return "done"

    assert driven(flow(), lambda _: None) == "done"


def test_an_error_is_thrown_into_the_flow_which_may_go_on(driven: Drive) -> None:
    def flow() -> Flow[str]:
        try:
            yield "fail"
        except LookupError:
            return f"after {(yield 'succeed')}"
        return "never"

    def do(wish: str) -> str:
        if wish == "fail":
            raise LookupError
        return wish

    assert driven(flow(), do) == "after succeed"


def test_an_error_that_the_flow_does_not_catch_is_raised(driven: Drive) -> None:
    def flow() -> Flow[None]:
        yield "fail"

    def do(_: str) -> None:
        raise LookupError("why")

    with pytest.raises(LookupError, match="why"):
        driven(flow(), do)


def test_an_error_that_ends_iterations_elsewhere_does_not_end_a_flow(driven: Drive) -> None:
    def flow() -> Flow[str]:
        try:
            yield "fail"
        except (StopIteration, RuntimeError):  # a coroutine turns it into the latter by itself
            return "caught"
        return "never"

    def do(_: str) -> None:
        raise StopIteration("not a result")

    assert driven(flow(), do) == "caught"


def test_a_flow_that_is_interrupted_is_closed(driven: Drive) -> None:
    closed: list[bool] = []

    def flow() -> Flow[None]:
        try:
            yield "fail"
        finally:
            closed.append(True)

    def do(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupted:
        driven(flow(), do)

    assert closed == [True]
    del interrupted


async def test_a_flow_whose_task_is_cancelled_is_closed() -> None:
    closed: list[bool] = []

    def flow() -> Flow[None]:
        try:
            yield "wait"
        finally:
            closed.append(True)

    async def forever(_: str) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(0) as scope:
        await drive(flow(), forever)

    assert scope.cancelled_caught
    assert closed == [True]


class _Line:
    async def call(self, command: Any, epoch: int | None = None, *, timeout: float | None = None) -> Any:
        return command, epoch

    def call_from_thread(self, command: Any, epoch: int | None = None, *, timeout: float | None = None) -> Any:
        return command, epoch

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int | None) -> bool:
        return False

    def is_left_alone(self, epoch: int | None) -> bool:
        return False


def door() -> EmbeddedDoor:
    session = Session(InstanceKey("t", "i"))
    session.epoch = 3
    return EmbeddedDoor(session, lambda _: _Line())


async def test_a_command_goes_through_the_door() -> None:
    assert await perform(door(), "command") == ("command", 3)
    assert perform_blocking(door(), "command") == ("command", 3)


def test_a_push_ends_a_wait_from_any_thread() -> None:
    mine = door()

    def push() -> None:
        threading.Thread(target=mine.session.pushed, args=(None,)).start()

    def waits_again() -> AwaitPush:
        return AwaitPush(600, mine.session.pushes)

    on_push = mine.session.on_push

    def hook(since: int, wake: Callable[[], None]) -> None:
        on_push(since, wake)
        push()

    mine.session.on_push = hook  # type: ignore[method-assign]

    assert perform_blocking(mine, waits_again()) < 60
    assert trio.run(perform, mine, waits_again()) < 60


def test_a_push_that_came_before_the_wait_ends_it_at_once() -> None:
    mine = door()
    mine.session.pushed(None)

    assert perform_blocking(mine, AwaitPush(600, 0)) < 60
    assert trio.run(perform, mine, AwaitPush(600, 0)) < 60


async def test_a_wait_without_a_push_takes_its_time_and_leaves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    mine = door()

    assert await perform(mine, AwaitPush(100, 0)) == pytest.approx(100)
    assert perform_blocking(mine, AwaitPush(0.01, 0)) >= 0.01
    assert mine.session._waiters == []


def test_a_wait_that_is_interrupted_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = door()

    class Interrupted:
        def acquire(self, timeout: float | None = None) -> None:
            if timeout is not None:
                raise KeyboardInterrupt

        def release(self) -> None:
            raise AssertionError("never pushed")

    monkeypatch.setattr(threading, "Lock", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        perform_blocking(mine, AwaitPush(600, 0))

    assert mine.session._waiters == []

"""What takes more than one command: the waits, and the starts of many."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.errors import DeadlineExceeded, Unreachable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import GetStatus, InstanceInfo, ManyStarted, StartInstance, StartMany
from runtara.sdk._drive import drive
from runtara.sdk._flows import RECHECK
from runtara.sdk._wishes import perform
from runtara.sdk.management import _flows as flows
from runtara.transport import Session


def info(status: Status) -> InstanceInfo:
    return InstanceInfo(tenant_id="t", instance_id="i", status=status, epoch=1, created_at=0)


class Door:
    """A door that answers as it is told, and notes what it is asked, within which time."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.session = Session(InstanceKey("t", "i"))
        self.asked: list[tuple[float, Any, float | None]] = []
        self.closed = 0
        self._answer = answer

    async def call(self, command: Any, *, timeout: float | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append((trio.current_time(), command, timeout))
        return self._answer(command)

    def close(self) -> None:
        self.closed += 1


async def test_nothing_is_asked_while_nothing_happens(autojump_clock: MockClock) -> None:
    door: Any = Door(lambda _: info(Status.SUSPENDED))

    with pytest.raises(DeadlineExceeded, match="it is suspended"):
        await drive(flows.wait_until_ended(door, 150), perform)

    assert [at for at, _, _ in door.asked] == [0, RECHECK, 2 * RECHECK, 150]
    assert [timeout for _, _, timeout in door.asked] == [flows.PATIENCE] * 3 + [flows.BRIEF]
    assert door.closed == 1


async def test_a_push_is_looked_at_at_once(autojump_clock: MockClock) -> None:
    states = [Status.RUNNING, Status.RUNNING, Status.COMPLETED]
    door: Any = Door(lambda _: info(states.pop(0)))

    async def push() -> None:
        for _ in range(2):
            await trio.sleep(5)
            door.session.pushed(None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(push)
        found = await drive(flows.wait_until_ended(door, None), perform)

    assert (found.status, [at for at, _, _ in door.asked]) == (Status.COMPLETED, [0, 5, 10])


async def test_what_was_pushed_between_look_and_wait_is_not_missed(autojump_clock: MockClock) -> None:
    states = [Status.RUNNING, Status.COMPLETED]

    def answer(_: Any) -> InstanceInfo:
        if len(states) == 2:
            door.session.pushed(None)
        return info(states.pop(0))

    door: Any = Door(answer)
    await drive(flows.wait_until_ended(door, None), perform)

    assert trio.current_time() == 0


async def test_a_door_is_closed_however_a_wait_ends(autojump_clock: MockClock) -> None:
    def refuse(_: Any) -> None:
        raise Unreachable("nobody is there")

    refusing: Any = Door(refuse)
    with pytest.raises(Unreachable):
        await drive(flows.wait_until_ended(refusing, None), perform)
    waiting: Any = Door(lambda _: info(Status.RUNNING))
    with trio.move_on_after(1):
        await drive(flows.wait_until_ended(waiting, None), perform)

    assert (refusing.closed, waiting.closed) == (1, 1)


async def test_starts_go_with_as_few_commands_as_fit(autojump_clock: MockClock) -> None:
    door: Any = Door(lambda _: ManyStarted(outcomes=()))
    small = {f"s-{number}": StartInstance(program="p") for number in range(2_001)}
    large = {f"l-{number}": StartInstance(program="p", input=bytes(flows.PART_BYTES // 3)) for number in range(5)}
    huge = {"h": StartInstance(program="p", input=bytes(flows.PART_BYTES * 2))}

    for starts in (small, large, small | huge, {}):
        await drive(flows.start_many(door, starts), perform)

    commands = [command for _, command, _ in door.asked]
    assert all(isinstance(command, StartMany) for command in commands)
    assert [len(command.starts) for command in commands] == [1000, 1000, 1, 3, 2, 1000, 1000, 1, 1]


@pytest.mark.parametrize(
    ("before", "after"), [("a", "a.r1"), ("a.r1", "a.r2"), ("a.r9", "a.r10"), ("a.r0", "a.r0.r1"), ("r1", "r1.r1")]
)
def test_retries_are_numbered(before: str, after: str) -> None:
    assert flows.id_of_retry(before) == after


async def test_a_log_that_is_followed_is_asked_for_in_good_time(autojump_clock: MockClock) -> None:
    door: Any = Door(lambda command: info(Status.RUNNING) if isinstance(command, GetStatus) else 1 / 0)

    with pytest.raises(ZeroDivisionError):
        await drive(flows.follow_log(door, "stdout", 0), perform)

    _, question, timeout = door.asked[1]
    assert timeout is not None
    assert timeout * 1000 > question.wait_ms > 0

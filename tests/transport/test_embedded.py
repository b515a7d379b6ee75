from collections.abc import Callable
from typing import Any

import pytest

from runtara.errors import Fenced, MailboxFull
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Acknowledged, GetStatus, Heartbeat, InstanceRegistered, RegisterInstance
from runtara.transport import EmbeddedDoor, Session


class Line:
    """A way to an instance that answers from a table and remembers what was said."""

    def __init__(self, key: InstanceKey) -> None:
        self.key = key
        self.said: list[tuple[object, int | None, float | None]] = []
        self.replies: dict[type, Any] = {
            RegisterInstance: InstanceRegistered(epoch=7, resumed=False),
            Heartbeat: Acknowledged(Status.RUNNING),
        }

    async def call(self, command: Any, epoch: int | None = None, *, timeout: float | None = None) -> Any:
        return self.call_from_thread(command, epoch, timeout=timeout)

    def call_from_thread(self, command: Any, epoch: int | None = None, *, timeout: float | None = None) -> Any:
        self.said.append((command, epoch, timeout))
        reply = self.replies[type(command)]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def hand_in(self, checkpoint_id: str, state: bytes, epoch: int | None) -> bool:
        return False

    def is_left_alone(self, epoch: int | None) -> bool:
        return False


class Hall:
    """Opens doors, and notes who is attached."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.attached: list[Session] = []
        self.refusal: Exception | None = None

    def line(self, key: InstanceKey) -> Line:
        self.lines.append(Line(key))
        return self.lines[-1]

    def attach(self, session: Session) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.attached.append(session)

    def door(self) -> EmbeddedDoor:
        return EmbeddedDoor(Session(InstanceKey("t", "i")), self.line, self.attach, self.attached.remove)


@pytest.fixture(params=["call", "call_from_thread"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    async def awaited(door: EmbeddedDoor, command: Any, **options: Any) -> Any:
        return await door.call(command, **options)

    async def blocking(door: EmbeddedDoor, command: Any, **options: Any) -> Any:
        return door.call_from_thread(command, **options)

    return awaited if request.param == "call" else blocking


async def test_what_a_reply_says_about_the_session_goes_with_the_next_call(call: Callable[..., Any]) -> None:
    hall = Hall()
    door = hall.door()

    await call(door, RegisterInstance(attempt_id="a"))
    await call(door, Heartbeat(), timeout=3)

    assert hall.lines[0].said == [(RegisterInstance(attempt_id="a"), None, None), (Heartbeat(), 7, 3)]
    assert (door.session.epoch, door.session.status) == (7, Status.RUNNING)


async def test_a_door_is_attached_from_its_first_call_until_it_is_closed(call: Callable[..., Any]) -> None:
    hall = Hall()
    door = hall.door()
    assert hall.attached == []

    await call(door, Heartbeat())
    await call(door, Heartbeat())
    assert hall.attached == [door.session]

    door.close()
    door.close()
    assert hall.attached == []
    await call(door, Heartbeat())
    assert hall.attached == [door.session]


async def test_a_door_that_could_not_be_attached_tries_again_with_the_next_call(call: Callable[..., Any]) -> None:
    hall = Hall()
    door = hall.door()
    hall.refusal = MailboxFull("try again")
    with pytest.raises(MailboxFull):
        await call(door, Heartbeat())
    assert hall.lines[0].said == []

    hall.refusal = None
    await call(door, Heartbeat())

    assert hall.attached == [door.session]


async def test_a_refusal_reaches_the_caller_as_it_is(call: Callable[..., Any]) -> None:
    hall = Hall()
    door = hall.door()
    hall.lines[0].replies[Heartbeat] = refusal = Fenced("stop")

    with pytest.raises(Fenced) as refused:
        await call(door, Heartbeat())

    assert refused.value is refusal


async def test_beside_a_door_another_instance_of_the_tenant_is_managed(call: Callable[..., Any]) -> None:
    hall = Hall()
    door = hall.door()
    await call(door, RegisterInstance(attempt_id="a"))

    other = door.beside("other")
    hall.lines[1].replies[GetStatus] = "status"

    assert await call(other, GetStatus()) == "status"
    assert hall.lines[1].key == ("t", "other")
    assert hall.lines[1].said == [(GetStatus(), None, None)]  # no attempt speaks
    assert hall.attached == [door.session]
    other.close()


async def test_whoever_watches_another_instance_is_attached_from_the_first_call_until_it_is_closed(
    call: Callable[..., Any],
) -> None:
    hall = Hall()
    watching = hall.door().beside("other", watch=True)
    assert hall.attached == []

    await call(watching, Heartbeat())
    assert hall.attached == [watching.session]

    watching.close()
    assert hall.attached == []


async def test_a_door_in_the_same_process_is_always_connected() -> None:
    hall = Hall()
    door = hall.door()

    await door.connect()
    door.connect_from_thread()
    door.stop_heartbeat()

    assert door.is_connected
    assert hall.attached == []

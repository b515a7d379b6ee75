"""Waiting for an instance."""

import threading

import pytest
import trio
from trio.testing import MockClock

from runtara.cli._follow import BREATH, ENDS, ask_patiently, conclude, wait_for_end, wait_for_push
from runtara.errors import Draining, InstanceNotFound, RuntaraError
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.messages import GetStatus, InstanceInfo
from runtara.transport import Session
from tests.cli.terminal import Terminal


def info(status: Status, **fields: object) -> InstanceInfo:
    return InstanceInfo(tenant_id="t", instance_id="i", status=status, epoch=1, created_at=0, **fields)  # type: ignore[arg-type]  # its fields


class Recovering:
    """A door to a server that refuses a few times, and then answers."""

    def __init__(self, *refusals: RuntaraError) -> None:
        self.refusals = list(refusals)

    async def call(self, _: object, *, timeout: float | None = None) -> InstanceInfo:
        await trio.lowlevel.checkpoint()
        if self.refusals:
            raise self.refusals.pop(0)
        return info(Status.COMPLETED)


def test_the_end_is_seen_wherever_it_is_set_off(terminal: Terminal) -> None:
    terminal.system.start("/programs/wait.py", "i")
    door = terminal.system.open_door("cli", "default").beside("i", watch=True)
    threading.Timer(0, terminal.system.custom_signal, ("i", "word", b"go")).start()

    found = trio.run(wait_for_end, door)

    door.close()
    assert (found.status, found.output) == (Status.COMPLETED, b"go")


async def test_a_server_that_is_away_is_waited_for(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    door = Recovering(Draining("it goes down"), Draining("it goes down"))

    found = await ask_patiently(door, GetStatus())  # type: ignore[arg-type]  # all that is used of a door

    assert found.status is Status.COMPLETED
    assert trio.current_time() == pytest.approx(2 * BREATH)
    assert capsys.readouterr().err == "runtara: it goes down [draining]; still waiting\n"


async def test_what_will_always_be_refused_is_not_asked_again() -> None:
    with pytest.raises(InstanceNotFound):
        await ask_patiently(Recovering(InstanceNotFound("no")), GetStatus())  # type: ignore[arg-type]  # likewise


async def test_a_push_from_another_thread_ends_the_wait() -> None:
    session = Session(InstanceKey("t", "i"))

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_push, session, session.pushes)
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(session.pushed, None)


async def test_a_push_that_came_before_is_not_waited_for_again(autojump_clock: MockClock) -> None:
    session = Session(InstanceKey("t", "i"))
    since = session.pushes
    session.pushed(None)

    await wait_for_push(session, since)

    assert trio.current_time() == 0


async def test_a_wait_without_a_push_ends_by_itself_and_leaves_nothing(autojump_clock: MockClock) -> None:
    session = Session(InstanceKey("t", "i"))

    await wait_for_push(session, session.pushes, 5)

    assert trio.current_time() == 5
    assert session._waiters == []


def test_every_end_has_its_exit_code() -> None:
    assert set(ENDS) == FINAL
    assert len(set(ENDS.values())) == len(ENDS)


@pytest.mark.parametrize(
    ("output", "printed"), [(None, b""), (b"", b""), (b"a", b"a\n"), (b"a\n", b"a\n"), (b"\xff\x00", b"\xff\x00\n")]
)
def test_an_output_is_printed_as_it_is(
    output: bytes | None, printed: bytes, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with pytest.raises(SystemExit, check=lambda end: end.code == 0):
        conclude(info(Status.COMPLETED, output=output), as_json=False)

    assert capsysbinary.readouterr().out == printed


def test_another_end_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    failed = info(Status.FAILED, termination_reason=TerminationReason.TIMEOUT, error="too slow\x1b")

    with pytest.raises(SystemExit, check=lambda end: end.code == 1):
        conclude(failed, as_json=False)

    assert capsys.readouterr().err == "runtara: instance i is failed (timeout): too slow\\x1b\n"

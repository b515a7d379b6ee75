"""Checks that need no kill: each breaks the system off between two calls, opens it again on the same store, and holds
one promise. They run with a clock that stands still, and fail with `AssertionError` where the promise is broken.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from runtara.actors.instance import Launch, Limits
from runtara.clock import ManualClock
from runtara.errors import Fenced, RuntaraError
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    Acknowledged,
    Call,
    CompleteInstance,
    CrashInstance,
    RegisterInstance,
    SaveCheckpoint,
    SleepStarted,
    TakeSignal,
    WakeInstance,
)
from runtara.messages import Sleep as SleepCommand
from runtara.sdk import InstanceStatus, RuntaraSdk, embedded
from runtara.sdk._base import TENANT
from runtara.sdk._flows import Parked
from runtara.sdk._programs import AnyProgram
from runtara.system import INSTANCES
from tests.actors.world import managed

__all__ = ["CHECKS", "Check"]

Check = Callable[[Path], None]

CHECKS: dict[str, Check] = {}
"""Name to check; each is given an empty folder."""

CLOCK = ManualClock()

LIMIT_S = 100.0
"""What is not there by then is missing. The bugs on purpose are given less."""


def _check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


@contextmanager
def _open(folder: Path, clock: ManualClock = CLOCK, **programs: AnyProgram) -> Iterator[embedded.Embedded]:
    with embedded.open(str(folder), clock=clock, programs=programs, clock_check_ms=5) as system:
        yield system


@_check
def checkpoint_is_kept(folder: Path) -> None:
    with _open(folder) as system, system.sdk("one") as sdk:
        sdk.checkpoint("step", b"first")
        assert sdk.checkpoint("step", b"second").existing_state == b"first"
    with _open(folder) as system, system.sdk("one") as sdk:
        assert sdk.checkpoint("step", b"third").existing_state == b"first"


@_check
def deadline_is_kept(folder: Path) -> None:
    clock = ManualClock()
    command = SleepCommand(checkpoint_id="nap", duration_ms=10_000)
    with _open(folder, clock) as system, system.sdk("one") as sdk:
        begun: SleepStarted = sdk.perform(command)
    clock.jump_ms(4_000)
    with _open(folder, clock) as system, system.sdk("one") as sdk:
        again: SleepStarted = sdk.perform(command)
    assert (again.wake_at, again.remaining_ms) == (begun.wake_at, 6_000)


@_check
def signal_is_bound(folder: Path) -> None:
    command = TakeSignal(name="go", place="here")
    with _open(folder) as system, system.sdk("one") as sdk:
        system.custom_signal("one", "go", b"1")
        system.custom_signal("one", "go", b"2")
        assert sdk.perform(command).signal.payload == b"1"
    with _open(folder) as system, system.sdk("one") as sdk:
        replayed = sdk.perform(command).signal
    assert replayed is not None
    assert replayed.payload == b"1"


@_check
def older_attempt_is_fenced(folder: Path) -> None:
    with _open(folder) as system, system.sdk("one") as older, system.sdk("one") as newer:
        assert newer.epoch == 2
        try:
            older.checkpoint("step", b"of the older one")
        except Fenced:
            pass
        else:
            pytest.fail("the older attempt was not fenced")
        assert newer.get_checkpoint("step") is None


@_check
def wake_happens_once(folder: Path) -> None:
    launches: list[int | None] = []

    def program(sdk: RuntaraSdk) -> None:
        launches.append(sdk.epoch)
        sdk.wait_for_signal("go")

    with _open(folder, wait=program) as system:
        system.start("wait", "one")
        cell = system.runtime.system.cell(INSTANCES, InstanceKey(TENANT, "one"))
        wake = Call(InstanceKey(TENANT, "one"), WakeInstance(due_at=CLOCK.now_ms()))
        for _ in range(3):
            assert cell.ask_from_thread(wake).status is InstanceStatus.RUNNING
        system.custom_signal("one", "go")
        system.wait("one", timeout=LIMIT_S)
    assert launches == [1]


@_check
def end_is_final(folder: Path) -> None:
    with _open(folder) as system, system.sdk("one") as sdk:
        sdk.completed(b"first")
        try:
            answer = sdk.perform(CompleteInstance(output=b"second"))
        except RuntaraError as error:
            pytest.fail(f"a completion sent again was refused: {error}")
        status = system.status("one").status
        assert status is not None
        assert answer == Acknowledged(status)
    with _open(folder) as system:
        assert system.status("one").output == b"first"


@_check
def resend_is_answered_alike(folder: Path) -> None:
    command = SaveCheckpoint(checkpoint_id="step", state=b"state", request=1)
    with _open(folder) as system, system.sdk("one") as sdk:
        told = sdk._door.call_from_thread(command)  # the SDK itself would give it another number
        assert sdk._door.call_from_thread(command) == told
        assert sdk.checkpoint("step", b"state").found, "what is no resend finds it"


@_check
def parked_sleep_ends(folder: Path) -> None:
    clock, launches = ManualClock(), SimpleQueue[int | None]()

    def program(sdk: RuntaraSdk) -> None:
        parked = sdk.perform(SleepCommand(checkpoint_id="nap", duration_ms=10_000, park=True)).parked
        launches.put(sdk.epoch)
        if parked:
            raise Parked

    with _open(folder, clock, nap=program) as system:
        system.start("nap", "one")
        assert launches.get(timeout=LIMIT_S) == 1
        clock.jump_ms(10_000)
        assert launches.get(timeout=LIMIT_S) == 2
        assert system.wait("one", LIMIT_S).status is InstanceStatus.COMPLETED


@_check
def progress_restores_the_budget(_folder: Path) -> None:
    world = managed(Limits(max_auto_restarts=1))
    for number in range(3):
        world.tell(SaveCheckpoint(checkpoint_id=f"step-{number}", state=b""))
        world.ask(CrashInstance(epoch=world.row.epoch, error="killed", exit_code=-9))
        assert world.row.status is Status.SUSPENDED, world.row.error
        world.wake()
        world.tell(RegisterInstance(attempt_id=f"again-{number}"))


@_check
def timeout_covers_all_attempts(_folder: Path) -> None:
    world = managed(timeout_ms=10_000)
    world.now += 6_000
    world.tell(SaveCheckpoint(checkpoint_id="step", state=b""))
    world.ask(CrashInstance(epoch=world.row.epoch, error="killed", exit_code=-9))
    world.now += 60_000
    world.wake()
    assert [effect.timeout_at for effect in world.effects if isinstance(effect, Launch)] == [world.now + 4_000]

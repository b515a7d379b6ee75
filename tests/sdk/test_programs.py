"""Functions as programs: how they end, how they rest, and how they go on after everything has died."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.errors import (
    Fenced,
    InstanceCancelled,
    InstancePaused,
    InvalidState,
    StoreUnavailable,
)
from runtara.lifecycle import TerminationReason
from runtara.messages import GetStatus, InstanceInfo
from runtara.sdk import (
    AsyncRuntaraSdk,
    InstanceStatus,
    RuntaraSdk,
    SignalType,
    StatusResponse,
    durable,
    embedded,
    register_sdk,
    sdk,
)
from runtara.sdk._drive import perform
from runtara.sdk._flows import AwaitPush
from runtara.sdk._programs import AnyProgram, ProgramHost
from tests.actors.stage import TrioClock
from tests.house.source import ROOT
from tests.sdk.faces import Face

SECONDS = 100
"""How long a test waits for what comes at once."""

HOUR = 3_600


def ended(face: Face, program: Any, input: bytes | None = None) -> StatusResponse:
    """Run a program to its end."""

    async def conversation(system: Any) -> StatusResponse:
        await system.start("program", "i", input)
        status: StatusResponse = await system.wait("i", SECONDS)
        return status

    found: StatusResponse = face.hold(conversation, programs={"program": program})
    return found


def both(body: Any) -> list[Any]:
    """Return a program of each kind that does the same."""

    def blocking(sdk: RuntaraSdk) -> Any:
        return body(sdk)

    async def awaited(sdk: AsyncRuntaraSdk) -> Any:
        return body(sdk)

    return [blocking, awaited]


def raising(error: BaseException) -> Any:
    def body(_: Any) -> None:
        raise error

    return body


# Ends ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "stored"),
    [(None, b""), (b"bytes", b"bytes"), ({"a": [1, None]}, b'{"a":[1,null]}'), ("text", b'"text"'), (0, b"0")],
)
def test_what_a_program_returns_is_its_output(face: Face, output: Any, stored: bytes) -> None:
    for program in both(lambda _: output):
        status = ended(face, program)
        assert (status.status, status.output, status.error) == (InstanceStatus.COMPLETED, stored, None)


def test_a_program_finds_its_input_and_its_sdk_in_use() -> None:
    def blocking(mine: RuntaraSdk) -> bytes:
        assert sdk() is mine
        return b"from " + (mine.load_input() or b"")

    async def awaited(mine: AsyncRuntaraSdk) -> bytes:
        assert sdk() is mine
        return b"from " + (await mine.load_input() or b"")

    with embedded.open(url="memory://", programs={"blocking": blocking, "awaited": awaited}) as system:
        for program in ("blocking", "awaited"):
            instance_id = system.start(program, input=b"input")
            assert system.wait(instance_id, SECONDS).output == b"from input"


def test_objects_that_can_be_called_are_programs_too() -> None:
    class Blocking:
        def __call__(self, sdk: RuntaraSdk) -> str:
            return sdk.instance_id

    class Waiting:
        async def __call__(self, sdk: AsyncRuntaraSdk) -> str:
            await trio.lowlevel.checkpoint()
            return sdk.instance_id

    async def greet(greeting: str, sdk: AsyncRuntaraSdk) -> str:
        return greeting + sdk.instance_id

    programs: dict[str, AnyProgram] = {"a": Blocking(), "b": Waiting(), "c": partial(greet, "hello ")}
    with embedded.open(url="memory://", programs=programs) as system:
        found = [system.wait(system.start(name, f"i-{name}"), SECONDS).output for name in programs]

    assert found == [b'"i-a"', b'"i-b"', b'"hello i-c"']


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LookupError("out of stock"), "LookupError: out of stock"),
        (InvalidState("refused"), "InvalidState: refused"),
        (InstanceCancelled("of its own accord"), "InstanceCancelled: of its own accord"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit("odd"), "GeneratorExit: odd"),
        (ValueError("\ud800"), "ValueError: \\ud800"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 4084),
        (ExceptionGroup("several", [ExceptionGroup("one", [ValueError("the cause")])]), "ValueError: the cause"),
    ],
    ids=lambda value: str(value)[:20].encode(errors="replace").decode(),
)
def test_what_a_program_raises_is_its_failure(error: BaseException, text: str) -> None:
    for program in both(raising(error)):
        status = ended(Face("sync"), program)
        assert (status.status, status.error) == (InstanceStatus.FAILED, text)


def test_an_output_that_cannot_be_stored_is_a_failure() -> None:
    for program in both(lambda _: object()):
        assert "TypeError" in str(ended(Face("sync"), program).error)
    with embedded.open(url="memory://", programs={"p": lambda _: b"123456789"}, state_max_bytes=8) as system:
        assert "TooLarge" in str(system.wait(system.start("p"), SECONDS).error)


def test_a_program_may_report_its_own_end() -> None:
    def completes(sdk: RuntaraSdk) -> str:
        sdk.completed(b"mine")
        return "ignored"

    def fails(sdk: RuntaraSdk) -> None:
        sdk.failed("mine")

    def fails_after(sdk: RuntaraSdk) -> None:
        sdk.completed(b"mine")
        raise LookupError("too late")

    with embedded.open(url="memory://", programs={"a": completes, "b": fails, "c": fails_after}) as system:
        assert system.wait(system.start("a"), SECONDS).output == b"mine"
        assert system.wait(system.start("b"), SECONDS).error == "mine"
        assert system.wait(system.start("c"), SECONDS).output == b"mine"


def test_a_program_may_treat_its_sdk_as_if_it_were_its_own() -> None:
    def program(sdk: RuntaraSdk) -> int | None:
        with sdk:
            sdk.register()
            sdk.checkpoint("a", b"A")
        sdk.close()
        return sdk.epoch

    with embedded.open(url="memory://", programs={"p": program}) as system:
        status = system.wait(system.start("p"), SECONDS)

    assert status.status is InstanceStatus.COMPLETED


async def test_trouble_of_the_runtime_is_no_failure_of_the_program(autojump_clock: MockClock) -> None:
    attempts: list[int | None] = []

    async def program(sdk: AsyncRuntaraSdk) -> str:
        attempts.append(sdk.epoch)
        if len(attempts) < 3:
            raise StoreUnavailable("the store is away for a moment")
        return "done"

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        assert (await system.wait(await system.start("p"))).output == b'"done"'

    assert attempts == [1, 3, 5]  # losing an attempt fences it: that takes a number, too


# Signals -------------------------------------------------------------------------------------------------------------


def test_a_program_that_is_cancelled_ends_cancelled_and_may_clean_up() -> None:
    for name in ("blocking", "awaited"):
        begun, cleaned = threading.Event(), threading.Event()

        def blocking(sdk: RuntaraSdk, begun: Any = begun, cleaned: Any = cleaned) -> None:
            begun.set()
            try:
                sdk.sleep(HOUR, "nap")
            finally:
                sdk.custom_event("cleaned up")
                cleaned.set()

        async def awaited(sdk: AsyncRuntaraSdk, begun: Any = begun, cleaned: Any = cleaned) -> None:
            begun.set()
            try:
                await sdk.sleep(HOUR, "nap")
            finally:
                await sdk.custom_event("cleaned up")
                cleaned.set()

        programs: dict[str, AnyProgram] = {"blocking": blocking, "awaited": awaited}
        with embedded.open(url="memory://", park_after_ms=2 * HOUR * 1000, programs=programs) as system:
            system.start(name, "i")
            assert begun.wait(SECONDS)
            system.signal("i", SignalType.CANCEL)
            assert system.wait("i", SECONDS).status is InstanceStatus.CANCELLED
            assert cleaned.is_set()


async def test_a_program_that_is_paused_goes_on_when_it_is_resumed(autojump_clock: MockClock) -> None:
    log: list[str] = []

    async def program(sdk: AsyncRuntaraSdk) -> str:
        log.append(f"attempt {sdk.epoch}")
        if (await sdk.checkpoint("first", b"")).existing_state is None:
            log.append("first")
        await sdk.wait_for_signal("go")
        return "done"

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        await system.start("p", "i")
        await trio.sleep(1)
        await system.signal("i", SignalType.PAUSE)
        await trio.sleep(1)
        paused = await system.status("i")
        await system.custom_signal("i", "go")
        await trio.sleep(HOUR)  # a signal does not resume it
        log.append("still paused")
        await system.signal("i", SignalType.RESUME)
        assert (await system.wait("i")).output == b'"done"'

    assert (paused.status, paused.termination_reason) == (InstanceStatus.SUSPENDED, TerminationReason.PAUSED)
    assert log == ["attempt 1", "first", "still paused", "attempt 2"]


async def test_a_program_that_is_shut_down_is_launched_again(autojump_clock: MockClock) -> None:
    async def program(sdk: AsyncRuntaraSdk) -> int | None:
        if sdk.epoch == 1:
            await sdk.sleep(30, "nap")
        return sdk.epoch

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        await system.start("p", "i")
        await trio.sleep(1)
        await system.signal("i", SignalType.SHUTDOWN)
        assert (await system.wait("i")).output == b"2"


async def test_a_pause_that_is_taken_back_while_the_program_ends_does_not_strand_it(autojump_clock: MockClock) -> None:
    async def program(sdk: AsyncRuntaraSdk) -> int | None:
        if sdk.epoch == 1:
            try:
                await sdk.sleep(HOUR, "nap")
            finally:
                await system.signal("i", SignalType.RESUME)
        return sdk.epoch

    async with embedded.open(
        url="memory://", clock=TrioClock(), programs={"p": program}, park_after_ms=2 * HOUR * 1000
    ) as system:
        await system.start("p", "i")
        await trio.sleep(1)
        await system.signal("i", SignalType.PAUSE)
        assert (await system.wait("i", 600)).output == b"3"


async def test_a_cancel_while_a_program_rests_ends_it(autojump_clock: MockClock) -> None:
    async def program(sdk: AsyncRuntaraSdk) -> None:
        await sdk.sleep(timedelta(days=1), "nap")

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        await system.start("p", "i")
        await trio.sleep(1)
        assert (await system.status("i")).status is InstanceStatus.SUSPENDED
        assert await system.signal("i", SignalType.CANCEL) is InstanceStatus.CANCELLED
        assert (await system.wait("i")).status is InstanceStatus.CANCELLED


# Parking -------------------------------------------------------------------------------------------------------------


def running(system: embedded.AsyncEmbedded) -> int:
    tree = system.tree()
    runner = next(child for child in tree.children if child.name == "runner")
    return int(runner.children[0].facts["running"])


async def test_a_long_sleep_leaves_memory_and_the_program_is_launched_at_its_time(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []

    async def program(sdk: AsyncRuntaraSdk) -> str:
        log.append((f"attempt {sdk.epoch}", trio.current_time()))
        await sdk.sleep(HOUR, "long")
        log.append(("slept", trio.current_time()))
        await sdk.sleep(10, "short")
        await sdk.sleep(2 * HOUR, "longer")
        return "done"

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        await system.start("p", "i")
        await trio.sleep(1)
        status = await system.status("i")
        assert (status.status, status.termination_reason) == (InstanceStatus.SUSPENDED, TerminationReason.SLEEPING)
        assert running(system) == 0
        assert (await system.wait("i")).output == b'"done"'
        ended_at = trio.current_time()

    assert [what for what, _ in log] == ["attempt 1", "attempt 2", "slept", "attempt 3", "slept"]
    assert [at for _, at in log] == pytest.approx([0, HOUR, HOUR, 3 * HOUR + 10, 3 * HOUR + 10], abs=0.1)
    assert ended_at == pytest.approx(3 * HOUR + 10, abs=0.1)


async def test_a_sleep_until_an_instant_parks_as_well(autojump_clock: MockClock) -> None:
    clock = TrioClock()
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=clock.now_ms(), hours=5)

    async def program(sdk: AsyncRuntaraSdk) -> int | None:
        await sdk.sleep_until(instant, "long")
        return sdk.epoch

    async with embedded.open(url="memory://", clock=clock, programs={"p": program}) as system:
        assert (await system.wait(await system.start("p"))).output == b"2"
        assert trio.current_time() == pytest.approx(5 * HOUR, abs=0.1)


async def test_a_long_wait_parks_and_a_signal_launches_the_program(autojump_clock: MockClock) -> None:
    async def program(sdk: AsyncRuntaraSdk) -> list[Any]:
        signal = await sdk.wait_for_signal("go")
        return [sdk.epoch, signal and signal.payload.decode()]

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        await system.start("p", "i")
        await trio.sleep(HOUR)
        status = await system.status("i")
        assert (status.status, status.termination_reason) == (
            InstanceStatus.SUSPENDED,
            TerminationReason.WAITING_SIGNAL,
        )
        await system.custom_signal("i", "other")
        await trio.sleep(HOUR)
        assert running(system) == 0
        await system.custom_signal("i", "go", b"now")
        assert (await system.wait("i")).output == b'[2,"now"]'
        assert trio.current_time() == pytest.approx(2 * HOUR, abs=0.1)


async def test_a_long_wait_that_parks_times_out_at_its_deadline(autojump_clock: MockClock) -> None:
    async def program(sdk: AsyncRuntaraSdk) -> list[Any]:
        return [await sdk.wait_for_signal("go", HOUR), sdk.epoch]

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        assert (await system.wait(await system.start("p"))).output == b"[null,2]"
        assert trio.current_time() == pytest.approx(HOUR, abs=0.1)


async def test_a_program_that_sleeps_in_a_nursery_parks_too(autojump_clock: MockClock) -> None:
    async def program(sdk: AsyncRuntaraSdk) -> int | None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sdk.sleep, HOUR, "one")
            nursery.start_soon(sdk.sleep, 2 * HOUR, "two")
        return sdk.epoch

    async with embedded.open(url="memory://", clock=TrioClock(), programs={"p": program}) as system:
        status = await system.wait(await system.start("p"))
        assert status.status is InstanceStatus.COMPLETED
        assert trio.current_time() == pytest.approx(2 * HOUR, abs=0.1)


def test_a_blocking_program_parks_and_goes_on() -> None:
    def program(sdk: RuntaraSdk) -> int | None:
        sdk.sleep(0.5, "nap")
        return sdk.epoch

    with embedded.open(url="memory://", programs={"p": program}, park_after_ms=1) as system:
        assert system.wait(system.start("p"), SECONDS).output == b"2"


def test_a_program_of_its_own_process_never_parks() -> None:
    with embedded.open(url="memory://", park_after_ms=1) as system, system.sdk("i") as sdk:
        sdk.sleep(0.02, "nap")
        assert sdk.get_status().status is InstanceStatus.RUNNING


# Recovery ------------------------------------------------------------------------------------------------------------

LIVES = """
import sys
from runtara.sdk import durable, embedded

@durable
def step(number: int) -> int:
    print("step", number, flush=True)
    return number

def program(sdk):
    total = sum(step(number) for number in range(3))
    print("ready", flush=True)
    if len(sys.argv) > 2:
        sdk.wait_for_signal("never")
    total += step(3)
    return {"total": total, "input": sdk.load_input().decode()}

if __name__ == "__main__":
    with embedded.open(sys.argv[1], programs={"program": program}) as system:
        if system.status("i").found:
            print(system.wait("i", 30).output.decode(), flush=True)
        else:
            system.start("program", "i", b"kept")
            system.wait("i", 30)
"""


def test_a_program_goes_on_after_its_process_was_killed(tmp_path: Path) -> None:
    (tmp_path / "lives.py").write_text(LIVES)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNTARA_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(tmp_path / "lives.py"), str(tmp_path / "data")]

    with subprocess.Popen([*command, "stay"], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        first = [process.stdout.readline().strip() for _ in range(4)]
        process.send_signal(signal.SIGKILL)
    second = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)

    assert first == ["step 0", "step 1", "step 2", "ready"]
    assert second.stdout.splitlines() == ["ready", "step 3", '{"total":6,"input":"kept"}']


async def test_programs_that_ran_when_a_system_was_stopped_go_on_with_the_next(tmp_path: Path) -> None:
    ran: list[int | None] = []

    async def program(sdk: AsyncRuntaraSdk) -> str:
        ran.append(sdk.epoch)
        begun.set()
        signal = await sdk.wait_for_signal("go")
        assert signal is not None
        return signal.payload.decode()

    begun = trio.Event()
    async with embedded.open(str(tmp_path), programs={"p": program}) as system:
        await system.start("p", "i")
        await begun.wait()
    begun = trio.Event()
    async with embedded.open(str(tmp_path), programs={"p": program}) as system:
        await begun.wait()
        await system.custom_signal("i", "go", b"now")
        with trio.fail_after(SECONDS):
            assert (await system.wait("i")).output == b'"now"'

    assert ran == [1, 3]


async def test_an_instance_whose_program_is_unknown_waits_for_a_system_that_knows_it(tmp_path: Path) -> None:
    async def program(sdk: AsyncRuntaraSdk) -> int | None:
        if sdk.epoch == 1:
            begun.set()
            await trio.sleep_forever()
        return sdk.epoch

    begun = trio.Event()
    async with embedded.open(str(tmp_path), programs={"p": program}) as system:
        await system.start("p", "i")
        await begun.wait()
    async with embedded.open(str(tmp_path)) as system:
        with trio.fail_after(SECONDS):
            status = await _tried(system)
        assert status.finished_at is None
    async with embedded.open(str(tmp_path), programs={"p": program}) as system:
        with trio.fail_after(SECONDS):
            assert (await system.wait("i")).status is InstanceStatus.COMPLETED


async def _tried(system: embedded.AsyncEmbedded) -> InstanceInfo:
    door = system._doors.open(system.sdk("i").key)
    while True:
        since = door.session.pushes
        status = await door.call(GetStatus())
        if status.epoch > 3:
            return status
        await perform(door, AwaitPush(SECONDS, since))


async def test_programs_launched_while_a_system_starts_wait_until_it_runs() -> None:
    ran: list[str] = []

    async def program(sdk: AsyncRuntaraSdk) -> None:
        ran.append(sdk.instance_id)

    host = ProgramHost({"p": program})
    async with embedded.open(url="memory://") as system, system.sdk("i") as mine, trio.open_nursery() as nursery:
        nursery.start_soon(host.programs["p"], mine.key, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert ran == []
        host.open(system._doors)

    assert ran == ["i"]


# Isolation -----------------------------------------------------------------------------------------------------------


def test_a_newer_attempt_stops_a_program_without_a_word() -> None:
    begun, fenced = threading.Event(), threading.Event()

    def program(sdk: RuntaraSdk) -> None:
        begun.set()
        try:
            sdk.sleep(HOUR, "nap")
        except Fenced:
            fenced.set()
            raise

    with embedded.open(url="memory://", programs={"p": program}, park_after_ms=2 * HOUR * 1000) as system:
        system.start("p", "i")
        assert begun.wait(SECONDS)
        with system.sdk("i") as taken:
            assert fenced.wait(SECONDS)
            assert taken.get_status().status is InstanceStatus.RUNNING


def test_a_program_that_pauses_itself_without_being_asked_does_not_spin() -> None:
    attempts: list[int | None] = []
    tried = threading.Event()

    def program(sdk: RuntaraSdk) -> None:
        attempts.append(sdk.epoch)
        if len(attempts) == 2:
            tried.set()
        raise InstancePaused("for no reason")

    with embedded.open(url="memory://", programs={"p": program}) as system:
        system.start("p", "i")
        assert tried.wait(SECONDS)
        assert len(attempts) == 2  # each try waits longer than the one before
        assert not system.status("i").is_finished


def test_a_program_does_not_see_the_sdk_registered_for_the_process() -> None:
    @durable
    def step() -> str:
        return sdk().instance_id

    with embedded.open(url="memory://", programs={"p": lambda _: step()}) as system, system.sdk("other") as other:
        register_sdk(other)
        try:
            assert system.wait(system.start("p", "mine"), SECONDS).output == b'"mine"'
        finally:
            other.close()

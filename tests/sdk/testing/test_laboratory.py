"""Programs are crashed everywhere: those that survive, and those that do not, which is why there is such a thing."""

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.errors import InvalidInput, InvalidState
from runtara.sdk import InstanceStatus, SignalType
from runtara.sdk.testing import (
    Crash,
    SendSignal,
    assert_survives,
    crash_everywhere,
    open_laboratory,
    run,
)
from tests.sdk.testing.programs import KINDS, Kind

DAY = 86_400

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


async def order(sdk: Any, step: Any, world: list[str] | None = None) -> Any:
    """A program as it should be: what it does, it does in steps."""

    def note(text: str) -> Any:
        def action() -> list[object]:
            if world is not None:
                world.append(text)
            return [text, random.random()]

        return action

    first = await step("reserve", note("reserve"))
    await sdk.sleep(30 * DAY, "cool off")
    second = await step("charge", note("charge"))
    approved = await sdk.wait_for_signal("approved", timeout=DAY)
    await sdk.checkpoint("approved", approved.payload)
    late = await sdk.wait_for_signal("late", timeout=DAY)
    return [first, second, late is None]


APPROVED = (SendSignal("approved", b"yes"),)


# Survivors ------------------------------------------------------------------------------------------------------------


@kinds
def test_a_program_whose_work_is_in_durable_steps_survives_every_crash(kind: Kind) -> None:
    report = crash_everywhere(kind.program(order), library=kind.library, signals=APPROVED, world=list)

    assert report.survived, report
    assert report.unbroken.status is InstanceStatus.COMPLETED
    assert report.unbroken.world == ["reserve", "charge"]
    assert [signal.payload for signal in report.unbroken.signals] == [b"yes", None]
    assert [state for id, state in report.unbroken.checkpoints.items() if id in ("cool off", "approved")] == [
        b"",
        b"yes",
    ]


@kinds
def test_every_change_is_a_point_before_and_after_which_the_program_dies(kind: Kind) -> None:
    async def program(sdk: Any, _: Any) -> None:
        await sdk.checkpoint("a", b"A")
        await sdk.get_checkpoint("a")
        await sdk.custom_event("note")

    report = crash_everywhere(kind.program(program), library=kind.library)

    calls = ["RegisterInstance", "SaveCheckpoint a", "RecordEvent note", "CompleteInstance"]
    assert [str(point) for point in report.points] == [
        f"{when} change {number}, {call}" for number, call in enumerate(calls, 1) for when in ("before", "after")
    ]


@kinds
def test_retries_survive_crashes_and_their_back_off_passes_at_once(kind: Kind) -> None:
    async def program(_: Any, step: Any, tries: list[int]) -> str:
        def fail_twice() -> str:
            tries.append(1)
            if len(tries) < 3:
                raise LookupError("not yet")
            return "done"

        result: str = await step("fragile", fail_twice)
        return result

    report = crash_everywhere(kind.program(program), library=kind.library, world=list)

    assert report.survived, report
    assert report.unbroken.output == b'"done"'


@kinds
def test_a_program_that_fails_fails_likewise_after_every_crash(kind: Kind) -> None:
    async def program(sdk: Any, _: Any) -> None:
        await sdk.checkpoint("a", b"A")
        raise LookupError("no such order")

    report = crash_everywhere(kind.program(program), library=kind.library)

    assert report.survived, report
    assert (report.unbroken.status, report.unbroken.error) == (InstanceStatus.FAILED, "LookupError: no such order")


@kinds
@pytest.mark.parametrize(
    ("signal", "status"),
    [
        (SignalType.CANCEL, InstanceStatus.CANCELLED),
        (SignalType.PAUSE, InstanceStatus.COMPLETED),
        (SignalType.SHUTDOWN, InstanceStatus.COMPLETED),
    ],
)
def test_a_signal_at_a_point_has_one_end_wherever_the_program_dies(
    kind: Kind, signal: SignalType, status: InstanceStatus
) -> None:
    async def program(sdk: Any, _: Any) -> str:
        await sdk.checkpoint("a", b"")
        await sdk.sleep(1, "nap")
        return "awake"

    report = crash_everywhere(kind.program(program), library=kind.library, signals=(SendSignal(signal, after="a"),))

    assert report.survived, report
    assert report.unbroken.status is status
    assert report.unbroken.attempts == (1 if signal is SignalType.CANCEL else 2)


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.name)
def test_concurrent_steps_survive_crashes(kind: Kind) -> None:
    async def program(sdk: Any, step: Any, world: Counter[int]) -> list[int]:
        async def one(number: int) -> None:
            await sdk.sleep(number, f"nap {number}")
            await step(f"step {number}", lambda: world.update([number]))
            found.append(number)

        found: list[int] = []
        await _together(kind, [lambda number=number: one(number) for number in (3, 1, 2)])
        return sorted(found)  # after a crash, all naps may be over at once, in any order

    report = crash_everywhere(kind.program(program), library=kind.library, world=Counter)

    assert report.survived, report
    assert report.unbroken.world == Counter([1, 2, 3])


async def _together(kind: Kind, calls: list[Any]) -> None:
    if kind.library == "trio":
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)
        return
    import asyncio

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(call())


def test_programs_may_be_rehearsed_on_a_store_of_files(tmp_path: Path) -> None:
    def program(sdk: Any) -> None:
        sdk.checkpoint("a", b"A")
        sdk.sleep(DAY, "nap")

    with open_laboratory(str(tmp_path)) as laboratory:
        report = laboratory.assert_survives(program)

    assert report.points
    assert (tmp_path / "runtara.db").exists()


# Those that do not survive --------------------------------------------------------------------------------------------


@kinds
def test_a_side_effect_outside_of_a_durable_step_is_reported(kind: Kind) -> None:
    async def program(_: Any, step: Any, mails: list[str]) -> None:
        await step("charge", lambda: 1)
        mails.append("thank you")
        await step("ship", lambda: 2)

    report = crash_everywhere(kind.program(program), library=kind.library, world=list)

    first = report.differences[0]
    assert first.point.is_stored
    assert "ship" in first.point.call
    assert first.what.startswith("the world differs")
    assert (first.expected, first.found) == ("['thank you']", "['thank you', 'thank you']")
    assert "does not survive" in str(report)


def test_a_step_that_is_done_twice_is_reported_only_where_it_should_leave_no_trace() -> None:
    async def program(_: Any, step: Any, charges: list[int]) -> None:
        await step("charge", lambda: charges.append(1))

    lenient, strict = (
        crash_everywhere(KINDS[0].program(program), world=list, idempotent=idempotent) for idempotent in (False, True)
    )

    assert lenient.survived
    assert [(one.point.is_stored, one.found) for one in strict.differences] == [(False, "[1, 1]")]


@kinds
def test_a_program_that_goes_other_ways_in_a_replay_is_reported(kind: Kind) -> None:
    async def program(_: Any, step: Any) -> None:
        await step(f"step {random.randrange(10**9)}", lambda: 1)
        await step("last", lambda: 2)

    report = crash_everywhere(kind.program(program), library=kind.library)

    assert not report.survived
    assert "there are checkpoints that the unbroken run does not save" in str(report.differences[0])


def test_a_program_whose_every_run_differs_is_reported() -> None:
    runs = itertools.count(1)

    def program(_: Any) -> int:
        return next(runs)

    report = crash_everywhere(program)

    assert report.differences[0].what == "the output is another one"
    assert (report.differences[0].expected, report.differences[0].found) == ("b'1'", "b'2'")


@kinds
def test_a_program_that_swallows_the_crash_is_reported(kind: Kind) -> None:
    async def program(sdk: Any, _: Any) -> str:
        try:
            await sdk.checkpoint("a", b"A")
        except BaseException:  # noqa: BLE001 - that is what is wrong with it
            return "all is well"
        return "done"

    report = crash_everywhere(kind.program(program), library=kind.library)

    assert [one.point.call for one in report.differences] == ["SaveCheckpoint a"] * 2
    assert "caught the crash" in report.differences[0].found


def test_a_program_that_makes_another_exception_of_the_crash_is_reported() -> None:
    def program(sdk: Any) -> None:
        try:
            sdk.checkpoint("a", b"A")
        except BaseException as error:
            raise LookupError from error

    report = crash_everywhere(program)

    assert "caught the crash" in report.differences[0].found


def test_after_a_crash_nothing_of_the_program_gets_through() -> None:
    ends: list[type[BaseException]] = []

    def program(sdk: Any) -> None:
        try:
            sdk.checkpoint("a", b"A")
        finally:
            for call in (sdk.load_input, sdk.get_status):
                try:
                    call()
                except BaseException as error:  # noqa: BLE001 - it is looked at
                    ends.append(type(error))

    report = crash_everywhere(program)

    assert report.survived, report
    assert ends == [Crash] * 4


# The report is for people ---------------------------------------------------------------------------------------------


def test_an_assertion_shows_the_first_difference() -> None:
    def program(sdk: Any, mails: list[str]) -> None:
        mails.append("hello")
        sdk.checkpoint("sent", b"")

    with pytest.raises(AssertionError) as failed:
        assert_survives(program, world=list)

    assert str(failed.value) == (
        "the program does not survive 1 of 6 crashes; the first:\n"
        "crashed after change 2, SaveCheckpoint sent: the world differs: "
        "something happens outside of a durable step, or more than once\n"
        "    unbroken run:  ['hello']\n"
        "    crashed run:   ['hello', 'hello']"
    )


def test_a_program_that_does_not_end_is_not_crashed() -> None:
    def program(sdk: Any) -> None:
        sdk.wait_for_signal("go")

    report = crash_everywhere(program)

    assert not report.survived
    assert str(report) == (
        "the program does not end, even without a crash: it waits for a signal called 'go', which nobody sends"
    )


# One run --------------------------------------------------------------------------------------------------------------


@kinds
def test_a_run_skips_days_and_years(kind: Kind) -> None:
    async def program(sdk: Any, _: Any) -> int:
        for year in range(20):
            await sdk.sleep(365 * DAY, f"year {year}")
        return 20

    outcome = run(kind.program(program), library=kind.library)

    assert outcome.output == b"20"
    assert outcome.attempts == 21


def test_a_run_gives_the_program_its_input() -> None:
    assert run(lambda sdk: sdk.load_input() + b"!", input=b"in").output == b"in!"
    assert run(lambda sdk: sdk.load_input() is None).output == b"true"


def test_numbers_depend_on_the_seed_alone_and_leave_no_trace() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)

    outputs = [run(lambda _: random.random(), seed=seed).output for seed in (1, 1, 2)]

    assert outputs[0] == outputs[1] != outputs[2]
    assert random.random() == expected


def test_runs_in_one_laboratory_know_nothing_of_each_other() -> None:
    def program(sdk: Any) -> list[object]:
        return [sdk.instance_id, sdk.checkpoint("a", b"A").found, sdk.now_ms()]

    with open_laboratory() as laboratory:
        first, second = (laboratory.run(program) for _ in range(2))

    assert first == second
    assert b"false" in (first.output or b"")


async def test_an_async_program_is_refused_where_a_loop_runs_already() -> None:
    with pytest.raises(InvalidState, match="plain test function"):
        run(KINDS[1].program(order))


def test_nonsense_is_refused() -> None:
    with pytest.raises(TypeError):
        run(lambda _: None, nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidInput, match="park_after"):
        run(lambda _: None, park_after=-1)


# By hand --------------------------------------------------------------------------------------------------------------


def test_the_sdk_of_a_laboratory_skips_time() -> None:
    with open_laboratory() as laboratory:
        began = laboratory.clock.now_ms()
        with laboratory.sdk("i") as sdk:
            sdk.sleep(DAY, "nap")
            assert sdk.wait_for_signal("go", timeout=DAY) is None

        assert laboratory.clock.now_ms() - began == 2 * DAY * 1000
        assert laboratory.system.status("i").status is InstanceStatus.RUNNING


async def test_the_async_sdk_of_a_laboratory_skips_time() -> None:
    with open_laboratory() as laboratory:
        began = laboratory.clock.now_ms()
        async with laboratory.async_sdk("i") as sdk:
            await sdk.sleep(DAY, "nap")

        assert laboratory.clock.now_ms() - began == DAY * 1000

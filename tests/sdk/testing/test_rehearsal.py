"""What a host would do with a program: begin it again after a rest, resume it, take its exceptions for its end."""

from datetime import UTC, datetime, timedelta

import pytest
import trio

from runtara.errors import Busy, NotFound
from runtara.sdk import AsyncRuntaraSdk, InstanceStatus, RuntaraSdk, SignalType
from runtara.sdk.testing import SendSignal, run
from runtara.sdk.testing._rehearsal import IDLE_MAX


@pytest.mark.parametrize("output", [b"bytes", None, {"a": [1]}])
def test_what_a_program_returns_is_its_output(output: object) -> None:
    expected = {"bytes": b"bytes", "NoneType": b"", "dict": b'{"a":[1]}'}

    assert run(lambda _: output).output == expected[type(output).__name__]


def test_a_program_may_say_itself_how_it_ends() -> None:
    def program(sdk: RuntaraSdk) -> str:
        sdk.completed(b"mine")
        return "ignored"

    assert run(program).output == b"mine"


@pytest.mark.parametrize("error", [LookupError("x"), NotFound("x"), SystemExit("x")])
def test_an_exception_is_a_failure(error: BaseException) -> None:
    def program(_: RuntaraSdk) -> None:
        raise error

    outcome = run(program)

    assert (outcome.status, outcome.error) == (InstanceStatus.FAILED, f"{type(error).__name__}: x")


def test_trouble_of_the_runtime_has_the_program_begun_again() -> None:
    tries: list[int] = []

    def program(_: RuntaraSdk) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise Busy("later")
        return "done"

    outcome = run(program)

    assert (outcome.output, outcome.attempts) == (b'"done"', 3)


def test_of_several_exceptions_the_one_that_matters_counts() -> None:
    async def program(sdk: AsyncRuntaraSdk) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sdk.sleep, 3_600, "long")
            nursery.start_soon(sdk.sleep, 3_600, "longer")

    assert run(program).status is InstanceStatus.COMPLETED


def test_an_interrupt_from_the_keyboard_is_for_the_test() -> None:
    def program(_: RuntaraSdk) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(program)


def test_a_program_that_suspends_itself_is_begun_again_at_its_time() -> None:
    def program(sdk: RuntaraSdk) -> list[int]:
        began = sdk.now_ms()
        if not sdk.checkpoint("begun", b"%d" % began).found:
            sdk.suspended(datetime.fromtimestamp(began / 1000, UTC) + timedelta(days=1))
        return [began - int(sdk.get_checkpoint("begun") or b"0")]

    outcome = run(program)

    assert (outcome.output, outcome.attempts) == (b"[86400000]", 2)


@pytest.mark.parametrize("signal", [SignalType.PAUSE, SignalType.SHUTDOWN])
def test_a_program_that_was_asked_to_rest_goes_on_by_itself(signal: SignalType) -> None:
    def program(sdk: RuntaraSdk) -> str:
        sdk.sleep(1, "nap")
        return "done"

    outcome = run(program, signals=(SendSignal(signal),))

    assert (outcome.output, outcome.attempts) == (b'"done"', 2)


def test_a_program_that_never_gets_anywhere_is_given_up() -> None:
    def program(sdk: RuntaraSdk) -> None:
        sdk.suspended()

    outcome = run(program)

    assert outcome.status is InstanceStatus.SUSPENDED
    assert outcome.stuck is not None
    assert "changed nothing" in outcome.stuck
    assert outcome.attempts == IDLE_MAX + 1


def test_a_wait_that_nobody_ends_is_told_by_name() -> None:
    outcome = run(lambda sdk: sdk.wait_for_signal("approval"), signals=(SendSignal("another"),))

    assert outcome.stuck == "it waits for a signal called 'approval', which nobody sends"

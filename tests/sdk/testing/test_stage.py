"""When signals are sent, what may be crashed, and what random numbers depend on."""

import random
from typing import Any

from runtara.sdk import RuntaraSdk, durable
from runtara.sdk.testing import SendSignal, crash_everywhere, run


def taken(program: Any, *signals: SendSignal) -> list[tuple[str, bytes | None]]:
    """What a program took, in this order."""
    return [(signal.name, signal.payload) for signal in run(program, signals=signals).signals]


def test_a_signal_comes_when_the_program_waits_for_its_name() -> None:
    def program(sdk: RuntaraSdk) -> None:
        for name in ("b", "a", "b"):
            sdk.wait_for_signal(name)

    sent = (SendSignal("a", b"1"), SendSignal("b", b"2"), SendSignal("b", b"3"))

    assert taken(program, *sent) == [("b", b"2"), ("a", b"1"), ("b", b"3")]


def test_a_signal_after_a_checkpoint_is_there_once_it_is_stored() -> None:
    def program(sdk: RuntaraSdk) -> None:
        sdk.poll_custom_signal("go")
        sdk.checkpoint("first half", b"")
        sdk.poll_custom_signal("go")

    assert taken(program, SendSignal("go", b"1", after="first")) == [("go", None), ("go", b"1")]


def test_a_signal_after_a_durable_function_is_sent_by_its_name() -> None:
    @durable
    def charge() -> int:
        return 1

    def program(sdk: RuntaraSdk) -> None:
        charge()
        sdk.poll_custom_signal("go")

    assert taken(program, SendSignal("go", after="charge")) == [("go", b"")]


def test_a_signal_is_sent_once_however_often_its_checkpoint_is_replayed() -> None:
    def program(sdk: RuntaraSdk) -> None:
        sdk.checkpoint("a", b"")
        sdk.sleep(3_600, "long")
        sdk.poll_custom_signal("go")
        sdk.poll_custom_signal("go")

    assert taken(program, SendSignal("go", after="a")) == [("go", b""), ("go", None)]


def test_a_number_drawn_outside_of_a_step_is_another_one_in_a_replay() -> None:
    drawn: list[float] = []

    def program(sdk: RuntaraSdk) -> None:
        drawn.append(random.random())
        sdk.sleep(3_600, "long")

    run(program)

    assert len(set(drawn)) == 2


def test_a_step_whose_result_was_lost_draws_the_same_numbers_again() -> None:
    @durable
    def draw(number: int) -> float:
        return number + random.random()

    def program(_: RuntaraSdk) -> list[float]:
        return [draw(1), draw(2)]

    report = crash_everywhere(program)

    assert report.survived, report

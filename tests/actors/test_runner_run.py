import signal
from typing import Any

import pytest

from runtara.actors._runner_run import STEPS, Graces, Run, log_ended, log_launched, report_of
from runtara.actors.runners import Ended
from runtara.messages import CrashInstance, ExitInstance
from tests.actors.stage import key_of

GRACES = Graces(leave=10.0, kill=5.0)


def run(adopted: bool = False, counts: bool = True) -> Run:
    attempt: Any = object() if adopted else None  # that there is one is all that counts here
    made = Run(key_of("one"), 7, attempt)
    made.counts = counts
    return made


# The report -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize("counts", [False, True])
def test_whoever_ends_well_has_ended_by_itself(adopted: bool, counts: bool) -> None:
    report = report_of(run(adopted, counts), Ended(exit_code=0, output=b"x", error="note"))

    assert report == ExitInstance(epoch=7, exit_code=0, output=b"x", error="note")


def test_whoever_ends_badly_has_ended_by_itself() -> None:
    assert report_of(run(), Ended(exit_code=3, error="oops")) == ExitInstance(epoch=7, exit_code=3, error="oops")


@pytest.mark.parametrize(("adopted", "counts"), [(True, True), (False, False), (True, False)])
def test_a_bad_end_that_the_host_may_have_led_to_is_a_crash(adopted: bool, counts: bool) -> None:
    report = report_of(run(adopted, counts), Ended(exit_code=3, error="oops"))

    told = "the program has ended with exit code 3; the end of its stderr:\noops"
    assert report == CrashInstance(epoch=7, error=told, exit_code=3, counts=counts)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (40, "signal 40")]
)
def test_a_signal_is_told_by_name(number: int, name: str) -> None:
    report = report_of(run(), Ended(exit_code=-number))

    assert report == CrashInstance(epoch=7, error=f"the program was killed by {name}", exit_code=-number)


@pytest.mark.parametrize(("run_counts", "end_counts"), [(True, True), (True, False), (False, True)])
def test_an_end_that_nobody_saw_counts_if_neither_side_objects(run_counts: bool, end_counts: bool) -> None:
    report = report_of(run(counts=run_counts), Ended(exit_code=None, error="lost", counts=end_counts))

    assert report == CrashInstance(epoch=7, error="lost", counts=run_counts and end_counts)


# The ways to stop -----------------------------------------------------------------------------------------------------


def test_every_way_to_stop_is_followed_by_a_harder_one_until_there_is_none() -> None:
    for step in STEPS.values():
        assert step.then is None or STEPS[step.then].hardness == step.hardness + 1

    assert [how for how, step in STEPS.items() if step.then is None] == ["destroy"]


def test_a_program_has_its_graces_and_the_engine_some_time_on_top() -> None:
    spans = {how: step.after(GRACES) for how, step in STEPS.items()}

    assert spans["leave"] == 10
    assert spans["ask"] > 5
    assert spans["kill"] > 0


def test_what_was_begun_is_never_followed_by_anything_softer() -> None:
    one = run()
    allowed = []
    for how in ("leave", "leave", "kill", "ask", "kill", "destroy", "destroy"):
        allowed.append(one.is_softer(how))
        if allowed[-1]:
            one.stopped = how

    assert allowed == [True, False, True, False, False, True, False]


# The log --------------------------------------------------------------------------------------------------------------


def test_the_log_of_the_host_tells_launch_and_end_but_nothing_that_the_program_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="runtara.runner"):
        log_launched(run(), "job.py")
        log_ended(run(), Ended(exit_code=3, output=b"secret", error="secret"))

    launched, ended = caplog.records
    assert (launched.message, launched.__dict__["program"], launched.__dict__["epoch"]) == ("launched", "job.py", 7)
    assert (ended.message, ended.__dict__["exit_code"], ended.__dict__["instance_id"]) == ("ended", 3, "one")
    assert "secret" not in repr([record.__dict__ for record in caplog.records])

"""How outcomes are compared, and how the report tells it."""

from typing import Any

import pytest
from msgspec.structs import replace

from runtara.sdk import InstanceStatus
from runtara.sdk.testing._report import CrashPoint, Outcome, Report, TakenSignal, compare

POINT = CrashPoint(2, True, "SaveCheckpoint a")
UNBROKEN = Outcome(
    status=InstanceStatus.COMPLETED,
    output=b"out",
    checkpoints={"a": b"A", "b": b"B"},
    signals=(TakenSignal("go", b"1"), TakenSignal("stop", None)),
    world=["mail"],
)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"stuck": "it waits"}, "the run does not go on"),
        ({"checkpoints": {"a": b"A"}}, "checkpoint b is another one"),
        ({"checkpoints": {"a": b"A", "b": b"X"}}, "checkpoint b is another one"),
        ({"checkpoints": {"a": b"A", "b": b"B", "c": b""}}, "there are checkpoints that the unbroken run"),
        ({"signals": UNBROKEN.signals[::-1]}, "other signals were taken"),
        ({"status": InstanceStatus.FAILED}, "the status is another one"),
        ({"error": "LookupError"}, "the error is another one"),
        ({"output": b""}, "the output is another one"),
        ({"world": ["mail", "mail"]}, "the world differs"),
    ],
)
def test_the_first_difference_is_told(changes: dict[str, Any], what: str) -> None:
    difference = compare(UNBROKEN, replace(UNBROKEN, **changes), POINT, with_world=True)

    assert difference is not None
    assert difference.what.startswith(what)


@pytest.mark.parametrize("changes", [{}, {"attempts": 3}, {"checkpoints": {"b": b"B", "a": b"A"}}])
def test_what_does_not_matter_is_no_difference(changes: dict[str, Any]) -> None:
    assert compare(UNBROKEN, replace(UNBROKEN, **changes), POINT, with_world=True) is None


def test_the_world_is_compared_only_where_asked() -> None:
    assert compare(UNBROKEN, replace(UNBROKEN, world=[]), POINT, with_world=False) is None


def test_a_cancelled_run_may_have_got_less_far_but_not_elsewhere() -> None:
    unbroken = replace(UNBROKEN, status=InstanceStatus.CANCELLED, output=None)
    less = replace(unbroken, checkpoints={"a": b"A"}, signals=(), world=[])

    assert compare(unbroken, less, POINT, with_world=True) is None
    assert compare(unbroken, replace(less, checkpoints={"a": b"X"}), POINT, with_world=True) is not None
    assert compare(unbroken, replace(less, signals=(TakenSignal("go", b"2"),)), POINT, with_world=True) is not None


def test_a_report_shortens_what_is_long() -> None:
    difference = compare(UNBROKEN, replace(UNBROKEN, output=b"x" * 10_000), POINT, with_world=True)
    assert difference is not None

    text = str(Report(UNBROKEN, (POINT,), (difference,)))

    assert "crashed after change 2, SaveCheckpoint a: the output is another one" in text
    assert "(10003 characters)" in text
    assert len(text) < 500

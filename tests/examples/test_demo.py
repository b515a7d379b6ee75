"""The demo notices when a promise is broken. That it keeps them is seen where every example is run."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.house.source import ROOT

spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
assert spec is not None
assert spec.loader is not None
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)

WHOLE = demo.Run(["AK", "AL", "AR", "AS"], 0, 1.0, b"report")
KILLED = demo.Run(["AK", "AL", "AR"], -9, 1.0, None)
RESUMED = demo.Run(["AR", "AS"], 0, 1.0, b"report")


def broken(whole: Any = WHOLE, killed: Any = KILLED, resumed: Any = RESUMED) -> list[str]:
    """Which promises were broken."""
    return [promise for promise, is_true in demo.promises(whole, killed, resumed).items() if not is_true]


@pytest.mark.parametrize("computed", [["AR", "AS"], ["AS"]], ids=["again", "not again"])
def test_the_state_in_which_the_kill_came_may_be_computed_again(computed: list[str]) -> None:
    assert broken(resumed=RESUMED._replace(computed=computed)) == []


def test_a_saved_state_that_is_computed_again_is_noticed() -> None:
    assert broken(resumed=RESUMED._replace(computed=["AL", "AR", "AS"])) == ["no state before AR was computed again"]


def test_a_state_that_is_left_out_is_noticed() -> None:
    assert broken(resumed=RESUMED._replace(computed=["AR"])) == ["no state was left out"]


@pytest.mark.parametrize("report", [b"Report", None])
def test_another_report_is_noticed(report: bytes | None) -> None:
    assert broken(resumed=RESUMED._replace(report=report)) == ["both reports are the same, byte for byte"]


def test_a_program_that_fails_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "PROGRAM", tmp_path / "there_is_none.py")

    with pytest.raises(SystemExit, match=r"there_is_none.py did not do its work"):
        demo.main()


def test_a_kill_that_came_too_late_is_noticed() -> None:
    assert broken(killed=KILLED._replace(report=b"report")) == ["the kill came in the middle, and left no report"]

"""The plugin gives fixtures to whoever asks, and is no burden to whoever does not."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from runtara.sdk import RuntaraSdk
from runtara.sdk._pytest_plugin import crash_everywhere, runtara_system  # noqa: F401 - fixtures
from runtara.sdk.testing import Laboratory, Report
from tests.house.source import ROOT, run_python

PLUGIN = "runtara.sdk._pytest_plugin"

TESTS = """
def test_survives(crash_everywhere):
    assert len(crash_everywhere(lambda sdk: sdk.checkpoint("a", b"A") and None).points) == 6

def test_does_not(crash_everywhere):
    def program(sdk, world):
        world.append(1)
        sdk.checkpoint("a", b"A")

    crash_everywhere(program, world=list)

def test_without():
    pass
"""


def test_the_system_of_a_test_skips_time(runtara_system: Laboratory) -> None:  # noqa: F811 - the fixture
    with runtara_system.sdk("i") as sdk:
        sdk.sleep(86_400, "nap")

    assert runtara_system.system.status("i").checkpoint_count == 1


def test_a_program_that_survives_passes(crash_everywhere: Callable[..., Report]) -> None:  # noqa: F811 - the fixture
    def program(sdk: RuntaraSdk) -> None:
        sdk.checkpoint("a", b"A")

    assert crash_everywhere(program).survived


def test_a_program_that_does_not_survive_fails_its_test(
    crash_everywhere: Callable[..., Report],  # noqa: F811 - the fixture
) -> None:
    def program(sdk: RuntaraSdk, world: list[int]) -> None:
        world.append(1)
        sdk.checkpoint("a", b"A")

    with pytest.raises(AssertionError, match="does not survive"):
        crash_everywhere(program, world=list)


def test_loading_the_plugin_loads_nothing_of_the_runtime() -> None:
    loaded = "sorted(name for name in sys.modules if name.startswith(('runtara', 'trio')))"
    code = f"import sys, runtara.sdk._pytest_plugin; print(*{loaded})"

    done = run_python("-c", code, cwd=ROOT)

    assert done.stdout.split() == ["runtara", "runtara.sdk", "runtara.sdk._pytest_plugin"], done.stderr


def test_pytest_is_told_where_the_plugin_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["entry-points"]["pytest11"] == {"runtara": PLUGIN}


@pytest.mark.slow
def test_a_stranger_uses_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS, encoding="utf-8")
    installed = tmp_path / "installed-0.dist-info"  # so that pytest finds the plugin by itself, as with a user
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 0\n", encoding="utf-8")
    (installed / "entry_points.txt").write_text(f"[pytest11]\nruntara = {PLUGIN}\n", encoding="utf-8")

    done = run_python("-m", "pytest", "-q", "test_mine.py", cwd=tmp_path)

    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "does not survive 1 of 6 crashes; the first:" in done.stdout
    assert "def assert_survives" not in done.stdout, "the test is shown, and nothing of ours"

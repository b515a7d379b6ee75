import os
from pathlib import Path

import pytest

from runtara.actors.runners._oci_runtime import Runtime, find_runtime, is_repaired, version_of
from runtara.errors import Forbidden, NotFound


def program(folder: Path, name: str, text: str = "", mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(mode)
    return path


def test_runc_is_taken_before_crun_and_a_setting_before_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    crun = program(tmp_path, "crun")
    only = find_runtime(None)
    runc = program(tmp_path, "runc")

    assert only == Runtime(path=str(crun), kind="crun")
    assert find_runtime(None) == Runtime(path=str(runc), kind="runc")
    assert find_runtime("crun").path == str(crun)
    assert find_runtime(str(program(tmp_path, "our-runner"))).kind == "runc"


def test_where_there_is_none_the_refusal_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotFound, match="install runc"):
        find_runtime(None)
    with pytest.raises(NotFound, match="RUNTARA_CONTAINER_RUNTIME"):
        find_runtime("youki")


def test_a_runtime_that_others_may_change_is_refused(tmp_path: Path) -> None:
    path = program(tmp_path, "runc", mode=0o777)

    with pytest.raises(Forbidden, match="may be changed by other users"):
        find_runtime(str(path))


@pytest.mark.parametrize(
    ("said", "version"),
    [("runc version 1.1.5+ds1", (1, 1, 5)), ("crun version 1.8.1\ncommit: x", (1, 8, 1)), ("hello", None)],
)
def test_a_version_is_what_it_says(tmp_path: Path, said: str, version: tuple[int, int, int] | None) -> None:
    runtime = Runtime(path=str(program(tmp_path, "runc", f"echo '{said}'")), kind="runc")

    assert version_of(runtime) == version
    assert version_of(Runtime(path=str(tmp_path / "missing"), kind="runc")) is None


@pytest.mark.parametrize(
    ("version", "repaired"),
    [
        ((1, 0, 99), False),
        ((1, 1, 13), False),
        ((1, 1, 14), True),
        ((1, 2, 7), False),
        ((1, 2, 8), True),
        ((1, 3, 2), False),
        ((1, 3, 3), True),
        ((1, 4, 0), True),
        ((2, 0, 0), True),
    ],
)
def test_each_line_of_versions_has_its_first_repaired_one(version: tuple[int, int, int], repaired: bool) -> None:
    assert is_repaired(version) is repaired


def test_a_runtime_is_called_with_a_folder_of_its_own_and_says_only_what_went_wrong() -> None:
    runc, crun = (Runtime(path=f"/bin/{kind}", kind=kind) for kind in ("runc", "crun"))

    assert runc.command(Path("/r"), "start", "x") == ("/bin/runc", "--root", "/r", "--log", os.devnull, "start", "x")
    assert crun.command(Path("/r"), "start", "x") == ("/bin/crun", "--root", "/r", "start", "x")

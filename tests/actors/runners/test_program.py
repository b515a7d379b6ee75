import sys
from pathlib import Path

import pytest

from runtara.actors.runners import Plan
from runtara.actors.runners._program import command_of, environment_of, folders_of
from runtara.errors import Forbidden, NotFound
from runtara.ids import InstanceKey


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, ...]:
    for name in ("one/deep", "two", "outside"):
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path / "one/deep/tool")
    write(tmp_path / "two/tool.py", 0o644)
    write(tmp_path / "two/app.pyz", 0o600)
    write(tmp_path / "outside/evil")
    return folders_of(f"{tmp_path / 'one'}:{tmp_path / 'two'}")


def write(path: Path, mode: int = 0o755) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)


def test_an_executable_is_run_as_it_is_and_python_by_the_python_of_the_host(folders: tuple[Path, ...]) -> None:
    one, two = folders

    assert command_of(str(one / "deep/tool"), folders) == [str(one / "deep/tool")]
    assert command_of(str(two / "tool.py"), folders) == [sys.executable, str(two / "tool.py")]
    assert command_of("app.pyz", folders) == [sys.executable, str(two / "app.pyz")]
    assert command_of("deep/../deep/tool", folders) == [str(one / "deep/tool")]


@pytest.mark.parametrize(
    "program",
    ["", ".", "missing", "../outside/evil", "deep", "/bin/sh", "/dev/null", "a\0b", "x" * 5000, "loop"],
)
def test_what_is_no_file_or_lies_elsewhere_is_not_found(folders: tuple[Path, ...], program: str) -> None:
    (folders[0] / "loop").symlink_to("loop")

    with pytest.raises(NotFound, match="there is no program"):
        command_of(program, folders)


def test_a_link_is_what_it_leads_to(folders: tuple[Path, ...]) -> None:
    one, two = folders
    (one / "inside").symlink_to(two / "tool.py")
    (one / "escape").symlink_to("../outside/evil")

    assert command_of("inside", folders) == [sys.executable, str(two / "tool.py")]
    with pytest.raises(NotFound):
        command_of("escape", folders)


def test_folders_may_themselves_be_links(folders: tuple[Path, ...], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("one")

    assert command_of(str(tmp_path / "link/deep/tool"), folders_of(str(tmp_path / "link")))


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o644])
def test_what_would_run_as_somebody_else_or_not_at_all_is_forbidden(folders: tuple[Path, ...], mode: int) -> None:
    (folders[0] / "deep/tool").chmod(mode)

    with pytest.raises(Forbidden):
        command_of("deep/tool", folders)


def test_no_folder_allows_no_program() -> None:
    assert folders_of("") == ()
    with pytest.raises(NotFound):
        command_of("/bin/sh", ())


def test_later_layers_of_the_environment_win() -> None:
    plan = Plan(
        key=InstanceKey("acme", "one"),
        epoch=2,
        program="x",
        env={"PATH": "/theirs", "RUNTARA_EPOCH": "9", "RUNTARA_TOKEN": "theirs", "RUNTARA_WORK_DIR": "/theirs"},
        ours={"RUNTARA_TOKEN": "ours"},
    )

    found = environment_of(plan, {"PATH": "/host", "TZ": "UTC"}, {"RUNTARA_WORK_DIR": "/work"})

    assert found == {
        "PATH": "/theirs",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "RUNTARA_TENANT_ID": "acme",
        "RUNTARA_INSTANCE_ID": "one",
        "RUNTARA_EPOCH": "2",
        "RUNTARA_TOKEN": "ours",
        "RUNTARA_WORK_DIR": "/work",
    }

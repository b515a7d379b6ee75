"""What another program has unpacked is gone through: what has no business there is taken away, or the tree refused."""

import os
import stat
from pathlib import Path

import pytest

from runtara.errors import InvalidInput, TooLarge
from runtara.images._limits import Account, ExtractLimits
from runtara.images._sweep import sweep
from tests.images.sandbox import listed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "app").write_text("run")
    return folder


def clean(root: Path, **limits: int) -> None:
    sweep(root, Account(ExtractLimits(**limits)))


def test_modes_are_plain_afterwards(root: Path) -> None:
    (root / "bin" / "app").chmod(0o4755)
    (root / "bin" / "data").touch(0o666)
    (root / "closed").mkdir()
    (root / "closed" / "file").touch(0o000)
    (root / "closed").chmod(0o000)
    root.chmod(0o777)

    clean(root)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}
    assert modes == {
        "root": 0o700,
        "bin": 0o755,
        "app": 0o755,
        "data": 0o644,
        "closed": 0o755,
        "file": 0o644,
        "dev": 0o755,
        "proc": 0o755,
        "sys": 0o755,
    }


def test_what_is_neither_file_nor_folder_nor_link_is_removed(root: Path) -> None:
    os.mkfifo(root / "fifo")
    if os.getuid() == 0:
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    clean(root)

    assert (listed(root)) == ["bin", "dev", "proc", "sys"]


def test_system_folders_are_empty(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (root / "dev" / "pts").mkdir(parents=True)
    (root / "dev" / "null").touch()
    (root / "proc").symlink_to("bin")
    (root / "sys").write_text("a file")

    clean(root)

    assert [listed(root / name) for name in ("dev", "proc", "sys")] == [[], [], []]
    assert (root / "bin" / "app").exists()


def test_attributes_are_removed(root: Path) -> None:
    try:
        os.setxattr(root / "bin" / "app", "user.note", b"x")
        os.setxattr(root / "bin", "user.note", b"x")
    except OSError:
        pytest.skip("this disk keeps no attributes")

    clean(root)

    assert os.listxattr(root / "bin") == os.listxattr(root / "bin" / "app") == []


def test_links_inside_stay_and_nothing_is_changed_through_them(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    (root / "absolute").symlink_to(secret)
    (root / "inside").symlink_to("bin/app")

    clean(root)

    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert (root / "absolute").readlink() == secret
    assert (root / "inside").read_text() == "run"


def test_a_link_that_leads_out_is_refused(root: Path) -> None:
    (root / "bin" / "out").symlink_to("../../x")

    with pytest.raises(InvalidInput, match="leads out of the root"):
        clean(root)


def test_names_inside_are_fine_and_one_outside_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "again").hardlink_to(root / "bin" / "app")
    clean(root)
    (tmp_path / "outside").hardlink_to(root / "bin" / "app")

    with pytest.raises(InvalidInput, match="second name outside"):
        clean(root)


@pytest.mark.parametrize(("limits", "refusal"), [({"members": 1}, TooLarge), ({"depth": 0}, InvalidInput)], ids=repr)
def test_a_tree_beyond_the_limits_is_refused(limits: dict[str, int], refusal: type[Exception], root: Path) -> None:
    with pytest.raises(refusal):
        clean(root, **limits)

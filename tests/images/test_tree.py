"""A tree is filled without a link ever being followed, whoever has put it there."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from runtara.errors import InvalidInput
from runtara.images._tree import Tree
from tests.images.sandbox import listed


def write(tree: Tree, *place: bytes, content: bytes = b"new") -> None:
    tree.write(place, [content], executable=False, modified_at=0)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("kept")
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    """A tree with a link to a folder outside, and one to a file there."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "file").symlink_to(outside / "secret")
    return folder


def test_nothing_is_made_through_a_link(root: Path, outside: Path) -> None:
    with Tree(root) as tree:
        attempts: list[Callable[[], object]] = [
            lambda: write(tree, b"out", b"secret"),
            lambda: tree.make_folder((b"out", b"new")),
            lambda: tree.make_folder((b"out",)),
            lambda: tree.symlink((b"out", b"new"), b"x"),
            lambda: tree.link((b"new",), (b"out", b"secret")),
            lambda: tree.link((b"new",), (b"file",)),
        ]
        for act in attempts:
            with pytest.raises(InvalidInput, match=r"no folder|no file"):
                act()

    assert listed(outside) == ["secret"]
    assert (outside / "secret").read_text() == "kept"


def test_a_link_is_replaced_not_written_through(root: Path, outside: Path) -> None:
    with Tree(root) as tree:
        write(tree, b"file")

    assert (root / "file").read_text() == "new"
    assert (outside / "secret").read_text() == "kept"


def test_nothing_is_read_through_a_link(root: Path) -> None:
    with Tree(root) as tree:
        for place in ((b"out", b"secret"), (b"file",)):
            with pytest.raises((OSError, InvalidInput)), tree.open_file(place):
                pass
        assert tree.link_target((b"file",)) == os.fsencode(root.parent / "outside" / "secret")


def test_what_is_no_file_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with Tree(root) as tree, pytest.raises(InvalidInput, match="'fifo' is no file"), tree.open_file((b"fifo",)):
        pass


def test_a_root_that_is_a_link_is_not_opened(root: Path) -> None:
    with pytest.raises(OSError, match="out"):
        Tree(root / "out")


def test_files_folders_and_names_are_made(root: Path) -> None:
    with Tree(root) as tree:
        tree.write((b"a", b"b", b"c"), [b"one", b"two"], executable=True, modified_at=5)
        tree.link((b"d",), (b"a", b"b", b"c"))
        tree.symlink((b"a", b"l"), b"b/c")
        with tree.open_file((b"d",)) as file:
            content = os.read(file, 10)
        tree.give((b"d",), root.parent / "given")

    assert content == b"onetwo"
    assert (root / "d").stat().st_nlink == 3
    assert (root / "a/l").read_text() == "onetwo"
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755


def test_no_file_stays_open(root: Path) -> None:
    before = len(listed(Path("/proc/self/fd")))
    for _ in range(3):
        with Tree(root) as tree:
            write(tree, b"a", b"b")
            with pytest.raises(InvalidInput):
                write(tree, b"out", b"b")

    assert len(listed(Path("/proc/self/fd"))) == before

"""What is being made is out of sight until it is complete, and only one makes it at a time."""

import os
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtara.images import _scratch
from runtara.images._scratch import hold_lock, make_folder, remove_left, remove_tree, scratch_folder, settle
from tests.images.sandbox import listed


def test_what_was_made_gets_its_name_and_the_rest_is_removed(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "a" / "b") as scratch:
        (scratch / "made").mkdir()
        (scratch / "more").mkdir()
        settle(scratch / "made", tmp_path / "a" / "b")

    assert listed(tmp_path / "a") == ["b"]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), scratch_folder(tmp_path / "a") as scratch:
        settle(scratch / "missing", tmp_path / "a")

    assert not listed(tmp_path)


def test_what_somebody_left_is_removed(tmp_path: Path) -> None:
    for name in ("a", "a.new-1", "a.new-2", "b.new-1"):
        (tmp_path / name).mkdir()

    remove_left(tmp_path / "a")

    assert (listed(tmp_path)) == ["a", "b.new-1"]


def test_no_link_is_followed_when_something_is_removed(tmp_path: Path) -> None:
    make_folder(tmp_path / "kept" / "too")
    make_folder(tmp_path / "a")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")

    remove_tree(tmp_path / "a")
    remove_tree(tmp_path / "link")

    assert (tmp_path / "kept" / "too").is_dir()
    assert not (tmp_path / "a").exists()


def test_only_one_holds_a_lock(tmp_path: Path) -> None:
    order: list[str] = []
    with hold_lock(tmp_path / "locks" / "a") as first:
        with hold_lock(tmp_path / "locks" / "a", wait=False) as second:
            pass
        waits = threading.Thread(target=lambda: _note(tmp_path, order))
        waits.start()
        order.append("first")
    waits.join()

    assert (first, second) == (True, False)
    assert order == ["first", "second"]


def _note(folder: Path, order: list[str]) -> None:
    with hold_lock(folder / "locks" / "a"):
        order.append("second")


def test_where_there_are_no_locks_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(name="nt", **{name: getattr(os, name) for name in ("open", "close", "O_CREAT", "O_RDWR")})
    monkeypatch.setattr(_scratch, "os", other)

    with hold_lock(tmp_path / "a") as one, hold_lock(tmp_path / "a") as two:
        assert one
        assert two

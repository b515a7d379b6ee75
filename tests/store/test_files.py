"""Files that are complete or not there."""

import errno
import os
import stat
from pathlib import Path

import pytest

from runtara.errors import AlreadyExists, StoreFull, StoreUnavailable
from runtara.store._files import new_file


def test_a_file_stands_there_once_it_is_complete_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "file"

    with new_file(path) as file:
        file.write(b"content")
        there_before = path.exists()

    assert (there_before, path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (False, b"content", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_on_stable_storage_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((tmp_path / "file").exists()))

    with new_file(tmp_path / "file") as file:
        file.write(b"content")

    assert synced == [False, True]  # the file, then the folder that holds its name


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "file"):
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with pytest.raises(AlreadyExists), new_file(path):
        pass

    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreUnavailable)])
def test_what_the_system_refuses_is_said_in_our_words(number: int, expected: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(expected, match=r"file cannot be written"), new_file(tmp_path / "file"):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_is_missing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable), new_file(tmp_path / "missing" / "file"):
        pass

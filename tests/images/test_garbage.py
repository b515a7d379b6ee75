"""What nobody needs is removed, and nothing that somebody is about to use; test_blobs.py sees the whole of it."""

import os
import time
from pathlib import Path

from runtara.images._garbage import Garbage, lock_of
from runtara.images._scratch import hold_lock, make_folder
from tests.images.sandbox import listed

DIGEST = "ab" * 32


def collect(folder: Path, *, dry_run: bool = False) -> list[str]:
    return Garbage(folder, time.time() + 60, dry_run=dry_run).collect(lambda _: False)


def test_an_empty_folder_has_no_garbage(tmp_path: Path) -> None:
    assert collect(tmp_path / "missing") == []


def test_what_somebody_is_unpacking_stays(tmp_path: Path) -> None:
    make_folder(tmp_path / "unpacked" / f"{DIGEST}.folder")

    with hold_lock(lock_of(tmp_path, DIGEST)):
        during = collect(tmp_path)
    after = collect(tmp_path)

    assert during == []
    assert after == [f"unpacked/{DIGEST}.folder"]
    assert not listed(tmp_path / "unpacked")


def test_what_was_touched_in_the_meantime_stays(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "unpacked" / f"{DIGEST}.folder")
    os.utime(folder, (0, 0))

    def keep(_: str) -> bool:
        os.utime(folder)
        return False

    assert Garbage(tmp_path, time.time() - 60, dry_run=False).collect(keep) == []
    assert folder.is_dir()


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path / "unpacked" / f"{DIGEST}.folder")
    blob = make_folder(tmp_path / "blobs" / "ab") / DIGEST
    blob.touch()

    planned = collect(tmp_path, dry_run=True)

    assert planned == [f"blobs/ab/{DIGEST}", f"unpacked/{DIGEST}.folder"]
    assert blob.exists()
    assert collect(tmp_path) == planned
